"""Training examples of the live smoother: truth at the slots, frames with their ages and weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from app.smoothers.diffusion import frame_weights
from app.smoothers.diffusion import motion_rows as rows_of_the_program
from hmr.networks.temporal.motion_window import SLOT_AGES_S
from tests.training.motion.test_motion_data import swinging
from training.motion.error_model import ErrorModel
from training.motion.windows import MotionWindows, motion_rows

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


def test_frames_weigh_as_much_as_the_time_they_stand_for() -> None:
    np.testing.assert_allclose(frame_weights(np.arange(5, 0, -1, dtype=np.float32) / 30), 1, rtol=1e-5)
    np.testing.assert_allclose(frame_weights(np.arange(5, 0, -1, dtype=np.float32) / 60), 0.5, rtol=1e-5)
    burst = frame_weights(np.array([0.2, 0.1, 0.09, 0.08, 0.0], np.float32))
    assert burst[2] < 0.5 < burst[1] and burst.max() <= 2
    assert frame_weights(np.zeros(1, np.float32)).tolist() == [1.0]


def test_too_short_motion_is_refused() -> None:
    with pytest.raises(ValueError, match="no believable motion"):
        MotionWindows([swinging(10)], ErrorModel.load(), AGES, (30.0,))
