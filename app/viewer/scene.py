"""A motion as what a viewer shows: bodies to be skinned where they are drawn, their motion, the camera, the floor.

Frame: y up, right-handed, metres, floor at y = 0 (`people_in_world`). Nothing here knows how it is drawn.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from bodycast.app.files.glb import strongest_influences, vertex_normals
from bodycast.app.files.motion_file import Motion
from bodycast.app.files.person_motion import (
    WORLD_FROM_CAMERA,
    Floats,
    PersonMotion,
    clip_start_s,
    forward_kinematics,
    people_in_world,
)
from bodycast.app.renderers.shading import person_colours
from bodycast.hmr.body.body_model import BodyModel

MOST_PEOPLE = 10
ABSENT_S = 0.5
"""Somebody who was not seen for longer is not shown in between."""


@dataclass(frozen=True)
class Skin:
    """What all bodies of one model share: `faces` (F,3) int32, `joints` (V,4) uint8 and `weights` (V,4) float32 of the
    four strongest bones."""

    faces: NDArray[np.int32]
    joints: NDArray[np.uint8]
    weights: NDArray[np.float32]

    @staticmethod
    def of(body: BodyModel) -> Skin:
        """The skin of a body model."""
        return Skin(body.faces, *strongest_influences(body.weights))


@dataclass(frozen=True)
class ScenePerson:
    """One person: `motion` (F frames), their rest shape `vertices` and `normals` (V,3) float32, `joints_rest` (24,3)
    float64, `colour` RGB 0..255, `soles` (4,3): left heel, left toe, right heel, right toe, each from its joint."""

    motion: PersonMotion
    vertices: NDArray[np.float32]
    normals: NDArray[np.float32]
    joints_rest: Floats
    colour: tuple[int, int, int]
    soles: NDArray[np.float32]

    @property
    def id(self) -> int:
        """The person's number, from 1."""
        return self.motion.person_id

    @cached_property
    def bones(self) -> tuple[Floats, Floats]:
        """Places (F,24,3) and global rotations (F,24,3,3) of the joints."""
        return forward_kinematics(self.motion.rotations, self.motion.offsets_m, self.motion.root_m)

    def row_at(self, time_s: float) -> int | None:
        """The frame to show at a time of the clip's clock; None: they are not there."""
        times, frames = self.motion.time_s, self.motion.frame
        row = int(np.searchsorted(times, time_s + 1e-6, side="right")) - 1
        if row < 0:
            return None
        if row + 1 == len(times):
            step = float(np.median(np.diff(times))) if len(times) > 1 else 0.05
            return row if time_s < times[row] + 1.5 * step else None
        away = times[row + 1] - times[row] > ABSENT_S and frames[row + 1] > frames[row] + 1
        return None if away and time_s > times[row] + 0.1 else row


@dataclass(frozen=True)
class Scene:
    """People in the world, and who sees them. `camera_to_world` (4,4): of the camera frame (x right, y down,
    z forward). `focal_px` and `image_wh`: its lens. `start_s`: the time of frame 0; `end_s`: of the last. Without
    `has_world` the camera moves, and people stand as it sees them."""

    people: tuple[ScenePerson, ...]
    skin: Skin
    camera_to_world: Floats
    focal_px: float
    image_wh: tuple[int, int]
    fps: float
    start_s: float
    end_s: float
    has_floor: bool
    has_world: bool

    @staticmethod
    def of(motion: Motion, body: BodyModel) -> Scene:
        """The people of a motion; of more than MOST_PEOPLE those who are seen for longest. Their shape is the mean of
        the clip, and stays. Raises: ValueError where nobody is in it, or it belongs to another body."""
        from bodycast.hmr.body.soles import sole_offsets

        if not len(motion):
            raise ValueError("nobody is in this motion")
        if motion.meta.body != body.name:
            raise ValueError(f"the motion belongs to the body '{motion.meta.body}', not to '{body.name}'")
        ids, counts = np.unique(motion.person_id, return_counts=True)
        longest = sorted(ids[np.argsort(-counts, kind="stable")][:MOST_PEOPLE].tolist())
        soles = sole_offsets(body)
        motions = people_in_world(motion, longest)
        people = tuple(_scene_person(person, body, soles) for person in motions)
        start_s = clip_start_s(motion)
        end_s = max(start_s + (motion.meta.frame_count - 1) / motion.fps, float(motion.time_s.max()))
        return Scene(
            people=people,
            skin=Skin.of(body),
            camera_to_world=_camera(motion, motions[0]),
            focal_px=motion.focal_px,
            image_wh=motion.image_wh,
            fps=motion.fps,
            start_s=start_s,
            end_s=end_s,
            has_floor=bool(np.isfinite(motion.floor).all()),
            has_world=motion.has_world,
        )


def _scene_person(motion: PersonMotion, body: BodyModel, soles: NDArray[np.float32]) -> ScenePerson:
    vertices = body.rest_vertices(motion.betas[None])[0]
    blue, green, red = (int(value) for value in person_colours(np.array([motion.person_id], np.int32))[0])
    return ScenePerson(
        motion=motion,
        vertices=vertices,
        normals=vertex_normals(vertices, body.faces),
        joints_rest=body.joints(motion.betas[None])[0].astype(np.float64),
        colour=(red, green, blue),
        soles=soles,
    )


def _camera(motion: Motion, person: PersonMotion) -> Floats:
    """(4,4) camera -> the world that `people_in_world` has moved: it keeps to itself by how much."""
    row = motion.of_person(person.person_id)
    camera = np.eye(4)
    if motion.has_world:
        camera[:] = motion.camera_to_world
        before = row.joints_world[0, 0].astype(np.float64)
    else:
        camera[:3, :3] = WORLD_FROM_CAMERA
        before = WORLD_FROM_CAMERA @ row.joints_3d[0, 0].astype(np.float64)
    camera[:3, 3] += person.root_m[0] - before
    return camera
