"""`python -m evaluation smooth`: its figures on motion whose answers are known, and the command itself."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from bodycast.app.smoothers.no_smoother import NoSmoother
from bodycast.app.smoothers.one_euro import Cutoff, OneEuroOptions, OneEuroSmoother
from bodycast.hmr.body.body_model import BodyModel
from bodycast.hmr.geometry.rotations import axis_angle_to_matrix
from evaluation import __main__ as evaluation_main
from evaluation.smooth_cases import case_of, posed_joints, thinned, with_gap
from evaluation.smooth_rates import frames_at, wait_s
from evaluation.smooth_scores import Smoothed, delay_s, foot_slide_mm_s, measure, run_smoother, wrist_speed_ratio
from training.motion.pairs import PairedMotion

BODY = BodyModel.load()


def clip(frames: int = 60, noise: float = 0.0, seed: int = 0) -> PairedMotion:
    """Somebody who stands on both feet and swings both arms at 1 Hz; the estimates are noisy, nothing else."""
    rng = np.random.default_rng(seed)
    time_s = np.arange(frames) / 30
    turns = np.zeros((frames, 24, 3))
    turns[:, 16:18, 1] = 0.8 * np.sin(2 * np.pi * time_s)[:, None]
    pose = axis_angle_to_matrix(turns).astype(np.float32)
    saw = (pose @ axis_angle_to_matrix(rng.normal(0, noise, (frames, 24, 3)))).astype(np.float32)
    transl = np.tile(np.array([0, 0, 3], np.float32), (frames, 1))
    betas = np.zeros((frames, 10), np.float32)
    score, up = np.ones(frames, np.float32), np.array([0, 1, 0], np.float32)
    return PairedMotion(time_s, pose, transl, betas, saw, transl, betas, score, np.float64(30), up)


def figures(paired: PairedMotion, smoother) -> dict[str, float]:
    return measure(case_of("x", paired, BODY), run_smoother(smoother, paired), BODY)


def test_without_error_there_is_none() -> None:
    found = figures(clip(), NoSmoother())
    for name in ("mpjpe_mm", "pa_mpjpe_mm", "accel_mm_frame2", "place_mm", "bone_change_mm", "foot_slide_mm_s"):
        assert found[name] < 0.05, name
    assert found["wrist_speed_ratio"] == pytest.approx(1, abs=1e-3)
    assert abs(found["delay_ms"]) < 1


def test_a_calm_filter_shakes_less_trails_more_and_takes_strikes_away() -> None:
    noisy = clip(noise=0.05)
    raw = figures(noisy, NoSmoother())
    calm = figures(noisy, OneEuroSmoother(OneEuroOptions(joints=Cutoff(1.0, 0.0), root=Cutoff(1.0, 0.0))))
    assert calm["accel_mm_frame2"] < raw["accel_mm_frame2"] / 3
    assert calm["delay_ms"] > raw["delay_ms"] + 50
    assert calm["wrist_speed_ratio"] < 0.8


def test_strength_can_differ_by_limb() -> None:
    """Still legs and free arms: the arms are followed, noise on the legs is taken out."""
    options = OneEuroOptions(joints=Cutoff(0.2, 0.0), root=Cutoff(0.2, 0.0), arms=Cutoff(30.0, 0.0))
    found = run_smoother(OneEuroSmoother(options), noisy := clip(noise=0.05))
    late = slice(30, None)
    arms = np.abs(found.pose - noisy.saw_pose)[late, 16:20].max()
    legs = np.abs(found.pose - noisy.saw_pose)[late, 1:9].max()
    assert arms < 0.02 < 0.1 < legs


def test_delays_are_found_to_a_fraction_of_a_frame() -> None:
    time_s = np.arange(90) / 30
    truth, late = (np.sin(4 * t)[:, None, None] * np.ones((1, 24, 3)) for t in (time_s, time_s - 0.05))
    assert delay_s(late, truth, 30.0) == pytest.approx(0.05, abs=0.005)


def test_feet_that_slide_and_wrists_that_slow_down() -> None:
    truth = posed_joints(BODY, *(getattr(clip(), n) for n in ("pose", "betas", "transl_m")))
    slid = truth + np.arange(60)[:, None, None] / 30 * np.array([0.2, 0, 0])
    assert foot_slide_mm_s(slid, truth, 30.0) == pytest.approx(200, rel=1e-3)
    own = truth - truth[:, :1]
    assert wrist_speed_ratio(0.7 * own, own, 30.0) == pytest.approx(0.7, rel=1e-3)


class Late:
    """Answers with what came in three frames ago, and says so."""

    lag_s = 0.1

    def __init__(self) -> None:
        self.past = []

    def reset(self) -> None:
        self.past.clear()

    def update(self, estimates, time_s):
        self.past.append(estimates)
        return self.past[max(0, len(self.past) - 4)]


def test_late_answers_are_put_where_they_belong() -> None:
    noisy = clip(noise=0.1)
    found = run_smoother(Late(), noisy)  # type: ignore[arg-type]
    np.testing.assert_array_equal(found.pose, noisy.saw_pose)


def test_a_gap_holds_the_last_estimate_without_a_score() -> None:
    hidden_clip, hidden = with_gap(clip(noise=0.1), 0.5)
    assert hidden.sum() == 15 and (hidden_clip.score[hidden] == 0).all() and (hidden_clip.score[~hidden] == 1).all()
    first = int(np.flatnonzero(hidden)[0])
    assert (hidden_clip.saw_pose[hidden] == hidden_clip.saw_pose[first - 1]).all()


@pytest.mark.parametrize("rate_hz", [15.0, 24.0, 30.0, 60.0, 0.0])
def test_all_frame_rates_have_every_third_of_a_second(rate_hz: float) -> None:
    fine = clip(240)
    keep = frames_at(fine, rate_hz, np.random.default_rng(0))
    assert set(range(0, 200, 40)) <= set(keep.tolist())
    assert (np.diff(keep) > 0).all() and len(thinned(fine, keep)) == len(keep)
    if rate_hz:
        assert len(keep) == round(240 * rate_hz / 120)


def test_the_command_writes_its_figures_and_the_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clip(45, noise=0.1).save(tmp_path / "000_x.npz")
    out, picture = tmp_path / "out.json", tmp_path / "out.png"
    words = ["smooth", "--pairs", str(tmp_path), "--lags", "0.1", "--json", str(out), "--picture", str(picture)]
    assert evaluation_main.main(words) == 0
    results = json.loads(out.read_text())
    assert set(results) == {"raw", "one-euro", "one-euro tuned", "diffusion 0.1 s", "diffusion offline"}
    raw, ours = results["raw"]["all"], results["diffusion 0.1 s"]["all"]
    assert ours["accel_mm_frame2"] < raw["accel_mm_frame2"] / 3
    assert picture.stat().st_size > 1000 and "MPJPE mm" in capsys.readouterr().out


def test_without_errors_the_raw_motion_is_right_and_the_smoother_keeps_its_peaks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clip(75, noise=0.2).save(tmp_path / "000_x.npz")
    out, picture = tmp_path / "out.json", tmp_path / "out.png"
    words = ["smooth", "--pairs", str(tmp_path), "--lags", "0.1", "--clean"]
    assert evaluation_main.main([*words, "--json", str(out), "--picture", str(picture)]) == 0
    results = json.loads(out.read_text())
    assert results["raw"]["all"]["mpjpe_mm"] == 0
    for name in ("diffusion 0.1 s", "diffusion offline"):
        assert 0.9 < results[name]["all"]["wrist_speed_ratio"] < 1.1, name
        assert results[name]["all"]["mpjpe_mm"] < 12, name


def test_gaps_can_be_put_anywhere() -> None:
    for place in (0.2, 0.8):
        _, hidden = with_gap(clip(), 0.2, place)
        assert abs(np.flatnonzero(hidden).mean() - place * 59) < 1


def test_a_frame_waits_until_a_later_one_is_old_enough() -> None:
    assert wait_s(30.0, 0.1) == pytest.approx(0.1)
    assert wait_s(15.0, 0.1) == pytest.approx(2 / 15)
    assert wait_s(24.0, 0.1) == pytest.approx(0.125)
    assert wait_s(60.0, 0.0) == 0


def test_no_clips_is_a_mistake_of_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluation_main.main(["smooth"]) == 2
    assert "give motion clips" in capsys.readouterr().err
    assert evaluation_main.main(["smooth", str(tmp_path / "none.bvh")]) == 2
    assert "none.bvh: no such motion file" in capsys.readouterr().err


def test_measure_can_be_asked_about_some_frames_alone() -> None:
    paired = clip()
    found = run_smoother(NoSmoother(), paired)
    pose = found.pose.copy()
    pose[50:, 1] = axis_angle_to_matrix(np.array([0.5, 0, 0])).astype(np.float32)
    wrong = Smoothed(pose, found.betas, found.transl_m, found.ms)
    rows = np.arange(60) < 50
    assert measure(case_of("x", paired, BODY), wrong, BODY, rows)["mpjpe_mm"] < 0.1
    assert measure(case_of("x", paired, BODY), wrong, BODY, ~rows)["mpjpe_mm"] > 5
