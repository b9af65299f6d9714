"""The diffusion smoother in the program: its lag, new people, gaps, frame rates, and how it compares."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bodycast.app.errors import UsageError
from bodycast.app.model_packages import REPOSITORY_MODELS
from bodycast.app.records import BodyEstimates
from bodycast.app.smoothers import open_smoother
from bodycast.app.smoothers.diffusion import live as diffusion
from bodycast.app.smoothers.diffusion.decoder import OFFLINE_LAG_S, DecodedSmoother
from bodycast.app.smoothers.diffusion.live import AT_ONCE, DiffusionSmoother, in_turn
from bodycast.app.smoothers.one_euro import OneEuroSmoother
from bodycast.hmr.geometry.rotations import axis_angle_to_matrix, geodesic_distance


def body(time_s: float, noise: float = 0.0, seed: int = 0, person: int = 1, hertz: float = 0.5) -> BodyEstimates:
    """One person whose joints swing by 0.4 rad, and who walks to the right at 0.3 m/s, 3 m away."""
    generator = np.random.default_rng([seed, round(time_s * 1e4), person])
    axes = np.random.default_rng(person).normal(0, 1, (24, 3))
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    turns = 0.4 * np.sin(2 * np.pi * hertz * time_s) * axes
    pose = axis_angle_to_matrix(turns) @ axis_angle_to_matrix(generator.normal(0, noise, (24, 3)))
    transl = np.array([0.3 * time_s, 0.1, 3.0 * np.exp(generator.normal(0, noise / 2))])
    return BodyEstimates(
        id=np.array([person], np.int32),
        pose=pose[None].astype(np.float32),
        betas=np.zeros((1, 10), np.float32),
        transl_m=transl[None].astype(np.float32),
        score=np.ones(1, np.float32),
        token=np.zeros((1, 0), np.float32),
    )


def run(smoother, times: np.ndarray, noise: float, seed: int = 0) -> list[BodyEstimates]:
    return [smoother.update(body(float(t), noise, seed), float(t)) for t in times]


def errors_deg(answers: list[BodyEstimates], about_s: np.ndarray) -> np.ndarray:
    """(F,) mean angle between the answers and the truth at these times."""
    return np.array(
        [
            np.rad2deg(geodesic_distance(answer.pose, body(float(t)).pose).mean())
            for answer, t in zip(answers, about_s, strict=True)
        ]
    )


def shaking_deg(answers: list[BodyEstimates]) -> float:
    """Mean second difference of the rotations' columns, degrees."""
    columns = np.stack([answer.pose[0] for answer in answers])
    return float(np.rad2deg(np.abs(np.diff(columns, n=2, axis=0)).mean()))


@pytest.mark.parametrize("lag_s", [0.0, 0.1, 0.3])
def test_its_answers_are_about_the_lag_before_now(lag_s: float) -> None:
    smoother = DiffusionSmoother(lag_s=lag_s)
    times = np.arange(75) / 30
    answers = run(smoother, times, noise=0.0)[40:]
    at_the_lag = errors_deg(answers, times[40:] - lag_s).mean()
    assert smoother.lag_s == lag_s
    # Without a look ahead it trails, by less than 0.1 s.
    for off_s in (-0.2, -0.1 if lag_s else -0.2, 0.1):
        assert at_the_lag < errors_deg(answers, times[40:] - lag_s + off_s).mean()


def test_noise_is_taken_out_and_more_so_with_a_longer_lag() -> None:
    times = np.arange(90) / 30
    raw = [body(float(t), 0.15) for t in times][40:]
    raw_error, raw_shaking = errors_deg(raw, times[40:]).mean(), shaking_deg(raw)
    error = {}
    for lag_s, at_least in ((0.0, 3), (0.3, 4)):
        answers = run(DiffusionSmoother(lag_s=lag_s), times, 0.15)[40:]
        error[lag_s] = errors_deg(answers, times[40:] - lag_s).mean()
        assert shaking_deg(answers) < raw_shaking / at_least
    assert error[0.3] < error[0.0] < raw_error


def test_it_is_calmer_than_the_one_euro_filter_on_the_same_input() -> None:
    times = np.arange(90) / 30
    ours = run(DiffusionSmoother(lag_s=0.1), times, 0.15)[40:]
    filtered = run(OneEuroSmoother(), times, 0.15)[40:]
    assert shaking_deg(ours) < shaking_deg(filtered)
    assert errors_deg(ours, times[40:] - 0.1).mean() < errors_deg(filtered, times[40:]).mean()


