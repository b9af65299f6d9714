"""Heat maps to keypoints, in numpy: what runs after an exported keypoint network.

Sources: ViTPose (Xu et al. 2022, arXiv 2204.12484), whose released settings are "udp"; UDP (Huang et al.
2020, arXiv 1911.07524) for the unbiased coordinates; DarkPose (Zhang et al. 2020, arXiv 1910.06278) for the
refinement by a Taylor expansion of the blurred heat map's logarithm.

Coordinates are (x, y). Under UDP the unit is the pixel step: the centre of the first heat-map cell lies on
the crop's first pixel and the centre of the last on its last, so a crop of size s spans W - 1 steps; the
older methods count W cells. Crops must be cut with the same rule.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

Method = Literal["udp", "dark", "default", "argmax"]
Floats = NDArray[np.float32] | NDArray[np.float64]

# COCO keypoints that change places in a mirrored picture.
COCO_FLIP_PAIRS = ((1, 2), (3, 4), (5, 6), (7, 8), (9, 10), (11, 12), (13, 14), (15, 16))


def decode_heatmaps(
    heatmaps: Floats,
    center_px: Floats,
    size_px: Floats,
    method: Method = "udp",
    kernel: int = 11,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Keypoints (N, K, 2) in image pixels and their scores (N, K) from heat maps (N, K, H, W).

    center_px (N, 2) and size_px (N, 2): centre, width and height of each crop in the image. kernel: width of
    the Gaussian blur of "udp" and "dark". A heat map without a positive value has no peak: its keypoint is
    left where the coarse search puts it, unrefined, and its score says so.
    Raises ValueError for other shapes or an unknown method.
    """
    if heatmaps.ndim != 4:
        raise ValueError(f"heat maps must be (N, K, H, W), got shape {heatmaps.shape}")
    if method not in get_args(Method):
        raise ValueError(f"method must be one of {get_args(Method)}, got {method!r}")
    cells, scores = refine_peaks(heatmaps, method, kernel)
    height, width = heatmaps.shape[2:]
    steps = np.array([width - 1, height - 1] if method == "udp" else [width, height], np.float64)
    size = np.asarray(size_px, np.float64)[:, None]
    center = np.asarray(center_px, np.float64)[:, None]
    return cells * (size / steps) + center - size / 2, scores


