"""The focal length from somebody who walks, and what `bodycast evaluate world` prints."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bodycast.app.commands.evaluate import main
from bodycast.app.errors import UsageError
from bodycast.app.files.motion_file import Motion, write_motion
from bodycast.app.world.lens import USUAL_SPREAD, LensEstimate, estimate_lens, relens, usual_lens, walk_says
from bodycast.app.world.offline import place_motion
from bodycast.app.world.options import WorldOptions
from bodycast.app.world.report import lens_report
from bodycast.app.world.scores import score_world
from bodycast.hmr.geometry.camera import fov_from_focal
from bodycast.hmr.geometry.ground import Floor
from tests.sinks.results import embedded_body
from tests.world.scenes import Seen, motion_of, on_floor, pixels, see, smoothed_of, upright, walking

FLOOR = Floor.of_angles(0.1, 0.0, 1.5)


def walk(heading_rad: float = 0.0, start: tuple[float, float, float] = (0.2, 0.0, -8.0)) -> Seen:
    """Six seconds at 110 steps a minute, 0.715 m each."""
    pose, root, _ = walking(180, 110, 0.49, heading_rad)
    return see(pose, root + np.array(start, np.float32), FLOOR)


def under(seen: Seen, ratio: float) -> Seen:
    """The same pictures under a focal length that is `ratio` times as long."""
    root, turn = relens(seen.root_m.astype(np.float64), seen.pose[:, 0].astype(np.float64), ratio)
    pose = seen.pose.copy()
    pose[:, 0] = turn
    return Seen(pose, root.astype(np.float32))


@pytest.mark.parametrize("true_over_assumed", [0.8, 1.0, 1.3])
def test_a_walk_towards_the_camera_says_the_focal_length(true_over_assumed: float) -> None:
    said = walk_says(under(walk(), 1 / true_over_assumed).series())
    assert said is not None
    assert np.exp(said[0]) == pytest.approx(true_over_assumed, rel=0.06)
    lens = estimate_lens([under(walk(), 1 / true_over_assumed).series()] * 3)
    # It is weighed against the usual lens, and three walks count more than one.
    assert lens.walks == 3
    assert abs(lens.log_ratio) <= abs(np.log(true_over_assumed)) + 0.06
    assert lens.spread < estimate_lens([walk().series()]).spread < USUAL_SPREAD


def test_who_walks_across_or_stands_says_nothing_of_the_lens() -> None:
    assert walk_says(walk(np.pi / 2, (-3.0, 0.0, -6.0)).series()) is None
    still = upright(120)
    assert walk_says(see(still, on_floor(still, (0, -4)), FLOOR).series()) is None
    assert estimate_lens([]) == LensEstimate(0.0, USUAL_SPREAD, 0)


def test_another_focal_length_keeps_the_picture_of_the_root() -> None:
    seen = walk()
    root, _ = relens(seen.root_m.astype(np.float64), seen.pose[:, 0].astype(np.float64), 1.25)
    from bodycast.hmr.geometry.camera import Intrinsics

    before = Intrinsics.from_focal(1000, (1280, 720))
    after = Intrinsics.from_focal(1250, (1280, 720))
    np.testing.assert_allclose(pixels(root, after), pixels(seen.root_m, before), atol=0.01)


def test_the_usual_lens_has_65_degrees_and_the_report_says_where_it_is_from() -> None:
    lens = usual_lens((1920, 1080))
    assert np.degrees(fov_from_focal(lens.focal_px, (1920, 1080))) == pytest.approx(65)
    guessed = lens_report(lens.focal_px, (1920, 1080), LensEstimate(0.0, 0.16, 1), WorldOptions())
    assert guessed.lines()[0] == f"lens: {lens.focal_px:.0f} px, 65 degrees (the usual lens, and 1 walk, within 16%)"
    known = lens_report(1000.0, (1920, 1080), LensEstimate(), WorldOptions(lens_from="--focal-px"))
    assert known.lines()[0].endswith("(--focal-px)")


def test_a_walk_corrects_the_lens_of_a_clip() -> None:
    motion = motion_of({1: under(walk(), 0.75)})
    placed, report = place_motion(motion, smoothed_of(motion), embedded_body(), WorldOptions())
    assert motion.focal_px < placed.focal_px < motion.focal_px / 0.75
    assert report.focal_px == pytest.approx(placed.focal_px, abs=0.1)
    given, _ = place_motion(motion, smoothed_of(motion), embedded_body(), WorldOptions(lens_from="--fov-deg"))
    assert given.focal_px == motion.focal_px


@pytest.fixture()
def truth() -> Motion:
    pose = upright(60, 0.2)
    return motion_of({1: see(pose, on_floor(pose, (0.3, -4.5)), FLOOR), 2: walk()}, FLOOR)


def test_the_truth_scores_perfectly(truth: Motion) -> None:
    scores = score_world(truth, truth, embedded_body())
    assert list(scores) == [1, 2]
    for figures in scores.values():
        for name in ("w_mpjpe_mm", "wa_mpjpe_mm", "root_mm", "bones_percent", "height_off_m"):
            assert abs(figures[name]) < 0.05, name
        assert abs(figures["deepest_cm"]) < 0.5
    assert scores[1]["slide_cm_s"] < 0.01
    assert scores[1]["stand_height_m"] < 1e-3
    assert scores[1]["stand_depth_m"] < 1e-3


def test_a_shift_a_slide_and_a_sinking_are_seen(truth: Motion) -> None:
    body, one = embedded_body(), truth.of_person(1)
    moved = one.joints_world.copy()
    drift = np.linspace(0, 0.6, len(one), dtype=np.float32)
    moved[..., 0] += drift[:, None]
    moved[..., 1] -= 0.05
    trans = one.trans_world + np.stack([drift, np.full_like(drift, -0.05), 0 * drift], axis=1)
    figures = score_world(replace(one, joints_world=moved, trans_world=trans), one, body)[1]
    assert figures["slide_cm_s"] == pytest.approx(100 * 0.6 / 59 * 30, rel=0.02)
    assert figures["deepest_cm"] == pytest.approx(5, abs=0.5)
    assert figures["deeper_than_3cm"] == pytest.approx(1)
    assert figures["w_mpjpe_mm"] > figures["wa_mpjpe_mm"] > 10
    away = one.joints_3d + np.stack([0 * drift, 0 * drift, drift], axis=1)[:, None]
    depth = score_world(replace(one, joints_3d=away), one, body)[1]
    assert depth["stand_depth_m"] == pytest.approx(0.95 * 0.6, rel=0.05)


def test_evaluate_world_prints_figures_and_refuses_files_without_a_world(
    truth: Motion, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_motion(tmp_path / "truth.npz", truth)
    pair = [str(tmp_path / "truth.npz")] * 2
    assert main(["world", *pair], "bodycast evaluate") == 0
    lines = capsys.readouterr().out.splitlines()
    for name in ("w_mpjpe_mm", "wa_mpjpe_mm", "root_mm", "slide_cm_s", "deepest_cm", "jitter", "bones_percent"):
        assert name in lines[0]
    assert [line.split()[0] for line in lines[1:]] == ["truth", "truth", "truth", "mean"]
    assert "focal length +0.0%" in lines[3]
    nowhere = {
        name: np.full_like(getattr(truth, name), np.nan)
        for name in ("joints_world", "trans_world", "root_orient_world")
    }
    write_motion(tmp_path / "nowhere.npz", replace(truth, **nowhere))
    with pytest.raises(UsageError, match="no world coordinates"):
        main(["world", str(tmp_path / "nowhere.npz"), pair[0]], "bodycast evaluate")
    with pytest.raises(UsageError, match="truth has no world"):
        main(["world", pair[0], str(tmp_path / "nowhere.npz")], "bodycast evaluate")
    with pytest.raises(UsageError, match="pairs"):
        main(["world", pair[0]], "bodycast evaluate")
    with pytest.raises(UsageError, match="there is: world"):
        main(["places"], "bodycast evaluate")
