"""A smoother with a lag: its answers meet the right frames, nobody is lost at cuts and at the end."""

from __future__ import annotations

from collections import deque
from dataclasses import replace

import numpy as np
import pytest

from bodycast.app.pipeline.smoothing import SmoothingStage
from bodycast.app.records import BodyEstimates, Frame, FrameResult, PosedBodies
from bodycast.hmr.geometry.camera import Intrinsics

IMAGE = np.zeros((4, 4, 3), np.uint8)
STEP_S = 1 / 30
CAMERA = Intrinsics.from_focal(1.0, (4, 4))


def people(ids: list[int], depth_m: float) -> BodyEstimates:
    count = len(ids)
    return BodyEstimates(
        id=np.array(ids, np.int32),
        pose=np.broadcast_to(np.eye(3, dtype=np.float32), (count, 24, 3, 3)).copy(),
        betas=np.zeros((count, 10), np.float32),
        transl_m=np.full((count, 3), depth_m, np.float32),
        score=np.ones(count, np.float32),
        token=np.zeros((count, 0), np.float32),
    )


def unposed(estimates: BodyEstimates, intrinsics: Intrinsics) -> PosedBodies:
    """Nobody looks at the meshes."""
    shapes = ((len(estimates), 3, 3), (len(estimates), 24, 3), (len(estimates), 24, 2))
    return PosedBodies(*(np.zeros(shape, np.float32) for shape in shapes))


def result_of(index: int, ids: list[int], time_s: float | None = None) -> FrameResult:
    count = len(ids)
    return FrameResult(
        frame=Frame(IMAGE, index, index * STEP_S if time_s is None else time_s),
        estimates=people(ids, float(index)),
        bodies=unposed(people(ids, 0.0), CAMERA),
        xyxy=np.zeros((count, 4), np.float32),
        intrinsics=CAMERA,
        overlay=IMAGE,
    )


class LateSmoother:
    """Answers with exactly what each person was `lag_s` ago (or first was), for the people of now."""

    name = "late"

    def __init__(self, lag_s: float) -> None:
        self.lag_s = lag_s
        self.resets = 0
        self._past: deque[tuple[float, BodyEstimates]] = deque()

    def update(self, estimates: BodyEstimates, time_s: float) -> BodyEstimates:
        self._past.append((time_s, estimates))
        transl = estimates.transl_m.copy()
        for row, person in enumerate(estimates.id.tolist()):
            for when_s, past in reversed(self._past):
                if person in past.id.tolist():
                    transl[row] = past.transl_m[past.id.tolist().index(person)] + 0.25
                if when_s <= time_s - self.lag_s + 1e-3:
                    break
        return BodyEstimates(estimates.id, estimates.pose, estimates.betas, transl, estimates.score, estimates.token)

    def reset(self) -> None:
        self.resets += 1
        self._past.clear()


def depths(results: list[FrameResult]) -> list[tuple[int, list[float]]]:
    return [(entry.frame.index, entry.estimates.transl_m[:, 2].tolist()) for entry in results]


def test_without_a_lag_every_frame_comes_back_at_once() -> None:
    smoothing = SmoothingStage(LateSmoother(0.0), unposed)
    for index in range(3):
        assert depths(smoothing.push(result_of(index, [1]))) == [(index, [index + 0.25])]
    assert smoothing.finish() == []


@pytest.mark.parametrize("frames_late", [1, 3])
def test_answers_meet_the_frames_that_they_are_about(frames_late: int) -> None:
    smoothing = SmoothingStage(LateSmoother(frames_late * STEP_S), unposed)
    given: list[tuple[int, list[float]]] = []
    for index in range(10):
        now = depths(smoothing.push(result_of(index, [1])))
        assert len(now) == (1 if index >= frames_late else 0)
        given += now
    given += depths(smoothing.finish())
    assert given == [(index, [index + 0.25]) for index in range(10)]


def test_people_who_have_left_or_come_since_do_not_confuse_the_rows() -> None:
    smoothing = SmoothingStage(LateSmoother(2 * STEP_S), unposed)
    ids = [[1, 2], [1, 2], [2], [2, 3], [3], [3]]
    given: list[FrameResult] = []
    for index, present in enumerate(ids):
        given += smoothing.push(result_of(index, present))
    given += smoothing.finish()
    assert [entry.estimates.id.tolist() for entry in given] == ids
    assert [entry.frame.index for entry in given] == list(range(6))
    # Person 1 left before the answers about his two frames came, and has them all the same.
    assert given[0].estimates.transl_m[:, 2].tolist() == [0.25, 0.25]
    assert given[1].estimates.transl_m[:, 2].tolist() == [1.25, 1.25]


