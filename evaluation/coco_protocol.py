"""2D keypoints by the protocol of top-down networks on COCO, as ViTPose's tables are made (Xu et al. 2022, arXiv
2204.12484; its settings are MMPose's): crops of 1.25 boxes cut by UDP's rule (Huang et al. 2020, arXiv 1911.07524),
flip test on the heat maps, UDP decoding, scores of boxes times keypoints, OKS suppression, pycocotools.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from bodycast.app.errors import UsageError
from bodycast.app.estimation.keypoints import COCO_OF, KeypointNetwork
from bodycast.hmr.body.surface_joints import COCO_MIRROR
from bodycast.hmr.networks.heads.udp_decoding import crop_matrix, decode_heatmaps, flip_heatmaps
from evaluation.keypoint_metrics import COCO_SIGMAS

F64 = NDArray[np.float64]
U8 = NDArray[np.uint8]
PADDING = 1.25
COUNTED_KEYPOINT = 0.2
"""Keypoints above it count in the score of a person."""
SAME_PERSON_OKS = 0.9
"""Of two answers for one picture that are more alike than this, the less sure is left out."""


class LooksAtCrops(Protocol):
    """A keypoint network, for crops of UDP's rule."""

    @property
    def input_hw(self) -> tuple[int, int]: ...

    def look(self, crops: U8, flip: bool) -> F64:
        """Crops (N,h,w,3) RGB -> COCO's 17 keypoints (N,17,3): x, y in pixels of the crop, the first column 0 and the
        last w - 1, and confidence."""
        ...


class PackageLook:
    """A pose package: it gives keypoints, so the flip test is a mean of these by confidence, not of heat maps."""

    flips = "mean of keypoints"

    def __init__(self, network: KeypointNetwork) -> None:
        self._network = network
        self._rows = list(COCO_OF[network.package.info.joint_set])

    @property
    def input_hw(self) -> tuple[int, int]:
        """See `LooksAtCrops`."""
        return self._network.input_hw

    def look(self, crops: U8, flip: bool) -> F64:
        """See `LooksAtCrops`. Raises: EngineError."""
        at = self._run(crops)
        if not flip:
            return at
        back = self._run(np.ascontiguousarray(crops[:, :, ::-1]))[:, COCO_MIRROR]
        back[..., 0] = self.input_hw[1] - 1 - back[..., 0]
        weight = np.stack([at[..., 2:], back[..., 2:]]) + 1e-9
        places = (weight[0] * at[..., :2] + weight[1] * back[..., :2]) / weight.sum(0)
        return np.concatenate([places, (at[..., 2:] + back[..., 2:]) / 2], axis=-1)

    def _run(self, crops: U8) -> F64:
        found = self._network.engine.run({"crops": crops})["keypoints"][:, self._rows].astype(np.float64)
        height, width = self.input_hw
        found[..., :2] = found[..., :2] * height + [width / 2, height / 2]
        return found


class HeatmapLook:
    """A network of this project in torch: heat maps, whose mean with the mirrored crop's is decoded."""

    flips = "mean of heat maps"

    def __init__(self, net: Any) -> None:
        """net: `bodycast.hmr.networks.pose_net.PoseNet` of 17 keypoints."""
        from bodycast.export.exportable import Normalise

        self._net, self._normalise = net.eval(), Normalise()

    @property
    def input_hw(self) -> tuple[int, int]:
        """See `LooksAtCrops`."""
        return self._net.image_hw

    def look(self, crops: U8, flip: bool) -> F64:
        """See `LooksAtCrops`."""
        maps = self._maps(crops)
        if flip:
            maps = (maps + flip_heatmaps(self._maps(np.ascontiguousarray(crops[:, :, ::-1])))) / 2
        height, width = self.input_hw
        wh = np.tile(np.array([width, height], np.float64) - 1, (len(crops), 1))
        # UDP's crop spans w - 1 steps from its first column to its last.
        places, scores = decode_heatmaps(maps, wh / 2, wh)
        return np.concatenate([places, scores[..., None]], axis=-1)

    def _maps(self, crops: U8) -> NDArray[np.float32]:
        import torch

        with torch.no_grad():
            return self._net(self._normalise(torch.from_numpy(crops))).numpy()


@dataclass(frozen=True)
class BoxOfPerson:
    """A box to look into: `xywh` px, `score` of whoever found it, 1 for labelled boxes."""

    image_id: int
    xywh: tuple[float, float, float, float]
    score: float