def test_a_new_person_is_one_euros_and_the_hud_says_so() -> None:
    smoother, filtered = DiffusionSmoother(lag_s=0.0), OneEuroSmoother()
    for frame in range(3):
        seen = body(frame / 30, 0.1)
        got, wanted = smoother.update(seen, frame / 30), filtered.update(seen, frame / 30)
        np.testing.assert_allclose(got.pose, wanted.pose, atol=1e-6)
        np.testing.assert_allclose(got.transl_m, wanted.transl_m, atol=1e-5)
        assert smoother.describe() == "diffusion (one-euro for 1 new)"
    smoother.update(body(0.1, 0.1), 0.1)
    assert smoother.describe() == "diffusion"
    assert DiffusionSmoother(lag_s=0.3).describe() == "diffusion, 0.3 s behind"


def test_after_a_long_gap_nobody_is_dragged_across_the_picture() -> None:
    smoother = DiffusionSmoother(lag_s=0.0)
    run(smoother, np.arange(40) / 30, 0.05)
    elsewhere = replace(body(3.0), transl_m=np.array([[-1.0, 0.1, 5.0]], np.float32))
    got = smoother.update(elsewhere, 3.0)
    np.testing.assert_allclose(got.transl_m, elsewhere.transl_m, atol=1e-4)
    assert geodesic_distance(got.pose, elsewhere.pose).max() < 2e-3


def test_frames_without_a_sight_of_the_person_hardly_count() -> None:
    """0.3 s hidden: the network's estimates are rubbish there, and say so by their score."""
    times = np.arange(60) / 30
    smoother = DiffusionSmoother(lag_s=0.3)
    answers = []
    for frame, t in enumerate(times):
        seen = body(float(t), 0.05)
        if 38 <= frame < 47:
            rubbish = axis_angle_to_matrix(np.random.default_rng(frame).normal(0, 1, (1, 24, 3))).astype(np.float32)
            seen = replace(seen, pose=rubbish, score=np.zeros(1, np.float32))
        answers.append(smoother.update(seen, float(t)))
    assert errors_deg(answers[47:56], times[47:56] - 0.3).max() < 20


@pytest.mark.parametrize("rate_hz", [15.0, 24.0, 60.0])
def test_a_smooth_motion_comes_out_alike_at_every_frame_rate(rate_hz: float) -> None:
    """At whole seconds, which all the rates hit."""
    shown = {}
    for hz in (30.0, rate_hz):
        smoother = DiffusionSmoother(lag_s=0.0)
        times = np.arange(int(3 * hz) + 1) / hz
        answers = run(smoother, times, 0.0)
        shown[hz] = [answers[round(t * hz)] for t in (1, 2, 3)]
    for a, b in zip(shown[30.0], shown[rate_hz], strict=True):
        assert np.rad2deg(geodesic_distance(a.pose, b.pose)).mean() < 2.5


def test_the_lag_of_a_rate_that_does_not_divide_it_is_that_of_the_frame_that_waits() -> None:
    """At 24 frames/s a frame waits 0.125 s for a lag of 0.1 s: the answer is about that frame, not 0.025 s later."""
    smoother = DiffusionSmoother(lag_s=0.1)
    times = np.arange(72) / 24
    answers = run(smoother, times, 0.0)[40:]
    assert errors_deg(answers, times[40:] - 3 / 24).mean() < errors_deg(answers, times[40:] - 0.1).mean() + 0.3


def test_wrong_packages_and_lags_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"0 to 0\.5 seconds"):
        DiffusionSmoother(lag_s=0.8)
    with pytest.raises(UsageError, match="no model package 'nothing' for smoother"):
        DiffusionSmoother("nothing")
    with pytest.raises(UsageError, match="a package for hmr"):
        DiffusionSmoother(REPOSITORY_MODELS / "hmr-swin-t-s2-lite")


def test_the_factory_knows_the_usual_lag_and_the_offline_one() -> None:
    usual = open_smoother("diffusion")
    assert isinstance(usual, DecodedSmoother) and usual.lag_s == 0.1
    assert open_smoother("diffusion", 0.2).lag_s == 0.2
    assert open_smoother("diffusion", offline=True).lag_s == OFFLINE_LAG_S


