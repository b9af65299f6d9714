"""Windows of real pairs as motion vectors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bodycast.hmr.body.body_model import mirror_pose
from bodycast.hmr.body.motion_vectors import motion_vectors
from tests.training.motion.test_motion_data import swinging
from training.motion.data import MotionClip
from training.motion.pair_motions import PairMotions
from training.motion.pairs import PairedMotion, load_pairs


def pair_of(clip: MotionClip, late_frames: int = 0) -> PairedMotion:
    """An engine that sees a clip as it is, or so many frames late."""
    seen = np.maximum(np.arange(len(clip)) - late_frames, 0)
    return PairedMotion(
        time_s=np.arange(len(clip)) / clip.fps,
        pose=clip.pose,
        transl_m=clip.transl_m,
        betas=np.zeros((len(clip), 10), np.float32),
        saw_pose=clip.pose[seen],
        saw_transl_m=clip.transl_m[seen],
        saw_betas=np.zeros((len(clip), 10), np.float32),
        score=np.ones(len(clip), np.float32),
        fps=np.float64(clip.fps),
        up=np.array([0, -1, 0], np.float32),
    )


def test_truth_and_estimate_stay_beside_each_other() -> None:
    clip = swinging(frames=90)
    motions = PairMotions([pair_of(clip, late_frames=3)], frames=27, rate_hz=clip.fps)
    true, saw = motions.draw(np.random.default_rng(1), 16)
    assert true.shape == saw.shape == (16, 27, 133)
    assert np.isfinite(true).all()
    # At the clip's own pace the estimate is the truth three frames before, or, played backwards, after.
    before = np.abs(true[:, :-3] - saw[:, 3:]).mean((1, 2))
    after = np.abs(true[:, 3:] - saw[:, :-3]).mean((1, 2))
    assert (np.minimum(before, after) < 0.25 * np.abs(true - saw).mean((1, 2))).all()
    assert (before < after).any() and (after < before).any()


def test_the_mirrored_clip_is_among_them() -> None:
    clip = swinging(frames=60)
    motions = PairMotions([pair_of(clip)], frames=9, rate_hz=clip.fps)
    stored = [true for true, _, _ in motions.clips]
    for wanted in (motion_vectors(clip.pose), motion_vectors(mirror_pose(clip.pose))):
        assert any(np.allclose(wanted, found, atol=1e-5) for found in stored)


def test_the_camera_is_rolled_about_its_line_of_sight() -> None:
    clip = swinging(frames=60)
    motions = PairMotions([pair_of(clip)], frames=9, rate_hz=clip.fps)
    true, saw = motions.draw(np.random.default_rng(0), 32)
    np.testing.assert_array_equal(true, saw)
    joints = true[..., :87].reshape(32, 9, 29, 3)
    stored = np.concatenate([motion for motion, _, _ in motions.clips])[:, :87].reshape(-1, 29, 3)
    # The head's way from the pelvis: as deep as it was, turned in the picture.
    depths, angles = stored[:, 15, 2], np.arctan2(stored[:, 15, 1], stored[:, 15, 0])
    assert depths.min() - 1e-4 < joints[..., 15, 2].min() and joints[..., 15, 2].max() < depths.max() + 1e-4
    assert np.ptp(np.arctan2(joints[..., 15, 1], joints[..., 15, 0])) > np.ptp(angles) + 0.1


def test_clips_shorter_than_a_window_are_no_use(tmp_path: Path) -> None:
    clip = swinging(frames=20)
    with pytest.raises(ValueError, match="no pair is as long"):
        PairMotions([pair_of(clip)], frames=27, rate_hz=clip.fps)
    with pytest.raises(ValueError, match="too few pairs"):
        load_pairs(tmp_path, held_out=False)
    long = swinging(frames=90)
    for number in range(8):
        pair_of(long).save(tmp_path / f"{number:03d}_clip{number}.npz")
    assert len(load_pairs(tmp_path, held_out=False)) == 7
    assert len(PairMotions.load(tmp_path, 27, long.fps, held_out=True).clips) == 4
