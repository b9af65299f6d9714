"""The motion VAE: official tensors, masks, both variants, its losses and its graph."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from bodycast.hmr.networks.temporal.motion_vae import (
    MOTION_FEATURES,
    LatentDistribution,
    MotionVae,
    motion_vae_loss,
    pack_motion,
    unpack_motion,
)
from bodycast.hmr.networks.temporal.skip_transformer import SkipTransformer
from evaluation.goldens.record import Golden
from evaluation.goldens.runner import check
from tests.networks.onnx_helpers import build_with_tensorrt_rtx, export_and_compare

SIZES = {"latents": 3, "dim": 16, "encoder_layers": 3, "decoder_layers": 3, "heads": 2, "ff_width": 24}


@pytest.mark.parametrize("name", ["mld_vae", "mld_vae_allenc"])
def test_equals_the_official_network(shared_dir: Path, name):
    rows = check(Golden.load(shared_dir / "goldens" / f"{name}.npz"))
    assert rows and all(row.status == "ok" for row in rows), rows


def tiny(variant="cross_attention", **changes) -> MotionVae:
    torch.manual_seed(0)
    return MotionVae(features=10, variant=variant, **(SIZES | changes)).eval()


@pytest.mark.parametrize("variant", ["cross_attention", "all_encoder"])
@pytest.mark.parametrize("distribution_layer", [False, True])
def test_every_parameter_learns_and_batches_agree(variant, distribution_layer):
    vae = tiny(variant, distribution_layer=distribution_layer)
    motion = torch.randn(5, 7, 10)
    reconstruction, latents = vae(motion, torch.randn(5, 3, 16))
    motion_vae_loss(reconstruction, motion, latents).backward()
    idle = [n for n, p in vae.named_parameters() if p.grad is None or not torch.isfinite(p.grad).all()]
    assert not idle and latents.std.gt(0).all()
    with torch.no_grad():
        torch.testing.assert_close(vae(motion[2:3])[0], vae(motion)[0][2:3], atol=1e-5, rtol=0)


@pytest.mark.parametrize("variant", ["cross_attention", "all_encoder"])
def test_masked_frames_do_not_matter(variant):
    vae = tiny(variant)
    motion = torch.randn(2, 7, 10)
    valid = torch.arange(7) < torch.tensor([[7], [4]])
    changed = motion.clone()
    changed[1, 4:] = 100.0
    with torch.no_grad():
        torch.testing.assert_close(vae.encode(changed, valid).mean, vae.encode(motion, valid).mean)
        z = torch.randn(2, 3, 16)
        decoded = vae.decode(z, 7, valid)
        assert (decoded[1, 4:] == 0).all()
        torch.testing.assert_close(decoded[1, :4], vae.decode(z[1:], 4)[0], atol=1e-5, rtol=0)


def test_loss_is_zero_at_the_prior_with_a_perfect_reconstruction():
    motion = torch.randn(2, 5, 10)
    prior = LatentDistribution(torch.zeros(2, 3, 16), torch.ones(2, 3, 16))
    assert motion_vae_loss(motion, motion, prior).item() == 0.0
    off = LatentDistribution(torch.full((2, 3, 16), 2.0), torch.ones(2, 3, 16))
    # KL of N(2, 1) from N(0, 1) is 2 for every latent number.
    assert motion_vae_loss(motion, motion, off, kl_weight=0.5).item() == pytest.approx(1.0)


def test_frames_pack_and_unpack():
    joints, twists = torch.randn(2, 4, 29, 3), torch.randn(2, 4, 23, 2)
    frames = pack_motion(joints, twists)
    assert frames.shape == (2, 4, MOTION_FEATURES) and MOTION_FEATURES == 133
    again, unit = unpack_motion(frames)
    torch.testing.assert_close(again, joints)
    torch.testing.assert_close(unit, nn.functional.normalize(twists, dim=-1))


def test_bad_sizes_are_named():
    with pytest.raises(ValueError, match="odd number of layers"):
        SkipTransformer(16, 4)
    with pytest.raises(ValueError, match=r"motion must be \(B, F, 10\)"):
        tiny().encode(torch.zeros(1, 5, 11))
    with pytest.raises(ValueError, match=r"latents must be \(B, 3, 16\)"):
        tiny().decode(torch.zeros(1, 2, 16), 5)
    with pytest.raises(ValueError, match="outgrows the table of 8"):
        tiny(positions=8).encode(torch.zeros(1, 5, 10))
    with pytest.raises(ValueError, match="variant must be"):
        tiny("rnn")


class Decode(nn.Module):
    def __init__(self, vae: MotionVae) -> None:
        super().__init__()
        self.vae = vae

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return self.vae.decode(z, 7)


@pytest.mark.trt
@pytest.mark.parametrize("variant", ["cross_attention", pytest.param("all_encoder", marks=pytest.mark.slow)])
def test_decoder_exports(tmp_path, variant):
    path = export_and_compare(Decode(tiny(variant)), [torch.randn(3, 3, 16)], ["motion"], tmp_path)
    build_with_tensorrt_rtx(path)
