"""A YOLO segmentation network (ultralytics weights) as a segmenter: the mask of the person in the middle of a crop.

Boxes, scores and mask prototypes as Ultralytics publishes them (YOLACT, Bolya et al. 2019, arXiv 1904.02689: a mask is
a sigmoid of the prototypes' sum, weighted by the box's coefficients, cut at the box).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bodycast.engines.package import BATCH, TensorSpec
from bodycast.export.detector_package import read_weights
from bodycast.export.exportable import SEGMENTER_OUTPUTS, Exportable
from bodycast.export.keypoint_decoding import NEAR

STRIDE = 32


class PersonMaskYolo(nn.Module):
    """crops uint8 (N, H, W, 3) RGB -> mask (N, H, W) in 0..1 of whom is the surest and nearest to the middle."""

    columns: Tensor
    rows: Tensor

    def __init__(self, network: nn.Module, person: int, classes: int, hw: tuple[int, int]) -> None:
        """network: a fused ultralytics SegmentationModel. person: the index of its class "person", of `classes`."""
        super().__init__()
        self.network = network
        self.person, self.classes, self.hw = person, classes, hw
        head: Any = network.model[-1]  # pyright: ignore
        head.export = True
        # Anchors are computed in the graph: remembering them would compare the dynamic batch with a fixed one.
        head.dynamic = True
        head.xyxy = True
        # An end-to-end head sorts its anchors here.
        head.postprocess = _all_anchors
        self.register_buffer("columns", torch.arange(hw[1], dtype=torch.float32).view(1, 1, -1), persistent=False)
        self.register_buffer("rows", torch.arange(hw[0], dtype=torch.float32).view(1, -1, 1), persistent=False)

    def forward(self, crops: Tensor) -> tuple[Tensor]:
        """See the class."""
        # Cast before the transpose: TensorRT moves no bytes around.
        found, prototypes = self.network(crops.float().permute(0, 3, 1, 2) * (1 / 255))
        boxes, score = found[:, :4], found[:, 4 + self.person]  # (N, 4, A) xyxy px, (N, A)
        middle = (boxes[:, :2] + boxes[:, 2:]) / 2 - torch.tensor(self.hw[::-1]).view(1, 2, 1) / 2
        away = (middle**2).sum(1) / (NEAR * self.hw[0]) ** 2
        best = (score * torch.exp(-0.5 * away)).topk(1, dim=1).indices.unsqueeze(1)  # (N, 1, 1)
        row = found.gather(2, best.expand(-1, found.shape[1], -1))  # (N, V, 1); all of it: OpenVINO gathers no parts
        box, chosen = row[:, :4].unsqueeze(3), row[:, 4 + self.classes :]
        values = (prototypes * chosen.unsqueeze(3)).sum(1, keepdim=True)
        mask = nn.functional.interpolate(values, self.hw, mode="bilinear", align_corners=False)[:, 0].sigmoid()
        inside = (self.columns >= box[:, 0]) & (self.columns <= box[:, 2])
        inside = inside & (self.rows >= box[:, 1]) & (self.rows <= box[:, 3])
        return (mask * inside.to(mask.dtype),)


def _all_anchors(found: Tensor) -> Tensor:
    """(N, anchors, values) -> (N, values, anchors), as heads that are not end to end give them."""
    return found.permute(0, 2, 1)


def segmenter_exportable(weights: Path, hw: tuple[int, int]) -> Exportable:
    """The network of a local ultralytics `.pt` file.

    Raises: ValueError (one line) where it is damaged, segments nothing, knows no person, or the sides of the input are
    no multiples of 32.
    """
    if not weights.is_file():
        raise ValueError(f"no file {weights}")
    if any(side % STRIDE or side <= 0 for side in hw):
        raise ValueError(f"height and width must be multiples of {STRIDE}, got {hw[0]}x{hw[1]}")
    model = read_weights(weights)
    head = model.model[-1]
    if not hasattr(head, "proto"):
        raise ValueError(
            f"{weights}: its network segments nothing (it ends in {type(head).__name__}); expected YOLO-seg"
        )
    classes: dict[int, str] = model.names
    person = next((index for index, label in classes.items() if label == "person"), None)
    if person is None:
        raise ValueError(f"{weights}: the model has no class 'person', it has {', '.join(list(classes.values())[:10])}")
    module = PersonMaskYolo(model.eval().fuse(verbose=False), person, len(classes), hw).eval()
    crops = TensorSpec("crops", "uint8", (BATCH, *hw, 3), "1", "RGB crops")
    return Exportable(
        module, "segmenter", (crops,), SEGMENTER_OUTPUTS, normalisation="in-graph", crop_rule="hmr2-square"
    )
