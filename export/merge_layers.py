"""Error-constrained layer merging (ECLM) on frames: by labels, or by the difference from the unmerged network.

FastHMR (Mehraban et al. 2025, arXiv 2510.10868) searches on labelled frames. With a tolerance its search is taken as it
is (`search_layer_merges`); with a number of layers to keep, the pairs that cost least (`layer_choice`). The difference
from the unmerged network needs no labels and counts every change as a loss, also one that labels would call a gain.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bodycast.export.calibration_frames import CalibrationFrames, read_frames
from bodycast.export.checkpoint import CheckpointError
from bodycast.export.import_checkpoint import model_of, open_published
from bodycast.export.layer_choice import choose_pairs, flat_blocks, measured
from bodycast.export.layer_similarity import layer_outputs, linear_cka
from bodycast.export.source import Source, open_source
from bodycast.hmr.body.body_model import EMBEDDED_BODY
from bodycast.hmr.body.torch_body import TorchBody
from bodycast.hmr.networks.hmr_net import ExportedHmr, HmrNet
from bodycast.hmr.networks.merging.error_constrained_layer_merging import (
    LayerMergeRecipe,
    MergeTrial,
    label_error,
    search_layer_merges,
    self_error,
)

LABEL_TOLERANCE_MM, DIFFERENCE_TOLERANCE_MM = 0.1, 1.0


@dataclass(frozen=True)
class FoundLayers:
    """recipe: the answer. trials: (lowest, highest block, mm, accepted or None where all are ranked at the end).
    base_mm, mm: error before and after. by_labels, frames, body: what it was measured on. similarity (L+1,L+1): linear
    CKA of the embedding and the blocks' outputs."""

    recipe: LayerMergeRecipe
    trials: tuple[tuple[int, int, float, bool | None], ...]
    base_mm: float
    mm: float
    by_labels: bool
    frames: int
    body: str
    name: str
    similarity: NDArray[np.float64]


def find_layers(
    checkpoint: Path,
    frames: Path,
    *,
    model: str | None = None,
    layout: str | None = None,
    arguments: Mapping[str, Any] | None = None,
    keep: int | None = None,
    tolerance_mm: float | None = None,
    limit: int = 64,
    batch: int = 8,
    body: Path | None = None,
    say: Callable[[str], None] = print,
) -> FoundLayers:
    """Search the layers of `checkpoint` that can be merged on `frames`; see the command for the arguments.

    Raises: FileNotFoundError; ValueError, one line, for files that are not what they should be or a network without a
    flat ViT; BodyFileError.
    """
    source = _opened(checkpoint, model, layout, arguments)
    net = _whole_hmr(source)
    blocks = flat_blocks(net)
    crops = read_frames(frames, net.image_hw, limit, crop_ray=source.orientation_frame == "crop-ray")
    by_labels = crops.joints_m is not None
    torch_body = TorchBody.load(body or EMBEDDED_BODY)
    say(
        f"{checkpoint.name}: {source.model}, {len(blocks)} layers; {len(crops)} frames, "
        + (f"by their labels ({torch_body.name})" if by_labels else "by the difference from the unmerged network")
    )

    def joints(network: nn.Module) -> Tensor:
        assert isinstance(network, HmrNet)
        return torch.cat([torch_body.posed_joints(*parts) for parts in _answers(network, crops, batch)])

    similarity = linear_cka(layer_outputs(blocks, _answers(net, crops, batch)))
    labels = None if crops.joints_m is None else torch.from_numpy(crops.joints_m)
    error = self_error(net, joints) if labels is None else label_error(joints, labels)
    trials: list[tuple[int, int, float, bool | None]] = []

    def noted(low: int, high: int, mm: float, accepted: bool | None) -> None:
        trials.append((low, high, mm, accepted))
        say(f"  {low}-{high}: {mm:.3f} mm" + ("" if accepted is None else ", merged" if accepted else ", refused"))

    with torch.no_grad():
        base_mm = float(error(net))
        if not base_mm < float("inf"):
            raise ValueError(f"{checkpoint.name}: the network's answers are no numbers")
        if keep is not None:
            recipe = choose_pairs(net, keep, lambda: float(error(net)), lambda low, mm: noted(low, low + 1, mm, None))
            recipe = replace(recipe, base_error_mm=base_mm, error_mm=measured(net, recipe, lambda: float(error(net))))
        else:
            allowed = tolerance_mm or (LABEL_TOLERANCE_MM if by_labels else DIFFERENCE_TOLERANCE_MM)

            def seen(trial: MergeTrial) -> None:
                noted(trial.low, trial.high, trial.error_mm, trial.accepted)

            recipe = search_layer_merges(net, error, tolerance_mm=allowed, on_trial=seen).recipe
    after = base_mm if recipe.error_mm is None else recipe.error_mm
    of = torch_body.name, f"{checkpoint.name} ({source.model})"
    return FoundLayers(recipe, tuple(trials), base_mm, after, by_labels, len(crops), *of, similarity)


