"""Samples check themselves, joint sets agree, files that data sets come in never execute."""

from __future__ import annotations

import os
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest

from tests.training.datasets.layouts import (
    add_to_shard,
    error_of,
)
from training.datasets.files import read_npz, read_pickle
from training.datasets.hmr2_tars import read_hmr2_tars
from training.datasets.joint_sets import JOINT_SETS, points_of
from training.datasets.sample import Joints3d, Keypoints2d, PersonSample


class _Hostile:
    """Pickles to a call of os.mkdir."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self):
        return os.mkdir, (str(self.target),)


def test_pickles_never_execute(tmp_path: Path) -> None:
    target = tmp_path / "made-by-the-pickle"
    path = tmp_path / "evil.pkl"
    path.write_bytes(pickle.dumps({"poses": [_Hostile(target)]}))
    assert "refused" in error_of(read_pickle, path, "anything")
    objects = np.empty(1, object)
    objects[0] = _Hostile(target)
    np.savez(tmp_path / "evil.npz", poses=objects)
    assert "refused" in error_of(read_npz, tmp_path / "evil.npz", "anything")
    with tarfile.open(tmp_path / "evil.tar", "w") as shard:
        add_to_shard(shard, "a.jpg", b"x")
        add_to_shard(shard, "a.data.pyd", pickle.dumps([_Hostile(target)]))
    assert "refused" in error_of(read_hmr2_tars, [tmp_path / "evil.tar"])
    assert not target.exists()


def test_npz_with_objects_inside_is_read_as_lists(tmp_path: Path) -> None:
    objects = np.empty(2, object)
    objects[0], objects[1] = {"a": np.arange(3)}, ["text", 2.5]
    np.savez(tmp_path / "objects.npz", mixed=objects, words=np.array(["ä", "b"]), numbers=np.eye(2))
    content = read_npz(tmp_path / "objects.npz", "anything")
    np.testing.assert_array_equal(content["mixed"][0]["a"], [0, 1, 2])
    assert content["mixed"][1] == ["text", 2.5] and content["words"].tolist() == ["ä", "b"]


def test_joint_sets_agree_with_hmr2s_order_and_have_no_doubles() -> None:
    for name, names in JOINT_SETS.items():
        if name != "hmr2-44":  # OpenPose's joints and the regressed ones share names there
            assert len(set(names)) == len(names), name
        for index, _ in points_of(name):
            assert 0 <= index < len(names)
    assert {name: len(names) for name, names in JOINT_SETS.items() if not name.endswith(str(len(names)))} == {}


def test_samples_check_what_they_are_made_of() -> None:
    place = {"dataset": "x", "split": "y", "sequence": "s", "subject": "a", "frame": 0}
    with pytest.raises(ValueError, match=r"pose: expected shape \(24, 3, 3\), got \(72,\)"):
        PersonSample(**place, pose=np.zeros(72))
    with pytest.raises(ValueError, match="name of their body"):
        PersonSample(**place, betas=np.zeros(10))
    with pytest.raises(ValueError, match="not finite"):
        Keypoints2d("coco-17", np.full((17, 2), np.nan), np.zeros(17))
    with pytest.raises(ValueError, match="Joints3d"):
        Joints3d("smpl-24", np.zeros((17, 3)), np.ones(17, bool))
