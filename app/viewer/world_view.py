"""The world in viser: floor, camera, bodies that the browser skins, trails, and the controls they share.

Of a frame, 24 rotations and places a person are sent. All nodes hang on one frame, /world, which moves when somebody is
followed: whoever looks can turn the camera meanwhile.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bodycast.app.files.person_motion import Floats
from bodycast.app.viewer.curves import GROUPS, curves_from
from bodycast.hmr.body.body_model import BodyModel
from bodycast.hmr.body.joints import Joint
from bodycast.hmr.body.soles import sole_offsets
from bodycast.hmr.geometry.rotations import matrix_to_quaternion

TRAIL_JOINTS = (Joint.PELVIS, Joint.LEFT_ANKLE, Joint.RIGHT_ANKLE)
TRAIL_POINTS, TRAIL_STEP_S = 20, 0.1
CURVE_STEP_S, CURVE_POINTS = 0.25, 300
CURVE_COLOURS = ("#60a8de", "#f09650", "#9fd4f7", "#f7c79f")
NOBODY = "nobody"
FRUSTUM_M = 0.5
MOST_EXPANDED = 3
"""The controls of further people are folded, so that the list stays on the screen."""


@dataclass(frozen=True)
class Figure:
    """One person of a frame: `places` (24,3) m and global `turns` (24,3,3) of the joints in the world; `vertices` (V,3)
    and `joints_rest` (24,3) of their rest shape; `colour` RGB."""

    id: int
    colour: tuple[int, int, int]
    places: Floats
    turns: Floats
    vertices: NDArray[np.float32]
    joints_rest: Floats


@dataclass
class _Person:
    """A person's nodes and controls in viser, and what they did lately."""

    mesh: Any
    trail: Any
    folder: Any
    colour: Any
    show: Any
    joints_rest: Floats
    trail_points: deque[Floats] = field(default_factory=lambda: deque[Floats](maxlen=TRAIL_POINTS))
    history: deque[tuple[float, Floats, Floats]] = field(
        default_factory=lambda: deque[tuple[float, Floats, Floats]](maxlen=CURVE_POINTS)
    )
    trail_s: float = -1e9
    present: bool = True


