"""Cuts in a film, from a 32x18 thumbnail: cheap enough for every frame."""

from __future__ import annotations

import numpy as np

from bodycast.app.records import F32, U8

THUMBNAIL_WH = (32, 18)


def thumbnail(image: U8) -> F32:
    """Grey means of a 32x18 grid, (18,32) float32 in 0..255, of a sparse grid of pixels."""
    width, height = THUMBNAIL_WH
    samples = 4
    rows = np.arange(height * samples) * (image.shape[0] - 1) // (height * samples - 1)
    columns = np.arange(width * samples) * (image.shape[1] - 1) // (width * samples - 1)
    sparse = image[rows[:, None], columns[None, :]].astype(np.float32)
    return sparse.mean(axis=2).reshape(height, samples, width, samples).mean(axis=(1, 3))


class SceneCutDetector:
    """A cut is a picture that differs much from the last one and no longer resembles it.

    Both are asked for because each alone is fooled: a lamp switched on changes the grey values and not the structure,
    and noise in a dark room changes the structure and hardly the grey values. A picture that shows nothing (black, a
    flash) is no shot: what comes after it is compared with what was before.
    """

    def __init__(self, min_difference: float = 18.0, max_correlation: float = 0.6, flat: float = 3.0) -> None:
        """min_difference, flat: mean absolute difference of grey values (0..255), brightness taken out; between two
        pictures, and of one picture that shows nothing."""
        self._flat = flat
        self._min_difference = min_difference
        self._max_correlation = max_correlation
        self._last: F32 | None = None
        self._last_hw: tuple[int, ...] = ()

    def is_cut(self, image: U8) -> bool:
        """Whether `image` (H,W,3) begins a new shot. The first picture does not; one of another size always does, since
        places in pixels mean nothing there."""
        now = thumbnail(image)
        centred = now - now.mean()
        last, last_hw = self._last, self._last_hw
        if last is not None and last_hw == image.shape[:2] and float(np.abs(centred).mean()) < self._flat:
            return False
        self._last, self._last_hw = centred, image.shape[:2]
        if last is None:
            return False
        if last_hw != image.shape[:2]:
            return True
        if float(np.abs(centred - last).mean()) < self._min_difference:
            return False
        scale = float(np.linalg.norm(centred) * np.linalg.norm(last))
        correlation = float(np.sum(centred * last)) / scale if scale > 0 else 0.0
        return correlation < self._max_correlation
