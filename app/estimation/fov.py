"""A field-of-view package (docs/model_package.md): a whole picture in, its vertical field of view out."""

from __future__ import annotations

import math
from contextlib import ExitStack
from pathlib import Path

import cv2
import numpy as np

from bodycast.app.errors import RunError, UsageError
from bodycast.app.estimation.crop_network import CropNetwork
from bodycast.app.records import U8
from bodycast.app.sources.base import SourceInfo
from bodycast.app.world.lens_watch import LensWatch
from bodycast.engines.errors import EngineError
from bodycast.engines.package import BATCH, ModelPackage

WHITE = 255
NARROWEST_DEG, WIDEST_DEG = 5.0, 170.0
"""Answers beyond are of no lens."""


class FovNetwork(CropNetwork):
    """The lens by what a picture shows, as CameraHMR's network has it (arXiv 2411.08128). Use it from one thread."""

    def __init__(
        self, package: Path | str, engine: str = "auto", device: str = "auto", *, threads: int | None = None
    ) -> None:
        """package: a folder or an installed package's name. Raises: UsageError where it cannot be used."""
        super().__init__(package, "fov", _check, engine, device, threads, False)

    def focal_px(self, image: U8) -> float | None:
        """Focal length in px of a picture (H,W,3) BGR; None where the network's answer is no lens.

        Raises: RunError where the engine fails.
        """
        try:
            said = self._engine.run({"images": white_square(image, self._input_hw)[None]})
        except EngineError as error:
            raise RunError(str(error)) from error
        fov_rad = float(said["vertical_fov"][0])
        if not NARROWEST_DEG <= math.degrees(fov_rad) <= WIDEST_DEG:
            return None
        return image.shape[0] / (2 * math.tan(fov_rad / 2))


def white_square(image: U8, hw: tuple[int, int]) -> U8:
    """A BGR picture (H,W,3) as RGB (h,w,3), its longer side fitted, in the middle, white beyond it."""
    height, width = image.shape[:2]
    scale = min(hw[0] / height, hw[1] / width)
    inner = max(int(height * scale), 1), max(int(width * scale), 1)
    square = np.full((*hw, 3), WHITE, np.uint8)
    top, left = (hw[0] - inner[0]) // 2, (hw[1] - inner[1]) // 2
    small = cv2.resize(image, (inner[1], inner[0]), interpolation=cv2.INTER_AREA)
    square[top : top + inner[0], left : left + inner[1]] = cv2.cvtColor(small, cv2.COLOR_BGR2RGB)
    return square


def _check(package: ModelPackage) -> tuple[int, int]:
    """Height and width of the square, after checking the contract. Raises: UsageError."""
    info, where = package.info, package.folder
    images = info.inputs[0]
    outputs = {spec.name: spec for spec in info.outputs}
    fits = (
        info.crop_rule == "white-square"
        and info.normalisation == "in-graph"
        and [spec.name for spec in info.inputs] == ["images"]
        and images.dtype == "uint8"
        and len(images.shape) == 4
        and "vertical_fov" in outputs
        and outputs["vertical_fov"].shape == (BATCH,)
    )
    if not fits:
        raise UsageError(f"{where}: expected images uint8 (N, h, w, 3) in, vertical_fov (N,) out; export it again")
    return int(images.shape[1]), int(images.shape[2])


def open_lens_watch(
    package: str | None, source: SourceInfo, device: str, threads: int | None, opened: ExitStack
) -> LensWatch | None:
    """What looks at pictures for the lens, closed by `opened`; None where there is no network.

    Raises: UsageError where it cannot be used.
    """
    if package is None:
        return None
    # Beside a live pipeline, one thread: it has seconds for a picture.
    network = FovNetwork(package, device=device, threads=1 if source.live else threads)
    opened.callback(network.close)
    watch = LensWatch(network, source.live, source.stills)
    opened.callback(watch.close)
    return watch