def refine_peaks(
    heatmaps: Floats, method: Method = "udp", kernel: int = 11
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Keypoints (N, K, 2) in heat-map cells and scores (N, K)."""
    cells, scores = find_peaks(heatmaps)
    found = scores > 0
    if method == "udp":
        refined = _taylor_step(np.log(np.clip(gaussian_blur(heatmaps, kernel), 0.001, 50.0)), cells, found)
    elif method == "dark":
        refined = _dark_step(np.log(np.maximum(_blur_keeping_peak(heatmaps, kernel), 1e-10)), cells, found)
    elif method == "default":
        refined = _quarter_step(heatmaps, cells, found)
    else:
        refined = cells
    return refined, scores


def crop_matrix(center_px: Floats, size_px: Floats, crop_wh: tuple[int, int], udp: bool = True) -> NDArray[np.float64]:
    """Affine maps (N, 2, 3) from image to crop pixels for upright crops, under the same rule as
    `decode_heatmaps`.

    center_px, size_px (N, 2): centre, width and height of each crop in the image; crop_wh: size of the
    network's input. Without UDP the older rule holds: one scale, the width's, and the box centre on the
    crop's middle.
    """
    center, size = np.asarray(center_px, np.float64), np.asarray(size_px, np.float64)
    wh = np.asarray(crop_wh, np.float64)
    if udp:
        scale, middle = (wh - 1) / size, (wh - 1) / 2
    else:
        scale, middle = np.repeat(wh[0] / size[:, :1], 2, axis=1), wh / 2
    matrix = np.zeros((len(center), 2, 3))
    matrix[:, 0, 0], matrix[:, 1, 1] = scale[:, 0], scale[:, 1]
    matrix[:, :, 2] = middle - scale * center
    return matrix


def find_peaks(heatmaps: Floats) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Cells (N, K, 2) of the maxima and their values (N, K); cell (-1, -1) where no value is positive."""
    count, keypoints, height, width = heatmaps.shape
    flat = heatmaps.reshape(count, keypoints, height * width)
    best = flat.argmax(axis=-1)
    scores = np.take_along_axis(flat, best[..., None], axis=-1)[..., 0].astype(np.float64)
    cells = np.stack((best % width, best // width), axis=-1).astype(np.float64)
    return np.where(scores[..., None] > 0, cells, -1.0), scores


def flip_heatmaps(heatmaps: Floats, pairs: tuple[tuple[int, int], ...] = COCO_FLIP_PAIRS) -> Floats:
    """Heat maps (N, K, H, W) of a mirrored picture, mirrored back: columns reversed, left and right
    exchanged.

    For the flip test: decode the mean of the picture's own heat maps and of these.
    """
    order = np.arange(heatmaps.shape[1])
    for left, right in pairs:
        order[[left, right]] = order[[right, left]]
    return heatmaps[:, order, :, ::-1]


def gaussian_blur(maps: Floats, kernel: int) -> NDArray[np.float64]:
    """Gaussian blur of the last two axes, borders reflected without repeating the edge.

    The sigma that OpenCV derives from a kernel width: 0.3 ((kernel - 1) / 2 - 1) + 0.8, which is 2 for 11.
    """
    if kernel % 2 == 0 or kernel < 1:
        raise ValueError(f"the blur's kernel width must be odd, got {kernel}")
    radius = kernel // 2
    sigma = 0.3 * (radius - 1) + 0.8
    taps = np.exp(-(np.arange(-radius, radius + 1) ** 2) / (2 * sigma**2))
    taps /= taps.sum()
    out = np.asarray(maps, np.float64)
    for axis in (-2, -1):
        pad = [(0, 0)] * out.ndim
        pad[axis] = (radius, radius)
        padded = np.pad(out, pad, mode="reflect")
        length = out.shape[axis]
        shifted = (np.take(padded, range(i, i + length), axis=axis) * tap for i, tap in enumerate(taps))
        out = np.sum(list(shifted), axis=0)
    return out


def _blur_keeping_peak(heatmaps: Floats, kernel: int) -> NDArray[np.float64]:
    """DARK's blur: zeros beyond the border, each map scaled back to its own maximum."""
    radius = kernel // 2
    pad = [(0, 0), (0, 0), (radius, radius), (radius, radius)]
    blurred = gaussian_blur(np.pad(np.asarray(heatmaps, np.float64), pad), kernel)
    blurred = blurred[:, :, radius:-radius, radius:-radius]
    before = heatmaps.max(axis=(2, 3), keepdims=True)
    after = blurred.max(axis=(2, 3), keepdims=True)
    return blurred * np.where(after > 0, before / np.where(after > 0, after, 1.0), 1.0)


def _at(maps: NDArray[np.float64], cells: NDArray[np.float64], dx: int, dy: int) -> NDArray[np.float64]:
    """Values (N, K) of maps (N, K, H, W) at cells shifted by (dx, dy), the edge repeated beyond the border."""
    height, width = maps.shape[2:]
    x = np.clip(cells[..., 0].astype(np.int64) + dx, 0, width - 1)
    y = np.clip(cells[..., 1].astype(np.int64) + dy, 0, height - 1)
    people, keypoints = np.ogrid[: maps.shape[0], : maps.shape[1]]
    return maps[people, keypoints, y, x]


def _newton(
    cells: NDArray[np.float64],
    gradient: tuple[NDArray[np.float64], NDArray[np.float64]],
    hessian: tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]],
    where: NDArray[np.bool_],
) -> NDArray[np.float64]:
    """cells - H^-1 g for the 2x2 Hessians (xx, xy, yy), only `where`."""
    (gx, gy), (xx, xy, yy) = gradient, hessian
    determinant = xx * yy - xy * xy
    where = where & (determinant != 0)
    safe = np.where(where, determinant, 1.0)
    step = np.stack(((yy * gx - xy * gy) / safe, (xx * gy - xy * gx) / safe), axis=-1)
    return np.where(where[..., None], cells - step, cells)


def _taylor_step(
    log_maps: NDArray[np.float64], cells: NDArray[np.float64], found: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """UDP's refinement: one Newton step with differences of one cell."""
    here = _at(log_maps, cells, 0, 0)
    right, left = _at(log_maps, cells, 1, 0), _at(log_maps, cells, -1, 0)
    down, up = _at(log_maps, cells, 0, 1), _at(log_maps, cells, 0, -1)
    mixed = _at(log_maps, cells, 1, 1) - right - down + 2 * here - left - up + _at(log_maps, cells, -1, -1)
    eps = float(np.finfo(np.float32).eps)
    hessian = (right - 2 * here + left + eps, 0.5 * mixed, down - 2 * here + up + eps)
    return _newton(cells, (0.5 * (right - left), 0.5 * (down - up)), hessian, found)


def _dark_step(
    log_maps: NDArray[np.float64], cells: NDArray[np.float64], found: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """DARK's refinement: as UDP's, with second differences of two cells, and only away from the border."""
    height, width = log_maps.shape[2:]
    x, y = cells[..., 0], cells[..., 1]
    inside = found & (x > 1) & (x < width - 2) & (y > 1) & (y < height - 2)
    here = _at(log_maps, cells, 0, 0)
    gradient = (
        0.5 * (_at(log_maps, cells, 1, 0) - _at(log_maps, cells, -1, 0)),
        0.5 * (_at(log_maps, cells, 0, 1) - _at(log_maps, cells, 0, -1)),
    )
    diagonal = _at(log_maps, cells, 1, 1) + _at(log_maps, cells, -1, -1)
    across = _at(log_maps, cells, 1, -1) + _at(log_maps, cells, -1, 1)
    hessian = (
        0.25 * (_at(log_maps, cells, 2, 0) - 2 * here + _at(log_maps, cells, -2, 0)),
        0.25 * (diagonal - across),
        0.25 * (_at(log_maps, cells, 0, 2) - 2 * here + _at(log_maps, cells, 0, -2)),
    )
    return _newton(cells, gradient, hessian, inside)


def _quarter_step(heatmaps: Floats, cells: NDArray[np.float64], found: NDArray[np.bool_]) -> NDArray[np.float64]:
    """A quarter of a cell towards the higher neighbour, along both axes, away from the border."""
    maps = np.asarray(heatmaps, np.float64)
    height, width = maps.shape[2:]
    x, y = cells[..., 0], cells[..., 1]
    inside = found & (x > 1) & (x < width - 1) & (y > 1) & (y < height - 1)
    step = np.stack(
        (
            np.sign(_at(maps, cells, 1, 0) - _at(maps, cells, -1, 0)),
            np.sign(_at(maps, cells, 0, 1) - _at(maps, cells, 0, -1)),
        ),
        axis=-1,
    )
    return np.where(inside[..., None], cells + 0.25 * step, cells)
