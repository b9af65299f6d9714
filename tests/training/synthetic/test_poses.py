"""Poses of synthetic people: hands arrive where they reach for and keep out of the body; sources are read rightly."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bodycast.hmr.body.body_model import BodyModel, forward_kinematics
from bodycast.hmr.body.joints import Joint
from training.synthetic.gestures import gesture, seated, standing, trunk
from training.synthetic.pose_pool import PosePool, packed, unpacked
from training.synthetic.reach import Reach, limbs_inside, reach


@pytest.fixture(scope="module")
def body() -> BodyModel:
    return BodyModel.load()


def _posed(pose: np.ndarray, body: BodyModel) -> tuple[np.ndarray, np.ndarray]:
    turns, places = forward_kinematics(pose[None].astype(np.float32), body.joints(np.zeros((1, 10), np.float32)))
    return turns[0], places[0]


@pytest.mark.parametrize("side", ["left", "right"])
def test_wrist_arrives(side: str, body: BodyModel) -> None:
    rest = body.joints(np.zeros((1, 10), np.float32))[0]
    shoulder, elbow, wrist = (Joint[f"{side.upper()}_{name}"] for name in ("SHOULDER", "ELBOW", "WRIST"))
    rng = np.random.default_rng(0)
    for _ in range(10):
        target = rng.normal(0, 1, 3)
        target *= rng.uniform(0.15, 0.45) / np.linalg.norm(target)
        pose = reach(trunk(rng), rest, side, Reach(target, np.array([0.3, -1.0, -0.2]), np.array([0, 0, 1.0])))
        turns, places = _posed(pose, body)
        np.testing.assert_allclose(turns[Joint.SPINE3].T @ (places[wrist] - places[shoulder]), target, atol=2e-3)
        bones = [np.linalg.norm(places[b] - places[a]) for a, b in ((shoulder, elbow), (elbow, wrist))]
        np.testing.assert_allclose(bones[0], np.linalg.norm(rest[elbow] - rest[shoulder]), atol=1e-4)


def test_palm_looks_where_it_should(body: BodyModel) -> None:
    rest = body.joints(np.zeros((1, 10), np.float32))[0]
    goal = Reach(np.array([0.1, 0.1, 0.3]), np.array([0.5, -1, 0]), np.array([0, 0, 1.0]), np.array([0, 1.0, 0]))
    turns, _ = _posed(reach(np.tile(np.eye(3, dtype=np.float32), (24, 1, 1)), rest, "left", goal), body)
    hand = turns[Joint.LEFT_WRIST]
    np.testing.assert_allclose(hand @ [0, -1, 0], [0, 0, 1], atol=1e-4)
    assert (hand @ [1, 0, 0])[1] > 0.95, "fingers point up"


def test_too_far_a_target_straightens_the_arm(body: BodyModel) -> None:
    rest = body.joints(np.zeros((1, 10), np.float32))[0]
    pose = reach(
        np.tile(np.eye(3, dtype=np.float32), (24, 1, 1)), rest, "left", Reach(np.array([3.0, 0, 0]), -np.ones(3))
    )
    _, places = _posed(pose, body)
    length = np.linalg.norm(places[Joint.LEFT_WRIST] - places[Joint.LEFT_SHOULDER])
    whole = sum(np.linalg.norm(rest[b] - rest[a]) for a, b in ((16, 18), (18, 20)))
    assert 0.97 * whole < length <= whole


def test_hand_in_the_head_is_found(body: BodyModel) -> None:
    rest = body.joints(np.zeros((1, 10), np.float32))[0]
    start = np.tile(np.eye(3, dtype=np.float32), (24, 1, 1))
    inside = reach(start, rest, "left", Reach(np.array([-0.17, 0.2, 0.03]), np.array([1.0, -1, 0])))
    turns, places = zip(*(_posed(pose, body) for pose in (start, inside)), strict=True)
    assert limbs_inside(np.stack(turns), np.stack(places)).tolist() == [False, True]


def test_gestures_keep_out_of_the_body(body: BodyModel) -> None:
    rng = np.random.default_rng(3)
    poses = np.stack([gesture(rng, body) for _ in range(12)])
    np.testing.assert_allclose(poses @ poses.swapaxes(-1, -2), np.broadcast_to(np.eye(3), poses.shape), atol=1e-4)
    turns, places = forward_kinematics(poses, body.joints(np.zeros((1, 10), np.float32)))
    assert not limbs_inside(turns, places).any()
    assert (places[:, Joint.HEAD, 1] > 0.3).all(), "upright"
    assert np.ptp(places[:, Joint.LEFT_WRIST], axis=0).min() > 0.15, "they differ"


def test_legs_sit_or_stand(body: BodyModel) -> None:
    rng = np.random.default_rng(1)
    _, sitting = _posed(seated(trunk(rng), rng), body)
    assert (sitting[[4, 5], 2] > sitting[[1, 2], 2] + 0.2).all()
    _, upright = _posed(standing(trunk(rng), rng), body)
    assert (upright[[7, 8], 1] < -0.7).all()


def test_pool_round_trip_and_variety(pools: dict[str, PosePool]) -> None:
    pool = pools["train"]
    back = unpacked(**packed(pool))
    np.testing.assert_allclose(back.pose, pool.pose, atol=3e-3)
    np.testing.assert_array_equal(back.kind, pool.kind)
    rng = np.random.default_rng(0)
    assert set(pool.rows_of(1)) == set(range(30, 38))  # type: ignore[arg-type]
    rest = np.tile(BodyModel.load().joints(np.zeros((1, 10), np.float32)), (12, 1, 1))
    poses, turns, places = pool.sample_clear(rng, [True, False] * 6, rest)
    again_turns, again_places = forward_kinematics(poses, rest)
    np.testing.assert_allclose(turns, again_turns, atol=1e-6)
    np.testing.assert_allclose(places, again_places, atol=1e-6)
    assert limbs_inside(turns, places).mean() < 0.25


def test_limbs_are_mixed_as_often_as_asked(pools: dict[str, PosePool]) -> None:
    pool = pools["train"]
    for share, least, most in ((0.0, 0.0, 0.0), (0.6, 0.4, 0.7)):
        mixed = 0
        for seed in range(60):  # the same draws up to the limbs
            ours = replace(pool, own_limbs=share).sample(np.random.default_rng(seed), False)
            never = replace(pool, own_limbs=-1.0).sample(np.random.default_rng(seed), False)
            mixed += not np.array_equal(ours, never)
        assert least <= mixed / 60 <= most


def test_makehuman_poses_stand_the_right_way_up(shared_dir, body: BodyModel) -> None:
    from training.mocap.makehuman_pose import load_makehuman_pose

    folder = shared_dir / "data" / "makehuman" / "poses"
    _, handstand = _posed(load_makehuman_pose(folder / "gym01.bvh", body), body)
    assert handstand[Joint.HEAD, 1] < -0.3 < 0.3 < handstand[Joint.LEFT_ANKLE, 1]
    pose = load_makehuman_pose(folder / "standing01.bvh", body)
    _, standing_up = _posed(pose, body)
    assert standing_up[Joint.HEAD, 1] > 0.45 and standing_up[Joint.LEFT_ANKLE, 1] < -0.7
    assert standing_up[Joint.LEFT_WRIST, 0] > 0.1 > -0.1 > standing_up[Joint.RIGHT_WRIST, 0], "left is +x"
    assert (pose[0] @ [0, 0, 1])[2] > 0.7, "faces +z"
