"""VMamba goldens: the backbone, and the scan's parts, against `hmr/networks/encoders/vmamba.py`."""

from __future__ import annotations

from functools import cache, partial

from torch import Tensor

from bodycast.hmr.networks.encoders import official_keys
from bodycast.hmr.networks.encoders.selective_scan import cross_merge, cross_scan, selective_scan
from bodycast.hmr.networks.encoders.vmamba import DIRECTIONS, SS2D, VMamba
from evaluation.goldens.record import Answers, Golden
from evaluation.goldens.sizes import count_per_stage, hidden_ratio


def run(golden: Golden) -> Answers:
    """Normed maps (B, C, H, W) per stage of the dense backbone; all sizes from the tensors' shapes."""
    depths = count_per_stage(golden.state, r"^layers\.(\d+)\.blocks\.(\d+)\.")
    # A backbone that gives some of its maps has norms for those only.
    normed = [i for i in range(len(depths)) if f"outnorm{i}.weight" in golden.state]

    @cache
    def maps() -> list[Tensor]:
        images = golden.tensor("img")
        rates = golden.weight("layers.0.blocks.0.op.A_logs")
        dims = tuple(len(golden.weight(f"layers.{i}.blocks.0.norm.weight")) for i in range(len(depths)))
        net = VMamba(
            dims=dims,
            depths=depths,
            ssm_ratio=len(rates) / DIRECTIONS / dims[0] * (1 + 1e-9),
            stages=len(depths),
            image_hw=(images.shape[-2], images.shape[-1]),
            mlp_ratio=hidden_ratio(golden.weight("layers.0.blocks.0.mlp.fc1.weight")),
            d_state=rates.shape[1],
            norm="all",
        ).eval()
        own = {key: value for key, value in net.state_dict().items() if key.startswith("norms.")}
        net.load_state_dict(own | official_keys.vmamba(golden.state_tensors(), net))
        return net(images)

    return {f"stage{i}": partial(lambda i: maps()[i], i) for i in normed}


def run_ss2d(golden: Golden) -> Answers:
    """The bare scan with and without skip and bias, the four orders and their sum, one whole operator."""

    def merged() -> Tensor:
        ys = golden.tensor("ys")  # (B, 4, C, H, W): four flat sequences, whatever the last two axes suggest
        return cross_merge(ys.flatten(3).transpose(2, 3), (ys.shape[3], ys.shape[4])).transpose(1, 2)

    return {
        "scan": lambda: _scan(golden, golden.tensor("D"), golden.tensor("delta_bias")),
        "scan_noD": lambda: _scan(golden, None, None),
        "cross_scan": lambda: cross_scan(golden.tensor("map")).transpose(2, 3),
        "cross_merge": merged,
        "ss2d": lambda: _ss2d(golden),
    }


def _ss2d(golden: Golden) -> Tensor:
    x, rates = golden.tensor("x"), golden.weight("op.A_logs")
    op = SS2D(x.shape[1], len(rates) / DIRECTIONS / x.shape[1] * (1 + 1e-9), rates.shape[1]).eval()
    op.load_state_dict(official_keys.flat_projections(golden.state_tensors("op.")))
    grid_hw = (x.shape[2], x.shape[3])
    return op(x.flatten(2).transpose(1, 2), grid_hw).transpose(1, 2).unflatten(2, grid_hw)


def _scan(golden: Golden, skip: Tensor | None, bias: Tensor | None) -> Tensor:
    """Official layout in and out: channels before positions, the K groups of channels in one axis."""
    groups = golden.array("Bm").shape[1]

    def channels_last(name: str) -> Tensor:
        return golden.tensor(name).unflatten(1, (groups, -1)).transpose(2, 3)

    def grouped(x: Tensor | None) -> Tensor | None:
        return None if x is None else x.unflatten(0, (groups, -1))

    y = selective_scan(
        u=channels_last("u"),
        delta=channels_last("delta"),
        A=golden.tensor("A").unflatten(0, (groups, -1)),
        B=golden.tensor("Bm").transpose(2, 3),
        C=golden.tensor("Cm").transpose(2, 3),
        D=grouped(skip),
        delta_bias=grouped(bias),
    )
    return y.transpose(2, 3).flatten(1, 2)
