"""Pinhole and weak-perspective cameras.

Camera frame: OpenCV (x right, y down, z forward), metres. The network's camera (s, tx, ty) is the weak
perspective of the square crop (HMR2.0, arXiv 2305.20091); the functions here take it to the full image and back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast

import numpy as np
from numpy.typing import ArrayLike

from bodycast.hmr.geometry.arrays import FloatArray, as_float, require_last_axes

FovAxis = Literal["diagonal", "horizontal", "vertical"]

HMR2_CROP_FOCAL_PX = 5000.0
HMR2_CROP_SIZE_PX = 256.0
_GUARD = 1e-9


@dataclass(frozen=True)
class Intrinsics:
    """Pinhole intrinsics in pixels of an image of `image_wh`; the principal point counts pixel centres as integers."""

    fx: float
    fy: float
    cx: float
    cy: float
    image_wh: tuple[int, int]

    def __post_init__(self) -> None:
        values = (self.fx, self.fy, self.cx, self.cy)
        if not all(np.isfinite(values)) or self.fx <= 0 or self.fy <= 0:
            raise ValueError(f"focal lengths must be positive and finite, got fx={self.fx}, fy={self.fy}")
        if min(self.image_wh) <= 0:
            raise ValueError(f"image_wh must be positive, got {self.image_wh}")

    @classmethod
    def from_focal(cls, focal_px: float, image_wh: tuple[int, int]) -> Intrinsics:
        """Square pixels and the principal point at (W/2, H/2), as HMR2.0 and CLIFF assume."""
        width, height = image_wh
        return cls(fx=focal_px, fy=focal_px, cx=width / 2, cy=height / 2, image_wh=(int(width), int(height)))

    @classmethod
    def default(cls, image_wh: tuple[int, int], fov_rad: float | None = None) -> Intrinsics:
        """What to assume about an unknown camera: the given diagonal field of view, else CLIFF's rule.

        CLIFF's rule is focal = image diagonal, a diagonal field of view of 53 degrees (the paper rounds it to 55).
        """
        focal = cliff_focal(image_wh) if fov_rad is None else focal_from_fov(fov_rad, image_wh)
        return cls.from_focal(float(focal), image_wh)

    def with_focal_times(self, ratio: float) -> Intrinsics:
        """The same camera with a focal length `ratio` times as long."""
        return Intrinsics(self.fx * ratio, self.fy * ratio, self.cx, self.cy, self.image_wh)

    @property
    def focal_px(self) -> float:
        """Mean focal length, for code that knows square pixels only."""
        return 0.5 * (self.fx + self.fy)

    @property
    def matrix(self) -> FloatArray:
        """K, (3, 3) float64."""
        return np.array([[self.fx, 0.0, self.cx], [0.0, self.fy, self.cy], [0.0, 0.0, 1.0]])


def focal_from_fov(fov_rad: ArrayLike, image_wh: ArrayLike, axis: FovAxis = "diagonal") -> FloatArray:
    """Focal length in px for a field of view along the diagonal (default), the width or the height.

    fov_rad (...), image_wh (..., 2) -> (...). CameraHMR's network predicts the vertical one.
    """
    fov, extent = as_float(fov_rad), _extent(image_wh, axis)
    if np.any(fov <= 0) or np.any(fov >= np.pi):
        raise ValueError(f"a field of view lies between 0 and pi radians, got {fov_rad}")
    return cast(FloatArray, 0.5 * extent / np.tan(0.5 * fov))


def fov_from_focal(focal_px: ArrayLike, image_wh: ArrayLike, axis: FovAxis = "diagonal") -> FloatArray:
    """Field of view in radians along `axis`: inverse of `focal_from_fov`."""
    return 2.0 * np.arctan(0.5 * _extent(image_wh, axis) / as_float(focal_px))


def _extent(image_wh: ArrayLike, axis: FovAxis) -> FloatArray:
    size = as_float(image_wh)
    require_last_axes(size, (2,), "image_wh")
    if axis == "diagonal":
        return np.hypot(size[..., 0], size[..., 1])
    return size[..., 0] if axis == "horizontal" else size[..., 1]


def cliff_focal(image_wh: ArrayLike) -> FloatArray:
    """CLIFF's assumed focal length: the image diagonal in px. image_wh (..., 2) -> (...)."""
    return _extent(image_wh, "diagonal")


def hmr2_demo_focal(image_wh: ArrayLike) -> FloatArray:
    """HMR2.0's demo focal length: 5000 / 256 times the larger image side. image_wh (..., 2) -> (...).

    Upstream takes the largest side of a whole batch of images; here every image has its own.
    """
    size = as_float(image_wh)
    require_last_axes(size, (2,), "image_wh")
    return cast(FloatArray, HMR2_CROP_FOCAL_PX / HMR2_CROP_SIZE_PX * size.max(axis=-1))


