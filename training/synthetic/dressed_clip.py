"""Clips of dressed people with ground truth: motion capture in rooms, gestures before webcams.

The renderer of the crops, on whole frames: `ClipStage` is what `clip.write_clip` draws with.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from bodycast.hmr.body.body_model import forward_kinematics
from bodycast.hmr.geometry.rotations import axis_angle_to_matrix, interpolate_rotations
from training.synthetic import things as around
from training.synthetic.atlas_renderer import AtlasRenderer, CropScene, Drawn
from training.synthetic.cast import Member, SkinPoints, make_cast
from training.synthetic.clip import Actor
from training.synthetic.drawn import BareBody
from training.synthetic.faults import noise_sheet
from training.synthetic.garments.head_chart import HEAD_AXIS_XZ, HEAD_LOW_M, HEAD_TOP_M
from training.synthetic.gestures import gesture
from training.synthetic.lighting import sample_lighting
from training.synthetic.limb_coordinates import limb_coordinates
from training.synthetic.pack import Pack
from training.synthetic.scene import Camera
from training.synthetic.window import Window

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]
Rng = np.random.Generator
CLIP_SHADOW_PX = 768
SEATED_ROOT_M = 0.47  # of a pelvis on a chair above the floor


@dataclass(frozen=True)
class DressedActor(Actor):
    """An actor of a clip whose look is a member of a cast."""

    member: Member | None = None


class ClipStage:
    """A room or a photograph, a fixed camera and dressed people, drawn frame by frame."""

    def __init__(self, pack: Pack, camera: Camera, origin: F32, seed: int, *, people: int, desk: bool) -> None:
        self.camera, self.origin, self.body = camera, origin, pack.body
        self._rng = np.random.default_rng(seed)
        rng = self._rng
        wardrobe = pack.open_wardrobe()
        width, height = camera.image_wh
        self.renderer = AtlasRenderer(1, 1, (height, width), CLIP_SHADOW_PX)
        for name in ("cloth", "prints", "heads"):
            self.renderer.set_textures(name, getattr(wardrobe, name))
        self.renderer.set_head_box((*HEAD_AXIS_XZ, HEAD_TOP_M, HEAD_LOW_M))
        self._points = SkinPoints.of(pack.body)
        bare = BareBody.of(pack.body, limb_coordinates(pack.body))
        self.members = make_cast(rng, people, bare, self._points, wardrobe, self.renderer)
        self._background = self._photograph(pack) if rng.random() < 0.5 else None
        self._noise, self._noise_level = noise_sheet(), float(rng.uniform(1, 4))
        shade = (
            self._background if self._background is not None else np.full((8, 8, 3), rng.uniform(110, 190), np.uint8)
        )
        self._light = sample_lighting(rng, shade, camera.rotation[:, 1])
        materials = around.Materials(rng, len(wardrobe.cloth), 0, len(wardrobe.prints))
        self._things = self._furniture(rng, materials, desk)

    def _photograph(self, pack: Pack) -> U8 | None:
        if not pack.photographs:
            return None
        picture = pack.photographs[self._rng.integers(len(pack.photographs))]
        width, height = self.camera.image_wh
        scale = max(width / picture.shape[1], height / picture.shape[0])
        wide = cv2.resize(picture, None, fx=scale + 1e-3, fy=scale + 1e-3, interpolation=cv2.INTER_LINEAR)
        return np.ascontiguousarray(wide[:height, :width])

    def _furniture(self, rng: Rng, materials: around.Materials, desk: bool) -> Drawn | None:
        """What stands still: the room around (0, 0, -4), or before a webcam a desk and a chair around its person."""
        things = around.Things()
        anchor = np.array([0, 0, self.origin[2] - 4.2], np.float32)
        if desk:
            anchor = np.array([0, SEATED_ROOT_M, 0], np.float32)
            around.add_chair(things, rng, 0.0, materials)
            around.add_desk(things, rng, -0.02, 0.26, 0.0, materials)
        floor_y = float(-anchor[1])
        if self._background is None:
            around.add_room(things, rng, floor_y, materials, self.origin - anchor)
        else:
            around.add_shadow_floor(things, floor_y, float(rng.uniform(0.3, 0.6)))
        mesh = things.mesh()
        if mesh is None:
            return None
        table = np.tile(np.eye(3, 4, dtype=np.float32), (24, 1, 1))
        table[around.WORLD] = np.column_stack([self.camera.rotation, self.to_camera(anchor)])
        return Drawn(self.renderer.upload(mesh), table)

    def begin(self, frame: int) -> None:
        """Called before each frame: this camera stands still."""

    def to_camera(self, points: F32) -> F32:
        """World points (..., 3) -> camera frame."""
        return ((points - self.origin) @ self.camera.rotation.T).astype(np.float32)

    def frame(self, people: list[tuple[Actor, int, F32]]) -> U8:
        """(H, W, 3) RGB; each person is an actor, the number of its own frame, and bare world vertices (V, 3)."""
        width, height = self.camera.image_wh
        drawn, bodies = [], [np.zeros((1, 3), np.float32) + self.origin - [0, 0, 2]]
        for actor, at, vertices in people:
            if not isinstance(actor, DressedActor) or actor.member is None:
                raise ValueError("a ClipStage draws DressedActors with a member of its cast")
            drawn.append(Drawn(actor.member.mesh, self._motions(actor, at)))
            bodies.append(vertices)
        if self._things is not None:
            drawn.append(self._things)
        around_all = self.to_camera(np.concatenate(bodies[1:] or bodies))
        middle = (around_all.min(0) + around_all.max(0)) / 2
        radius = float(np.linalg.norm(around_all - middle, axis=1).max()) + 0.1
        window = Window(self.camera.focal_px, width / 2, height / 2, width, height)
        rgba, _ = self.renderer.render([CropScene(drawn, window, self._light, middle, radius)])
        canvas = rgba[0, ..., :3].astype(np.float32)
        if self._background is not None:
            canvas += (1 - rgba[0, ..., 3:].astype(np.float32) / 255) * self._background
        y, x = self._rng.integers(0, 512, 2)
        noise = np.tile(np.roll(self._noise, (y, x), (0, 1)), (-(-height // 512), -(-width // 512), 1))
        return np.clip(canvas + self._noise_level * noise[:height, :width], 0, 255).astype(np.uint8)

    def _motions(self, actor: DressedActor, at: int) -> F32:
        rest = actor.member.joints_rest  # type: ignore[union-attr]
        turns, places = forward_kinematics(actor.pose[at : at + 1], rest[None])
        shifts = (places - (turns @ rest[None, ..., None])[..., 0])[0] + actor.transl_m[at] - self.origin
        rotation = self.camera.rotation
        return np.concatenate([rotation @ turns[0], (shifts @ rotation.T)[..., None]], axis=-1).astype(np.float32)


def gesture_motion(rng: Rng, pack: Pack, frames: int, fps: float) -> tuple[F32, F32]:
    """A person on a chair who goes from gesture to gesture: poses (T, 24, 3, 3) and places (T, 3) of the pelvis."""
    poses = [gesture(rng, pack.body)]
    legs = poses[0][[1, 2, 4, 5, 7, 8, 10, 11]].copy()
    out: list[F32] = []
    while len(out) < frames:
        following = gesture(rng, pack.body)
        following[[1, 2, 4, 5, 7, 8, 10, 11]] = legs
        moving, resting = int(fps * rng.uniform(0.35, 1.1)), int(fps * rng.uniform(0.1, 1.2))
        steps = np.linspace(0, 1, moving + 1, dtype=np.float32)[1:]
        eased = steps * steps * (3 - 2 * steps)
        out += [interpolate_rotations(poses[-1], following, w) for w in eased]
        out += [following] * resting
        poses.append(following)
    pose = np.stack(out[:frames]).astype(np.float32)
    # Nobody holds still: slow, small turns of trunk and head.
    time_s = np.arange(frames, dtype=np.float32) / fps
    sway = np.zeros((frames, 24, 3), np.float32)
    for joint in (3, 6, 12, 15):
        for axis in range(3):
            sway[:, joint, axis] = 0.03 * np.sin(time_s * rng.uniform(0.8, 3.0) + rng.uniform(0, 6.3))
    pose = (pose @ axis_angle_to_matrix(sway)).astype(np.float32)
    return pose, np.tile(np.array([0, SEATED_ROOT_M, 0], np.float32), (frames, 1))
