"""One crop per tracked person: HMR2.0's rule (hmr/geometry/crop.py), cut straight to the network's window.

HMR2.0 blurs the whole frame before it shrinks a large person, and warps a square whose side columns it then throws
away. Here only the columns that the network sees are made, and shrinking averages over areas, per crop (PAPERS 5.1:
"for video crop first or use area resize").
"""

from __future__ import annotations

import cv2
import numpy as np

from app.records import U8, CropBatch, Frame, Tracks
from hmr.geometry.arrays import FloatArray
from hmr.geometry.crop import HMR_CROP_HW, CropTransform, crop_transforms

SHRINK_LIMIT = 1.1
"""Image pixels per crop pixel above which plain bilinear sampling would skip pixels."""


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
    height, width = transform.crop_hw
    corners = transform.to_image(np.array([[0.0, 0.0], [width, height]]))
    low = np.clip(np.floor(corners[0]) - kernel, 0, None).astype(int)
    high = np.clip(np.ceil(corners[1]) + kernel, None, image.shape[1::-1]).astype(int)
    if np.any(high - low < 1):
        return np.zeros((height, width, 3), np.uint8)
    region = image[low[1] : high[1], low[0] : high[0]]
    averaged = np.asarray(cv2.blur(region, (kernel, kernel), borderType=cv2.BORDER_REPLICATE), np.uint8)
    # An even kernel has no middle pixel: what it writes at x is the average around x - 1/2.
    offset = low - (0.5 if kernel % 2 == 0 else 0.0)
    to_crop = transform.image_to_crop.copy()
    to_crop[:, 2] += to_crop[:, :2] @ offset
    return _warp(averaged, to_crop, transform.crop_hw)