def cam_crop_to_full(
    camera: ArrayLike,
    centre_px: ArrayLike,
    size_px: ArrayLike,
    image_wh: ArrayLike,
    focal_px: ArrayLike,
    principal_px: ArrayLike | None = None,
) -> FloatArray:
    """Weak-perspective camera of the square crops -> translation in the full image's camera frame.

    Args:
        camera: (N, 3) s, tx, ty.
        centre_px: (N, 2) crop centres; size_px: (N,) sides of the *square* crops.
        image_wh: (2,) or (N, 2); focal_px: scalar or (N,).
        principal_px: (2,) or (N, 2); the image centre (W/2, H/2) where left out.

    Returns:
        transl_m (N, 3): tz = 2 F / (b s), tx + 2 (cx - px) / (b s), ty + 2 (cy - py) / (b s) (4D-Humans' code).
    """
    cam, centre = as_float(camera), as_float(centre_px)
    require_last_axes(cam, (3,), "camera")
    require_last_axes(centre, (2,), "centre_px")
    principal = _principal(image_wh, principal_px)
    bs = as_float(size_px) * cam[..., 0] + _GUARD
    xy = cam[..., 1:] + 2.0 * (centre - principal) / bs[..., None]
    z = 2.0 * as_float(focal_px) / bs
    return np.concatenate([xy, z[..., None]], axis=-1).astype(cam.dtype)


def cam_full_to_crop(
    transl_m: ArrayLike,
    centre_px: ArrayLike,
    size_px: ArrayLike,
    image_wh: ArrayLike,
    focal_px: ArrayLike,
    principal_px: ArrayLike | None = None,
) -> FloatArray:
    """Inverse of `cam_crop_to_full`: transl_m (N, 3) with z > 0 -> camera (N, 3) s, tx, ty."""
    transl, centre = as_float(transl_m), as_float(centre_px)
    require_last_axes(transl, (3,), "transl_m")
    require_last_axes(centre, (2,), "centre_px")
    if np.any(transl[..., 2] <= 0):
        raise ValueError("transl_m must lie in front of the camera (z > 0)")
    bs = 2.0 * as_float(focal_px) / transl[..., 2]
    xy = transl[..., :2] - 2.0 * (centre - _principal(image_wh, principal_px)) / bs[..., None]
    s = (bs - _GUARD) / as_float(size_px)
    return np.concatenate([s[..., None], xy], axis=-1).astype(transl.dtype)


def _principal(image_wh: ArrayLike, principal_px: ArrayLike | None) -> FloatArray:
    principal = as_float(image_wh) / 2 if principal_px is None else as_float(principal_px)
    require_last_axes(principal, (2,), "image_wh" if principal_px is None else "principal_px")
    return cast(FloatArray, principal)


def crop_camera_translation(
    camera: ArrayLike, focal_px: float = HMR2_CROP_FOCAL_PX, crop_px: float = HMR2_CROP_SIZE_PX
) -> FloatArray:
    """HMR2.0's own translation for the crop alone: (N, 3) s, tx, ty -> tx, ty, 2 f / (crop s + 1e-9)."""
    cam = as_float(camera)
    require_last_axes(cam, (3,), "camera")
    z = 2.0 * focal_px / (crop_px * cam[..., 0] + _GUARD)
    return np.concatenate([cam[..., 1:], z[..., None]], axis=-1).astype(cam.dtype)


def project(points_m: ArrayLike, focal_px: ArrayLike, centre_px: ArrayLike) -> FloatArray:
    """Pinhole projection: points (..., 3) in the camera frame -> pixels (..., 2).

    focal_px: scalar, (2,) for fx, fy, or anything that broadcasts against (..., 2); centre_px likewise. The depth
    is used as it is: a point with z <= 0 has no image, the caller decides what to do with it (z = 0 gives inf or nan).
    """
    points = as_float(points_m)
    require_last_axes(points, (3,), "points_m")
    with np.errstate(divide="ignore", invalid="ignore"):
        pixels = points[..., :2] / points[..., 2:] * as_float(focal_px) + as_float(centre_px)
    return pixels.astype(points.dtype)


def project_intrinsics(points_m: ArrayLike, intrinsics: Intrinsics) -> FloatArray:
    """`project` with both focal lengths and the principal point of an `Intrinsics`."""
    return project(points_m, np.array([intrinsics.fx, intrinsics.fy]), np.array([intrinsics.cx, intrinsics.cy]))
