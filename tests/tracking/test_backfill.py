"""Held frames: somebody confirmed late is written from his first mesh on and before it, what was not believed goes."""

from __future__ import annotations

import numpy as np
import pytest

from bodycast.app.records import F32, BodyEstimates, Frame, FrameResult, PosedBodies
from bodycast.app.tracking import backfill
from bodycast.app.tracking.backfill import Backfill
from bodycast.app.tracking.follower import Followed
from bodycast.app.tracking.options import FollowOptions
from bodycast.hmr.geometry.camera import Intrinsics

WH = (640, 480)
CAMERA = Intrinsics.default(WH)
STEP_S = 0.1
BOX = np.array([100, 100, 200, 400], np.float32)


def estimates(keys: list[int], score: float = 0.9) -> BodyEstimates:
    count = len(keys)
    return BodyEstimates(
        np.array(keys, np.int32),
        np.tile(np.eye(3, dtype=np.float32), (count, 24, 1, 1)),
        np.zeros((count, 10), np.float32),
        np.tile(np.array([0, 0, 3], np.float32), (count, 1)),
        np.full(count, score, np.float32),
        np.zeros((count, 0), np.float32),
    )


def bodies(xyxy: F32) -> PosedBodies:
    """Vertices at a depth of 3 m along the upper and the lower edge of the box; all joints in its middle."""
    x = np.linspace(xyxy[:, 0], xyxy[:, 2], 5, axis=1)
    edges = [np.stack([x, np.repeat(xyxy[:, [row]], 5, axis=1)], axis=-1) for row in (1, 3)]
    middle = np.repeat((xyxy[:, None, :2] + xyxy[:, None, 2:]) / 2, 24, axis=1).astype(np.float32)

    def lifted(points: F32) -> F32:
        plane = (points - (CAMERA.cx, CAMERA.cy)) * 3.0 / (CAMERA.fx, CAMERA.fy)
        return np.concatenate([plane, np.full((*plane.shape[:-1], 1), 3.0)], axis=-1).astype(np.float32)

    return PosedBodies(lifted(np.concatenate(edges, axis=1)), lifted(middle), middle)


def result_of(index: int, keys: list[int], xyxy: F32) -> FrameResult:
    image = np.zeros((WH[1], WH[0], 3), np.uint8)
    return FrameResult(Frame(image, index, index * STEP_S, None), estimates(keys), bodies(xyxy), xyxy, CAMERA, image)


def at(shift_px: float) -> F32:
    return (BOX + np.array([shift_px, 0, shift_px, 0], np.float32))[None]


def confirmed(keys: list[int], ids: list[int], xyxy: F32, ended: dict[int, float] | None = None) -> Followed:
    return Followed(np.arange(len(keys)), np.array(keys, np.int32), np.array(ids, np.int32), xyxy, ended or {})


class Looks:
    """A network that sees the person wherever it is asked to look, from `from_s` on."""

    def __init__(self, from_s: float) -> None:
        self.from_s = from_s
        self.asked_s: list[float] = []

    def __call__(self, frame: Frame, xyxy: F32, intrinsics: Intrinsics) -> tuple[BodyEstimates, PosedBodies]:
        self.asked_s.append(frame.time_s)
        score = 0.9 if frame.time_s >= self.from_s - 1e-6 else 0.1
        centre, size = (xyxy[:, :2] + xyxy[:, 2:]) / 2, xyxy[:, 2:] - xyxy[:, :2]
        mesh = np.concatenate([centre - size / 2.2, centre + size / 2.2], axis=1)  # the box without its padding
        return estimates([1], score), bodies(mesh)


def nobody() -> F32:
    return np.zeros((0, 4), np.float32)


