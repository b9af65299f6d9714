"""Parameters and multiply-accumulates of whole networks, against the papers' figures."""

from __future__ import annotations

import pytest
import torch

from hmr.networks.flops import count_cost
from hmr.networks.merging.mask_token_merging import FASTHMR_SCHEDULE
from hmr.networks.registry import build, example_inputs, find

# Names of position tables, which FastHMR's counter leaves out of its parameters.
POSITIONS = ("pos_embed", "query_pos")


def cost(name: str, **overrides):
    with torch.device("meta"):
        net = build(name, **overrides).eval()
        counted = count_cost(net, *example_inputs(net))
        positions = sum(p.numel() for n, p in net.named_parameters() if any(word in n for word in POSITIONS))
    return (counted.parameters - positions) / 1e6, counted.linear_macs / 1e9


@pytest.mark.parametrize(
    ("name", "overrides", "parameters_m", "gmacs"),
    [
        ("hmr2-h", {}, 670.2, 122.6),
        ("hmr2-h-fast", {"schedule": None}, 591.5, 107.5),
        ("hmr2-h-fast", {}, 591.5, 52.8),
        # CameraHMR's printed 737.1 M / 144.0 G hold its field-of-view network; what merging saves does not.
        ("camerahmr-h", {}, 737.1 - 66.7, 144.0 - 21.5),
        ("camerahmr-h-fast", {}, 619.0 - 66.7, 70.7 - 21.5),
        # 23.97 M with its position table of 193 x 384.
        ("hmr2-s", {}, 23.97 - 0.074, 4.16),
        ("dense26", {}, 725.0, None),
        ("deformable", {}, 713.0, None),
        ("deformable-x4", {}, 714.0, None),
    ],
)
def test_costs_of_fast_hmr_and_the_deformable_decoder(name, overrides, parameters_m, gmacs):
    parameters, macs = cost(name, **overrides)
    assert parameters == pytest.approx(parameters_m, rel=0.002)
    if gmacs is not None:
        assert macs == pytest.approx(gmacs, rel=0.003)


def test_diffusion_decoder_has_the_printed_size():
    parameters, macs = cost("diffusion-decoder")
    assert parameters == pytest.approx(29.5, rel=0.015) and macs == pytest.approx(6.8, rel=0.015)
    # The nine decoder layers that the paper's table speaks of cannot be what its size counts.
    assert cost("diffusion-decoder", vae_decoder_layers=9)[0] > 40


def test_token_counts_of_the_default_schedule():
    with torch.device("meta"):
        net = build("hmr2-h-fast")
    tokens = [16 * 12]
    for merges in FASTHMR_SCHEDULE:
        tokens.append(tokens[-1] - merges)
    assert tokens == [192, 152, 112, 90] and net.backbone.tokens_out == 90
    assert len(net.encoder.blocks) == 28 and len(build_meta("camerahmr-h-fast").encoder.blocks) == 26


def build_meta(name: str):
    with torch.device("meta"):
        return build(name)


def test_merging_saves_what_the_paper_prints():
    whole, layers, tokens = cost("hmr2-h")[1], cost("hmr2-h-fast", schedule=None)[1], cost("hmr2-h-fast")[1]
    # -12 % by merging layers (2.2), 107.5 -> 52.8 by merging tokens.
    assert 1 - layers / whole == pytest.approx(0.12, abs=0.005)
    assert tokens / layers == pytest.approx(52.8 / 107.5, rel=0.005)


# Millions of parameters and 1e9 multiply-accumulates with the small decoder (linear layers and convolutions).
TRUNCATED = {
    "swin-t-s2": (3.43, 1.52 + 0.06),
    "swin-b-s2": (4.38, 2.69 + 0.08),
    "swin-t-s3": (14.46, 3.97 + 0.04),
    "gmf-t-s2": (3.91, 2.23 + 0.05),
    "gmf-s-s3": (19.17, 4.71 + 0.03),
    "gmf-b-s2": (9.21, 12.65 + 0.08),
    "vmamba-t-s2": (3.43, 1.47 + 0.06),
    "vmamba-s-s3": (33.58, 7.46 + 0.03),
}


@pytest.mark.parametrize("name", TRUNCATED)
def test_truncated_models_have_their_published_encoder_and_the_small_decoder(name):
    parameters, macs = cost(name)
    assert parameters == pytest.approx(TRUNCATED[name][0], rel=0.01)
    assert macs == pytest.approx(TRUNCATED[name][1], rel=0.01)


def test_every_registered_network_says_where_its_figures_come_from():
    for name in ("hmr2-h", "hmr2-h-fast", "deformable-x4", "diffusion-decoder"):
        assert find(name).paper.source in ("FH", "DH")
