"""DeepMimic's rows become SMPL poses: hanging arms hang, bent limbs bend the right way."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from bodycast.hmr.body.body_model import BodyModel, forward_kinematics
from bodycast.hmr.body.joints import Joint
from training.mocap.deepmimic import ROW, load_deepmimic


def clip(path: Path, **changes: list[float]) -> Path:
    """One frame in the rest pose, but for `changes`: column -> numbers."""
    row = np.zeros(ROW)
    for column in (4, 8, 12, 16, 21, 25, 30, 35, 39):
        row[column] = 1
    for name, numbers in changes.items():
        column = int(name.removeprefix("at"))
        row[column : column + len(numbers)] = numbers
    path.write_text(json.dumps({"Frames": [row.tolist()]}))
    return path


def places(path: Path) -> np.ndarray:
    rest = BodyModel.load().joints(np.zeros((1, 10), np.float32))
    return forward_kinematics(load_deepmimic(path), rest)[1][0]


def test_the_rest_pose_stands_with_hanging_arms(tmp_path: Path) -> None:
    joints = places(clip(tmp_path / "a.txt"))
    for shoulder, wrist in ((Joint.LEFT_SHOULDER, Joint.LEFT_WRIST), (Joint.RIGHT_SHOULDER, Joint.RIGHT_WRIST)):
        arm = joints[wrist] - joints[shoulder]
        assert arm[1] < -0.95 * np.linalg.norm(arm)
    assert joints[Joint.LEFT_WRIST, 0] > 0.1 > -0.1 > joints[Joint.RIGHT_WRIST, 0]
    assert joints[Joint.HEAD, 1] > 0.4 and joints[Joint.LEFT_ANKLE, 1] < -0.6


def test_elbows_bend_forwards_and_knees_backwards(tmp_path: Path) -> None:
    """A quarter turn of the hinge: z is ahead."""
    straight = places(clip(tmp_path / "a.txt"))
    elbow = places(clip(tmp_path / "b.txt", at43=[np.pi / 2]))
    assert elbow[Joint.LEFT_WRIST, 2] > straight[Joint.LEFT_WRIST, 2] + 0.15
    knee = places(clip(tmp_path / "c.txt", at20=[-np.pi / 2]))
    assert knee[Joint.RIGHT_ANKLE, 2] < straight[Joint.RIGHT_ANKLE, 2] - 0.2


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    path.write_text("[]")
    with pytest.raises(ValueError, match="no DeepMimic clip"):
        load_deepmimic(path)
    path.write_text(json.dumps({"Frames": [[0.0] * 10]}))
    with pytest.raises(ValueError, match="expected rows of 44 numbers"):
        load_deepmimic(path)
