"""Everybody's last frames: order, gaps, weights, noise."""

from __future__ import annotations

import numpy as np
import pytest

from bodycast.app.smoothers.diffusion.frame_memory import KEEP_S, FrameMemory, lagrange
from bodycast.app.smoothers.diffusion.motion_features import SLOT_AGES_S, WIDTH
from bodycast.app.smoothers.diffusion.trajectories import Trajectories, with_clean_frames

ONE = np.array([1], np.int32)


def filled(times: np.ndarray, values: np.ndarray | None = None, lag_s: float = 0.1, trust: float = 1.0):
    """A memory of one person whose numbers all are `values` at `times`; and his row."""
    memory = FrameMemory(64, lag_s)
    values = np.zeros(len(times)) if values is None else values
    for time_s, value in zip(times, values, strict=True):
        motion = np.full((1, WIDTH), value, np.float32)
        at, _ = memory.add(ONE, motion, np.array([trust], np.float32), float(time_s))
    return memory, at


@pytest.mark.parametrize("rate_hz", [15.0, 30.0, 60.0])
def test_frames_weigh_as_much_as_the_time_they_stand_for(rate_hz: float) -> None:
    memory, at = filled(np.arange(120) / rate_hz)
    window = memory.window(at, 119 / rate_hz)
    there = window.weight[0] > 0
    np.testing.assert_allclose(window.weight[0, there], 30 / rate_hz, rtol=1e-4)
    assert abs(there.sum() - min(64, KEEP_S * rate_hz + 1)) <= 1
    assert window.age_s[0, there].max() <= KEEP_S and window.age_s[0].min() == 0


def test_a_burst_counts_no_more_than_the_pauses_around_it() -> None:
    memory, at = filled(np.array([0.0, 0.1, 0.115, 0.13, 0.23]))
    window = memory.window(at, 0.23)
    weight = window.weight[0, np.argsort(-window.age_s[0] * (window.weight[0] > 0), kind="stable")[:5]]
    np.testing.assert_allclose(weight, [2, 30 * 0.0575, 30 * 0.015, 30 * 0.0575, 2], rtol=1e-3)


def test_frames_that_follow_too_closely_share_a_place() -> None:
    memory, at = filled(np.array([0.0, 0.05, 0.055]), np.array([1.0, 2.0, 3.0]))
    window = memory.window(at, 0.055)
    assert sorted(window.motion[0, window.weight[0] > 0, 0].tolist()) == [1.0, 3.0]


def test_who_was_away_starts_anew_and_rows_are_used_again() -> None:
    memory, at = filled(np.arange(10) / 30)
    assert memory.known(at).all()
    at, fresh = memory.add(ONE, np.zeros((1, WIDTH), np.float32), np.ones(1, np.float32), 2.0)
    assert fresh.all() and not memory.known(at).any()
    for other in range(2, 50):
        people = np.array([other], np.int32)
        memory.add(people, np.zeros((1, WIDTH), np.float32), np.ones(1, np.float32), 2.0 + other)
    assert memory.rows <= 4


def test_answers_are_about_the_newest_frame_that_is_due() -> None:
    memory, at = filled(np.arange(12) / 24, np.arange(12.0))
    now_s = 11 / 24
    about = memory.about(at, now_s - 0.1)
    assert about.time_s[0] == pytest.approx(8 / 24) and about.motion[0, 0] == 8
    assert memory.about(at, -5.0).time_s[0] == 0 and not about.hidden[0]


def test_a_cubic_has_no_noise_and_white_noise_has_its_own() -> None:
    times = np.cumsum(np.random.default_rng(0).uniform(0.02, 0.06, 40))
    cubic = 1 + times - 2 * times**2 + times**3
    memory, at = filled(times, cubic)
    assert memory.about(at, float(times[-4])).noise.max() < 1e-8
    generator = np.random.default_rng(1)
    memory = FrameMemory(64, 0.1)
    for time_s in times:
        motion = generator.normal(0, 0.1, (1, WIDTH)).astype(np.float32)
        at, _ = memory.add(ONE, motion, np.ones(1, np.float32), float(time_s))
    noise = memory.about(at, float(times[-4])).noise[0]
    # 144, 2 and 1 numbers of variance 0.01, and of these the upper quartile.
    assert 1.2 < noise[0] < 2.2 and 0.01 < noise[1] < 0.1 and 0.003 < noise[2] < 0.08