def centres_and_sizes(boxes: Sequence[BoxOfPerson], input_hw: tuple[int, int]) -> tuple[F64, F64]:
    """(N,2) px each: the box grown to the input's aspect, then PADDING times as large."""
    xywh = np.array([box.xywh for box in boxes], np.float64).reshape(-1, 4)
    aspect = input_hw[1] / input_hw[0]
    width = np.maximum(xywh[:, 2], xywh[:, 3] * aspect)
    return xywh[:, :2] + xywh[:, 2:] / 2, PADDING * np.stack([width, width / aspect], axis=1)


def look_at_boxes(network: LooksAtCrops, image: U8, boxes: Sequence[BoxOfPerson], flip: bool, batch: int = 16) -> F64:
    """Keypoints (N,17,3) px of the picture (H,W,3) uint8 BGR, and confidence."""
    height, width = network.input_hw
    centres, sizes = centres_and_sizes(boxes, network.input_hw)
    matrices = crop_matrix(centres, sizes, (width, height))
    crops = np.stack([cv2.warpAffine(image, matrix, (width, height), flags=cv2.INTER_LINEAR) for matrix in matrices])
    crops = np.ascontiguousarray(crops[..., ::-1])
    parts = [network.look(crops[start : start + batch], flip) for start in range(0, len(crops), batch)]
    found = np.concatenate(parts)
    steps = np.array([width - 1, height - 1])
    found[..., :2] = (found[..., :2] / steps - 0.5) * sizes[:, None] + centres[:, None]
    return found


def results_of(found: F64, boxes: Sequence[BoxOfPerson], category: int = 1) -> Iterator[dict[str, Any]]:
    """COCO keypoint results of one picture's people, after OKS suppression."""
    sure = found[..., 2] > COUNTED_KEYPOINT
    means = np.where(sure, found[..., 2], 0).sum(1) / np.maximum(sure.sum(1), 1)
    scores = means * np.array([box.score for box in boxes])
    _, sizes = centres_and_sizes(boxes, (256, 192))
    for row in oks_suppression(found, scores, sizes.prod(1)):
        yield {
            "image_id": boxes[row].image_id,
            "category_id": category,
            "keypoints": found[row].ravel().tolist(),
            "score": float(scores[row]),
        }


def oks_suppression(found: F64, scores: F64, area_px2: F64) -> list[int]:
    """Rows of keypoints (N,17,3) that stay, the surest first: no two are more alike than SAME_PERSON_OKS."""
    kept: list[int] = []
    for row in np.argsort(-scores, kind="stable").tolist():
        alike = [_oks(found[row], found[other], (area_px2[row] + area_px2[other]) / 2) for other in kept]
        if not alike or max(alike) <= SAME_PERSON_OKS:
            kept.append(row)
    return kept


def _oks(one: F64, other: F64, area_px2: float) -> float:
    squares = ((one[:, :2] - other[:, :2]) ** 2).sum(1) / (2 * (2 * COCO_SIGMAS) ** 2 * (area_px2 + 1e-9))
    return float(np.exp(-squares).mean())


def open_network(
    spec: str, model: str | None, engine: str, device: str, threads: int | None
) -> tuple[PackageLook | HeatmapLook, str]:
    """A pose package by folder or name; or a checkpoint or registered name of a keypoint network, in torch; and what it
    is, in words. Raises: UsageError."""
    from bodycast.app.model_packages import find_package

    checkpoint = Path(spec).is_file() or model is not None
    if not checkpoint:
        from bodycast.hmr.networks import registry

        checkpoint = spec in registry.names("pose")
    if not checkpoint:
        network = KeypointNetwork(find_package(spec, "pose").folder, engine, device, threads=threads)
        return PackageLook(network), network.describe()
    import torch

    from bodycast.export.source import open_source
    from bodycast.hmr.networks.pose_net import PoseNet

    if threads is not None:
        torch.set_num_threads(threads)
    try:
        source = open_source(spec, model=model)
    except (ValueError, OSError) as error:
        raise UsageError(str(error)) from error
    if not isinstance(source.net, PoseNet):
        raise UsageError(f"{spec}: {source.model} gives no heat maps; export it as a pose package")
    return HeatmapLook(source.net), f"{source.model} in torch: {source.training}"
