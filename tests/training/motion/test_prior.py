"""The motion VAE and the diffusion decoder learn, and their checkpoint can be exported from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from bodycast.hmr.networks import registry
from tests.training.motion.test_motion_data import swinging
from tests.training.motion.test_pair_motions import pair_of
from training.motion.data import MotionClip
from training.motion.error_model import ErrorModel
from training.motion.pair_motions import PairMotions
from training.motion.prior import PriorOptimiser, PriorTraining, joint_error_mm, load_prior_recipe, waves
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
    training.train(training.net.vae, training.vae_loss, 1e9, steps=120)
    assert training.score(training.windows, rows=8)["vae_mm"] < 0.9 * before


def test_the_denoiser_leaves_the_vae_alone_and_its_checkpoint_fits_the_registry(training: PriorTraining) -> None:
    before = {name: value.clone() for name, value in training.net.vae.state_dict().items()}
    training.train(training.net.denoiser, training.denoiser_loss, 1e9, steps=3)
    for name, value in training.net.vae.state_dict().items():
        assert torch.equal(before[name], value), name
    state = training.checkpoint()
    again = registry.build(state["model"], **state["arguments"])
    again.load_state_dict(state["state_dict"])
    conditions = torch.zeros(2, 27, 133)
    torch.testing.assert_close(again.eval()(conditions), training.net.eval()(conditions))


def test_in_the_end_the_decoder_learns_the_motion_itself(training: PriorTraining) -> None:
    before = training.score(training.windows, rows=8)["decoded_mm"]
    training.train(training.net, training.answer_loss, 1e9, steps=150)
    assert training.score(training.windows, rows=8)["decoded_mm"] < 0.9 * before
    assert load_prior_recipe("motion-prior-small-answers").answer_share == 1


def test_shares_of_more_than_the_whole_time_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    path.write_text('name = "x"\nframes = 9\nanswer_share = 0.5\n', encoding="utf-8")
    with pytest.raises(ValueError, match="add to 1 at most"):
        load_prior_recipe(str(path))


def test_positions_begin_as_waves_that_tell_every_frame_from_every_other(training: PriorTraining) -> None:
    net = PriorTraining(training.recipe, training.windows).net
    for frames in (
        net.vae.query_pos_decoder.pe[:27, 0],
        net.vae.query_pos_encoder.pe[3:30, 0],
        net.denoiser.query_pos.pe[4:31, 0],
    ):
        alike = torch.nn.functional.cosine_similarity(frames[:, None], frames[None], dim=-1).detach()
        assert float((alike - 2 * torch.eye(27)).max()) < 0.999
        assert float(alike[0, 1]) > float(alike[0, 13])
    middles = waves(torch.tensor([4.5, 13.5, 22.5]), 16, 27)
    torch.testing.assert_close(net.vae.query_pos_encoder.pe[:3, 0], middles)
    assert tuple(waves(torch.arange(4), 7, 27).shape) == (4, 7)


def test_a_recipe_may_ask_for_no_other_optimiser(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    path.write_text('name = "x"\nframes = 9\noptimiser = "sgd"\n', encoding="utf-8")
    with pytest.raises(ValueError, match="must be adamw or muon, got 'sgd'"):
        load_prior_recipe(str(path))


@pytest.mark.parametrize("muon", [True, False])
def test_every_weight_has_one_optimiser(training: PriorTraining, muon: bool) -> None:
    optimiser = PriorOptimiser(training.net.vae, muon)
    held = [p for part, _ in optimiser.parts for group in part.param_groups for p in group["params"]]
    assert sorted(map(id, held)) == sorted(map(id, training.net.vae.parameters()))
    assert len(optimiser.parts) == 1 + muon


def test_the_denoiser_learns_from_pairs_and_from_the_error_model(training: PriorTraining) -> None:
    pairs = PairMotions([pair_of(swinging(frames=90))], frames=27, rate_hz=30.0)
    mixed = PriorTraining(replace(training.recipe, pair_share=0.5), training.windows, pairs=pairs)
    motion, saw = mixed._draw(np.random.default_rng(0), 8)
    off = (motion - saw).norm(dim=-1).mean(-1)
    assert motion.shape == saw.shape == (8, 27, 133)
    assert float(off[:4].max()) < 1e-6 < float(off[4:].min())  # this pair is without errors
    before = mixed.score(training.windows, pairs, rows=8)["decoded_mm"]
    mixed.train(mixed.net.denoiser, mixed.denoiser_loss, 1e9, steps=60)
    assert mixed.score(training.windows, pairs, rows=8)["decoded_mm"] < before


def test_errors_are_of_the_joints_alone() -> None:
    truth = torch.zeros(2, 3, 133)
    found = truth.clone()
    found[..., 0] = 0.029
    found[..., 90:] = 5.0
    assert joint_error_mm(found, truth) == pytest.approx(1.0)