def _whole_hmr(source: Source) -> HmrNet:
    net = source.net
    if not isinstance(net, HmrNet):
        raise ValueError(f"{source.model} recovers no bodies: nothing to measure layers by")
    if net.takes_mask:
        raise ValueError(f"{source.model} merges tokens already: merge layers of the whole network")
    return net


def _opened(path: Path, model: str | None, layout: str | None, arguments: Mapping[str, Any] | None) -> Source:
    """A checkpoint of the training here, or a published one."""
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint {path}")
    if model is None and layout is None:
        try:
            return open_source(str(path))
        except CheckpointError as error:
            if "not a checkpoint of ours" not in str(error):
                raise
    return open_published(path, model or model_of(path), layout, arguments)


@torch.no_grad()
def _answers(net: HmrNet, frames: CalibrationFrames, batch: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Pose (n,24,3,3), betas (n,10) and a translation of zero (n,3), batch by batch."""
    module = ExportedHmr(net).eval()
    for start in range(0, len(frames), batch):
        part = slice(start, start + batch)
        box = [torch.from_numpy(frames.box_info[part])] if net.takes_box_info else []
        pose, betas, *_ = module(torch.from_numpy(frames.crops[part]), *box)
        yield pose.float(), betas.float(), torch.zeros(len(pose), 3)


def report_text(found: FoundLayers, figure: str) -> str:
    """Markdown: what was searched how, every trial, the figure."""
    recipe = found.recipe
    measure = (
        f"MPJPE against the labels of {found.frames} frames, through the body {found.body}"
        if found.by_labels
        else f"mean joint distance from the unmerged network's answers on {found.frames} frames (no labels)"
    )
    how = (
        "each neighbouring pair collapsed alone; the disjoint pairs of the least sum are merged"
        if recipe.tolerance_mm is None
        else f"FastHMR's sliding window, a trial is accepted within {recipe.tolerance_mm:g} mm of the unmerged network"
    )
    merged = ", ".join(f"{low} to {high}" for low, high in recipe.windows) or "none"
    lines = [
        f"# Layer merging of {found.name}",
        "",
        f"- Measure: {measure}.",
        f"- Search: {how}.",
        f"- Result: {recipe.blocks} -> {recipe.blocks_left} layers, merged {merged}; "
        f"{found.base_mm:.3f} -> {found.mm:.3f} mm.",
        "",
        "| layers | error, mm | above unmerged, mm | |",
        "|---|---|---|---|",
    ]
    inside = {layer for low, high in recipe.windows for layer in (low, high)}
    for low, high, mm, accepted in found.trials:
        taken = (low, high) in recipe.windows if accepted is None else accepted
        word = ("merged" if accepted is None else "accepted") if taken else ("" if accepted is None else "refused")
        lines.append(f"| {low}-{high} | {mm:.3f} | {mm - found.base_mm:+.3f} | {word} |")
    near = [float(found.similarity[i, i + 1]) for i in range(1, len(found.similarity) - 1)]
    ours = [value for low, value in enumerate(near) if low in inside and low + 1 in inside]
    lines += ["", f"![linear CKA of the layers' outputs]({figure})", ""]
    lines.append(
        f"Linear CKA of neighbouring layers: {min(near):.3f} to {max(near):.3f}, mean {np.mean(near):.3f}"
        + (f"; of merged ones {np.mean(ours):.3f}." if ours else ".")
    )
    return "\n".join(lines) + "\n"
