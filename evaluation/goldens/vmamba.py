"""VMamba goldens: the backbone, and the scan's parts, against `hmr/networks/encoders/vmamba.py`."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray
from torch import Tensor

from evaluation.goldens.record import Golden
from hmr.networks.encoders import official_keys
from hmr.networks.encoders.selective_scan import cross_merge, cross_scan, selective_scan
from hmr.networks.encoders.vmamba import SS2D, VMamba


def run(golden: Golden) -> dict[str, NDArray[Any]]:
    """Normed maps (B, C, H, W) per stage of the dense backbone."""
    fc1 = golden.state["layers.0.blocks.0.mlp.fc1.weight"]
    rates = golden.state["layers.0.blocks.0.op.A_logs"]
    height, width = golden.inputs["img"].shape[-2:]
    depths = tuple(golden.config["depths"])
    net = VMamba(
        dims=tuple(len(golden.state[f"outnorm{i}.weight"]) for i in range(len(depths))),
        depths=depths,
        ssm_ratio=golden.config["ssm_ratio"],
        stages=len(depths),
        image_hw=(height, width),
        mlp_ratio=fc1.shape[0] / fc1.shape[1],
        d_state=rates.shape[1],
        norm="all",
    ).eval()
    net.load_state_dict(official_keys.vmamba(golden.state_tensors(), net))
    return {f"stage{i}": m.numpy() for i, m in enumerate(net(golden.tensor("img")))}


def run_ss2d(golden: Golden) -> dict[str, NDArray[Any]]:
    """The bare scan with and without skip and bias, the four orders and their sum, one whole operator."""
    x = golden.tensor("x")
    op = SS2D(x.shape[1], golden.config["ssm_ratio"], golden.state["op.A_logs"].shape[1]).eval()
    op.load_state_dict(official_keys.flat_projections(golden.state_tensors("op.")))
    grid_hw = (x.shape[2], x.shape[3])
    ss2d = op(x.flatten(2).transpose(1, 2), grid_hw).transpose(1, 2).unflatten(2, grid_hw)
    ys = golden.tensor("ys")  # (B, 4, C, H, W): four flat sequences, whatever the last two axes suggest
    merged = cross_merge(ys.flatten(3).transpose(2, 3), (ys.shape[3], ys.shape[4]))
    answers = {
        "scan": _scan(golden, golden.tensor("D"), golden.tensor("delta_bias")),
        "scan_noD": _scan(golden, None, None),
        "cross_scan": cross_scan(golden.tensor("map")).transpose(2, 3),
        "cross_merge": merged.transpose(1, 2),
        "ss2d": ss2d,
    }
    return {name: value.numpy() for name, value in answers.items()}


def _scan(golden: Golden, skip: Tensor | None, bias: Tensor | None) -> Tensor:
    """Official layout in and out: channels before positions, the K groups of channels in one axis."""
    groups = golden.inputs["Bm"].shape[1]

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