def test_who_has_left_is_held_unseen_for_as_long_as_the_lag() -> None:
    heard: list[dict[int, float]] = []

    class Listening(LateSmoother):
        def update(self, estimates: BodyEstimates, time_s: float) -> BodyEstimates:
            heard.append(dict(zip(estimates.id.tolist(), estimates.score.tolist(), strict=True)))
            return super().update(estimates, time_s)

    smoothing = SmoothingStage(Listening(2 * STEP_S), unposed)
    for index, present in enumerate([[1, 2], [2], [2], [2], [1, 2]]):
        smoothing.push(result_of(index, present))
    assert heard == [{1: 1, 2: 1}, {1: 0, 2: 1}, {1: 0, 2: 1}, {2: 1}, {1: 1, 2: 1}]


def test_empty_frames_wait_like_all_others() -> None:
    smoothing = SmoothingStage(LateSmoother(2 * STEP_S), unposed)
    given = [entry for index in range(4) for entry in smoothing.push(result_of(index, []))]
    assert [entry.frame.index for entry in given + smoothing.finish()] == [0, 1, 2, 3]


def test_irregular_frames_come_out_once_each_and_in_order() -> None:
    smoothing = SmoothingStage(LateSmoother(0.1), unposed)
    times_s = [0.0, 0.01, 0.3, 0.31, 0.32, 0.9]
    given = [entry for index, time_s in enumerate(times_s) for entry in smoothing.push(result_of(index, [1], time_s))]
    assert [entry.frame.time_s for entry in given + smoothing.finish()] == times_s


def test_frames_behind_a_hurried_one_lie_between_the_answers_before_and_after_them() -> None:
    smoothing = SmoothingStage(LateSmoother(0.1), unposed)
    given = [smoothing.push(result_of(k, [1], time_s)) for k, time_s in enumerate([0.0, 0.1, 0.12, 0.14, 0.3])]
    assert [len(results) for results in given] == [0, 1, 0, 0, 3]
    # Asked about nothing between the frames at 0 and at 0.14 s, who move on by 3 m.
    found = [depth for _, (depth,) in depths(given[4])]
    np.testing.assert_allclose(found, [0.25 + 3 * 0.1 / 0.14, 0.25 + 3 * 0.12 / 0.14, 3.25], rtol=1e-5)


def test_the_first_frames_that_are_due_together_share_an_answer() -> None:
    smoothing = SmoothingStage(LateSmoother(0.1), unposed)
    given = [smoothing.push(result_of(k, [1], time_s)) for k, time_s in enumerate([0.0, 0.02, 0.4])]
    assert [len(results) for results in given] == [0, 0, 2]
    assert depths(given[2]) == [(0, [1.25]), (1, [1.25])]


def test_after_a_reset_nothing_of_the_old_shot_is_left() -> None:
    smoother = LateSmoother(2 * STEP_S)
    smoothing = SmoothingStage(smoother, unposed)
    for index in range(3):
        smoothing.push(result_of(index, [1]))
    assert len(smoothing.finish()) == 2
    smoothing.reset()
    assert smoother.resets == 1
    assert smoothing.push(result_of(100, [2])) == []


def test_pictures_that_wait_are_bounded_and_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    from bodycast.app.pipeline import smoothing as module

    picture = np.full((64, 64, 3), 120, np.uint8)
    monkeypatch.setattr(module, "MAX_HELD_BYTES", 3 * picture.nbytes)
    smoothing = SmoothingStage(LateSmoother(20 * STEP_S), unposed)
    given: list[FrameResult] = []
    for index in range(60):
        shown = picture + np.uint8(index)
        given += smoothing.push(
            replace(result_of(index, [1]), frame=Frame(shown, index, index * STEP_S), overlay=shown)
        )
        waiting = [held for held in smoothing._waiting if held.frame.image.strides[0]]
        assert len(waiting) <= 3
    given += smoothing.finish()
    assert [result.frame.index for result in given] == list(range(60))
    for result in given:
        assert abs(int(result.overlay[5, 5, 0]) - 120 - result.frame.index) <= 2
        assert result.frame.image.shape == (64, 64, 3)
    assert smoothing._bytes == 0 and not smoothing._packed
