"""What is held out stays held out; arms and legs are told apart."""

from __future__ import annotations

from pathlib import Path

import pytest

from bodycast.hmr.body.body_model import BodyModel
from training.synthetic.limb_coordinates import limb_coordinates
from training.synthetic.poses import is_held_out, split_files


def test_arms_and_legs_are_told_apart() -> None:
    coordinates = limb_coordinates(BodyModel.load())
    left = coordinates.canonical[coordinates.arm > 1.5]
    assert {1, 0} <= {int(x > 0) for x in left[:, 0]}
    assert (coordinates.leg[coordinates.arm > 0] < 0).all()
    feet = coordinates.canonical[coordinates.leg > 2.5]
    assert feet[:, 1].max() < coordinates.canonical[:, 1].mean()


def test_subjects_do_not_leak(shared_dir: Path) -> None:
    folder = shared_dir / "data" / "mocap_cmu"
    train, test = (split_files(folder, split) for split in ("train", "test"))
    assert train and test and not set(train) & set(test)
    assert all(is_held_out(p) for p in test)
    assert not {p.name.split("_")[0] for p in train} & {p.name.split("_")[0] for p in test}


def test_unknown_split_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected train or test"):
        split_files(tmp_path, "dev")
    with pytest.raises(ValueError, match=r"no \.bvh"):
        split_files(tmp_path, "train")
