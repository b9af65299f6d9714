"""The live smoother with FastHMR's decoder: what answers are about, who comes and goes, what becomes of noise."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bodycast.app.errors import UsageError
from bodycast.app.pipeline.smoothing import SmoothingStage
from bodycast.app.records import BodyEstimates, Frame, FrameResult, PosedBodies
from bodycast.app.smoothers.diffusion.decoder import (
    AT_ONCE,
    HOP_S,
    LEAST_SEEN_S,
    OFFLINE_HOP_S,
    OFFLINE_LAG_S,
    DecodedSmoother,
)
from bodycast.app.smoothers.diffusion.live import DiffusionSmoother
from bodycast.hmr.geometry.camera import Intrinsics
from bodycast.hmr.geometry.rotations import axis_angle_to_matrix, geodesic_distance
from tests.smoothers.test_diffusion import body, shaking_deg


@pytest.fixture(scope="module")
def smoother() -> DecodedSmoother:
    return DecodedSmoother(offline=True)


def calm_walk(time_s: float, noise: float = 0.0) -> BodyEstimates:
    """Somebody upright before the camera who swings arms and legs, with errors of `noise` rad."""
    turns = np.zeros((24, 3))
    turns[0, 0] = np.pi  # y up in the body, down in the picture
    swing = 0.5 * np.sin(2 * np.pi * 0.8 * time_s)
    turns[1, 0], turns[2, 0] = swing, -swing
    turns[16], turns[17] = (0, 0.4 * swing, -1.2), (0, 0.4 * swing, 1.2)
    seed = np.random.default_rng(round(time_s * 1e4))
    pose = axis_angle_to_matrix(turns) @ axis_angle_to_matrix(seed.normal(0, noise, (24, 3)))
    return replace(body(0.0), pose=pose[None].astype(np.float32), transl_m=np.array([[0.1, 0.2, 3.5]], np.float32))


def test_its_answers_are_about_the_lag_before_now(smoother: DecodedSmoother) -> None:
    smoother.reset()
    times = np.arange(150) / 30
    answers = [smoother.update(calm_walk(float(t)), float(t)) for t in times][90:]
    assert smoother.lag_s == OFFLINE_LAG_S and smoother.name == "diffusion"
    off = {
        shift_s: np.mean(
            [
                np.rad2deg(geodesic_distance(answer.pose, calm_walk(float(t - OFFLINE_LAG_S + shift_s)).pose).mean())
                for answer, t in zip(answers, times[90:], strict=True)
            ]
        )
        for shift_s in (-0.2, 0.0, 0.2)
    }
    assert off[0.0] < min(off[-0.2], off[0.2])
    assert "offline, 1.8 s behind" in smoother.describe()


def test_noise_is_taken_out(smoother: DecodedSmoother) -> None:
    smoother.reset()
    times = np.arange(150) / 30
    raw = [calm_walk(float(t), 0.15) for t in times]
    answers = [smoother.update(seen, float(t)) for seen, t in zip(raw, times, strict=True)][90:]
    assert shaking_deg(answers) < shaking_deg(raw[90:]) / 8


@pytest.mark.parametrize("lag_s", [0.0, 0.1, 0.3])
def test_live_it_is_as_steady_as_the_live_network_alone_and_as_near(lag_s: float) -> None:
    """An engine that is off by 0.3 rad at every joint, always alike, and shakes: errors of no engine, to which the
    decoder has no answer. What it is good for is measured on real ones (docs/motion.md)."""
    off = axis_angle_to_matrix(np.random.default_rng(5).normal(0, 0.3, (24, 3)) * (np.arange(24) > 0)[:, None])
    times = np.arange(150) / 30
    seen = [replace(s, pose=(s.pose @ off).astype(np.float32)) for s in (calm_walk(float(t), 0.15) for t in times)]
    error, shaking = {}, {}
    for kind in (DecodedSmoother, DiffusionSmoother):
        live = kind(lag_s=lag_s)
        answers = [live.update(s, float(t)) for s, t in zip(seen, times, strict=True)][90:]
        live.close()
        truth = [calm_walk(float(t - lag_s)).pose for t in times[90:]]
        error[kind] = np.mean([geodesic_distance(a.pose, b).mean() for a, b in zip(answers, truth, strict=True)])
        shaking[kind] = shaking_deg(answers)
    assert error[DecodedSmoother] < 1.02 * error[DiffusionSmoother]
    assert error[DecodedSmoother] != error[DiffusionSmoother]
    assert shaking[DecodedSmoother] < 1.1 * shaking[DiffusionSmoother]


def test_an_engine_that_does_not_shake_is_believed() -> None:
    live, alone = DecodedSmoother(0.1), DiffusionSmoother(lag_s=0.1)
    for k in range(120):
        seen = calm_walk(k / 30)
        answer, wanted = live.update(seen, k / 30), alone.update(seen, k / 30)
    assert np.rad2deg(geodesic_distance(answer.pose, wanted.pose).max()) < 6
    assert np.rad2deg(geodesic_distance(answer.pose, calm_walk(119 / 30 - 0.1).pose).mean()) < 3


def test_of_many_people_a_few_are_decoded_after_each_frame_and_nobody_is_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    live, people = DecodedSmoother(0.1), 2 * AT_ONCE + 1
    counts: list[int] = []
    run_engine = live._engine.run
    monkeypatch.setattr(live._engine, "run", lambda feeds: counts.append(len(feeds["estimates"])) or run_engine(feeds))
    for k in range(30):
        live.update(BodyEstimates.joined([body(k / 30, 0.05, person=p) for p in range(people)]), k / 30)
    assert max(counts) == AT_ONCE
    ended_s = [live._people[p].windows[-1][0] for p in range(people)]
    assert min(ended_s) > 29 / 30 - 2 * HOP_S
    live.close()


def test_somebody_new_is_the_live_smoothers(smoother: DecodedSmoother) -> None:
    smoother.reset()
    live = DiffusionSmoother(lag_s=0.5)
    for k in range(int(LEAST_SEEN_S * 30) - 1):
        seen = body(k / 30, 0.05)
        got, wanted = smoother.update(seen, k / 30), live.update(seen, k / 30)
    # His oldest frame is asked about, and no window of his has been decoded.
    np.testing.assert_allclose(got.transl_m[0, 2], wanted.transl_m[0, 2], rtol=0.2)
    assert np.isfinite(got.pose).all() and not smoother._people[1].windows


def unposed(estimates: BodyEstimates, intrinsics: Intrinsics) -> PosedBodies:
    """Nobody looks at the meshes."""
    shapes = ((len(estimates), 3, 3), (len(estimates), 24, 3), (len(estimates), 24, 2))
    return PosedBodies(*(np.zeros(shape, np.float32) for shape in shapes))


def waiting(time_s: float, people: list[BodyEstimates]) -> FrameResult:
    """A frame before the smoother; nobody looks at its picture and its meshes."""
    count = len(people)
    estimates, camera = (
        BodyEstimates.joined(people) if people else BodyEstimates.empty(),
        Intrinsics.from_focal(1.0, (4, 4)),
    )
    return FrameResult(
        frame=Frame(np.zeros((4, 4, 3), np.uint8), round(30 * time_s), time_s),
        estimates=estimates,
        bodies=unposed(estimates, camera),
        xyxy=np.zeros((count, 4), np.float32),
        intrinsics=camera,
        overlay=np.zeros((4, 4, 3), np.uint8),
    )


def test_every_frame_of_a_film_gets_an_answer_in_order(smoother: DecodedSmoother) -> None:
    """People come, go and stay; a film ends before the lag is over."""
    smoother.reset()
    smoothing, finished = SmoothingStage(smoother, unposed), []
    for k in range(80):
        people = [body(k / 30, 0.05, person=1)] if k < 30 or k > 50 else []
        if k > 20:
            people.append(body(k / 30, 0.05, person=2))
        finished += smoothing.push(waiting(k / 30, people))
    finished += smoothing.finish()
    assert [round(30 * done.frame.time_s) for done in finished] == list(range(80))
    assert all(np.isfinite(done.estimates.pose).all() for done in finished)


def test_a_hidden_second_is_bridged_and_a_long_gap_begins_anew(smoother: DecodedSmoother) -> None:
    smoother.reset()
    for k in range(90):
        seen = calm_walk(k / 30)
        if 40 <= k < 55:  # a wild guess that nothing speaks for
            seen = replace(body(k / 30, 2.0), score=np.zeros(1, np.float32))
        answer = smoother.update(seen, k / 30)
    hidden_s = 89 / 30 - OFFLINE_LAG_S
    assert 0.9 < hidden_s < 55 / 30
    assert np.rad2deg(geodesic_distance(answer.pose, calm_walk(hidden_s).pose).mean()) < 15
    smoother.update(calm_walk(5.0), 5.0)
    assert len(smoother._people[1].frames) == 1 and not smoother._people[1].windows


def test_other_rates_and_more_people(smoother: DecodedSmoother) -> None:
    smoother.reset()
    times = np.cumsum(np.random.default_rng(0).uniform(0.02, 0.09, 90))
    for t in times:
        both = BodyEstimates.joined([calm_walk(float(t)), body(float(t), 0.05, person=2)])
        answer = smoother.update(both, float(t))
    assert answer.pose.shape == (2, 24, 3, 3)
    assert len(smoother._people[1].windows) <= OFFLINE_LAG_S / OFFLINE_HOP_S + 3
    unit = np.broadcast_to(np.eye(3), (2, 24, 3, 3))
    np.testing.assert_allclose(answer.pose @ answer.pose.swapaxes(-1, -2), unit, atol=1e-4)


def test_other_packages_are_refused() -> None:
    with pytest.raises(UsageError, match="motion decoder has the input estimates"):
        DecodedSmoother(package="motion-diffusion")
