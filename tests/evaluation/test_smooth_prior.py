"""`python -m evaluation smooth-prior`: windows put together again, and the command on a tiny prior."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from bodycast.hmr.body.motion_vectors import motion_vectors
from bodycast.hmr.networks import registry
from evaluation import __main__ as evaluation_main
from evaluation.smooth_prior import figures, load_decoder, over_windows
from tests.evaluation.test_smooth import clip

SIZES = {
    "frames": 27, "latents": 3, "dim": 16, "heads": 2, "ff_width": 16, "condition_width": 133,
    "denoiser_layers": 1, "vae_encoder_layers": 1, "vae_decoder_layers": 1, "with_vae_encoder": True,
    "motion_conditions": True,
}  # fmt: skip


@pytest.mark.parametrize("count", [28, 53, 54, 100])
def test_windows_that_change_nothing_come_together_as_they_were(count: int) -> None:
    motion = np.random.default_rng(0).normal(size=(count, 133)).astype(np.float32)
    np.testing.assert_allclose(over_windows(27, motion, lambda window: window), motion, atol=1e-5)


def test_a_short_clip_is_stretched_to_a_window_and_back() -> None:
    line = np.linspace(0, 1, 10, dtype=np.float32)[:, None].repeat(133, axis=1)
    seen: list[torch.Size] = []

    def same(window: torch.Tensor) -> torch.Tensor:
        seen.append(window.shape)
        return window

    np.testing.assert_allclose(over_windows(27, line, same), line, atol=1e-5)
    assert seen == [torch.Size([1, 27, 133])]


def test_figures_of_a_body_that_is_off_by_a_centimetre() -> None:
    truth = motion_vectors(clip(40).pose)
    off = truth.copy()
    off[:, 3 : 3 * 24 : 3] += 0.01
    mpjpe, _, accel = figures(off, truth, 30.0)
    assert mpjpe == pytest.approx(10 * 23 / 24, rel=1e-3) and accel < 1e-2


def test_the_command_compares_and_refuses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clip(40, noise=0.1).save(tmp_path / "000_x.npz")
    net = registry.build("diffusion-decoder", **SIZES)
    state = {"model": "diffusion-decoder", "arguments": SIZES, "state_dict": net.state_dict()}
    torch.save(state, tmp_path / "prior.pt")
    assert load_decoder(tmp_path / "prior.pt").frames == 27
    pairs = ["--pairs", str(tmp_path)]
    assert evaluation_main.main(["smooth-prior", str(tmp_path / "prior.pt"), *pairs]) == 0
    table = capsys.readouterr().out
    for row in ("raw", "live smoother, offline", "diffusion decoder", "VAE on the truth"):
        assert row in table
    torch.save({"model": "window-smoother"}, tmp_path / "other.pt")
    assert evaluation_main.main(["smooth-prior", str(tmp_path / "other.pt"), *pairs]) == 2
    assert "expected a checkpoint of training.motion.prior" in capsys.readouterr().err
    assert evaluation_main.main(["smooth-prior", "x.pt", "--pairs", str(tmp_path / "none")]) == 2
    assert "no pairs" in capsys.readouterr().err
