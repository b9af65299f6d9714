"""The diffusion decoder: official tensors, the schedule's algebra, sizes of the paper, its graph."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bodycast.hmr.networks.temporal.diffusion_decoder import Denoiser, DiffusionDecoder, resample_frames
from bodycast.hmr.networks.temporal.motion_vae import MotionVae
from bodycast.hmr.networks.temporal.noise_schedule import NoiseSchedule, velocity_and_noise_loss
from evaluation.goldens.record import Golden
from evaluation.goldens.runner import check
from tests.networks.onnx_helpers import build_with_tensorrt_rtx, export_and_compare


@pytest.mark.parametrize("name", ["mld_denoiser", "diffusion_schedule"])
def test_equals_the_official_code(goldens_dir: Path, name):
    rows = check(Golden.load(goldens_dir / f"{name}.npz"))
    assert rows and all(row.status == "ok" for row in rows), rows


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 999), st.booleans())
def test_velocity_gives_back_latents_and_noise(t, zero_snr):
    schedule = NoiseSchedule(zero_terminal_snr=zero_snr)
    generator = torch.Generator().manual_seed(t)
    z0, noise = torch.randn(2, 3, 8, generator=generator), torch.randn(2, 3, 8, generator=generator)
    z_t, v = schedule.add_noise(z0, noise, t), schedule.velocity(z0, noise, t)
    found = schedule.denoise(z_t, v, t)
    torch.testing.assert_close(found.z0, z0, atol=1e-5, rtol=0)
    torch.testing.assert_close(found.noise, noise, atol=1e-5, rtol=0)


def test_last_step_is_pure_noise_and_one_step_is_minus_velocity():
    schedule = NoiseSchedule()
    assert schedule.alphas_cumprod[-1] == 0 and (schedule.alphas_cumprod.diff() < 0).all()
    assert schedule.timesteps(1) == [999]
    noise, v = torch.randn(2, 3, 8), torch.randn(2, 3, 8)
    assert torch.equal(schedule.sample(lambda z, t: v, noise), -v)


@pytest.mark.parametrize("count", [1, 5, 50])
def test_sampling_with_the_true_velocity_finds_the_latents(count):
    """A model that knows z0 must be followed to z0 in any number of steps."""
    schedule = NoiseSchedule()
    z0, noise = torch.randn(2, 3, 8), torch.randn(2, 3, 8)
    visited = []

    def oracle(z, t):
        visited.append(t)
        signal, spread = schedule._roots(t, z)
        return schedule.velocity(z0, (z - signal * z0) / spread, t)

    torch.testing.assert_close(schedule.sample(oracle, noise, count), z0, atol=1e-4, rtol=0)
    assert visited == schedule.timesteps(count) and visited[0] == 999
    with pytest.raises(ValueError, match=r"must be 1\.\.1000, got 0"):
        schedule.timesteps(0)


def test_loss_vanishes_only_at_the_true_velocity():
    schedule = NoiseSchedule()
    z0, noise, t = torch.randn(4, 3, 8), torch.randn(4, 3, 8), torch.tensor([0, 300, 700, 999])
    v = schedule.velocity(z0, noise, t)
    assert velocity_and_noise_loss(schedule, v, z0, noise, t) < 1e-9
    assert velocity_and_noise_loss(schedule, v + 0.1, z0, noise, t) > 0.01


def tiny(frames: int = 6, **changes) -> DiffusionDecoder:
    torch.manual_seed(0)
    sizes = {"latents": 3, "dim": 16, "heads": 2, "ff_width": 24}
    vae = MotionVae(features=133, encoder_layers=3, decoder_layers=3, **sizes)
    return DiffusionDecoder(vae, Denoiser(condition_width=12, layers=3, **sizes), frames, **changes).eval()


def test_every_parameter_learns_and_batches_agree():
    model = tiny().drop_encoder()
    conditions = torch.randn(5, 6, 12)
    motion = model(conditions)
    assert motion.shape == (5, 6, 133) and torch.isfinite(motion).all()
    motion.square().mean().backward()
    # The noise at the only step is fixed and t is 999: every parameter still takes part.
    assert not [n for n, p in model.named_parameters() if p.grad is None]
    with torch.no_grad():
        torch.testing.assert_close(model(conditions[1:2]), model(conditions)[1:2], atol=1e-5, rtol=0)
        torch.testing.assert_close(model(conditions), tiny()(conditions))
    with pytest.raises(ValueError, match="window has 6 frames, got 7"):
        model(torch.zeros(1, 7, 12))


def test_denoiser_reads_time_and_conditions():
    denoiser = tiny().denoiser
    z, conditions = torch.randn(2, 3, 16), torch.randn(2, 6, 12)
    with torch.no_grad():
        base = denoiser(z, 5, conditions)
        torch.testing.assert_close(denoiser(z, torch.tensor([5, 5]), conditions), base)
        assert (denoiser(z, 700, conditions) - base).abs().max() > 1e-3
        assert (denoiser(z, 5, -conditions) - base).abs().max() > 1e-3
        mixed = denoiser(z, torch.tensor([5, 700]), conditions)
    torch.testing.assert_close(mixed[0], base[0])


def test_normalisation_is_undone():
    model, conditions = tiny(), torch.randn(1, 6, 12)
    with torch.no_grad():
        plain = model(conditions)
        model.motion_mean += 3.0
        model.motion_std *= 2.0
        torch.testing.assert_close(model(conditions), 2 * plain + 3)


def test_resampling_keeps_the_ends():
    ramp = torch.arange(5.0).reshape(1, 5, 1)
    torch.testing.assert_close(resample_frames(ramp, 9).flatten(), torch.arange(9.0) / 2)
    torch.testing.assert_close(resample_frames(resample_frames(ramp, 243), 5), ramp)
    assert resample_frames(ramp[:, :1], 4).shape == (1, 4, 1)


@pytest.mark.trt
@pytest.mark.parametrize("steps", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_exports_with_a_fixed_window_and_a_free_batch(tmp_path, steps):
    model = tiny(steps=steps).drop_encoder()
    build_with_tensorrt_rtx(export_and_compare(model, [torch.randn(3, 6, 12)], ["motion"], tmp_path))
