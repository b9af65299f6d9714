"""replay.html: one page that shows a run in 3D, in any browser, with nothing else to load.

The page holds the bodies once, 24 rotations and a place for each person and frame, the curves, and the overlay as a
small film. Bodies are skinned by the browser (page/replay.js).
"""

from __future__ import annotations

import base64
import json
import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from bodycast.app.viewer.curves import curves_of
from bodycast.app.viewer.packing import packed, packed_steps, quantised, rotation_steps
from bodycast.app.viewer.picture import SmallFilm, small_film
from bodycast.app.viewer.scene import Scene, ScenePerson, Skin
from bodycast.hmr.body.joints import PARENTS

PAGE = Path(__file__).with_name("page")
MOST_BYTES = 4_900_000
"""A page that a mail or a chat takes."""
MOST_S = 120.0
MOST_ROWS_PER_S = 60.0
FILM_SHARE = 0.35
"""Of the page at the least for the film, where there is one."""
WORK_S = 30.0
"""Time that the film may take: a run is not held up by its page for long."""


@dataclass(frozen=True)
class Page:
    """`notes`: what the page does not show, one line each."""

    content: bytes
    notes: tuple[str, ...]


def replay_page(scene: Scene, title: str, overlay: Path | None, note: str = "", work_s: float = WORK_S) -> Page:
    """The page for a scene. overlay: the run's film, None where there is none.

    Longer runs, and such with many people, are cut where the page would grow beyond MOST_BYTES; the page says so.
    Raises: OSError and PyAV's errors for an overlay that does not open.
    """
    shown_s = min(scene.end_s - scene.start_s, MOST_S)
    body, people = _encode(scene, shown_s)
    room = MOST_BYTES - _fixed_size()
    most = int(room * (1 - FILM_SHARE)) if overlay else room
    while len(body) + len(people) > most and shown_s > 1:
        shown_s *= max(0.2, min(0.9, (most - len(body)) / len(people)))
        body, people = _encode(scene, shown_s)
    film = None
    if overlay is not None:
        left = (room - len(body) - len(people)) * 3 // 4  # base64 takes four bytes for three
        film = small_film(overlay, left - 20_000, shown_s + 0.5 / scene.fps, work_s)
    notes = _notes(scene, shown_s, film, overlay) + ((note,) if note else ())
    facts = {
        "title": title,
        "notes": notes,
        "seconds": shown_s,
        "fps": scene.fps,
        "focal": scene.focal_px,
        "imageWH": scene.image_wh,
        "camera": scene.camera_to_world.tolist(),
        "parents": PARENTS.tolist(),
        "film": "" if film is None else base64.b64encode(film.content).decode("ascii"),
        "filmEnd": 0.0 if film is None else film.end_s,
    }
    data = f'{json.dumps(facts)[:-1]},"skin":{body},"people":{people}}}'
    return Page(_page("replay", title, data), notes)


def _notes(scene: Scene, shown_s: float, film: SmallFilm | None, overlay: Path | None) -> tuple[str, ...]:
    notes: list[str] = []
    whole_s = scene.end_s - scene.start_s
    if shown_s < whole_s - 0.5 / scene.fps:
        notes.append(f"the first {shown_s:.0f} s of {whole_s:.0f} s: the page would be too large with all of it")
    if overlay is None:
        notes.append("this run has no overlay: the world alone is shown")
    elif film is None or film.end_s < shown_s - 1:
        until = "not shown" if film is None else f"shown up to {film.end_s:.0f} s"
        notes.append(f"the picture is {until}: more would not fit, or take too long to make")
    if not scene.has_world:
        notes.append("the camera moves: people stand as it sees them, not on a floor")
    elif not scene.has_floor:
        notes.append("no floor was found: the lowest feet are at height 0")
    return tuple(notes)


def _encode(scene: Scene, shown_s: float) -> tuple[str, str]:
    """JSON of the skin, and of the people up to that time."""
    people = [text for person in scene.people if (text := _person(_cut(person, scene, shown_s), scene.start_s))]
    return json.dumps(_skin(scene.skin)), f"[{','.join(people)}]"


def _cut(person: ScenePerson, scene: Scene, shown_s: float) -> ScenePerson | None:
    """Their frames up to that time, at most MOST_ROWS_PER_S of them a second."""
    every = math.ceil(scene.fps / MOST_ROWS_PER_S - 1e-6)
    motion = person.motion
    keep = (motion.time_s - scene.start_s <= shown_s + 1e-6) & (motion.frame % every == 0)
    if not keep.any():
        return None
    rows = {name: getattr(motion, name)[keep] for name in ("frame", "time_s", "score", "rotations", "root_m")}
    return replace(person, motion=replace(motion, **rows))


def _skin(skin: Skin) -> dict[str, object]:
    # A place in a list of 65,536 vertices takes two bytes.
    kind = np.uint16 if len(skin.joints) <= 1 << 16 else np.uint32
    return {
        "faces": packed(skin.faces.astype(kind)),
        "wide": kind is np.uint32,
        "joints": packed(skin.joints),
        "weights": packed(np.round(skin.weights * 255).astype(np.uint8)),
    }


def _person(person: ScenePerson | None, start_s: float) -> str:
    if person is None:
        return ""
    vertices, vertex_step = quantised(person.vertices)
    rotations, rotation_step = rotation_steps(person.motion.rotations)
    roots, root_step = quantised(person.motion.root_m)
    curves: list[dict[str, object]] = []
    for curve in curves_of(person):
        values, step = quantised(curve.values)
        entry = {"group": curve.group, "name": curve.name, "unit": curve.unit}
        curves.append({**entry, "step": step, "values": packed_steps(values[:, None])})
    content = {
        "id": person.id,
        "colour": person.colour,
        "vertices": packed(vertices),
        "vertexStep": vertex_step,
        "normals": packed(np.round(person.normals * 127).astype(np.int8)),
        "rest": np.round(person.joints_rest, 5).tolist(),
        "times": packed((person.motion.time_s - start_s).astype(np.float32)),
        "frames": packed(person.motion.frame.astype(np.int32)),
        "rotations": packed_steps(rotations),
        "rotationStep": rotation_step,
        "roots": packed_steps(roots),
        "rootStep": root_step,
        "curves": curves,
    }
    return json.dumps(content)


def _fixed_size() -> int:
    return len(_page("replay", "", "")) + 2000


def _page(name: str, title: str, data: str) -> bytes:
    """The page with its style, its data and its program in it."""
    template = (PAGE / f"{name}.html").read_text(encoding="utf-8")
    # "<" could end the element that holds the data.
    parts = {
        "TITLE": _escaped(title),
        "STYLE": (PAGE / "page.css").read_text(encoding="utf-8"),
        "DATA": data.replace("<", "\\u003c"),
        "PROGRAM": "\n".join(
            (PAGE / script).read_text(encoding="utf-8") for script in ("data.js", "plot.js", "draw.js", "replay.js")
        ),
    }
    for key, text in parts.items():
        template = template.replace(f"<!--{key}-->", text, 1)
    return template.encode("utf-8")


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
