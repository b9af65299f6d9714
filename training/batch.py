"""A batch of labelled crops, and the same batch seen in a mirror."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor

from bodycast.hmr.body.joints import MIRROR, NUM_JOINTS
from bodycast.hmr.body.surface_joints import POINT_NAMES
from training.crop_camera import in_crop, ray_rotation

STORED_HW = (256, 192)


class _Rows:
    """What `Known` and `Batch` share: rows can be taken, and all of it moved to a device."""

    def _each(self) -> Iterator[tuple[str, Tensor | Known]]:
        for entry in fields(self):  # type: ignore[arg-type]
            value = getattr(self, entry.name)
            if value is not None:
                yield entry.name, value


@dataclass(frozen=True)
class Known(_Rows):
    """Which labels of B crops are there, as weights 0..1; synthetic crops need none of it, they know everything.

    pose, betas, camera, parts (B,); joints (B,24) in space. points_2d (B,35,2): places of POINT_NAMES
    (hmr.body.surface_joints) in crop coordinates, see `training.crop_camera.in_crop`; points (B,35): their weights.
    """

    pose: Tensor
    betas: Tensor
    camera: Tensor
    parts: Tensor
    joints: Tensor
    points_2d: Tensor
    points: Tensor

    def map(self, function) -> Known:
        """The same with `function` applied to every tensor."""
        return Known(**{name: function(value) for name, value in self._each()})


@dataclass(frozen=True)
class Batch(_Rows):
    """B crops. images (B,3,h,w) normalised; parts (B,64,48) long, 0 nobody; pose (B,24,3,3), root in the crop's ray
    frame; betas (B,10); camera (B,3); joints (B,24,3) camera frame, m; centre_px (B,2); size_px, focal_px (B,);
    image_wh (B,2); score (B,): 1 for a good crop; known: None where every label is there."""

    images: Tensor
    parts: Tensor
    pose: Tensor
    betas: Tensor
    camera: Tensor
    joints: Tensor
    centre_px: Tensor
    size_px: Tensor
    focal_px: Tensor
    image_wh: Tensor
    score: Tensor
    known: Known | None = None

    def __len__(self) -> int:
        return len(self.score)

    def map(self, function) -> Batch:
        """The same with `function` applied to every tensor."""
        return Batch(**{n: v.map(function) if isinstance(v, Known) else function(v) for n, v in self._each()})

    def to(self, device: torch.device) -> Batch:
        """The same batch on a device."""
        return self.map(lambda tensor: tensor.to(device, non_blocking=True))

    def first(self, count: int) -> Batch:
        """Its first `count` rows."""
        return self if count >= len(self) else self.map(lambda tensor: tensor[:count])


@dataclass(frozen=True)
class _MirrorTables:
    joints: Tensor  # (24,)
    points: Tensor  # (35,)
    parts: Tensor  # (25,): the part map holds joint + 1, and a mirrored picture swaps the sides' numbers
    sign: Tensor  # (3,)


@functools.lru_cache(maxsize=8)
def _mirror_tables(device: torch.device) -> _MirrorTables:
    def other(name: str) -> str:
        for ours, theirs in (("left_", "right_"), ("right_", "left_")):
            if name.startswith(ours):
                return theirs + name.removeprefix(ours)
        return name

    points = [POINT_NAMES.index(other(name)) for name in POINT_NAMES]
    parts = np.concatenate([[0], np.asarray(MIRROR) + 1])
    return _MirrorTables(
        torch.as_tensor(np.asarray(MIRROR), device=device),
        torch.tensor(points, device=device),
        torch.as_tensor(parts, device=device),
        torch.tensor([-1.0, 1.0, 1.0], device=device),
    )


def mirrored(batch: Batch) -> Batch:
    """The batch seen in a mirror: pixels, parts, poses, camera and joints alike."""
    tables = _mirror_tables(batch.pose.device)
    sign = tables.sign
    pose = batch.pose[:, tables.joints] * (sign[:, None] * sign)
    joints = batch.joints[:, tables.joints] * sign
    # Flipping takes pixel u to 191 - u, but a crop's centre lies on pixel 96: the mirrored crop is cut a pixel aside.
    s, tx, ty = batch.camera.unbind(1)
    # A scale of zero is an unlabelled camera's.
    camera = torch.stack([s, -tx - 2 / (STORED_HW[0] * s.clamp_min(1e-6)) * (s > 0), ty], dim=1)
    x = batch.image_wh[:, 0] - batch.centre_px[:, 0] + batch.size_px / STORED_HW[0]
    centre = torch.stack([x, batch.centre_px[:, 1]], dim=1)
    root = sign[:, None] * (ray_rotation(batch) @ batch.pose[:, 0]) * sign
    moved = replace(batch, centre_px=centre)
    turned = (ray_rotation(moved).transpose(1, 2) @ root)[:, None]
    known = batch.known
    if known is not None:
        shift = torch.stack([known.points_2d.new_full((), 1 / STORED_HW[0]), known.points_2d.new_zeros(())])
        points_2d = known.points_2d[:, tables.points] * sign[:2] - shift
        known = replace(
            known, joints=known.joints[:, tables.joints], points=known.points[:, tables.points], points_2d=points_2d
        )
    return replace(
        moved, images=batch.images.flip(-1), parts=tables.parts[batch.parts.flip(-1)],
        pose=torch.cat([turned, pose[:, 1:]], dim=1), camera=camera, joints=joints, known=known,
    )  # fmt: skip


def mirrored_where(batch: Batch, chosen: Tensor) -> Batch:
    """The batch with the rows `chosen` (B,) bool seen in a mirror."""
    other = mirrored(batch)

    def pick(ours: Batch | Known, theirs: Batch | Known, names: list[str]) -> dict[str, Tensor]:
        values: dict[str, Tensor] = {}
        for name in names:
            a, b = getattr(ours, name), getattr(theirs, name)
            values[name] = torch.where(chosen.view(-1, *(1,) * (a.dim() - 1)), b, a)
        return values

    changed = [entry.name for entry in fields(Batch) if entry.name != "known"]
    known = batch.known
    if known is not None and other.known is not None:
        known = Known(**pick(known, other.known, [entry.name for entry in fields(Known)]))
    return Batch(**pick(batch, other, changed), known=known)


def everything_known(batch: Batch) -> Known:
    """Full weights, and the points that the labelled joints give: for crops that know everything."""
    count, points = len(batch), len(POINT_NAMES)
    ones = torch.ones_like(batch.score)
    missing = batch.joints.new_zeros(count, points - NUM_JOINTS, 2)
    weights = torch.cat([ones[:, None].expand(-1, NUM_JOINTS), missing[..., 0]], dim=1)
    places = torch.cat([in_crop(batch.joints, batch), missing], dim=1)
    return Known(ones, ones, ones, ones, torch.ones_like(batch.joints[..., 0]), places, weights)


def joined(batches: list[Batch]) -> Batch:
    """One batch after the other; if some know less than everything, all say what they know."""
    if any(batch.known is not None for batch in batches):
        batches = [b if b.known is not None else replace(b, known=everything_known(b)) for b in batches]

    def join(parts: list[Batch] | list[Known]) -> dict[str, Tensor]:
        names = [name for name, value in parts[0]._each() if isinstance(value, Tensor)]
        return {name: torch.cat([getattr(part, name) for part in parts]) for name in names}

    known = [batch.known for batch in batches if batch.known is not None]
    return Batch(**join(batches), known=Known(**join(known)) if known else None)
