"""Windows of an engine's real errors: the frames, the truth at the slots, and what changes neither."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from bodycast.hmr.geometry.rotations import axis_angle_to_matrix
from bodycast.hmr.networks.temporal.motion_window import SLOT_AGES_S
from tests.training.motion.test_motion_data import swinging
from training.motion.error_model import ErrorModel
from training.motion.pair_windows import PairWindows, change_camera
from training.motion.pairs import PairedMotion
from training.motion.windows import MotionWindows, joined, motion_rows

AGES = np.array(SLOT_AGES_S)


def seen_as_it_is(frames: int) -> PairedMotion:
    """A swinging clip 4 m away that an engine sees without errors."""
    clip = swinging(frames)
    transl = (clip.transl_m + np.array([0.3, 0, 4])).astype(np.float32)
    betas = np.zeros((frames, 10), np.float32)
    return PairedMotion(
        time_s=np.arange(frames) / clip.fps,
        pose=clip.pose,
        transl_m=transl,
        betas=betas,
        saw_pose=clip.pose,
        saw_transl_m=transl,
        saw_betas=betas,
        score=np.ones(frames, np.float32),
        fps=np.float64(clip.fps),
        up=np.array([0, -1, 0], np.float32),
    )


def test_what_is_seen_without_errors_is_the_truth_at_its_age() -> None:
    batch = PairWindows([seen_as_it_is(120)], AGES).batch(np.random.default_rng(0), 12, 4)
    assert batch.truth.shape == (12, 4, len(AGES), 147) and batch.weight.shape == batch.age_s.shape
    newest = batch.motion.shape[1] - 4 + torch.arange(4)
    for answer, frame in enumerate(newest):
        assert batch.age_s[:, answer, frame].abs().max() < 1e-6
        assert (batch.weight[:, answer, frame + 1 :] == 0).all()
        torch.testing.assert_close(batch.motion[:, frame], batch.truth[:, answer, 0])
    # Between frames the truth lies on the line through them, at any pace.
    for row in range(12):
        ages = batch.age_s[row, -1].numpy()
        seen = batch.motion[row, :, 60].numpy()
        np.testing.assert_allclose(batch.truth[row, -1, :, 60], np.interp(-AGES, -ages, seen), atol=2e-3)


def test_windows_reach_back_as_far_as_the_oldest_slot() -> None:
    windows = PairWindows([seen_as_it_is(120)], AGES)
    for seed in range(20):
        assert (windows.batch(np.random.default_rng(seed), 8, 4).age_s.amax(-1) > AGES[-1]).all()


def test_frames_with_a_low_score_hardly_count() -> None:
    pair = seen_as_it_is(120)
    pair = replace(pair, score=np.where(np.arange(120) % 2, 0, 1).astype(np.float32))
    weight = PairWindows([pair], AGES).batch(np.random.default_rng(1), 8, 4).weight
    assert weight.max() > 0.8
    assert ((weight == 0) | (weight > 0.8) | (weight < 0.05)).all()


def test_the_camera_rolls_and_comes_nearer_for_all_of_a_row_alike() -> None:
    rng = np.random.default_rng(2)
    turn = axis_angle_to_matrix(rng.normal(0, 1, (5, 7, 24, 3))).astype(np.float32)
    place = (rng.normal(0, 0.5, (5, 7, 3)) + np.array([0, 0, 4])).astype(np.float32)
    motion = motion_rows(turn, place)
    before, again = motion.copy(), motion.copy()
    change_camera(rng, motion, again)
    np.testing.assert_array_equal(motion, again)
    np.testing.assert_array_equal(motion[..., 6:144], before[..., 6:144])
    for first in (0, 3, 144):
        lengths = (np.linalg.norm(rows[..., first : first + 2], axis=-1) for rows in (motion, before))
        np.testing.assert_allclose(*lengths, atol=1e-5)
    angle = [np.arctan2(rows[..., 1], rows[..., 0]) for rows in (motion, before)]
    beside = [np.arctan2(rows[..., 145], rows[..., 144]) for rows in (motion, before)]
    np.testing.assert_allclose(np.exp(1j * (angle[0] - angle[1])), np.exp(1j * (beside[0] - beside[1])), atol=1e-4)
    farther = motion[..., 146] - before[..., 146]
    assert np.ptp(farther, axis=1).max() < 1e-5 < np.ptp(farther[:, 0])


def test_clips_are_held_out_whole(tmp_path: Path) -> None:
    for number, name in enumerate(("a_1", "a_1", "b_1", "c_1")):
        seen_as_it_is(100 + number).save(tmp_path / f"{number:03d}_{name}.npz")
    kept, held = (PairWindows.load(tmp_path, AGES, held_out, one_in=3) for held_out in (False, True))
    assert sorted({len(clip[0]) for clip in kept.clips}) == [100, 101, 102]
    assert {len(clip[0]) for clip in held.clips} == {103}
    with pytest.raises(ValueError, match="too few pairs"):
        PairWindows.load(tmp_path, AGES, held_out=True)
    with pytest.raises(ValueError, match="no pair is as long"):
        PairWindows([seen_as_it_is(30)], AGES)


def test_batches_of_different_lengths_join() -> None:
    rng = np.random.default_rng(4)
    slow = MotionWindows([swinging(120)], ErrorModel.load(), AGES, (15.0,)).batch(rng, 3, 4, (0.1, 1.0))
    real = PairWindows([seen_as_it_is(120)], AGES).batch(rng, 2, 4)
    both = joined(slow, real)
    frames = slow.motion.shape[1]
    assert both.motion.shape[:2] == (5, real.motion.shape[1]) and both.truth.shape[0] == 5
    torch.testing.assert_close(both.motion[:3, -frames:], slow.motion)
    torch.testing.assert_close(both.motion[3:], real.motion)
    assert (both.weight[:3, :, :-frames] == 0).all()
