"""One crop per tracked person: HMR2.0's rule (hmr/geometry/crop.py), cut straight to the network's window.

HMR2.0 blurs the whole frame before it shrinks a large person, and warps a square whose side columns it then throws
away. Here only the columns that the network sees are made, and shrinking averages over areas, per crop.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from bodycast.app.records import U8, CropBatch, Frame, Tracks
from bodycast.hmr.geometry.arrays import FloatArray
from bodycast.hmr.geometry.crop import HMR_CROP_HW, CropTransform, crop_transforms

SHRINK_LIMIT = 1.1
"""Image pixels per crop pixel above which plain bilinear sampling would skip pixels."""
WARP_LIMIT_PX = 32766
"""Longest side of a picture that OpenCV warps."""


def crop_people(frame: Frame, tracks: Tracks, input_hw: tuple[int, int] = HMR_CROP_HW) -> CropBatch:
    """Crops (N, h, w, 3) uint8 RGB of all tracks, black where a crop reaches beyond the picture.

    input_hw: height and width of the network's input; the crop rule is the same for all sizes.

    Raises: ValueError for a box without area.
    """
    transforms = crop_transforms(tracks.xyxy, input_hw)
    pixels = np.empty((len(tracks), *input_hw, 3), np.uint8)
    for row, transform in enumerate(transforms):
        # The one place where BGR becomes RGB.
        cv2.cvtColor(sample_window(frame.image, transform), cv2.COLOR_BGR2RGB, dst=pixels[row])
    return CropBatch(pixels, transforms, tracks.id)


def sample_window(image: U8, transform: CropTransform) -> U8:
    """The crop (h, w, 3) uint8 of `image` (H, W, 3), in the image's colour order, zero outside the picture."""
    if max(image.shape[:2]) > WARP_LIMIT_PX:
        return _warp_window(image, transform)
    if transform.scale <= SHRINK_LIMIT:
        return _warp(image, transform.image_to_crop, transform.crop_hw)
    return _warp_averaged(image, transform)


def _warp(image: U8, source_to_crop: FloatArray, crop_hw: tuple[int, int]) -> U8:
    warped = cv2.warpAffine(image, source_to_crop, crop_hw[::-1], flags=cv2.INTER_LINEAR, borderValue=(0, 0, 0))
    return np.asarray(warped, np.uint8)


def _warp_averaged(image: U8, transform: CropTransform) -> U8:
    """Average over squares of about one crop pixel around the window, then sample it.

    A box filter and a bilinear look-up give what area resizing gives, at a fifth of its time.
    """
    kernel = max(2, round(transform.scale))
    low, region = _region(image, transform, kernel)
    if not region.size:
        return np.zeros((*transform.crop_hw, 3), np.uint8)
    averaged = np.asarray(cv2.blur(region, (kernel, kernel), borderType=cv2.BORDER_REPLICATE), np.uint8)
    # An even kernel has no middle pixel: what it writes at x is the average around x - 1/2.
    offset = low - (0.5 if kernel % 2 == 0 else 0.0)
    to_crop = transform.image_to_crop.copy()
    to_crop[:, 2] += to_crop[:, :2] @ offset
    return _warp(averaged, to_crop, transform.crop_hw)


def _region(image: U8, transform: CropTransform, margin: int) -> tuple[NDArray[np.intp], U8]:
    """The part of the picture under the crop and `margin` px around it, and its upper left pixel (2,); it may be
    empty."""
    height, width = transform.crop_hw
    corners = transform.to_image(np.array([[0.0, 0.0], [width, height]]))
    wh = np.array(image.shape[1::-1])
    low = np.clip(np.floor(corners[0]) - margin, 0, wh).astype(np.intp)
    high = np.clip(np.ceil(corners[1]) + margin, low, wh).astype(np.intp)
    return low, image[low[1] : high[1], low[0] : high[0]]


def _warp_window(image: U8, transform: CropTransform) -> U8:
    """The crop of a picture too large to be warped: from its part under the crop, averaged over whole pixels."""
    step = max(1, int(transform.scale))
    low, region = _region(image, transform, 2 * step)
    height, width = (side // step for side in region.shape[:2])
    if not height or not width:
        return np.zeros((*transform.crop_hw, 3), np.uint8)
    whole = region[: height * step, : width * step]
    small = np.asarray(cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
    to_crop = transform.image_to_crop.copy()
    to_crop[:, 2] += to_crop[:, :2] @ (low + (step - 1) / 2)
    to_crop[:, :2] *= step
    return _warp(small, to_crop, transform.crop_hw)
