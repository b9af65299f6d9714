"""Crops for a network on an NVIDIA GPU: cut there, from the frame, which is uploaded once for all networks.

Within one grey level of the CPU's crops (`cropper`), a few at the picture's edge; docs/gpu.md has the measure.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bodycast.app.estimation.cropper import SHRINK_LIMIT, WARP_LIMIT_PX
from bodycast.app.records import F32, Frame
from bodycast.engines.base import Engine
from bodycast.engines.cuda.crops import CropsOnGpu, Cutter, FrameOnGpu
from bodycast.engines.errors import EngineError
from bodycast.hmr.geometry.crop import CropTransform

Part = tuple[int, int, int, int]


def crop_parameters(transforms: Sequence[CropTransform], parts: Sequence[Part] | None = None) -> F32:
    """(N, 9) as the graph takes them. parts: left, top, right, bottom of what each crop shows; None: all of it."""
    rows = np.zeros((len(transforms), 9), np.float32)
    for row, transform in enumerate(transforms):
        (step_x, _, x), (_, step_y, y) = transform.crop_to_image
        shrinks = transform.scale > SHRINK_LIMIT
        kernel = max(2, round(transform.scale)) if shrinks else 1
        height, width = transform.crop_hw
        shown = (0, 0, width, height) if parts is None else parts[row]
        rows[row] = (x, step_x, y, step_y, (kernel + 1) / 2, *shown)
    return rows


def mirrored(parameters: F32, width: int) -> F32:
    """Of the same crops with column u in the place of w - 1 - u."""
    turned = parameters.copy()
    turned[:, 0] += (width - 1) * parameters[:, 1]
    turned[:, 1] *= -1
    turned[:, 5], turned[:, 7] = width - parameters[:, 7], width - parameters[:, 5]
    return turned


class GpuCrops:
    """Cuts the crops of one network where its engine runs. Use it from one thread."""

    def __init__(self, engine: Engine) -> None:
        """Raises: EngineError where the engine runs on no GPU of ours, or crops cannot be cut there."""
        if engine.cuda is None:
            raise EngineError(f"{engine.label} takes its crops from the CPU")
        self._cutter = Cutter(engine.cuda)
        self._ordinal = engine.cuda.ordinal
        self._frame: FrameOnGpu | None = None
        engine.before_close(self.close)

    def cut(
        self,
        frame: Frame,
        transforms: Sequence[CropTransform],
        hw: tuple[int, int],
        parts: Sequence[Part] | None = None,
        mirror: bool = False,
    ) -> CropsOnGpu | None:
        """Crops (N, h, w, 3), with their mirror images where asked for; None for a picture that is too large.

        Raises: EngineError.
        """
        if max(frame.image.shape[:2]) > WARP_LIMIT_PX or not transforms:
            return None
        if self._frame is None:
            # In the thread that cuts, which is not the one that opens the networks.
            self._frame = FrameOnGpu.shared(self._ordinal)
        parameters = crop_parameters(transforms, parts)
        if mirror:
            parameters = np.concatenate([parameters, mirrored(parameters, hw[1])])
        return self._cutter.cut(self._frame, frame.image, frame.index, parameters, hw, len(transforms))

    def close(self) -> None:
        """Release all of it; the engine's closing does it too. May be called twice."""
        self._cutter.close()
        if self._frame is not None:
            frame, self._frame = self._frame, None
            frame.release()