class WorldView:
    """Use it from one thread; viser calls back from its own, hence the lock."""

    def __init__(self, server: Any, body: BodyModel) -> None:
        """server: a viser.ViserServer."""
        self._server, self._body = server, body
        self._soles = sole_offsets(body)
        self._people: dict[int, _Person] = {}
        self._lock = threading.RLock()
        self._camera, self._focal, self._image_wh = np.eye(4), 1000.0, (1280, 720)
        self._middle, self._apart, self._homed = np.zeros(3), 0.0, False
        self._to_aim: list[Any] = []
        self._followed = NOBODY
        self._anchor: Floats | None = None
        self._curves: Any = None
        self._curves_of: tuple[str, int] | None = None
        self._curves_s = -1e9
        self._whole: dict[int, tuple[Floats, Floats, Floats]] = {}
        scene = server.scene
        scene.set_up_direction("+y")
        scene.configure_environment_map(hdri=None)
        scene.add_light_ambient("/light/ambient", intensity=1.0)
        scene.add_light_directional("/light/key", intensity=2.2, position=(-4.5, 8.0, 5.0))
        self._world = scene.add_frame("/world", show_axes=False)
        scene.add_grid("/world/floor", plane="xz", infinite_grid=True, cell_size=1.0, section_size=5.0)
        self._frustum = scene.add_camera_frustum("/world/camera", 1.0, 16 / 9, scale=FRUSTUM_M, color=(220, 180, 60))
        self._make_controls()

    def _make_controls(self) -> None:
        gui = self._server.gui
        gui.configure_theme(dark_mode=True, show_logo=False, show_share_button=False, control_layout="floating")
        with gui.add_folder("View"):
            looks = gui.add_button_group("Look", ("camera", "front", "side", "top"))
            looks.on_click(self._on_look)
            self._trails = gui.add_checkbox("Trails", True)
            self._follow = gui.add_dropdown("Follow", (NOBODY,), initial_value=NOBODY)
        self._people_folder = gui.add_folder("People")
        self._curves_folder = gui.add_folder("Curves")
        with self._curves_folder:
            self._group = gui.add_dropdown("Show", ("off", *GROUPS), initial_value="off")
        self._server.on_client_connect(self._on_connect)

    def _on_look(self, event: Any) -> None:
        self._look(event.client, str(event.target.value))

    def _on_connect(self, client: Any) -> None:
        if self._homed:
            self._look(client, "front")
        else:
            self._to_aim.append(client)

    @property
    def watched(self) -> bool:
        """Whether a browser looks."""
        return bool(self._server.get_clients())

    def set_camera(self, camera_to_world: Floats, focal_px: float, image_wh: tuple[int, int]) -> None:
        """Where the camera is, (4,4) camera frame -> world, and its lens."""
        with self._lock:
            if np.array_equal(camera_to_world, self._camera) and (focal_px, image_wh) == (self._focal, self._image_wh):
                return
            self._camera, self._focal, self._image_wh = camera_to_world.copy(), focal_px, image_wh
            self._frustum.wxyz = matrix_to_quaternion(camera_to_world[:3, :3])
            self._frustum.position = camera_to_world[:3, 3]
            self._frustum.fov = 2 * float(np.arctan(image_wh[1] / 2 / focal_px))
            self._frustum.aspect = image_wh[0] / image_wh[1]

    def set_home(self, places: Floats) -> None:
        """What the views look at: (N,3) places in the world, m. Without it, whoever is seen."""
        self._aim(places)
        self._homed = True

    def set_curves(self, person: int, time_s: Floats, places: Floats, turns: Floats) -> None:
        """The whole motion of somebody, for their curves: (F,) seconds, (F,24,3), (F,24,3,3). Without it, what they did
        lately."""
        self._whole[person] = time_s, places, turns

    def _aim(self, places: Floats) -> None:
        self._middle = 0.5 * (places.min(axis=0) + places.max(axis=0))
        self._apart = float(np.linalg.norm(places - self._middle, axis=1).max())

    def show(self, figures: list[Figure], time_s: float) -> None:
        """Show these people, and nobody else."""
        with self._lock, self._server.atomic():
            for figure in figures:
                self._show_person(figure, time_s)
            ids = {figure.id for figure in figures}
            for number, person in self._people.items():
                if number not in ids and person.present:
                    person.present = person.mesh.visible = person.trail.visible = False
            if figures and not self._homed:
                self._aim(np.array([figure.places[0] for figure in figures]))
                while self._to_aim:
                    self._look(self._to_aim.pop(), "front")
            self._follow_person(figures)
        self._show_curves(time_s)

    def forget(self, keep: int) -> None:
        """Of more people than `keep`, those who are away go."""
        with self._lock:
            gone = [number for number, person in self._people.items() if not person.present]
            for number in gone[: max(0, len(self._people) - keep)]:
                person = self._people.pop(number)
                for part in (person.mesh, person.trail, person.folder):
                    part.remove()
                self._list_people()

    def forget_trails(self) -> None:
        """The time has jumped."""
        with self._lock:
            for person in self._people.values():
                person.trail_points.clear()
                person.history.clear()
                person.trail_s = -1e9

    def _show_person(self, figure: Figure, time_s: float) -> None:
        person = self._people.get(figure.id)
        if person is None or np.abs(person.joints_rest - figure.joints_rest).max() > 0.015:
            person = self._add_person(figure, person)
        visible = bool(person.show.value)
        if person.mesh.visible != visible:
            person.mesh.visible = visible
        person.present = True
        for bone, wxyz, place in zip(person.mesh.bones, matrix_to_quaternion(figure.turns), figure.places, strict=True):
            bone.wxyz, bone.position = wxyz, place
        person.history.append((time_s, figure.places, figure.turns))
        if time_s - person.trail_s >= TRAIL_STEP_S:
            person.trail_s = time_s
            person.trail_points.append(figure.places[list(TRAIL_JOINTS)])
            points = np.array(person.trail_points, np.float32)
            if len(points) > 1:
                person.trail.points = np.stack([points[:-1], points[1:]], axis=2).reshape(-1, 2, 3)
            shown = visible and bool(self._trails.value) and len(points) > 1
            if person.trail.visible != shown:
                person.trail.visible = shown

    def _add_person(self, figure: Figure, before: _Person | None) -> _Person:
        """Nodes of somebody new, or of a new shape: its mesh is sent once."""
        scene, gui = self._server.scene, self._server.gui
        colour = figure.colour if before is None else before.colour.value
        mesh = scene.add_mesh_skinned(
            f"/world/person_{figure.id}",
            figure.vertices,
            self._body.faces,
            bone_wxyzs=np.tile([1.0, 0.0, 0.0, 0.0], (24, 1)),
            bone_positions=figure.joints_rest,
            skin_weights=self._body.weights,
            color=colour,
        )
        if before is not None:
            before.mesh, before.joints_rest = mesh, figure.joints_rest
            return before
        none = np.zeros((1, 2, 3), np.float32)
        trail = scene.add_line_segments(f"/world/trail_{figure.id}", none, colour, visible=False)
        with self._people_folder:
            folder = gui.add_folder(f"Person {figure.id}", expand_by_default=len(self._people) < MOST_EXPANDED)
        with folder:
            picker = gui.add_rgb("Colour", colour)
            show = gui.add_checkbox("Show", True)
        person = _Person(mesh, trail, folder, picker, show, figure.joints_rest)

        def paint(_: Any) -> None:
            self._paint(person)

        def set_shown(_: Any) -> None:
            self._set_shown(person)

        picker.on_update(paint)
        show.on_update(set_shown)
        self._people[figure.id] = person
        self._list_people()
        return person

    def _paint(self, person: _Person) -> None:
        with self._lock:
            person.mesh.color = person.colour.value
            person.trail.colors = np.array(person.colour.value, np.uint8)

    def _set_shown(self, person: _Person) -> None:
        with self._lock:
            person.mesh.visible = bool(person.show.value) and person.present
            if not person.mesh.visible:
                person.trail.visible = False

    def _list_people(self) -> None:
        chosen = self._follow.value
        self._follow.options = (NOBODY, *(str(number) for number in sorted(self._people)))
        self._follow.value = chosen if chosen in self._follow.options else NOBODY

    def _follow_person(self, figures: list[Figure]) -> None:
        """Move the world so that whoever is followed stays where they are seen."""
        name = str(self._follow.value)
        if name != self._followed:
            self._followed, self._anchor = name, None
        followed = next((figure for figure in figures if str(figure.id) == name), None)
        if followed is not None:
            place = followed.places[0] * (1.0, 0.0, 1.0)
            if self._anchor is None:
                self._anchor = np.array(self._world.position) + place
            target = self._anchor - place
        elif name == NOBODY:
            target = np.zeros(3)
        else:
            return  # away: the world waits where it is
        if not np.allclose(self._world.position, target):
            self._world.position = target

    def _look(self, client: Any, name: str) -> None:
        if client is None:
            return
        with self._lock:
            shift = np.array(self._world.position)
            with client.atomic():
                if name == "camera":
                    place = self._camera[:3, 3] + shift
                    client.camera.up_direction = -self._camera[:3, 1]
                    client.camera.position = place
                    client.camera.look_at = place + 4 * self._camera[:3, 2]
                    client.camera.fov = 2 * float(np.arctan(self._image_wh[1] / 2 / self._focal))
                    return
                away = {"front": (0.17, 0.28, 1.0), "side": (1.0, 0.14, 0.0), "top": (0.0, 1.0, 0.001)}[name]
                middle = self._middle + shift
                client.camera.up_direction = (0.0, 1.0, 0.0)
                client.camera.position = middle + (3.5 + 1.8 * self._apart) * np.array(away)
                client.camera.look_at = middle
                client.camera.fov = 0.75

    def _show_curves(self, time_s: float) -> None:
        """Of whoever is followed, or the first; live the last seconds, at a calm rate."""
        if 0 <= time_s - self._curves_s < CURVE_STEP_S:
            return
        self._curves_s = time_s
        with self._lock:
            group, followed = str(self._group.value), str(self._follow.value)
            number = int(followed) if followed != NOBODY else next(iter(self._people), 0)
            lately = self._people[number].history if number in self._people else ()
            wanted = (group, number) if group != "off" and (number in self._whole or len(lately) > 2) else None
            if self._curves is not None and wanted != self._curves_of:
                self._curves.remove()
                self._curves = None
            if wanted is None or (self._curves is not None and number in self._whole):
                return
            if number in self._whole:
                times, places, turns = self._whole[number]
            else:
                times, places, turns = (np.array(part) for part in zip(*lately, strict=True))
                times = times - times[-1]
            curves = [one for one in curves_from(times, places, turns, self._soles) if one.group == group]
            data = (times, *(one.values.astype(np.float64) for one in curves))
            if self._curves is not None:
                self._curves.data = data
                return
            series: list[dict[str, object]] = [{"label": "s"}]
            for one, stroke in zip(curves, CURVE_COLOURS, strict=False):
                series.append({"label": f"{one.name} ({one.unit})", "stroke": stroke, "width": 1.5})
            self._curves_of, title = wanted, f"person {number}: {group}"
            with self._curves_folder:
                scales = {"x": {"time": False}}
                self._curves = self._server.gui.add_uplot(data, tuple(series), title=title, scales=scales, aspect=1.6)
