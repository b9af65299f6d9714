"""Whom the avatar follows, how it rests, and that nothing jumps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bodycast.app.errors import UsageError
from bodycast.app.records import FrameResult
from bodycast.app.senders.performer import AvatarPose, Performer, PersonChoice
from bodycast.app.senders.skeleton import BONES, bones_in_world, matrices
from tests.senders.receivers import joints_in_world, on_floor, performer


class Clock:
    """Time that a test sets."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def places(pose: AvatarPose) -> np.ndarray:
    return bones_in_world(matrices(pose.rotations), pose.places_m)[1]


def bone(pose: AvatarPose, name: str) -> np.ndarray:
    return places(pose)[BONES.index(name)]


def boxes(result: FrameResult, *sizes: float) -> FrameResult:
    return replace(result, xyxy=np.array([[0, 0, size, size] for size in sizes], np.float32))


def made(person: str = "largest") -> tuple[Performer, Clock]:
    clock = Clock()
    return performer(person, clock=clock), clock


def test_before_anybody_is_seen_the_avatar_stands_with_its_arms_down() -> None:
    actor, _ = made()
    pose = actor.follow(on_floor(0, ()))
    assert not pose.seen
    for side, sign in (("Left", 1), ("Right", -1)):
        hand, shoulder = bone(pose, f"{side}Hand"), bone(pose, f"{side}UpperArm")
        assert hand[1] < shoulder[1] - 0.4 and sign * hand[0] > 0.1
        assert 0 < bone(pose, f"{side}Toes")[1] < 0.06
    assert bone(pose, "Head")[1] > 1.3


def test_whoever_goes_is_held_and_then_comes_to_rest_without_a_jump() -> None:
    actor, clock = made()
    last = actor.follow(on_floor(0))
    resting = actor.follow
    steps, previous = [], last
    for _ in range(90):
        clock.now_s += 1 / 30
        pose = resting(on_floor(0, ()))
        steps.append(np.abs(places(pose) - places(previous)).max())
        assert not pose.seen
        previous = pose
    assert max(steps[:14]) == 0, "held for half a second"
    assert max(steps) < 0.12, "no joint moves faster than 3.6 m/s"
    assert steps[-1] == 0 and np.abs(places(previous) - places(last)).max() > 0.2, "at rest"
    np.testing.assert_allclose(previous.places_m[0] * (1, 0, 1), last.places_m[0] * (1, 0, 1), atol=1e-9)


def test_without_frames_it_comes_to_rest_too() -> None:
    actor, clock = made()
    last = actor.follow(on_floor(0))
    for _ in range(10):
        clock.now_s += 0.2
        pose = actor.follow(None)
    assert not pose.seen and np.abs(places(pose) - places(last)).max() > 0.2


def test_whoever_comes_is_followed_within_a_quarter_of_a_second() -> None:
    actor, clock = made()
    actor.follow(on_floor(0, ()))
    clock.now_s += 1
    actor.follow(on_floor(1))
    clock.now_s += 0.3
    pose = actor.follow(on_floor(2))
    expected = joints_in_world(on_floor(2)) - joints_in_world(on_floor(1))[0] * (1, 0, 1)
    np.testing.assert_allclose(places(pose), expected[: len(BONES)], atol=5e-3)


def test_the_largest_is_followed_until_they_are_gone() -> None:
    choice = PersonChoice("largest")
    both = on_floor(0, (4, 9))
    assert choice.row(boxes(both, 10, 20), 0.0) == 1
    assert choice.row(boxes(both, 30, 20), 0.1) == 1, "still 9, though 4 is larger now"
    alone = boxes(on_floor(0, (4,)), 30)
    assert choice.row(alone, 0.2) is None, "9 may come back"
    assert choice.row(alone, 1.3) == 0, "9 is gone"
    assert choice.row(boxes(both, 10, 20), 1.4) == 0, "now 4 is the one"