def run(
    look: Looks, hold_s: float, frames: int, first: int, shown: int, ended_at: int | None = None
) -> list[FrameResult]:
    """Somebody with key 7 is followed from frame `first` on and confirmed as id 1 in frame `shown`."""
    held = Backfill(look, FollowOptions(), hold_s)
    released: list[FrameResult] = []
    for index in range(frames):
        gone = ended_at is not None and index >= ended_at
        keys = [] if index < first or gone else [7]
        boxes = at(2.0 * index) if keys else nobody()
        ended = {7: (ended_at - 2) * STEP_S - 1e-6} if index == ended_at and ended_at is not None else {}
        ids = [1 if index >= shown else 0 for _ in keys]
        released += held.push(result_of(index, keys, boxes), confirmed(keys, ids, boxes, ended))
    return released + held.finish()


def test_a_late_confirmation_reaches_back_as_far_as_the_network_sees_the_person() -> None:
    look = Looks(from_s=0.3)
    released = run(look, hold_s=2.0, frames=12, first=5, shown=8)
    assert [frame.frame.index for frame in released] == list(range(12))
    assert [frame.estimates.id.tolist() for frame in released] == [[]] * 3 + [[1]] * 9
    np.testing.assert_allclose(look.asked_s, [0.4, 0.3, 0.2])
    # Followed backwards along its velocity: 2 px a frame.
    np.testing.assert_allclose(released[3].xyxy[0, 0], 106, atol=2)
    assert len(released[3].bodies.vertices) == len(released[3].estimates) == 1


def test_nothing_is_held_for_a_live_source() -> None:
    look = Looks(from_s=0.0)
    held = Backfill(look, FollowOptions(), 0.0)
    assert len(held.push(result_of(0, [7], at(0)), confirmed([7], [0], at(0)))) == 1
    (shown,) = held.push(result_of(1, [7], at(2)), confirmed([7], [1], at(2)))
    assert shown.estimates.id.tolist() == [1]
    assert look.asked_s == [] and held.finish() == []


def test_somebody_never_confirmed_is_never_written() -> None:
    released = run(Looks(from_s=0.0), hold_s=0.5, frames=10, first=2, shown=99)
    assert [frame.estimates.id.tolist() for frame in released] == [[]] * 10


def test_the_frames_in_which_an_ended_track_was_not_believed_lose_it() -> None:
    released = run(Looks(from_s=9.0), hold_s=1.0, frames=10, first=0, shown=1, ended_at=6)
    assert [frame.estimates.id.tolist() for frame in released] == [[1]] * 4 + [[]] * 6


def test_pictures_are_held_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backfill, "MAX_HELD_BYTES", 3 * WH[0] * WH[1] * 3)
    held = Backfill(Looks(0.0), FollowOptions(), 100.0)
    counts = [len(held.push(result_of(i, [], nobody()), confirmed([], [], nobody()))) for i in range(6)]
    assert counts == [0, 0, 0, 1, 1, 1]


@pytest.mark.parametrize("hold_s", [0.0, 0.5])
def test_days_of_people_who_come_and_go_leave_nothing_behind(hold_s: float) -> None:
    held = Backfill(Looks(9999.0), FollowOptions(), hold_s)
    for index in range(400):
        # Each frame somebody new is shown, ends in the next, and a false find ends before it was ever in a frame.
        ended = {index - 1: np.inf, 10_000 + index: np.inf}
        held.push(result_of(index, [index], at(0)), confirmed([index], [index + 1], at(0), ended))
    # One frame may still be released after the last look; whatever is held is all that may be known.
    assert held.known <= 2 * (hold_s / STEP_S + 2)


def test_who_is_confirmed_only_at_the_end_is_written_in_the_frames_that_are_held() -> None:
    held = Backfill(Looks(0.0), FollowOptions(), 2.0)
    assert not held.holds
    for index in range(2):
        assert (
            held.push(result_of(index, [7, 8], np.concatenate([at(0), at(200)])), confirmed([7, 8], [0, 0], at(0)))
            == []
        )
    assert held.holds
    assert [frame.estimates.id.tolist() for frame in held.finish({8: 3})] == [[3], [3]]


