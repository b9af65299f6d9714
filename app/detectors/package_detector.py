"""A detector package (docs/detectors.md) run through an engine: no torch, no detector library.

The graph takes `images` uint8 (N,H,W,3) RGB, letterboxed, and gives `boxes` float32 (N,K,4), xyxy in pixels of the
letterboxed picture, and `scores` float32 (N,K), how probable a person is. Overlapping boxes are removed here.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from bodycast.app.errors import RunError, UsageError
from bodycast.app.model_packages import find_package
from bodycast.app.records import U8, Detections, Frame
from bodycast.engines.devices import usable_cores
from bodycast.engines.errors import EngineError
from bodycast.engines.package import BATCH, ModelPackage, TensorSpec
from bodycast.engines.registry import open_engine
from bodycast.hmr.geometry.boxes import clip
from bodycast.hmr.geometry.letterbox import GREY, letterbox_of
from bodycast.hmr.geometry.suppression import non_maximum_suppression

_MAX_CANDIDATES = 300


class PackageDetector:
    """Runs a detector package. Use it from one thread."""

    def __init__(
        self,
        package: Path | str | ModelPackage,
        engine: str = "auto",
        device: str = "auto",
        *,
        threads: int | None = None,
        min_score: float = 0.35,
        iou_limit: float = 0.6,
    ) -> None:
        """package: a folder, an installed package's name, or a loaded package.

        threads: CPU threads; None leaves half of the cores to the network that runs at the same time.
        min_score: weaker boxes are left out. iou_limit: boxes that overlap a better one by more are left out.

        Raises: UsageError where the package, the engine or the device cannot be used.
        """
        loaded = package if isinstance(package, ModelPackage) else find_package(package, "detector")
        self._input_hw = _check_detector(loaded)
        self._min_score = min_score
        self._iou_limit = iou_limit
        try:
            self._engine = open_engine(loaded, engine, device, threads=threads or max(1, usable_cores() // 2))
        except EngineError as error:
            raise UsageError(str(error)) from error

    @property
    def name(self) -> str:
        """Name of the package."""
        return self._engine.package.info.name

    @property
    def package(self) -> ModelPackage:
        """The opened package."""
        return self._engine.package

    def describe(self) -> str:
        """One line: package, engine, device and why."""
        return self._engine.describe()

    def detect(self, frame: Frame) -> Detections:
        """All people found, boxes in pixels of `frame.image`, best first.

        Raises: RunError where the engine fails.
        """
        picture, scale, offset_xy = letterbox(frame.image, self._input_hw)
        try:
            outputs = self._engine.run({"images": picture[None]})
        except EngineError as error:
            raise RunError(str(error)) from error
        boxes, scores = outputs["boxes"][0], outputs["scores"][0]
        rows = np.flatnonzero(scores >= self._min_score)
        rows = rows[np.argsort(-scores[rows], kind="stable")][:_MAX_CANDIDATES]
        rows = rows[non_maximum_suppression(boxes[rows], scores[rows], self._iou_limit)]
        xyxy = clip((boxes[rows] - np.tile(offset_xy, 2)) / scale, frame.image_wh).astype(np.float32)
        real = np.all(xyxy[:, 2:] > xyxy[:, :2], axis=1)
        return Detections(xyxy[real], np.clip(scores[rows][real], 0, 1).astype(np.float32))

    def close(self) -> None:
        """Release the engine. May be called twice."""
        self._engine.close()


def letterbox(image: U8, input_hw: tuple[int, int]) -> tuple[U8, float, tuple[float, float]]:
    """Fit a BGR picture (H,W,3) into RGB (h,w,3), grey around it.

    Returns: the picture, the scale, and the offset: letterboxed = source * scale + offset.
    """
    place = letterbox_of((image.shape[1], image.shape[0]), input_hw)
    picture = np.full((*input_hw, 3), GREY, np.uint8)
    inside = picture[place.top : place.top + place.height, place.left : place.left + place.width]
    # Averaging: taking single pixels of a picture four times as large would tear thin limbs to pieces.
    how = cv2.INTER_AREA if place.scale < 1 else cv2.INTER_LINEAR
    inside[:] = cv2.cvtColor(cv2.resize(image, (place.width, place.height), interpolation=how), cv2.COLOR_BGR2RGB)
    return picture, place.scale, (float(place.left), float(place.top))


def _check_detector(package: ModelPackage) -> tuple[int, int]:
    """Height and width of the graph's input, after checking the detector contract."""
    info = package.info
    outputs = {spec.name: spec for spec in info.outputs}
    boxes, scores = outputs.get("boxes"), outputs.get("scores")
    images = info.inputs[0]
    fits = (
        info.crop_rule == "letterbox"
        and info.normalisation == "in-graph"
        and [spec.name for spec in info.inputs] == ["images"]
        and images.dtype == "uint8"
        and len(images.shape) == 4
        and images.shape[3] == 3
        and _is_float(boxes, 3)
        and _is_float(scores, 2)
    )
    if not fits:
        raise UsageError(
            f"{package.folder}: a detector package takes images uint8 (N, H, W, 3), letterboxed and normalised in the "
            f"graph, and gives boxes float32 (N, K, 4) and scores float32 (N, K); this one takes "
            f"{', '.join(map(str, info.inputs))} ({info.crop_rule}, {info.normalisation}) and gives "
            f"{', '.join(map(str, info.outputs))}"
        )
    return int(images.shape[1]), int(images.shape[2])


def _is_float(spec: TensorSpec | None, axes: int) -> bool:
    return spec is not None and spec.dtype == "float32" and len(spec.shape) == axes and spec.shape[0] == BATCH
