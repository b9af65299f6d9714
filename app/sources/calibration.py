"""A calibrated camera: intrinsics, lens distortion, and the picture that a lens without distortion would have taken.

Distortion is OpenCV's (calib3d): radial-tangential with 4, 5, 8, 12 or 14 coefficients k1 k2 p1 p2 k3 ..., or fisheye
with k1 k2 k3 k4, which bends lines also where all four are 0. The undistorted picture has the source's size, square
pixels and the principal point in its middle, which is what motion.npz and all exports take a camera to be.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bodycast.app.errors import UsageError
from bodycast.app.records import F64, U8, Frame
from bodycast.app.sources.lens_metadata import FOV_DEG, SAME_ASPECT
from bodycast.hmr.geometry.camera import Intrinsics, fov_from_focal

COEFFICIENTS = (4, 5, 8, 12, 14)
MIDDLE = (0.25, 0.75)
"""Where the principal point lies, in parts of the picture, when a file without a picture size is about this picture."""
LEAST_ZOOM = 0.75
"""The undistorted focal length is at least this part of the calibrated one: what a very wide lens sees beyond is cut,
so that people do not become small."""
FARTHEST = 5.0
"""Tangent of the largest angle to the optical axis that is looked at, 79 degrees."""
NOWHERE_PX = -2.0
"""Outside of the source: black."""


@dataclass(frozen=True)
class Calibration:
    """One camera of a file. `label` for messages; `focal_px` (fx, fy) and `principal_px` (cx, cy) in pixels of pictures
    of `image_wh`, None where the file does not say it; `distortion` as above, () for none; upper left pixel centre
    (0, 0)."""

    label: str
    focal_px: tuple[float, float]
    principal_px: tuple[float, float]
    image_wh: tuple[int, int] | None = None
    distortion: tuple[float, ...] = ()
    fisheye: bool = False

    def __post_init__(self) -> None:
        numbers = (*self.focal_px, *self.principal_px, *self.distortion)
        if not all(map(math.isfinite, numbers)) or min(self.focal_px) <= 0:
            raise UsageError(f"{self.label}: expected finite numbers and focal lengths above 0, got {list(numbers)}")
        if self.image_wh is not None and min(self.image_wh) <= 0:
            raise UsageError(f"{self.label}: expected a picture size above 0, got {list(self.image_wh)}")
        if not any(self.distortion) and not self.fisheye:
            object.__setattr__(self, "distortion", ())
        elif len(self.distortion) not in ((4,) if self.fisheye else COEFFICIENTS):
            wanted = "4 fisheye" if self.fisheye else "4, 5, 8, 12 or 14"
            raise UsageError(f"{self.label}: expected {wanted} distortion coefficients, got {len(self.distortion)}")

    def scaled(self, image_wh: tuple[int, int]) -> Intrinsics:
        """The intrinsics for pictures of `image_wh`, distortion left out. Raises: UsageError where the picture cannot
        be the calibrated one at another size."""
        width, height = image_wh
        full_wh = self.image_wh or image_wh
        scale_x, scale_y = width / full_wh[0], height / full_wh[1]
        if abs(scale_x / scale_y - 1) > SAME_ASPECT:
            raise UsageError(
                f"{self.label}: calibrated at {full_wh[0]}x{full_wh[1]}, the picture is {width}x{height}, another "
                "aspect ratio; calibrate at the size that is recorded"
            )
        cx, cy = ((at + 0.5) * s - 0.5 for at, s in zip(self.principal_px, (scale_x, scale_y), strict=True))
        parts = (cx / width, cy / height)
        if self.image_wh is None and not all(MIDDLE[0] <= part <= MIDDLE[1] for part in parts):
            raise UsageError(
                f"{self.label}: no picture size, and the principal point ({cx:.0f}, {cy:.0f}) is not near the middle "
                f"of this picture of {width}x{height}; add image_width and image_height"
            )
        lens = Intrinsics(self.focal_px[0] * scale_x, self.focal_px[1] * scale_y, cx, cy, image_wh)
        fov_deg = math.degrees(float(fov_from_focal(lens.focal_px, image_wh)))
        if not FOV_DEG[0] <= fov_deg <= FOV_DEG[1]:
            raise UsageError(
                f"{self.label}: a focal length of {lens.focal_px:.0f} px in a picture of {width}x{height} is a field "
                f"of view of {fov_deg:.1f} degrees; expected {FOV_DEG[0]:g} to {FOV_DEG[1]:g}"
            )
        return lens


class Undistorter:
    """Frames as a lens without distortion would have taken them, with their intrinsics. Maps are made once for each
    size of pictures."""

    def __init__(self, calibration: Calibration) -> None:
        self._calibration = calibration
        self._camera: Intrinsics | None = None
        self._maps: tuple[NDArray[np.int16], NDArray[np.uint16]] | None = None

    def __call__(self, frame: Frame) -> Frame:
        """The frame with its picture undistorted, (H,W,3) as before. Raises: UsageError for a size that the calibration
        does not fit."""
        if self._camera is None or self._camera.image_wh != frame.image_wh:
            self._camera, self._maps = self._prepare(frame.image_wh)
        return replace(frame, image=self._undistorted(frame.image), intrinsics=self._camera)

    def _undistorted(self, image: U8) -> U8:
        if self._maps is None:
            return image
        import cv2

        return np.asarray(cv2.remap(image, *self._maps, cv2.INTER_LINEAR), np.uint8)

    def _prepare(
        self, image_wh: tuple[int, int]
    ) -> tuple[Intrinsics, tuple[NDArray[np.int16], NDArray[np.uint16]] | None]:
        lens = self._calibration.scaled(image_wh)
        if not self._calibration.distortion and is_centred(lens):
            return Intrinsics.from_focal(lens.focal_px, image_wh), None
        camera, farthest = undistorted_camera(lens, self._calibration)
        return camera, undistortion_maps(lens, camera, self._calibration, farthest)


def is_centred(lens: Intrinsics) -> bool:
    """Whether square pixels and the principal point in the middle describe the lens; some call (W-1)/2 the middle."""
    off = max(abs(lens.cx - lens.image_wh[0] / 2), abs(lens.cy - lens.image_wh[1] / 2))
    return off <= 0.75 and abs(lens.fx / lens.fy - 1) < 1e-3


def seen_at(ahead: F64, lens: Intrinsics, calibration: Calibration) -> F64:
    """Where directions (N,2), x/z and y/z, are seen in the distorted picture: (N,2) px."""
    points = np.concatenate([ahead, np.ones((len(ahead), 1))], axis=1)[:, None]
    still, coefficients = np.zeros(3), np.array(calibration.distortion, np.float64)
    import cv2

    if calibration.fisheye:
        px = cv2.fisheye.projectPoints(points, still, still, lens.matrix, coefficients)[0]
    else:
        px = cv2.projectPoints(points, still, still, lens.matrix, coefficients)[0]
    return np.asarray(px, np.float64).reshape(-1, 2)


def undistortion_maps(
    lens: Intrinsics, camera: Intrinsics, calibration: Calibration, farthest: float
) -> tuple[NDArray[np.int16], NDArray[np.uint16]]:
    """For every pixel of `camera` where `lens` sees it, for cv2.remap; beyond the tangent `farthest`: nowhere."""
    import cv2

    coefficients, wh = np.array(calibration.distortion, np.float64), camera.image_wh
    make = cv2.fisheye.initUndistortRectifyMap if calibration.fisheye else cv2.initUndistortRectifyMap
    across, down = make(lens.matrix, coefficients, np.eye(3), camera.matrix, wh, cv2.CV_32FC1)
    px = np.stack([across, down], axis=-1)
    columns, rows = np.arange(wh[0]) - camera.cx, np.arange(wh[1]) - camera.cy
    beyond = np.hypot(columns[None], rows[:, None]) > farthest * camera.focal_px
    px[beyond | ~np.isfinite(px).all(axis=-1)] = NOWHERE_PX
    # Points that a strong distortion throws far out must not wrap around in the maps' 16 bits.
    px = np.clip(px, NOWHERE_PX, np.add(wh, 1)).astype(np.float32)
    whole, part = cv2.convertMaps(px[..., 0], px[..., 1], cv2.CV_16SC2)
    return np.asarray(whole, np.int16), np.asarray(part, np.uint16)


def undistorted_camera(lens: Intrinsics, calibration: Calibration) -> tuple[Intrinsics, float]:
    """The camera of the undistorted picture, which shows the middles of all four edges of the source, see LEAST_ZOOM;
    and the tangent of the angle up to which the distortion is one-to-one."""
    reach = np.linspace(0.0, FARTHEST, 2501)
    zero = np.zeros_like(reach)
    radial = replace(calibration, distortion=_radial(calibration))
    along = seen_at(np.stack([reach, zero], axis=1), lens, radial)[:, 0]
    # Beyond its range a polynomial turns back: what lies there would be seen a second time.
    turns = np.flatnonzero(np.diff(along) <= 0)
    last = int(turns[0]) if len(turns) else len(reach) - 1
    width, height = lens.image_wh
    focal_px = lens.focal_px
    for axis, sign, edge in ((0, 1, width - 0.5), (0, -1, -0.5), (1, 1, height - 0.5), (1, -1, -0.5)):
        way = np.stack([sign * reach, zero] if axis == 0 else [zero, sign * reach], axis=1)[: last + 1]
        beyond = np.flatnonzero(sign * (seen_at(way, lens, calibration)[:, axis] - edge) >= 0)
        furthest = reach[int(beyond[0]) if len(beyond) else last]
        focal_px = min(focal_px, 0.5 * lens.image_wh[axis] / max(float(furthest), 1e-6))
    focal_px = max(focal_px, LEAST_ZOOM * lens.focal_px)
    return Intrinsics.from_focal(focal_px, lens.image_wh), float(reach[last])


def _radial(calibration: Calibration) -> tuple[float, ...]:
    """The coefficients without those that are not alike in all directions: tangential, thin prism, tilt."""
    if calibration.fisheye:
        return calibration.distortion
    return tuple(0.0 if place in (2, 3) or place > 7 else k for place, k in enumerate(calibration.distortion))
