"""Bodies of the camera frame in the world, and the stage that puts them there as the pipeline sees it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from bodycast.app.records import F32, F64, BodyEstimates, Frame, FrameWorld
from bodycast.hmr.geometry.camera import Intrinsics
from bodycast.hmr.geometry.rotations import matrix_to_axis_angle


@dataclass(frozen=True)
class WorldRows:
    """World columns of N people, float32 (app/files/motion_file.py)."""

    joints_world: F32
    trans_world: F32
    root_orient_world: F32


def world_rows(camera_to_world: F64, joints_m: F32, root: F32, transl_m: F32) -> WorldRows:
    """Joints (N,24,3), root rotations (N,3,3) and SMPL translations (N,3) of the camera frame, in the world."""
    turn, shift = camera_to_world[:3, :3], camera_to_world[:3, 3]
    joints = joints_m @ turn.T + shift
    # SMPL turns about its root joint, whose rest place a turned world does not turn.
    rest = joints_m[:, 0] - transl_m
    orient = matrix_to_axis_angle((turn @ root).astype(np.float32))
    return WorldRows(joints.astype(np.float32), (joints[:, 0] - rest).astype(np.float32), orient.astype(np.float32))


class PlacesPeople(Protocol):
    """The world's stage, as the pipeline sees it (app/world/live.py)."""

    def place(
        self, frame: Frame, estimates: BodyEstimates, xyxy: F32, intrinsics: Intrinsics
    ) -> tuple[BodyEstimates, FrameWorld]:
        """The people of a frame where they stand; rows and ids stay. xyxy: (N,4) px."""
        ...

    def reset(self) -> None:
        """A cut: another camera."""
        ...