class Walker:
    """Somebody whose box begins at x = `start_px` in frame 0 and moves by `step_px` a frame. The network sees him
    where he is, wherever it is asked to look, and is sure of him in the frames of `sure`."""

    def __init__(self, start_px: float, step_px: float, sure: range) -> None:
        self.start_px, self.step_px, self.sure = start_px, step_px, sure

    def box(self, index: int) -> F32:
        return at(self.start_px + self.step_px * index - BOX[0])

    def __call__(self, frame: Frame, xyxy: F32, intrinsics: Intrinsics) -> tuple[BodyEstimates, PosedBodies]:
        return estimates([1], 0.9 if frame.index in self.sure else 0.1), bodies(self.box(frame.index))


def walk(walker: Walker, seen: range, shown: int, ended: tuple[int, float] | None = None) -> list[FrameResult]:
    """16 frames; key 7 is followed in those of `seen` and confirmed as id 1 in frame `shown`. ended: the frame in which
    his track ends, and since when he was not believed."""
    held = Backfill(walker, FollowOptions(), 5.0)
    released: list[FrameResult] = []
    for index in range(16):
        keys = [7] if index in seen else []
        box = walker.box(index) if keys else nobody()
        ends = {7: ended[1]} if ended and ended[0] == index else {}
        ids = [1 if index >= shown else 0 for _ in keys]
        released += held.push(result_of(index, keys, box), confirmed(keys, ids, box, ends))
    return released + held.finish()


def test_who_comes_in_over_the_border_is_written_from_the_first_of_him_that_is_in_the_picture() -> None:
    walker = Walker(660, -20, sure=range(5, 16))  # in frames 0 and 1 beyond the right border, crossing it up to 6
    released = walk(walker, seen=range(8, 16), shown=10)
    assert [frame.estimates.id.tolist() for frame in released] == [[]] * 2 + [[1]] * 14
    for index in (2, 3, 4):
        frame = released[index]
        np.testing.assert_allclose(frame.bodies.joints_px[0, 0, 0], walker.box(index)[0, [0, 2]].mean(), atol=0.5)
        np.testing.assert_allclose(frame.xyxy[0, 0], walker.box(index)[0, 0] - 5, atol=0.5)  # padded
        assert frame.estimates.score[0] <= 0.9 and frame.xyxy.max() <= WH[0]
        np.testing.assert_allclose(frame.estimates.transl_m[0, 2], 3)


def test_who_leaves_over_the_border_is_written_to_the_last_of_him() -> None:
    walker = Walker(440, 20, sure=range(0, 7))
    released = walk(walker, seen=range(0, 13), shown=2, ended=(13, 0.65))
    assert [frame.estimates.id.tolist() for frame in released] == [[1]] * 10 + [[]] * 6
    np.testing.assert_allclose(released[9].bodies.joints_px[0, 0, 0], walker.box(9)[0, [0, 2]].mean(), atol=0.5)


@pytest.mark.parametrize(
    ("start_px", "step_px"),
    [(560, 0), (600, -2), (300, -20)],  # stands across the border, hardly moves there, is wholly in the picture
)
def test_nobody_is_carried_who_is_not_on_his_way_over_the_border(start_px: float, step_px: float) -> None:
    released = walk(Walker(start_px, step_px, sure=range(5, 16)), seen=range(8, 16), shown=10)
    assert [frame.estimates.id.tolist() for frame in released] == [[]] * 5 + [[1]] * 11


def test_nobody_is_carried_onto_somebody_who_is_there() -> None:
    walker = Walker(660, -20, sure=range(5, 16))
    held = Backfill(walker, FollowOptions(), 5.0)
    for index in range(11):
        # Somebody else, id 1, is where the newcomer seems to come from; then the newcomer is found.
        keys = [3] if index < 5 else [7] if index >= 8 else []
        box = walker.box(index) if keys else nobody()
        ids = [1 if key == 3 else 2 if index == 10 else 0 for key in keys]
        held.push(result_of(index, keys, box), confirmed(keys, ids, box))
    shown = [frame.estimates.id.tolist() for frame in held.finish()]
    assert shown == [[1]] * 5 + [[2]] * 6
