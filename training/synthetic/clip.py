"""Whole clips with ground truth: `python -m training.synthetic.clip OUT.mp4` (the demo clip without further arguments).

People act motion capture in a room drawn by code; nothing in the picture comes from anybody's photograph. Beside
OUT.mp4, OUT.npz holds the truth in the layout of motion.npz, one row per person per frame that shows the person.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Protocol

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from hmr.body.body_model import BodyModel
from hmr.geometry.camera import focal_from_fov
from hmr.geometry.rotations import axis_angle_to_matrix, interpolate_rotations, matrix_to_axis_angle
from training.mocap.retarget import Motion, load_smpl_motion
from training.synthetic.appearance import Appearance, sample_appearance
from training.synthetic.backgrounds import procedural
from training.synthetic.people_renderer import Light, PeopleRenderer, Person
from training.synthetic.poses import heading_rad, split_files
from training.synthetic.rooms import draw_room
from training.synthetic.scene import FLIP_YZ, Camera, project
from training.synthetic.window import Window

F32 = NDArray[np.float32]
MIN_SHARE_IN_PICTURE = 0.15
SHADOW = 0.45


@dataclass(frozen=True)
class Actor:
    """A person of the clip in the world (y up, floor y = 0, camera looks along -z). Absent before `enters` frames."""

    pose: F32  # (T, 24, 3, 3)
    transl_m: F32  # (T, 3)
    betas: F32  # (10,)
    look: Appearance | None = None
    enters: int = 0


def chain(motions: list[Motion], blend: int = 12, turn_rad: float = 0.0) -> tuple[F32, F32]:
    """Play motions one after the other: each goes on where the one before ended, turned by `turn_rad` from its heading;
    (T,24,3,3) and (T,3)."""
    pose, transl = motions[0].pose, motions[0].transl_m
    for motion in motions[1:]:
        turn = axis_angle_to_matrix(
            np.array([0, float(heading_rad(pose[-1, 0]) - heading_rad(motion.pose[0, 0])) + turn_rad, 0], np.float32)
        )
        next_pose = motion.pose.copy()
        next_pose[:, 0] = turn @ next_pose[:, 0]
        next_transl = (motion.transl_m - motion.transl_m[0]) @ turn.T
        next_transl[:, [0, 2]] += transl[-1, [0, 2]]
        next_transl[:, 1] = motion.transl_m[:, 1]
        steps = np.linspace(0, 1, blend + 2, dtype=np.float32)[1:-1]
        mixed = np.stack([interpolate_rotations(pose[-1], next_pose[0], w) for w in steps])
        between = transl[-1] + steps[:, None] * (next_transl[0] - transl[-1])
        pose = np.concatenate([pose, mixed, next_pose]).astype(np.float32)
        transl = np.concatenate([transl, between, next_transl]).astype(np.float32)
    return pose, transl


def stage(pose: F32, transl: F32, frames: int, start_xz: tuple[float, float], yaw_rad: float) -> tuple[F32, F32]:
    """Take `frames` frames (the last one is held), turned to head along `yaw_rad` and starting at `start_xz`."""
    index = np.minimum(np.arange(frames), len(pose) - 1)
    turn = axis_angle_to_matrix(np.array([0, yaw_rad - float(heading_rad(pose[0, 0])), 0], np.float32))
    out = pose[index].copy()
    out[:, 0] = turn @ out[:, 0]
    place = (transl[index] - transl[0] * [1, 0, 1]) @ turn.T
    place[:, [0, 2]] += np.array(start_xz, np.float32)
    return out.astype(np.float32), place.astype(np.float32)


def room_camera(image_wh: tuple[int, int], fov_deg: float, height_m: float, tilt_rad: float) -> tuple[Camera, F32]:
    """A fixed camera at x = z = 0 looking along -z, tilted down; returns it with its place (3,)."""
    rotation = axis_angle_to_matrix(np.array([tilt_rad, 0, 0], np.float32)) @ FLIP_YZ
    camera = Camera(rotation, float(focal_from_fov(np.deg2rad(fov_deg), image_wh)), image_wh)
    return camera, np.array([0, height_m, 0], np.float32)


class Stage(Protocol):
    """What draws a clip: a fixed camera in the world, a body, and frames of people."""

    camera: Camera
    body: BodyModel

    def to_camera(self, points: F32) -> F32: ...

    def frame(self, people: list[tuple[Actor, int, F32]]) -> NDArray[np.uint8]: ...


class ClipRenderer:
    """Draws actors frame by frame in one room."""

    def __init__(self, camera: Camera, origin: F32, seed: int) -> None:
        self.camera, self.origin = camera, origin
        self.body = BodyModel.load()
        self.renderer = PeopleRenderer(self.body)
        rng = np.random.default_rng(seed)
        self.room = draw_room(rng, camera, origin.astype(np.float64)).astype(np.float32)
        self.fabric = procedural(rng, (256, 256))
        sun = np.array([0.45, 1.0, 0.6], np.float32)
        self.sun = sun / np.linalg.norm(sun)
        self.light = Light(
            direction=camera.rotation @ self.sun,
            colour=np.array([0.62, 0.6, 0.55], np.float32),
            ambient_up=np.array([0.42, 0.43, 0.46], np.float32),
            ambient_down=np.array([0.24, 0.21, 0.18], np.float32),
            up=camera.rotation @ np.array([0, 1, 0], np.float32),
            shine=0.25,
        )
        self.rng = rng

    def to_camera(self, points: F32) -> F32:
        """World points (..., 3) -> camera frame."""
        return ((points - self.origin) @ self.camera.rotation.T).astype(np.float32)

    def frame(self, people: list[tuple[Actor, int, F32]]) -> NDArray[np.uint8]:
        """(H, W, 3) RGB; each person is an actor, the number of its own frame, and bare world vertices (V, 3)."""
        width, height = self.camera.image_wh
        canvas = self.room * (1 - SHADOW * self._shadow([v for _, _, v in people]))[..., None]
        window = Window(self.camera.focal_px, width / 2, height / 2, width, height)
        drawn = [Person(self.to_camera(v), actor.look) for actor, _, v in people if actor.look is not None]
        rgba, _ = self.renderer.render(drawn, window, self.light, self.fabric)
        canvas = rgba[..., :3] * 255 + (1 - rgba[..., 3:]) * canvas
        noise = self.rng.normal(0, 1.5, (height // 2, width // 2, 3)).astype(np.float32)
        canvas += cv2.resize(noise, (width, height), interpolation=cv2.INTER_LINEAR)
        return np.clip(canvas, 0, 255).astype(np.uint8)

    def _shadow(self, bodies: list[F32]) -> F32:
        """(H, W) 0..1: where the lamp's shadow falls on the floor, softened."""
        width, height = self.camera.image_wh
        mask = np.zeros((height // 2, width // 2), np.uint8)
        for vertices in bodies:
            ground = vertices - vertices[:, 1:2] / self.sun[1] * self.sun
            pixels = (project(self.to_camera(ground), self.camera) / 2).astype(np.int32)
            for triangle in pixels[self.renderer.faces[::2]]:
                cv2.fillConvexPoly(mask, triangle, 255)
        mask = cv2.dilate(mask, np.ones((3, 3), np.uint8))
        soft = cv2.GaussianBlur(mask, (0, 0), 4).astype(np.float32) / 255
        return cv2.resize(soft, (width, height), interpolation=cv2.INTER_LINEAR)


def truth_row(frame: int, fps: float, person: int, body: BodyModel, actor: Actor, clip: Stage, at: int):
    """World vertices of the actor and a row of the truth, or None where the picture does not show the person."""
    pose = actor.pose[at].copy()
    posed = body(pose[None], actor.betas[None], actor.transl_m[at : at + 1])
    vertices, joints = posed.vertices[0], clip.to_camera(posed.joints[0])
    pixels = project(clip.to_camera(vertices), clip.camera)
    wh = np.array(clip.camera.image_wh)
    inside = ((pixels >= 0) & (pixels < wh)).all(1)
    if inside.mean() < MIN_SHARE_IN_PICTURE:
        return vertices, None
    pose[0] = clip.camera.rotation @ pose[0]
    rest = body.joints(actor.betas[None])[0, 0]
    return vertices, {
        "frame": np.int32(frame),
        "time_s": np.float64(frame / fps),
        "person_id": np.int32(person),
        "bbox_xyxy": np.concatenate([pixels[inside].min(0), pixels[inside].max(0)]).astype(np.float32),
        "score": np.float32(inside.mean()),
        "poses": matrix_to_axis_angle(pose).reshape(72).astype(np.float32),
        "betas": actor.betas,
        "trans": (joints[0] - rest).astype(np.float32),
        "joints_3d": joints.astype(np.float32),
        "joints_2d": project(joints, clip.camera).astype(np.float32),
    }


def write_clip(out: Path, actors: Sequence[Actor], clip: Stage, frames: int, fps: int) -> None:
    """Encode OUT.mp4 and write the truth beside it."""
    width, height = clip.camera.image_wh
    rows: list[dict[str, np.ndarray]] = []
    with av.open(str(out), "w") as container:
        # Same frames, same bytes: x264's macroblock tree reads memory that nobody wrote.
        options = {"crf": "23", "preset": "slow", "threads": "1", "x264-params": "no-mbtree=1"}
        stream = container.add_stream("libx264", rate=fps, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.time_base = Fraction(1, fps)
        for frame in range(frames):
            people = []
            for person, actor in enumerate(actors, 1):
                at = frame - actor.enters
                if at < 0:
                    continue
                vertices, row = truth_row(frame, fps, person, clip.body, actor, clip, at)
                people.append((actor, at, vertices))
                if row is not None:
                    rows.append(row)
            picture = av.VideoFrame.from_ndarray(clip.frame(people), format="rgb24")
            for packet in stream.encode(picture):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    table = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
    meta = {
        "package": "ground-truth", "body": clip.body.name, "smoother": "none", "lag_s": 0.0, "source": out.name,
        "frame_count": frames, "schema_version": 1,
    }  # fmt: skip
    np.savez_compressed(
        out.with_suffix(".npz"), **table, focal_px=np.float64(clip.camera.focal_px),
        image_wh=np.array([width, height], np.int32), fps=np.float64(fps), meta=json.dumps(meta),
    )  # fmt: skip


def demo_actors(mocap: Path, frames: int) -> list[Actor]:
    """One person busy in place; after three seconds a second one walks in and goes to work beside."""

    def clip(name: str) -> Motion:
        return load_smpl_motion(mocap / f"{name}.bvh.gz")

    looks = [sample_appearance(np.random.default_rng(s), photographs=False) for s in (1, 10)]
    busy, walk, bend = clip("02_10"), clip("02_01"), clip("02_06")
    first = stage(busy.pose, busy.transl_m, frames, (-0.95, -4.9), 0.15)
    pose, transl = chain([walk, bend], blend=24, turn_rad=1.1)
    second = stage(pose, transl, frames - 90, (4.0, -4.6), -np.pi / 2 - 0.08)
    betas = np.zeros((2, 10), np.float32)
    betas[0, :3], betas[1, :3] = (0.6, -0.4, 0.3), (-0.8, 0.5, -0.2)
    return [
        Actor(*first, betas=betas[0], look=looks[0]),
        Actor(*second, betas=betas[1], look=looks[1], enters=90),
    ]


def random_actors(mocap: Path, split: str, people: int, frames: int, rng: np.random.Generator) -> list[Actor]:
    """`people` actors side by side in random long motions of a split."""
    files = split_files(mocap, split)
    actors = []
    for k in range(people):
        picked = [load_smpl_motion(files[i]) for i in rng.choice(len(files), 6, replace=False)]
        pose, transl = chain(picked)
        x = (k - (people - 1) / 2) * 1.3 + rng.normal(0, 0.1)
        staged = stage(pose, transl, frames, (x, float(rng.uniform(-4.8, -3.2))), float(rng.normal(0, 0.8)))
        look = sample_appearance(rng, held_out=split == "test", photographs=False)
        actors.append(Actor(*staged, betas=rng.normal(0, 1, 10).clip(-2, 2).astype(np.float32), look=look))
    return actors


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--mocap", type=Path, default=Path("../shared/data/mocap_cmu"))
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--fps", type=int, default=30)
    parser.add_argument("--people", type=int, default=0, help="0: the demo's two; else random people")
    parser.add_argument("--split", choices=("train", "test"), default="test")
    parser.add_argument("--seed", type=int, default=7)
    args = parser.parse_args(argv)
    frames = round(args.seconds * args.fps)
    rng = np.random.default_rng(args.seed)
    camera, origin = room_camera((1280, 720), 62.0, 1.45, 0.1)
    if args.people:
        actors = random_actors(args.mocap, args.split, args.people, frames, rng)
    else:
        actors = demo_actors(args.mocap, frames)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    write_clip(args.out, actors, ClipRenderer(camera, origin, args.seed), frames, args.fps)
    return 0


if __name__ == "__main__":
    sys.exit(main())
