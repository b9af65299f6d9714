"""The cost counter: by hand on one layer, and against the known cost of the published encoders at 256x192."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from bodycast.hmr.networks.encoders.group_mix_former import group_mix_former
from bodycast.hmr.networks.encoders.swin import swin
from bodycast.hmr.networks.encoders.vit import Attention, vit
from bodycast.hmr.networks.encoders.vmamba import vmamba
from bodycast.hmr.networks.flops import count_cost

# (builder, size, stages): millions of parameters, 1e9 multiply-accumulates with weights (Swin's with padded tokens),
# the same among activations.
PUBLISHED = {
    (vit, "s", None): (21.7, 4.13, 0.34),
    (vit, "b", None): (85.8, 16.42, 0.68),
    (vit, "l", None): (303.3, 58.13, 1.81),
    (vit, "h", None): (630.9, 120.98, 3.02),
    (swin, "t", 2): (1.20, 1.52, 0.10),
    (swin, "b", 2): (2.12, 2.69, 0.14),
    (swin, "t", 3): (12.15, 3.97, 0.17),
    (swin, "s", 3): (33.47, 8.77, 0.30),
    (swin, "b", 3): (59.44, 15.59, 0.40),
    (swin, "t", 4): (27.5, 4.95, None),
    (swin, "s", 4): (48.8, 9.75, None),
    (swin, "b", 4): (86.7, 17.32, None),
    (group_mix_former, "t", 2): (1.69, 2.23, 0.03),
    (group_mix_former, "s", 2): (1.52, 1.69, 0.02),
    (group_mix_former, "b", 2): (6.96, 12.65, 0.21),
    (group_mix_former, "t", 3): (7.77, 3.42, 0.04),
    (group_mix_former, "s", 3): (16.89, 4.71, 0.06),
    (group_mix_former, "b", 3): (22.35, 15.68, 0.25),
    (group_mix_former, "t", 4): (10.7, 3.57, None),
    (vmamba, "t", 2): (1.20, 1.47, 0.03),
    (vmamba, "s", 2): (1.45, 1.77, 0.06),
    (vmamba, "b", 2): (2.56, 3.13, 0.08),
    (vmamba, "t", 3): (14.38, 3.99, 0.05),
    (vmamba, "s", 3): (31.28, 7.46, 0.14),
    (vmamba, "b", 3): (55.40, 13.22, 0.19),
    (vmamba, "t", 4): (29.5, 4.71, None),
}


@pytest.mark.parametrize(
    ("builder", "size", "stages"), PUBLISHED, ids=[f"{b.__name__}-{s}-{c}" for b, s, c in PUBLISHED]
)
def test_published_encoders_have_their_published_cost(builder, size, stages):
    parameters_m, linear_g, activations_g = PUBLISHED[builder, size, stages]
    with torch.device("meta"):
        net = builder(size) if stages is None else builder(size, stages)
        cost = count_cost(net.eval(), torch.empty(1, 3, 256, 192))
    # The figures are rounded: to the last digit printed, or 1 %, whichever is wider.
    assert cost.parameters / 1e6 == pytest.approx(parameters_m, rel=0.01)
    assert cost.published_macs / 1e9 == pytest.approx(linear_g, rel=0.01)
    if activations_g is not None:
        assert (cost.product_macs + cost.scan_macs) / 1e9 == pytest.approx(activations_g, rel=0.01, abs=0.006)


def test_layers_by_hand():
    conv = count_cost(nn.Conv2d(6, 4, 3, padding=1, groups=2), torch.zeros(1, 6, 5, 7))
    assert conv.linear_macs == 5 * 7 * 4 * 3 * 9
    assert (conv.product_macs, conv.scan_macs, conv.parameters) == (0, 0, 4 * 3 * 9 + 4)
    attention = count_cost(Attention(8, 2), torch.zeros(1, 10, 8))
    assert attention.linear_macs == 10 * 8 * (3 * 8 + 8)
    assert attention.product_macs == 2 * 10 * 10 * 8
    assert attention.macs == attention.linear_macs + attention.product_macs


def test_a_batch_is_refused():
    with pytest.raises(ValueError, match="batch 1"):
        count_cost(nn.Linear(2, 2), torch.zeros(2, 2))
