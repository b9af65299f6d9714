"""The error model: what is drawn from it is what was measured, at any frame rate."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bodycast.hmr.geometry.rotations import axis_angle_to_matrix, geodesic_distance
from training.motion.error_model import (
    ERROR_MODEL,
    ErrorModel,
    Strength,
    draw_errors,
    errors_of,
    fit,
    from_place,
    observe,
    place_of,
    with_errors,
)
from training.motion.pairs import PairedMotion


def standing(rng: np.random.Generator, clips: int, frames: int, fps: float = 30.0):
    """Poses (B,T,24,3,3) of people who hold different poses, translations and times."""
    held = axis_angle_to_matrix(rng.normal(0, 0.3, (clips, 1, 24, 3))).astype(np.float32)
    time_s = np.tile(np.arange(frames) / fps, (clips, 1))
    return (
        np.tile(held, (1, frames, 1, 1, 1)),
        np.tile(np.array([0.2, 0.1, 3.0], np.float32), (clips, frames, 1)),
        time_s,
    )


@pytest.fixture(scope="module")
def model() -> ErrorModel:
    return ErrorModel.load()


def pairs_drawn_from(model: ErrorModel, rng: np.random.Generator, clips: int, frames: int) -> list[PairedMotion]:
    pose, transl, time_s = standing(rng, clips, frames)
    saw_pose, saw_transl, seen = observe(model, rng, pose, transl, time_s)
    zeros = np.zeros((frames, 10), np.float32)
    return [
        PairedMotion(
            time_s[k], pose[k], transl[k], zeros, saw_pose[k], saw_transl[k], zeros, seen[k].astype(np.float32),
            np.float64(30), np.array([0, -1, 0], np.float32),
        )
        for k in range(clips)
    ]  # fmt: skip


def test_errors_and_estimates_are_each_others_inverse() -> None:
    rng = np.random.default_rng(1)
    pose, transl, _ = standing(rng, 2, 3)
    errors = rng.normal(0, 0.2, (2, 3, 75)).astype(np.float32)
    np.testing.assert_allclose(errors_of(pose, transl, *with_errors(pose, transl, errors)), errors, atol=2e-3)
    np.testing.assert_allclose(from_place(place_of(transl)), transl, rtol=1e-5)


def test_no_strength_no_error(model: ErrorModel) -> None:
    rng = np.random.default_rng(2)
    pose, transl, time_s = standing(rng, 3, 8)
    none = Strength(bias=0.0, noise=0.0, depth=0.0, events=0.0)
    saw_pose, saw_transl, seen = observe(model, rng, pose, transl, time_s, none)
    np.testing.assert_allclose(saw_pose, pose, atol=1e-5)
    np.testing.assert_allclose(saw_transl, transl, rtol=1e-5)
    assert seen.all()


def test_what_is_drawn_is_measured_again(model: ErrorModel) -> None:
    """Spread, correlation over time and rate of turns of a model fitted to draws are those of the model itself."""
    pairs = pairs_drawn_from(model, np.random.default_rng(3), 60, 90)
    again = fit(pairs, "again")

    def spread(m: ErrorModel) -> float:
        return float(
            np.sqrt((m.basis[:, 3:72] ** 2 * m.variances[:, 1:].sum(1)[:, None]).sum() + (m.rest_std**2).sum())
        )

    assert spread(again) == pytest.approx(spread(model), rel=0.25)
    slow = [float(m.variances[:, 1:3].sum() / m.variances[:, 1:].sum()) for m in (model, again)]
    assert slow[1] == pytest.approx(slow[0], abs=0.2)
    assert float(again.turns_per_s * again.turn_s) == pytest.approx(float(model.turns_per_s * model.turn_s), rel=0.6)


def test_errors_do_not_depend_on_the_frame_rate(model: ErrorModel) -> None:
    """How far an error moves in 0.2 s is the same whether there are 2 or 11 frames between."""
    moved = []
    for frames, fps in ((3, 10.0), (13, 60.0)):
        rng = np.random.default_rng(4)
        pose, _, time_s = standing(rng, 400, frames, fps)
        errors, _, _ = draw_errors(model, rng, pose, time_s, Strength(events=0.0))
        moved.append(float(np.abs(errors[:, -1] - errors[:, 0]).mean()))
    assert moved[0] == pytest.approx(moved[1], rel=0.05)


def test_turned_people_face_the_other_way(model: ErrorModel) -> None:
    rng = np.random.default_rng(5)
    pose, transl, time_s = standing(rng, 200, 30)
    only_events = Strength(bias=0.0, noise=0.0, depth=0.0, events=1.0)
    saw_pose, _, _ = observe(model, rng, pose, transl, time_s, only_events)
    angle = np.rad2deg(geodesic_distance(pose[:, :, 0], saw_pose[:, :, 0]))
    turned = angle > 90
    expected = float(model.turns_per_s * model.turn_s)
    assert 0.3 * expected < turned.mean() < 2 * expected
    np.testing.assert_allclose(angle[turned], 180, atol=1)


def test_too_little_to_measure_is_refused(model: ErrorModel) -> None:
    pairs = pairs_drawn_from(model, np.random.default_rng(6), 1, 40)
    with pytest.raises(ValueError, match="at least two clips"):
        fit(pairs, "x")


def test_saved_and_read_again(model: ErrorModel, tmp_path: Path) -> None:
    model.save(tmp_path / "errors.npz")
    again = ErrorModel.load(tmp_path / "errors.npz")
    np.testing.assert_array_equal(again.basis, model.basis)
    with pytest.raises(ValueError, match=r"python -m training\.motion\.measure"):
        ErrorModel.load(tmp_path / "none.npz")
    assert ERROR_MODEL.stat().st_size < 100_000
