"""Flip test-time augmentation (`--flip-test`): each crop and its mirror image, at about twice the engine's time.

For packages whose graph looks at the crop alone.
"""

from __future__ import annotations

import cv2
import numpy as np

from bodycast.app.records import F32, U8
from bodycast.engines.package import Tensor, Tensors
from bodycast.hmr.body.joints import MIRROR
from bodycast.hmr.geometry.rotations import rotation_6d_to_matrix

_SIGNS = np.array([-1, 1, 1], np.float32)


def with_mirror_images(inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """`crops` (N, h, w, 3) uint8, and `masks` (N, h, w) and `box_info` (N, 3) where they are, -> 2N rows: themselves,
    then their mirror images."""
    crops = inputs["crops"]
    mirrored = np.stack([_mirror_image(np.asarray(crop, np.uint8)) for crop in crops])
    both: dict[str, Tensor] = {"crops": np.concatenate([crops, mirrored])}
    if "masks" in inputs:
        masks = [_mirror_image(np.asarray(mask, np.uint8)) for mask in inputs["masks"]]
        both["masks"] = np.concatenate([inputs["masks"], np.stack(masks)])
    if "box_info" in inputs:
        signs = np.array([-1, 1, 1], np.float32)
        both["box_info"] = np.concatenate([inputs["box_info"], inputs["box_info"] * signs])
    return both


def _mirror_image(crop: U8) -> U8:
    """Mirrored at the column w/2, on which the crop's centre lies (hmr/geometry/crop.py)."""
    height, width = crop.shape[:2]
    to_crop = np.array([[-1.0, 0, width], [0, 1, 0]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    image = cv2.warpAffine(crop, to_crop, (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(image, np.uint8)


def mean_with_mirror(outputs: Tensors) -> Tensors:
    """N estimates from those of N crops and, behind them, of their mirror images; `pose` (2N, 24, 3, 3), `camera`
    (2N, 3) (s, tx, ty), `keypoints` (2N, 24, 3) where they are, anything else as it is.

    Rotations: mean matrices made orthogonal, the y axis first: it is what two estimates that take a front for a back
    agree on. Keypoints: means by confidence. Everything else: means.
    """
    seen = {name: array[: len(array) // 2].astype(np.float32) for name, array in outputs.items()}
    other = {name: array[len(array) // 2 :].astype(np.float32) for name, array in outputs.items()}
    other["pose"] = (other["pose"][:, MIRROR] * (_SIGNS[:, None] * _SIGNS)).astype(np.float32)
    other["camera"] = other["camera"] * np.array([1, -1, 1], np.float32)
    mean = {name: ((seen[name] + other[name]) / 2).astype(np.float32) for name in outputs}
    if "keypoints" in outputs:
        back = other["keypoints"][:, MIRROR] * np.array([-1, 1, 1], np.float32)
        mean["keypoints"] = _mean_keypoints(np.stack([seen["keypoints"], back]))
    return mean | {"pose": _orthogonal(mean["pose"])}


def _mean_keypoints(looks: F32) -> F32:
    """(N, 24, 3) of (looks, N, 24, 3) x, y, confidence."""
    weights = np.maximum(looks[..., 2:], 1e-6)
    places = (looks[..., :2] * weights).sum(0) / weights.sum(0)
    return np.concatenate([places, looks[..., 2:].mean(0)], axis=-1).astype(np.float32)


def _orthogonal(matrices: F32) -> F32:
    """Rotations (..., 3, 3) from means of rotations: Gram and Schmidt on the columns, y before x."""
    y_and_x = np.concatenate([matrices[..., 1], matrices[..., 0]], axis=-1)
    turned = rotation_6d_to_matrix(y_and_x)
    return np.stack([turned[..., 1], turned[..., 0], -turned[..., 2]], axis=-1).astype(np.float32)
