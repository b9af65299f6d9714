"""Person masks of crops, for HMR packages that merge the background's tokens first (Mask-ToMe, FastHMR, Mehraban et al.
2025, arXiv 2510.10868). FastHMR segments each picture; the silhouette of the frame before costs nothing extra.
"""

from __future__ import annotations

from typing import Literal, Protocol, get_args

import cv2
import numpy as np

from bodycast.app.errors import UsageError
from bodycast.app.records import F32, I32, U8, CropBatch, Frame, Tracks
from bodycast.engines.package import ModelPackage
from bodycast.hmr.geometry.camera import Intrinsics, project_intrinsics
from bodycast.hmr.geometry.crop import CropTransform

MaskChoice = Literal["auto", "silhouette", "segmenter", "none"]
"""auto: what the package was made for."""
CENTRAL_WH = (0.7, 0.9)
"""Of the box: what counts as the person as long as no mesh of theirs is known."""
REACH_M = 0.04
"""Around each point of the mesh: closes the gaps between points, 2 cm apart, and lets the person move a little."""
NEAREST_M = 0.1
"""Parts of a mesh that are nearer to the camera, or behind it, have no place in the picture."""


class PersonMasks(Protocol):
    """Where masks come from. Used by one thread."""

    def of(self, frame: Frame, tracks: Tracks, crops: CropBatch) -> U8:
        """Masks (N,h,w) uint8 for the crops of `tracks`, 255 on the person and 0 elsewhere."""
        ...

    def remember(self, id: I32, vertices: F32, intrinsics: Intrinsics) -> None:
        """The meshes (N,V,3) m, camera frame, of everybody whom the last frame showed."""
        ...

    def describe(self) -> str:
        """For the engine's line."""
        ...

    def close(self) -> None:
        """Release what is open. May be called twice."""
        ...


class NoMasks:
    """Nothing is protected: token merging by similarity alone (ToMe)."""

    def of(self, frame: Frame, tracks: Tracks, crops: CropBatch) -> U8:
        """Zeros."""
        del frame, tracks
        return np.zeros(crops.stored.shape[:3], np.uint8)

    def remember(self, id: I32, vertices: F32, intrinsics: Intrinsics) -> None:
        """Nothing is needed."""

    def describe(self) -> str:
        """See `PersonMasks`."""
        return "no masks"

    def close(self) -> None:
        """Nothing is open."""


class SilhouetteMasks:
    """The track's own mesh in the frame before; the box's central part for who has none yet."""

    def __init__(self) -> None:
        # id -> points (V,2) px in the picture, and how far each reaches, px.
        self._seen: dict[int, tuple[F32, float]] = {}

    def of(self, frame: Frame, tracks: Tracks, crops: CropBatch) -> U8:
        """See `PersonMasks`."""
        del frame
        masks = np.empty(crops.stored.shape[:3], np.uint8)
        for row, (track, transform) in enumerate(zip(tracks.id.tolist(), crops.transforms, strict=True)):
            seen = self._seen.get(track)
            masks[row] = central_part(transform, tracks.xyxy[row]) if seen is None else silhouette(transform, *seen)
        return masks

    def remember(self, id: I32, vertices: F32, intrinsics: Intrinsics) -> None:
        """See `PersonMasks`. Who is not among them is forgotten."""
        self._seen = {}
        for track, mesh in zip(id.tolist(), vertices, strict=True):
            mesh = mesh[mesh[:, 2] > NEAREST_M]
            if len(mesh):
                reach_px = REACH_M * intrinsics.focal_px / float(np.median(mesh[:, 2]))
                self._seen[track] = project_intrinsics(mesh, intrinsics).astype(np.float32), reach_px

    def describe(self) -> str:
        """See `PersonMasks`."""
        return "masks: silhouette of the frame before"

    def close(self) -> None:
        """Nothing is open."""


def silhouette(transform: CropTransform, points_px: F32, reach_px: float) -> U8:
    """(h,w) uint8, 255 within `reach_px` (of the picture) of the points (V,2) px of the picture."""
    height, width = transform.crop_hw
    mask = np.zeros((height, width), np.uint8)
    at = np.round(transform.to_crop(points_px)).astype(np.int64)
    inside = ((at >= 0) & (at < (width, height))).all(axis=1)
    mask[at[inside, 1], at[inside, 0]] = 255
    side = 2 * min(round(reach_px / transform.scale), height // 4) + 1
    return np.asarray(cv2.dilate(mask, np.ones((side, side), np.uint8)), np.uint8)


def central_part(transform: CropTransform, xyxy: F32) -> U8:
    """(h,w) uint8, 255 in the middle of the box (4,) px."""
    height, width = transform.crop_hw
    centre, size = (xyxy[:2] + xyxy[2:]) / 2, (xyxy[2:] - xyxy[:2]) * np.array(CENTRAL_WH)
    corners = np.round(transform.to_crop(np.stack([centre - size / 2, centre + size / 2]))).astype(int)
    (left, top), (right, bottom) = np.clip(corners, 0, (width, height)).tolist()
    mask = np.zeros((height, width), np.uint8)
    mask[top:bottom, left:right] = 255
    return mask


def mask_choice(package: ModelPackage, wanted: MaskChoice) -> Literal["silhouette", "segmenter", "none"]:
    """What `wanted` means for a package.

    Raises: UsageError where it takes no masks and some are asked for.
    """
    if wanted not in get_args(MaskChoice):
        raise UsageError(f"--masks {wanted}: expected one of {', '.join(get_args(MaskChoice))}")
    if not any(spec.name == "masks" for spec in package.info.inputs):
        if wanted in ("auto", "none"):
            return "none"
        raise UsageError(
            f"--masks {wanted}: {package.info.name} takes no masks; bodycast import --tokens fasthmr --masks {wanted} "
            "makes a package that does"
        )
    if wanted != "auto":
        return wanted
    return "segmenter" if package.info.masks == "segmenter" else "silhouette"


def moved_mask(mask: F32, made_in: CropTransform, wanted: CropTransform) -> U8:
    """A mask (h,w) float 0..1 of one crop, in another crop of the same picture: (h',w') uint8, 255 from 0.5 on."""
    to_wanted = wanted.image_to_crop
    affine = to_wanted[:, :2] @ made_in.crop_to_image
    affine[:, 2] += to_wanted[:, 2]
    warped = cv2.warpAffine(mask, affine, wanted.crop_hw[::-1], flags=cv2.INTER_LINEAR)
    return np.where(np.asarray(warped) >= 0.5, 255, 0).astype(np.uint8)


def central_parts(crops: CropBatch) -> U8:
    """Masks (N,h,w) for crops that came without their boxes: as if each box filled its crop."""
    masks = np.empty(crops.stored.shape[:3], np.uint8)
    for row, transform in enumerate(crops.transforms):
        height, width = transform.crop_hw
        box = transform.to_image(np.array([[0.0, 0.0], [width, height]])).reshape(4)
        masks[row] = central_part(transform, box.astype(np.float32))
    return masks
