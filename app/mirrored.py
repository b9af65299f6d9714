"""Every crop and its mirror image, answered together: `--mirror`, at about twice the engine's time.

The numpy counterpart of hmr/networks/mirroring.py, for packages whose graph looks at the crop alone.
"""

from __future__ import annotations

import numpy as np

from app.records import F32
from engines.package import Tensor, Tensors
from hmr.body.joints import MIRROR
from hmr.geometry.rotations import rotation_6d_to_matrix

_SIGNS = np.array([-1, 1, 1], np.float32)


def with_mirror_images(inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """`crops` (N, h, w, 3), and `box_info` (N, 3) where it is, -> 2N rows: themselves, then their mirror images."""
    crops = inputs["crops"]
    both = {"crops": np.concatenate([crops, crops[:, :, ::-1]])}
    if "box_info" in inputs:
        both["box_info"] = np.concatenate([inputs["box_info"], inputs["box_info"] * _SIGNS])
    return both


def mean_with_mirror(outputs: Tensors, crop_height: int) -> Tensors:
    """N answers from those to N crops and, behind them, to their mirror images; `pose` (2N, 24, 3, 3), `camera`
    (2N, 3) (s, tx, ty), `keypoints` (2N, 24, 3) where they are, anything else as it is.

    Rotations: mean matrices made orthogonal, the y axis first: it is what two answers that take a front for a back
    agree on. Camera: a crop's centre lies on pixel w/2 and the mirror takes pixel u to w - 1 - u, hence a shift by one
    pixel of `crop_height`. Keypoints: means by confidence. Everything else: means.
    """
    seen = {name: array[: len(array) // 2].astype(np.float32) for name, array in outputs.items()}
    other = {name: array[len(array) // 2 :].astype(np.float32) for name, array in outputs.items()}
    other["pose"] = (other["pose"][:, MIRROR] * (_SIGNS[:, None] * _SIGNS)).astype(np.float32)
    s, tx, ty = other["camera"].T
    other["camera"] = np.stack([s, -tx - 2 / (crop_height * np.maximum(s, 1e-2)), ty], axis=1).astype(np.float32)
    mean = {name: ((seen[name] + other[name]) / 2).astype(np.float32) for name in outputs}
    if "keypoints" in outputs:
        mean["keypoints"] = _mean_keypoints(seen["keypoints"], other["keypoints"][:, MIRROR], crop_height)
    return mean | {"pose": _orthogonal(mean["pose"])}


def _mean_keypoints(seen: F32, other: F32, crop_height: int) -> F32:
    """Of (N, 24, 3) x, y, confidence; `other` with left and right in order, but still where the mirror shows them."""
    back = other * _SIGNS - np.array([1 / crop_height, 0, 0], np.float32)
    both = np.stack([seen, back])
    weights = np.maximum(both[..., 2:], 1e-6)
    places = (both[..., :2] * weights).sum(0) / weights.sum(0)
    return np.concatenate([places, both[..., 2:].mean(0)], axis=-1).astype(np.float32)


def _orthogonal(matrices: F32) -> F32:
    """Rotations (..., 3, 3) from means of rotations: Gram and Schmidt on the columns, y before x."""
    y_and_x = np.concatenate([matrices[..., 1], matrices[..., 0]], axis=-1)
    turned = rotation_6d_to_matrix(y_and_x)
    return np.stack([turned[..., 1], turned[..., 0], -turned[..., 2]], axis=-1).astype(np.float32)
