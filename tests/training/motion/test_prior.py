"""The motion VAE and the diffusion decoder learn, and their checkpoint can be exported from."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from hmr.networks import registry
from tests.training.motion.test_motion_data import swinging
from training.motion.data import MotionClip
from training.motion.error_model import ErrorModel
from training.motion.prior import PriorTraining, joint_error_mm, load_prior_recipe
from training.motion.windows import MotionWindows


@pytest.fixture(scope="module")
def training() -> PriorTraining:
    clip: MotionClip = swinging(frames=90)
    windows = MotionWindows([clip], ErrorModel.load(), np.array([0.0, 0.9]), (30.0,))
    small = load_prior_recipe("motion-prior-small")
    vae = small.vae | {"dim": 16, "latents": 3, "encoder_layers": 1, "decoder_layers": 1, "heads": 2, "ff_width": 16}
    denoiser = small.denoiser | {"layers": 1, "heads": 2, "ff_width": 16}
    return PriorTraining(replace(small, frames=27, batch=4, lr=3e-3, vae=vae, denoiser=denoiser), windows)


def test_fasthmrs_recipe_has_the_papers_sizes() -> None:
    recipe = load_prior_recipe("motion-prior-fasthmr")
    assert (recipe.frames, recipe.vae["latents"], recipe.vae["dim"], recipe.denoiser["layers"]) == (243, 27, 512, 5)
    with pytest.raises(ValueError, match="no recipe 'x'"):
        load_prior_recipe("x")


def test_the_vae_learns_to_rebuild_motion(training: PriorTraining) -> None:
    before = training.score(training.windows, rows=8)["vae_mm"]
    training.train(list(training.net.vae.parameters()), training.vae_loss, 1e9, steps=120)
    assert training.score(training.windows, rows=8)["vae_mm"] < 0.9 * before


def test_the_denoiser_leaves_the_vae_alone_and_its_checkpoint_fits_the_registry(training: PriorTraining) -> None:
    before = {name: value.clone() for name, value in training.net.vae.state_dict().items()}
    training.train(list(training.net.denoiser.parameters()), training.denoiser_loss, 1e9, steps=3)
    for name, value in training.net.vae.state_dict().items():
        assert torch.equal(before[name], value), name
    state = training.checkpoint()
    again = registry.build(state["model"], **state["arguments"])
    again.load_state_dict(state["state_dict"])
    conditions = torch.zeros(2, 27, 133)
    torch.testing.assert_close(again.eval()(conditions), training.net.eval()(conditions))


def test_errors_are_of_the_joints_alone() -> None:
    truth = torch.zeros(2, 3, 133)
    found = truth.clone()
    found[..., 0] = 0.029
    found[..., 90:] = 5.0
    assert joint_error_mm(found, truth) == pytest.approx(1.0)