def test_motion_without_errors_comes_out_as_it_is_however_quick() -> None:
    """Joints that swing by 0.4 rad at 2 Hz: what the network alone would smooth away."""
    smoother = DiffusionSmoother(lag_s=0.1)
    times = np.arange(75) / 30
    answers = [smoother.update(body(float(t), hertz=2.0), float(t)) for t in times][40:]
    off = [
        np.rad2deg(geodesic_distance(answer.pose, body(float(t) - 0.1, hertz=2.0).pose)).mean()
        for answer, t in zip(answers, times[40:], strict=True)
    ]
    assert np.mean(off) < 1.0


@pytest.mark.parametrize("rate_hz", [15.0, 24.0, 60.0])
def test_at_the_usual_lag_too_rates_agree_and_the_answers_are_the_frames(rate_hz: float) -> None:
    smoother = DiffusionSmoother(lag_s=0.1)
    wait = int(np.ceil(0.1 * rate_hz - 1e-6))
    times = np.arange(int(2.5 * rate_hz)) / rate_hz
    answers = run(smoother, times, 0.0)[int(1.3 * rate_hz) :]
    assert errors_deg(answers, times[int(1.3 * rate_hz) :] - wait / rate_hz).mean() < 0.6


def test_a_hidden_person_comes_to_rest_and_returns_without_a_jump() -> None:
    """Half a second without a sight of somebody who walks and swings, without a look ahead."""
    smoother = DiffusionSmoother(lag_s=0.0)
    times = np.arange(75) / 30
    last = body(float(times[39]), 0.02)
    answers = []
    for frame, t in enumerate(times):
        hidden = 40 <= frame < 55
        seen = replace(last, score=np.zeros(1, np.float32)) if hidden else body(float(t), 0.02)
        answers.append(smoother.update(seen, float(t)))
    place = np.stack([answer.transl_m[0] for answer in answers])
    steps = np.linalg.norm(np.diff(place, axis=0), axis=1)
    # He walks at 0.3 m/s: worth 0.3 s at most of it is gone on for, and ever more slowly.
    assert steps[40:53].sum() < 0.3 * 0.3 + 0.06
    assert steps[51:53].max() < 0.5 * steps[39:42].max() + 1e-3
    # What he walked meanwhile is made up for in several frames.
    assert steps[54:].max() < 0.6 * np.linalg.norm(place[60] - place[53])


def crowd(time_s: float, count: int, noise: float = 0.1) -> BodyEstimates:
    rows = [body(time_s, noise, person=person) for person in range(1, count + 1)]
    names = ("id", "pose", "betas", "transl_m", "score", "token")
    return BodyEstimates(*(np.concatenate([getattr(row, name) for row in rows]) for name in names))


def test_in_a_crowd_people_take_turns_and_nobody_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    smoother = DiffusionSmoother(lag_s=0.1)
    asked: list[int] = []
    engine_run = smoother._engine.run

    def counted(inputs):
        asked.append(len(inputs["motion"]))
        return engine_run(inputs)

    monkeypatch.setattr(smoother._engine, "run", counted)
    count = 2 * AT_ONCE
    times = np.arange(50) / 30

    def error_deg(smoother: DiffusionSmoother) -> float:
        answers = [smoother.update(crowd(float(t), count), float(t)).pose for t in times][30:]
        true = [crowd(float(t) - 0.1, count, 0.0).pose for t in times[30:]]
        return float(np.rad2deg(geodesic_distance(np.stack(answers), np.stack(true))).mean())

    in_turns = error_deg(smoother)
    assert set(asked[5:]) == {AT_ONCE}
    monkeypatch.setattr(diffusion, "AT_ONCE", count)
    assert in_turns < 1.15 * error_deg(DiffusionSmoother(lag_s=0.1))


def test_those_who_have_waited_longest_are_asked_first() -> None:
    last_s = np.array([0.3, 0.1, 0.2, 0.3, 0.1, 0.2, 0.3])
    nobody = np.zeros(7, bool)
    assert in_turn(last_s, nobody).nonzero()[0].tolist() == [1, 2, 4, 5]
    assert in_turn(last_s, np.arange(7) == 6)[6]
    assert in_turn(last_s[:AT_ONCE], nobody[:AT_ONCE]).all()
