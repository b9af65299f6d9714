"""The person crop of HMR2.0 (4D-Humans, arXiv 2305.20091), for any network input size.

Rule: grow the detector box to the aspect 192:256 (width:height), take the larger side b, and read a *square* of side b
around the box centre. Pixel (u, v) of the square sampled at h x h pixels looks at
`centre + (uv - h/2) * b / h` of the image: integer coordinates are pixel centres, there is no half-pixel shift. The
network sees the central columns of that square, 32..223 of 256 for the 256x192 input, 3/4 of them for any other height.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bodycast.hmr.geometry.arrays import FloatArray, as_float, require_last_axes

HMR_CROP_HW = (256, 192)
PADDING = 1.15
"""Crop over box, of networks that find keypoints: limbs outside the box stay in sight."""
ROOM = 0.1
"""What such a network sees around the box, in the box's longer sides; beyond lies somebody else and is blackened."""
_ASPECT_WH = (192.0, 256.0)


def hmr_square(xyxy: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Centres (N, 2) and sides (N,) in px of the square crops for boxes (N, 4).

    A box without area raises ValueError, since no crop can be read from it.
    """
    boxes = as_float(xyxy)
    require_last_axes(boxes, (4,), "xyxy")
    size = boxes[..., 2:] - boxes[..., :2]
    if np.any(~(size > 0)):
        raise ValueError("every box needs x1 > x0 and y1 > y0")
    centre = 0.5 * (boxes[..., 2:] + boxes[..., :2])
    width, height = size[..., 0], size[..., 1]
    # Growing to the aspect can only lengthen the shorter direction; the larger side of the result is the square.
    side = np.maximum(height, width * (_ASPECT_WH[1] / _ASPECT_WH[0]))
    return centre, side.astype(boxes.dtype)


@dataclass(frozen=True)
class CropTransform:
    """Where a network crop lies in its image.

    centre_px: image point under the crop's middle (u, v) = (w/2, h/2).
    size_px: side in image pixels of the square the crop is cut from (b above); spans `crop_hw[0]` crop pixels.
    crop_hw: height and width of the network input; a width below the height drops columns on both sides.
    """

    centre_px: tuple[float, float]
    size_px: float
    crop_hw: tuple[int, int] = HMR_CROP_HW

    def __post_init__(self) -> None:
        if not np.all(np.isfinite((*self.centre_px, self.size_px))) or self.size_px <= 0:
            raise ValueError(f"a crop needs a finite centre and a positive size, got {self}")
        if min(self.crop_hw) <= 0:
            raise ValueError(f"crop_hw must be positive, got {self.crop_hw}")

    @property
    def scale(self) -> float:
        """Image pixels per crop pixel."""
        return self.size_px / self.crop_hw[0]

    def to_image(self, crop_points: ArrayLike) -> FloatArray:
        """Crop pixels (..., 2) -> image pixels (..., 2)."""
        points = as_float(crop_points)
        require_last_axes(points, (2,), "crop_points")
        centre, middle = self._centres(points.dtype)
        return (centre + (points - middle) * self.scale).astype(points.dtype)

    def to_crop(self, image_points: ArrayLike) -> FloatArray:
        """Image pixels (..., 2) -> crop pixels (..., 2); inverse of `to_image`."""
        points = as_float(image_points)
        require_last_axes(points, (2,), "image_points")
        centre, middle = self._centres(points.dtype)
        return (middle + (points - centre) / self.scale).astype(points.dtype)

    @property
    def image_to_crop(self) -> FloatArray:
        """(2, 3) float64 affine matrix, source -> crop (what `cv2.warpAffine` takes)."""
        k = 1.0 / self.scale
        height, width = self.crop_hw
        x, y = self.centre_px
        return np.array([[k, 0.0, width / 2 - k * x], [0.0, k, height / 2 - k * y]])

    @property
    def crop_to_image(self) -> FloatArray:
        """(2, 3) float64 affine matrix, crop -> source."""
        k = self.scale
        height, width = self.crop_hw
        x, y = self.centre_px
        return np.array([[k, 0.0, x - k * width / 2], [0.0, k, y - k * height / 2]])

    def _centres(self, dtype: np.dtype[np.floating]) -> tuple[FloatArray, FloatArray]:
        height, width = self.crop_hw
        return np.array(self.centre_px, dtype=dtype), np.array([width / 2, height / 2], dtype=dtype)


def crop_transforms(xyxy: ArrayLike, crop_hw: tuple[int, int] = HMR_CROP_HW) -> tuple[CropTransform, ...]:
    """HMR2.0's crop rule for boxes (N, 4): one transform a box; no boxes give an empty tuple."""
    centres, sides = hmr_square(np.reshape(as_float(xyxy), (-1, 4)))
    return tuple(
        CropTransform((float(centre[0]), float(centre[1])), float(side), crop_hw)
        for centre, side in zip(centres, sides, strict=True)
    )


def padded_transforms(xyxy: ArrayLike, crop_hw: tuple[int, int]) -> tuple[CropTransform, ...]:
    """Crops for keypoint networks ("padded"): boxes (N, 4) grown to the input's aspect, then PADDING times as large.

    A box without area raises ValueError.
    """
    boxes = np.reshape(as_float(xyxy), (-1, 4))
    size = boxes[:, 2:] - boxes[:, :2]
    if np.any(~(size > 0)):
        raise ValueError("every box needs x1 > x0 and y1 > y0")
    centres = 0.5 * (boxes[:, 2:] + boxes[:, :2])
    heights = PADDING * np.maximum(size[:, 1], size[:, 0] * (crop_hw[0] / crop_hw[1]))
    return tuple(
        CropTransform((float(centre[0]), float(centre[1])), float(height), crop_hw)
        for centre, height in zip(centres, heights, strict=True)
    )


def seen_part(transform: CropTransform, xyxy: ArrayLike) -> tuple[int, int, int, int]:
    """Left, top, right, bottom (exclusive) of the crop pixels that a padded crop shows of its box (4,) and ROOM."""
    box = as_float(xyxy)
    room = ROOM * float(np.max(box[2:] - box[:2]))
    height, width = transform.crop_hw
    corners = transform.to_crop(np.array([box[:2] - room, box[2:] + room]))
    low = np.clip(np.floor(corners[0]), 0, (width, height)).astype(int)
    high = np.clip(np.ceil(corners[1]) + 1, low, (width, height)).astype(int)
    return int(low[0]), int(low[1]), int(high[0]), int(high[1])


def blackened(pixels: NDArray[np.uint8], part: tuple[int, int, int, int]) -> None:
    """Make a crop (h, w, C) black outside `seen_part`, in place."""
    left, top, right, bottom = part
    pixels[:top], pixels[bottom:] = 0, 0
    pixels[:, :left], pixels[:, right:] = 0, 0


def stack_crops(transforms: Sequence[CropTransform]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """centre_px (N, 2) and size_px (N,) of many transforms, as `camera.cam_crop_to_full` takes them."""
    centres = np.array([t.centre_px for t in transforms], dtype=np.float64).reshape(-1, 2)
    return centres, np.array([t.size_px for t in transforms], dtype=np.float64)


def sample_crop(image: NDArray[np.uint8] | FloatArray, transform: CropTransform) -> FloatArray:
    """Exact bilinear crop (zero outside the image), the reference that a fast cropper is compared with.

    image (H, W, C) of any real dtype -> (h, w, C) float64 on the image's scale. No anti-aliasing.
    """
    height, width = transform.crop_hw
    v, u = np.mgrid[0:height, 0:width].astype(np.float64)
    points = transform.to_image(np.stack([u, v], axis=-1))
    floor = np.floor(points).astype(np.int64)
    fraction = points - floor
    total = np.zeros((height, width, image.shape[2]))
    for dy in (0, 1):
        for dx in (0, 1):
            x, y = floor[..., 0] + dx, floor[..., 1] + dy
            inside = (x >= 0) & (x < image.shape[1]) & (y >= 0) & (y < image.shape[0])
            pixels = image[np.clip(y, 0, image.shape[0] - 1), np.clip(x, 0, image.shape[1] - 1)]
            weight = np.abs(1 - dx - fraction[..., 0]) * np.abs(1 - dy - fraction[..., 1]) * inside
            total += weight[..., None] * pixels
    return total
