"""Training examples of the live smoother: truth at the slots, frames with their ages and weights."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from bodycast.app.smoothers.diffusion.motion_features import SLOT_AGES_S as SLOTS_OF_THE_PROGRAM
from bodycast.app.smoothers.diffusion.motion_features import motion_rows as rows_of_the_program
from bodycast.app.smoothers.diffusion.motion_features import read
from bodycast.hmr.geometry.rotations import axis_angle_to_matrix
from bodycast.hmr.networks.temporal.motion_window import SLOT_AGES_S, MotionWindow
from tests.training.motion.test_motion_data import swinging
from training.motion.error_model import ErrorModel
from training.motion.windows import MotionWindows, fast_moments_s, motion_rows

AGES = np.array(SLOT_AGES_S)


@pytest.mark.parametrize("rate_hz", [15.0, 30.0, 60.0, 0.0])
def test_a_window_reaches_back_as_far_as_its_oldest_slot(rate_hz: float) -> None:
    windows = MotionWindows([swinging(120)], ErrorModel.load(), AGES, (rate_hz,))
    batch = windows.batch(np.random.default_rng(0), 6, 4, (0.3, 1.0))
    assert batch.truth.shape == (6, 4, len(AGES), 147) and batch.motion.shape[2] == 147
    assert (batch.age_s.amax(-1) > AGES[-1] - 0.05).float().mean() > 0.9
    seen = batch.weight > 0
    assert seen.any(-1).all() and (batch.age_s >= 0).all() and batch.weight.max() <= 2
    # The newest frame of every answer is there, with age 0, and no later one counts.
    newest = batch.motion.shape[1] - 4 + torch.arange(4)
    for answer, frame in enumerate(newest):
        assert batch.age_s[:, answer, frame].abs().max() < 1e-5
        assert (batch.weight[:, answer, frame + 1 :] == 0).all()
    assert torch.isfinite(batch.motion).all() and torch.isfinite(batch.truth).all()


def test_without_errors_the_frames_are_the_truth() -> None:
    windows = MotionWindows([swinging(120)], ErrorModel.load(), AGES, (30.0,))
    batch = windows.batch(np.random.default_rng(1), 4, 4, (0.0, 0.0))
    last = batch.motion.shape[1] - 1
    turned = (batch.motion[:, last] - batch.truth[:, -1, 0])[:, 6:144].abs()
    # Events (a body seen the wrong way round) are drawn at any strength; the depth's error has a factor of its own.
    assert turned.amax(1).median() < 1e-4


def test_both_sides_write_a_frame_the_same_way() -> None:
    clip = swinging(5)
    transl = clip.transl_m + np.array([0, 0, 4], np.float32)
    np.testing.assert_allclose(motion_rows(clip.pose, transl), rows_of_the_program(clip.pose, transl), atol=1e-6)


def test_the_program_reads_a_trajectory_as_it_was_taught() -> None:
    """A trajectory of a motion at the training's slots, read by both sides between them and beyond."""
    window = MotionWindow()
    taught = torch.sin(3 * window.ages_s)[None, :, None].expand(1, -1, 147).float()
    for about_s in (0.0, 0.1, 0.317, 0.65, 1.2, 2.0):
        ours = (window.between(torch.tensor([[about_s]])) @ taught)[:, 0]
        theirs = read(taught.numpy(), np.array(SLOTS_OF_THE_PROGRAM), np.array([about_s]))
        np.testing.assert_allclose(theirs, ours.numpy(), atol=1e-5)


def test_some_windows_are_put_where_something_moves_fast() -> None:
    """Arms that swing by 0.8 rad at 3 Hz for half a second of four."""
    clip = swinging(120)
    turns = np.zeros((120, 24, 3))
    turns[60:75, 16:18, 1] = 0.8 * np.sin(2 * np.pi * 3 * np.arange(15) / 30)[:, None]
    clip = replace(clip, pose=axis_angle_to_matrix(turns).astype(np.float32))
    moments = fast_moments_s(clip)
    assert len(moments) and (moments > 1.8).all() and (moments < 2.6).all()

    def fast_rows(share: float) -> float:
        windows = MotionWindows([clip], ErrorModel.load(), AGES, (30.0,), share)
        batch = windows.batch(np.random.default_rng(0), 64, 4, (0.0, 0.0))
        arm = batch.truth[:, -1, :16, 16 * 6 : 17 * 6]
        return float((arm.diff(dim=1).abs().amax((1, 2)) > 0.1).float().mean())

    assert fast_rows(1.0) > 0.9 > fast_rows(0.0) + 0.2


def test_too_short_motion_is_refused() -> None:
    with pytest.raises(ValueError, match="no believable motion"):
        MotionWindows([swinging(10)], ErrorModel.load(), AGES, (30.0,))
