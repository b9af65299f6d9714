"""Sports gear, crowds, lively poses: for the training split alone, and tied to the right joints."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from bodycast.hmr.body.body_model import BodyModel
from bodycast.hmr.geometry.rotations import axis_angle_to_matrix
from training.synthetic.gear import add_gear
from training.synthetic.pack import open_pack
from training.synthetic.pose_pool import MOVING_JOINTS, PosePool
from training.synthetic.studio import Studio
from training.synthetic.things import WORLD, Materials, Things


def test_gear_hangs_on_the_body_and_near_it() -> None:
    """No piece belongs to the world, and at rest the middle of each is within an arm's length of its joint."""
    joints = BodyModel.load().joints(np.zeros((1, 10), np.float32))[0]
    pieces = set()
    for seed in range(80):
        rng, things = np.random.default_rng(seed), Things()
        add_gear(things, rng, joints, Materials(rng, 4, 0, 0))
        for part in things.vertices:
            joint = np.unique(part["joint"][:, 0])
            assert len(joint) == 1 and joint[0] != WORLD
            pieces.add(int(joint[0]))
            assert np.linalg.norm(part["position"].mean(0) - joints[joint[0]]) < 0.8
    assert pieces == {3, 7, 8, 9, 15, 22, 23}  # bag at the hip, feet, back, head, hands


def test_helmets_leave_the_face_free() -> None:
    body = BodyModel.load()
    joints = body.joints(np.zeros((1, 10), np.float32))[0]
    head = joints[15]
    for seed in range(60):
        rng, things = np.random.default_rng(seed), Things()
        add_gear(things, rng, joints, Materials(rng, 4, 0, 0))
        for part in things.vertices:
            on_head = (part["joint"][:, 0] == 15) & (part["position"][:, 2] > head[2] + 0.05)
            assert (part["position"][on_head, 1] > head[1] - 0.02).all()


def test_lively_poses_are_farther_from_the_mean() -> None:
    rng = np.random.default_rng(0)
    turns = rng.normal(0, 0.3, (60, 24, 3)) * np.linspace(0, 3, 60)[:, None, None]
    pool = PosePool(axis_angle_to_matrix(turns.astype(np.float32)), np.zeros(60, np.uint8))
    mean = pool.pose[:, MOVING_JOINTS].mean(0)

    def away(lively: float) -> float:
        rng = np.random.default_rng(1)
        poses = np.stack([replace(pool, lively=lively).take(rng, False) for _ in range(300)])
        return float(3 * len(MOVING_JOINTS) - np.einsum("tjab,jab->t", poses[:, MOVING_JOINTS], mean).mean())

    assert away(1.0) > away(0.5) > away(0.0)
    assert away(1.0) > 1.15 * away(0.0)


def test_the_test_split_stays_as_it_was(pack_folder: Path) -> None:
    variety = open_pack(pack_folder, "test").variety
    assert (variety.lively, variety.gear, variety.crowd) == (0, 0, 0)
    assert min(open_pack(pack_folder, "train").variety.gear, open_pack(pack_folder, "train").variety.crowd) > 0


def test_crowds_have_up_to_three_others(pack_folder: Path, studio_v2: Studio) -> None:
    pack = open_pack(pack_folder, "train")
    counts = {}
    for crowd in (0.0, 1.0):
        studio = Studio(replace(pack, variety=replace(pack.variety, crowd=crowd)), seed=studio_v2.seed)
        try:
            studio._engage(0)
            shots = [shot for k in range(4) for shot in studio._shots(np.random.default_rng(k))]
        finally:
            studio.close()
        counts[crowd] = [len(others) for _, others in shots]
        if crowd:
            same = [actor.member is shot.actor.member for shot, others in shots for actor in others]
            assert 0.1 < np.mean(same) < 0.9
    assert max(counts[0.0]) == 1 and 0.1 < np.mean(counts[0.0]) < 0.4
    assert set(counts[1.0]) == {1, 2, 3}


def test_gear_changes_pixels_and_no_pose(pack_folder: Path, studio_v2: Studio) -> None:
    without = studio_v2.chunk(0)
    pack = open_pack(pack_folder, "train")
    studio = Studio(replace(pack, variety=replace(pack.variety, gear=1.0)), seed=studio_v2.seed)
    try:
        chunk = studio.chunk(0)
    finally:
        studio.close()
    np.testing.assert_array_equal(chunk["pose"][:, 1:], without["pose"][:, 1:])  # roots are relative to the crop's ray
    np.testing.assert_array_equal(chunk["betas"], without["betas"])
    assert (chunk["pixels"] != without["pixels"]).mean() > 0.1
    assert chunk["parts"].max() <= 24, "gear is no part of the body"
