"""People who walk beside each other, as a run's folder would hold them."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from functools import cache
from pathlib import Path

import av
import numpy as np

from bodycast.app.files.motion_file import ROW, Motion, MotionMeta, motion_from_rows, write_motion
from bodycast.app.world.frame_world import world_rows
from bodycast.hmr.body.body_model import BodyModel, BodyOutput
from bodycast.hmr.body.joints import Joint
from bodycast.hmr.geometry.ground import Floor
from bodycast.hmr.geometry.rotations import axis_angle_to_matrix

FPS, FOCAL_PX, IMAGE_WH = 30.0, 500.0, (640, 360)
FLOOR = Floor.of_angles(0.1, 0.02, 1.4)


@cache
def body() -> BodyModel:
    return BodyModel.load()


def walk(people: int = 2, frames: int = 60, fps: float = FPS) -> Motion:
    """People who swing their limbs, 4 to 6 m away; they face the camera, a foot on the floor."""
    tables = [_walker(number, people, frames, fps) for number in range(people)]
    meta = MotionMeta("test", body().name, "none", 0.0, "walk <&>", frames)
    motion = motion_from_rows(np.concatenate(tables), FOCAL_PX, IMAGE_WH, fps, meta)
    return replace(motion, floor=FLOOR.plane, camera_to_world=FLOOR.camera_to_world())


def _walker(number: int, people: int, frames: int, fps: float) -> np.ndarray:
    time_s = np.arange(frames) / fps
    random = np.random.default_rng(number)
    rows = np.zeros(frames, ROW)
    phase = 2 * np.pi * time_s + number
    poses = np.zeros((frames, 24, 3))
    poses[:, 0, 0] = np.pi  # upright before the camera, facing it
    for joint, size in ((Joint.LEFT_HIP, 0.5), (Joint.RIGHT_HIP, -0.5), (Joint.LEFT_ELBOW, 0.4)):
        poses[:, joint, 0] = size * np.sin(phase)
    poses[:, Joint.RIGHT_KNEE, 0] = 0.6 * (1 + np.sin(phase))
    poses += random.normal(0, 0.02, poses.shape)  # estimates are never as smooth as sines
    rotations = axis_angle_to_matrix(poses).astype(np.float32)
    transl = np.zeros((frames, 3), np.float32)
    transl[:, 0] = (number - (people - 1) / 2) * 0.9
    transl[:, 1] = 0.3
    transl[:, 2] = 5 + np.sin(0.5 * phase)
    betas = np.zeros((frames, 10), np.float32)
    posed = body()(rotations, betas, transl)
    up, height_m = FLOOR.plane[:3], FLOOR.plane[3]
    down = ((posed.vertices @ up + height_m).min(axis=1)[:, None] * up).astype(np.float32)
    transl, posed = transl - down, BodyOutput(posed.vertices - down[:, None], posed.joints - down[:, None])
    world = world_rows(FLOOR.camera_to_world(), posed.joints, rotations[:, 0], transl)
    rows["frame"], rows["time_s"], rows["person_id"], rows["score"] = np.arange(frames), time_s, number + 1, 0.9
    rows["bbox_xyxy"] = (10, 10, 200, 300)
    rows["poses"], rows["trans"], rows["joints_3d"] = poses.reshape(frames, 72), transl, posed.joints
    rows["joints_2d"], rows["keypoints_2d"], rows["contacts"] = np.nan, np.nan, np.nan
    rows["joints_world"], rows["trans_world"] = world.joints_world, world.trans_world
    rows["root_orient_world"] = world.root_orient_world
    return rows


def write_film(path: Path, frames: int, fps: float = FPS) -> None:
    """A film with a moving pattern that does not compress well, in grey."""
    random = np.random.default_rng(0)
    noise = random.integers(0, 255, (IMAGE_WH[1], IMAGE_WH[0] * 2), np.uint8)
    with av.open(str(path), "w") as film:
        stream = film.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001), options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = *IMAGE_WH, "yuv420p"
        for number in range(frames):
            at = 3 * number % IMAGE_WH[0]
            grey = np.ascontiguousarray(noise[:, at : at + IMAGE_WH[0]])
            film.mux(stream.encode(av.VideoFrame.from_ndarray(np.repeat(grey[..., None], 3, 2), format="rgb24")))
        film.mux(stream.encode(None))


def write_run(folder: Path, motion: Motion, film: bool = True) -> None:
    """A run's folder, as it is before its pages are made."""
    folder.mkdir(parents=True, exist_ok=True)
    write_motion(folder / "motion.npz", motion)
    run = {
        "parts": {"source": "walk <&>", "image_wh": IMAGE_WH, "source_fps": motion.fps, "engine": "an engine"},
        "frames": {"taken": 60, "given": 60, "dropped": {"source": 3, "drawing": 0}},
        "seconds": 2.0,
        "world": {"heights_m": {"1": 1.71}, "camera_height_m": 1.4, "focal_px": FOCAL_PX},
        "stage_ms": {"crop": {"count": 60, "p50_ms": 0.25, "p95_ms": 0.5, "p99_ms": 1.0}},
        "warnings": ["a note <b>"],
    }
    (folder / "run.json").write_text(json.dumps(run), encoding="utf-8")
    if film:
        write_film(folder / "overlay.mp4", motion.meta.frame_count, motion.fps)
