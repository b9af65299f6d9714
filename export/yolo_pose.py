"""Weights of a YOLO pose network (ultralytics' `.pt`) as the ONNX graph that `keypoint_package` wraps.

The weights are read by ultralytics' restricted reader (`detector_package.read_weights`). The graph gives every anchor,
also that of an end-to-end network: the person is chosen behind it, so nothing needs to be sorted.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import torch
from torch import Tensor, nn

from bodycast.export.detector_package import read_weights
from bodycast.export.keypoint_file import KeypointFile, check_joints, examine
from bodycast.export.onnx_graph import check_parity, to_onnx
from bodycast.export.parity_crops import crops_of

STRIDE = 32
TOLERANCE_PX = 0.05


class RawYoloPose(nn.Module):
    """images float (N, 3, H, W) in 0..1 -> (N, 5 + 3 K, anchors): xyxy px, score, keypoints px and confidences."""

    def __init__(self, network: nn.Module) -> None:
        """network: a fused ultralytics PoseModel of one class."""
        super().__init__()
        self.network = network
        head: Any = network.model[-1]  # pyright: ignore
        head.export = True
        # Anchors are computed in the graph: remembering them would compare the dynamic batch with a fixed one.
        head.dynamic = True
        head.xyxy = True
        # An end-to-end head sorts its anchors here.
        head.postprocess = _all_anchors

    def forward(self, images: Tensor) -> tuple[Tensor]:
        """See the class."""
        return (self.network(images),)


def _all_anchors(found: Tensor) -> Tensor:
    """(N, anchors, values) -> (N, values, anchors), as heads that are not end to end give them."""
    return found.permute(0, 2, 1)


def open_yolo_pose(path: Path, *, joints: str | None, input_hw: tuple[int, int]) -> KeypointFile:
    """Raises: ValueError (one line) where the file is damaged, holds no pose network of one class, or the sides of the
    input are no multiples of 32; ParityError where the graph is not what torch computes."""
    if not path.is_file():
        raise ValueError(f"no file {path}")
    if any(side % STRIDE or side <= 0 for side in input_hw):
        raise ValueError(f"height and width must be multiples of {STRIDE}, got {input_hw[0]}x{input_hw[1]}")
    model = read_weights(path)
    head = model.model[-1]
    points = getattr(head, "kpt_shape", None)
    if points is None:
        raise ValueError(
            f"{path}: its network finds no keypoints (it ends in {type(head).__name__}); expected YOLO pose"
        )
    if len(model.names) != 1 or int(points[1]) != 3:
        raise ValueError(
            f"{path}: expected one class and keypoints of x, y and confidence, it has {len(model.names)} classes and "
            f"{int(points[1])} numbers a keypoint"
        )
    check_joints(int(points[0]), joints, str(path))
    module = RawYoloPose(model.eval().fuse(verbose=False)).eval()
    examples = [_images(rows, input_hw) for rows in (2, 3)]
    graph = to_onnx(module, [examples[0]], ["images"], ["output0"])
    check_parity(graph, module, [[images] for images in examples], ["output0"], TOLERANCE_PX)
    # Which way the boxes are written is known here, and nothing in the file says it.
    return examine(onnx.load_from_string(graph), "yolo-pose", str(path), joints=joints, input_hw=input_hw, boxes="xyxy")


def _images(rows: int, hw: tuple[int, int]) -> Tensor:
    crops = torch.from_numpy(crops_of("fixed", rows, hw))
    return (crops.float() / 255).permute(0, 3, 1, 2).contiguous()
