"""Frame results for the tests of the sinks: people of the embedded body in made-up poses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache

import numpy as np
import pytest

from bodycast.app.files.motion_file import MotionMeta
from bodycast.app.records import U8, BodyEstimates, Frame, FrameResult, PosedBodies
from bodycast.hmr.body.body_model import BodyModel
from bodycast.hmr.geometry.camera import Intrinsics, project_intrinsics
from bodycast.hmr.geometry.rotations import axis_angle_to_matrix

META = MotionMeta(package="tiny", body="bodycast-adult", smoother="none", lag_s=0.0, source="test")


@cache
def embedded_body() -> BodyModel:
    """The body of assets/body, read once."""
    return BodyModel.load()


def pose_of(person_id: int, time_s: float) -> np.ndarray:
    """(24,3,3) float32: a pose that changes smoothly with time and differs from person to person; the root stands
    upright in the camera frame and turns."""
    phases = np.random.default_rng(person_id).uniform(0, 2 * np.pi, (24, 3))
    angles = 0.6 * np.sin(2.0 * time_s + phases)
    angles[0] = 0.0
    pose = axis_angle_to_matrix(angles)
    turn = axis_angle_to_matrix(np.array([0.0, 0.7 * time_s + person_id, 0.0]))
    pose[0] = np.diag([1.0, -1.0, -1.0]) @ turn
    return pose.astype(np.float32)


def result_of(
    index: int = 0,
    time_s: float | None = None,
    people: Sequence[int] = (),
    overlay: U8 | None = None,
    source: U8 | None = None,
) -> FrameResult:
    """One finished frame; `people` are ids. The picture is 64x48 and grey unless given."""
    time_s = index / 30 if time_s is None else time_s
    image = np.full((48, 64, 3), 128, np.uint8) if overlay is None else overlay
    source = image if source is None else source
    intrinsics = Intrinsics.default((source.shape[1], source.shape[0]))
    count = len(people)
    ids = np.array(people, np.int32).reshape(count)
    pose = np.stack([pose_of(person, time_s) for person in people]) if people else np.zeros((0, 24, 3, 3), np.float32)
    betas = np.stack([np.linspace(-1, 1, 10) * person for person in people]) if people else np.zeros((0, 10))
    transl = np.array([[0.5 * person - 1, 0.1 * time_s, 3.0 + 0.2 * time_s] for person in people]).reshape(count, 3)
    body = embedded_body()(pose, betas, transl)
    pixels = np.asarray(project_intrinsics(body.joints, intrinsics), np.float32)
    estimates = BodyEstimates(
        id=ids,
        pose=pose,
        betas=betas.astype(np.float32),
        transl_m=transl.astype(np.float32),
        score=np.full(count, 0.9, np.float32),
        token=np.zeros((count, 0), np.float32),
    )
    boxes = np.tile(np.array([1, 2, 30, 40], np.float32), (count, 1))
    bodies = PosedBodies(body.vertices, body.joints, pixels)
    return FrameResult(Frame(source, index, time_s), estimates, bodies, boxes, intrinsics, image)


@contextmanager
def disk_of(size: int) -> Iterator[None]:
    """No file can grow beyond `size` bytes in here: the system's own way of a full disk, for this process alone."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
