"""A segmenter package (docs/model_package.md): crops in, masks of the person in their middle out."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bodycast.app.errors import RunError, UsageError
from bodycast.app.estimation.crop_network import CropNetwork
from bodycast.app.estimation.cropper import crop_people
from bodycast.app.estimation.person_masks import moved_mask
from bodycast.app.model_packages import first_package
from bodycast.app.records import F32, I32, U8, CropBatch, Frame, Tracks
from bodycast.engines.errors import EngineError
from bodycast.engines.package import BATCH, ModelPackage
from bodycast.hmr.geometry.camera import Intrinsics


class SegmenterMasks(CropNetwork):
    """`PersonMasks` of a network of its own, as FastHMR has it. Use it from one thread."""

    def __init__(
        self,
        package: ModelPackage | Path | str | None = None,
        engine: str = "auto",
        device: str = "auto",
        *,
        threads: int | None = None,
    ) -> None:
        """package: an opened one, its folder or name; None: the first that is installed.

        Raises: UsageError where there is none, or it cannot be used.
        """
        if package is None:
            package = first_package("segmenter")
        if package is None:
            raise UsageError("--masks segmenter: no segmenter is installed; bodycast export segmenter makes one")
        spec = package.folder if isinstance(package, ModelPackage) else package
        super().__init__(spec, "segmenter", _check, engine, device, threads, False)

    def of(self, frame: Frame, tracks: Tracks, crops: CropBatch) -> U8:
        """See `PersonMasks`. Raises: RunError where the engine fails."""
        masks = np.zeros(crops.stored.shape[:3], np.uint8)
        if len(tracks):
            own = crop_people(frame, tracks, self._input_hw)
            for row, mask in enumerate(self.look(own.pixels)):
                masks[row] = moved_mask(mask, own.transforms[row], crops.transforms[row])
        return masks

    def look(self, pixels: U8) -> F32:
        """Crops (N,h,w,3) uint8 RGB -> masks (N,h,w) float32, how probably each pixel shows the person in the middle.

        Raises: RunError where the engine fails.
        """
        try:
            return self._engine.run({"crops": pixels})["mask"].astype(np.float32, copy=False)
        except EngineError as error:
            raise RunError(str(error)) from error

    def remember(self, id: I32, vertices: F32, intrinsics: Intrinsics) -> None:
        """Nothing is needed."""

    def describe(self) -> str:
        """See `PersonMasks`."""
        return f"masks: {super().describe()}"


def _check(package: ModelPackage) -> tuple[int, int]:
    """Height and width of the crops, after checking that the package speaks this program's conventions."""
    info, where = package.info, package.folder
    if info.crop_rule != "hmr2-square" or info.normalisation != "in-graph":
        raise UsageError(f"{where}: expected HMR2.0's crops normalised in the graph; export the package again")
    crops = info.inputs[0]
    if len(info.inputs) != 1 or crops.name != "crops" or crops.dtype != "uint8" or len(crops.shape) != 4:
        raise UsageError(f"{where}: expected the input crops uint8 (N, h, w, 3) alone, it has {crops}")
    height, width = int(crops.shape[1]), int(crops.shape[2])
    outputs = {spec.name: spec for spec in info.outputs}
    if "mask" not in outputs or outputs["mask"].shape != (BATCH, height, width):
        raise UsageError(f"{where}: expected the output mask (N, {height}, {width}), it has {', '.join(outputs)}")
    return height, width
