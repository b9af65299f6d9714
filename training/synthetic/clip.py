"""Films with ground truth: actors in a fixed camera's world, `write_clip`. What draws them is in `dressed_clip.py`.

Beside OUT.mp4, OUT.npz holds the truth in the layout of motion.npz, one row per person per frame that shows them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Protocol

import av
import numpy as np
from numpy.typing import NDArray

from bodycast.app.files.motion_file import SCHEMA_VERSION
from bodycast.hmr.body.body_model import BodyModel, forward_kinematics
from bodycast.hmr.body.soles import sole_offsets, sole_points
from bodycast.hmr.geometry.camera import focal_from_fov
from bodycast.hmr.geometry.ground import camera_to_world
from bodycast.hmr.geometry.rotations import axis_angle_to_matrix, interpolate_rotations, matrix_to_axis_angle
from training.mocap.retarget import Motion
from training.synthetic.poses import heading_rad
from training.synthetic.scene import FLIP_YZ, Camera, project

F32 = NDArray[np.float32]
MIN_SHARE_IN_PICTURE = 0.15
NEAR_FLOOR_M, STANDS_M_A_FRAME = 0.04, 0.013


@dataclass(frozen=True)
class Actor:
    """A person of the clip in the world (y up, floor y = 0, camera looks along -z). Absent before `enters` frames."""

    pose: F32  # (T, 24, 3, 3)
    transl_m: F32  # (T, 3)
    betas: F32  # (10,)
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

    @property
    def origin(self) -> F32: ...

    def begin(self, frame: int) -> None: ...

    def to_camera(self, points: F32) -> F32: ...

    def frame(self, people: list[tuple[Actor, int, F32]]) -> NDArray[np.uint8]: ...


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
    root_world = matrix_to_axis_angle(pose[:1])[0]
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
        "keypoints_2d": np.full((17, 3), np.nan, np.float32),
        "contacts": np.zeros(4, np.float32),
        "joints_world": posed.joints[0].astype(np.float32),
        "trans_world": actor.transl_m[at].astype(np.float32),
        "root_orient_world": root_world.astype(np.float32),
    }


def contacts_of(actor: Actor, body: BodyModel) -> F32:
    """(T,4) which soles touch the floor: within 4 cm of it, and slower than 0.4 m/s at 30 frames/s."""
    turns, places = forward_kinematics(actor.pose, body.joints(actor.betas[None]))
    soles = sole_points(turns, places + actor.transl_m[:, None], sole_offsets(body))
    step = np.linalg.norm(np.diff(soles, axis=0, append=soles[-1:]), axis=-1)
    return ((soles[..., 1] < NEAR_FLOOR_M) & (step < STANDS_M_A_FRAME)).astype(np.float32)


def write_clip(out: Path, actors: Sequence[Actor], clip: Stage, frames: int, fps: int) -> None:
    """Encode OUT.mp4 and write the truth beside it."""
    clip.begin(0)
    width, height = clip.camera.image_wh
    first = camera_to_world(clip.camera.rotation @ np.array([0.0, 1.0, 0.0]), float(clip.origin[1]))
    contacts = [contacts_of(actor, clip.body) for actor in actors]
    rows: list[dict[str, np.ndarray]] = []
    with av.open(str(out), "w") as container:
        # Same frames, same bytes: x264's macroblock tree reads memory that nobody wrote.
        options = {"crf": "23", "preset": "slow", "threads": "1", "x264-params": "no-mbtree=1"}
        stream = container.add_stream("libx264", rate=fps, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.time_base = Fraction(1, fps)
        for frame in range(frames):
            clip.begin(frame)
            people = []
            for person, actor in enumerate(actors, 1):
                at = frame - actor.enters
                if at < 0:
                    continue
                vertices, row = truth_row(frame, fps, person, clip.body, actor, clip, at)
                people.append((actor, at, vertices))
                if row is not None:
                    rows.append({**row, "contacts": contacts[person - 1][at]})
            picture = av.VideoFrame.from_ndarray(clip.frame(people), format="rgb24")
            for packet in stream.encode(picture):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    table = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
    meta = {
        "package": "ground-truth", "body": clip.body.name, "smoother": "none", "lag_s": 0.0, "source": out.name,
        "frame_count": frames, "schema_version": SCHEMA_VERSION,
    }  # fmt: skip

    np.savez_compressed(
        out.with_suffix(".npz"), **table, focal_px=np.float64(clip.camera.focal_px),
        image_wh=np.array([width, height], np.int32), fps=np.float64(fps), meta=json.dumps(meta),
        floor=first[1], camera_to_world=first,
    )  # fmt: skip