def test_the_newest_frames_have_a_noise_only_where_they_are_asked_about() -> None:
    times = np.arange(20) / 30
    late, at = filled(times, times, lag_s=0.1)
    assert np.isinf(late.about(at, 1.0).noise).all()
    now, at = filled(times, times, lag_s=0.0)
    assert now.about(at, 1.0).noise.max() < 1e-8


def test_a_person_is_hidden_after_the_last_frame_that_is_trusted() -> None:
    memory, at = filled(np.arange(20) / 30)
    for frame in range(20, 26):
        memory.add(ONE, np.zeros((1, WIDTH), np.float32), np.array([0.02], np.float32), frame / 30)
    assert not memory.seen(at)[0]
    assert memory.about(at, 22 / 30).hidden[0] and not memory.about(at, 19 / 30).hidden[0]
    memory.add(ONE, np.zeros((1, WIDTH), np.float32), np.ones(1, np.float32), 26 / 30)
    assert not memory.about(at, 22 / 30).hidden[0]


def test_lagrange_goes_through_its_nodes() -> None:
    nodes = np.array([[0.0, 0.1, 0.3, 0.4]])
    share = lagrange(nodes, np.array([0.2]))
    np.testing.assert_allclose(share, [[-1 / 6, 2 / 3, 2 / 3, -1 / 6]], rtol=1e-5)
    np.testing.assert_allclose(lagrange(nodes, np.array([0.1])), [[0, 1, 0, 0]], atol=1e-6)


def test_frames_are_believed_where_they_move_more_than_they_shake() -> None:
    answer, frame = np.zeros((4, WIDTH), np.float32), np.full((4, WIDTH), 0.1, np.float32)
    noise = np.repeat(np.array([[1e-6], [1.0], [np.inf], [0.03]], np.float32), 3, axis=1)
    frame[3, :6] = 1.0
    found = with_clean_frames(answer, frame, noise)
    np.testing.assert_allclose(found[0], 0.1, rtol=1e-3)
    assert found[1].max() < 1e-3 and (found[2] == 0).all()
    # A body that faces the other way all at once is an error, also where little else shakes.
    assert found[3].max() < 0.02


def test_a_hidden_persons_answer_goes_on_from_the_last_seen_one_and_comes_back_gradually() -> None:
    answers = Trajectories(np.array(SLOT_AGES_S))
    at, seen = np.array([0]), np.array([True])
    answers.begin(at, 1)
    step_s = np.array([1 / 30])
    answers.take(at, np.full((1, 22, WIDTH), 1.0, np.float32), 0.0, seen)
    answers.take(at, np.full((1, 22, WIDTH), 5.0, np.float32), 0.1, ~seen)
    assert answers.about(at, np.array([0.1]), seen, step_s)[0, 0] == 1
    answers.take(at, np.full((1, 22, WIDTH), 2.0, np.float32), 0.2, seen)
    back = [answers.about(at, np.array([0.2]), ~seen, step_s)[0, 0] for _ in range(30)]
    assert 1 < back[0] < 1.5 and abs(back[-1] - 2) < 1e-3 and (np.diff(back) > 0).all()


def test_answers_flow_into_each_other_and_movement_passes() -> None:
    ages = np.array(SLOT_AGES_S)
    seen, at, step_s = np.array([True]), np.array([0]), 1 / 30
    rng = np.random.default_rng(0)

    def shown(noise: float) -> np.ndarray:
        answers = Trajectories(ages)
        answers.begin(at, 1)
        found = []
        for frame in range(60):
            now_s = frame * step_s
            line = (3.0 * (now_s - ages) + noise * rng.standard_normal()).astype(np.float32)
            answers.take(at, np.repeat(line[None, :, None], WIDTH, axis=2), now_s, seen)
            found.append(answers.about(at, np.array([now_s]), ~seen, np.array([step_s]))[0, 0])
        return np.array(found) - 3.0 * step_s * np.arange(60)

    assert np.abs(shown(0.0)).max() < 1e-4, "steady movement does not lag"
    assert np.std(shown(0.1)[10:]) < 0.8 * 0.1


def test_an_answer_long_after_the_last_one_begins_anew() -> None:
    answers = Trajectories(np.array(SLOT_AGES_S))
    at, seen = np.array([0]), np.array([True])
    answers.begin(at, 1)
    for value, now_s in ((1.0, 0.0), (4.0, 0.5)):
        answers.take(at, np.full((1, 22, WIDTH), value, np.float32), now_s, seen)
        assert answers.about(at, np.array([now_s]), ~seen, np.array([0.5]))[0, 0] == value
