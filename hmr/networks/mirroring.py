"""A crop and its mirror image, answered together: the mean of what a network says of both.

Testing with mirrored pictures is the field's habit (Newell et al. 2016, arXiv 1603.06937, for heat maps). Left and
right of a body swap in a mirror, and a network that was trained on both should see the same body twice; where it
does not, its errors partly cancel.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from bodycast.hmr.body.joints import MIRROR
from bodycast.hmr.networks.decoders.smpl_transformer import SmplPrediction
from bodycast.hmr.networks.rotation import rotmat_from_6d, sixd_from_rotmat

_SIGNS = (-1.0, 1.0, 1.0)


def mirrored_too(images: Tensor) -> Tensor:
    """Crops or masks (B, ..., W) -> (2B, ..., W): themselves, then their mirror images."""
    return torch.cat([images, images.flip(-1)])


def mirrored_boxes_too(box_info: Tensor) -> Tensor:
    """Box information (B, 3), x first, for `mirrored_too`'s crops."""
    return torch.cat([box_info, box_info * box_info.new_tensor(_SIGNS)])


def mean_with_mirror(both: SmplPrediction, crop_height: int) -> SmplPrediction:
    """B people from the answers about B crops and, behind them, their mirror images.

    Rotations: mean matrices made orthogonal, the y axis first: it is what two answers that take a front for a back
    agree on. Camera: a crop's centre lies on pixel w/2 and the mirror takes pixel u to w - 1 - u, hence a shift by one
    pixel of `crop_height`. Keypoints: means by confidence. Everything else: means.
    """
    seen, other = (SmplPrediction(*values) for values in zip(*(_halves(value) for value in both), strict=True))
    signs = seen.camera.new_tensor(_SIGNS)
    order = torch.from_numpy(np.asarray(MIRROR, np.int64)).to(seen.rotmat.device)
    turned = other.rotmat[:, order] * (signs[:, None] * signs)
    rotmat = _orthogonal(seen.rotmat + turned)
    s, tx, ty = other.camera.unbind(-1)
    back = torch.stack([s, -tx - 2 / (crop_height * s.clamp_min(1e-2)), ty], dim=-1)
    return SmplPrediction(
        pose6d=sixd_from_rotmat(rotmat),
        rotmat=rotmat,
        betas=(seen.betas + other.betas) / 2,
        camera=(seen.camera + back) / 2,
        token=(seen.token + other.token) / 2,
        score=None if seen.score is None or other.score is None else (seen.score + other.score) / 2,
        keypoints=_mean_keypoints(seen.keypoints, other.keypoints, order, crop_height),
    )


def _mean_keypoints(seen: Tensor | None, other: Tensor | None, order: Tensor, crop_height: int) -> Tensor | None:
    if seen is None or other is None:
        return None
    x, y, confidence = other[:, order].unbind(-1)
    back = torch.stack([-x - 1 / crop_height, y, confidence], dim=-1)
    weights = torch.stack([seen[..., 2], confidence]).clamp_min(1e-6)
    both = torch.stack([seen, back])
    places = (both[..., :2] * weights[..., None]).sum(0) / weights.sum(0)[..., None]
    return torch.cat([places, both[..., 2:].mean(0)], dim=-1)


def _halves(value: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
    return (None, None) if value is None else tuple(value.unflatten(0, (2, -1)).unbind(0))  # type: ignore[return-value]


def _orthogonal(matrices: Tensor) -> Tensor:
    """Rotations (..., 3, 3) from sums of rotations: Gram and Schmidt on the columns, y before x."""
    y, x, minus_z = rotmat_from_6d(torch.cat((matrices[..., 1], matrices[..., 0]), dim=-1)).unbind(-1)
    return torch.stack((x, y, -minus_z), dim=-1)