def test_a_number_is_followed_and_nobody_else() -> None:
    choice = PersonChoice("9")
    assert choice.row(on_floor(0, (4, 9)), 0.0) == 1
    assert choice.row(on_floor(0, (4,)), 9.0) is None


@pytest.mark.parametrize("spec", ["0", "-1", "smallest", "1.5", ""])
def test_another_person_is_refused(spec: str) -> None:
    with pytest.raises(UsageError, match="--person"):
        PersonChoice(spec)


def test_recentre_puts_them_in_the_middle_and_lets_them_look_ahead() -> None:
    actor, clock = made()
    actor.follow(on_floor(0))
    clock.now_s += 1
    away = actor.follow(on_floor(45))
    actor.recentre()
    clock.now_s += 1
    pose = actor.follow(on_floor(45))
    np.testing.assert_allclose(pose.places_m[0][[0, 2]], 0, atol=1e-9)
    assert pose.places_m[0][1] == pytest.approx(away.places_m[0][1])
    ahead = matrices(pose.rotations)[0][:, 2]
    assert ahead[0] == pytest.approx(0, abs=1e-6) and ahead[2] > 0
    # Only turned and moved: the shape is the same.
    np.testing.assert_allclose(pose.rotations[1:], away.rotations[1:], atol=1e-6)


def test_feet_keep_their_height_above_the_floor() -> None:
    actor, _ = made()
    pose = actor.follow(on_floor(3))
    lowest = joints_in_world(on_floor(3))[: len(BONES), 1].min()
    assert places(pose)[:, 1].min() == pytest.approx(lowest, abs=2e-3)


def test_without_a_floor_the_first_sight_counts_as_standing() -> None:
    actor, _ = made()
    pose = actor.follow(replace(on_floor(0), world=None))
    assert places(pose)[[7, 8, 10, 11], 1].min() == pytest.approx(0.02, abs=5e-3)
    assert 0.7 < pose.places_m[0][1] < 1.2


def raised(result: FrameResult, by_m: float, touching: bool) -> FrameResult:
    """The floor of a frame lower by so much: people stand, or hang, above it."""
    world = result.world
    assert world is not None
    to_world, floor = world.camera_to_world.copy(), world.floor.copy()
    to_world[1, 3] += by_m
    floor[3] += by_m
    contacts = np.full_like(world.contacts, 0.9 if touching else 0.1)
    return replace(result, world=replace(world, camera_to_world=to_world, floor=floor, contacts=contacts))


def test_whoever_is_seen_first_on_a_roof_stands_on_the_avatar_s_ground() -> None:
    actor, _ = made()
    pose = actor.follow(raised(on_floor(0), 1.5, touching=True))
    assert places(pose)[:, 1].min() == pytest.approx(0.02, abs=5e-3)


def test_whoever_jumps_off_a_roof_is_not_below_the_ground_for_long() -> None:
    actor, clock = made()
    actor.follow(raised(on_floor(0), 1.5, touching=True))
    for _ in range(18):
        clock.now_s += 1 / 30
        pose = actor.follow(raised(on_floor(0), 0.0, touching=False))
    assert places(pose)[:, 1].min() == pytest.approx(0.02, abs=5e-3)


def test_a_jump_stays_a_jump_and_a_step_onto_a_table_becomes_the_ground() -> None:
    actor, clock = made()
    actor.follow(on_floor(0))
    for _ in range(60):
        clock.now_s += 1 / 30
        pose = actor.follow(raised(on_floor(0), 0.6, touching=False))
    assert places(pose)[:, 1].min() > 0.55
    for _ in range(60):
        clock.now_s += 1 / 30
        before, pose = pose, actor.follow(raised(on_floor(0), 0.6, touching=True))
        assert np.abs(places(pose) - places(before)).max() < 0.2, "no jump of its own"
    assert places(pose)[:, 1].min() == pytest.approx(0.02, abs=5e-3)
