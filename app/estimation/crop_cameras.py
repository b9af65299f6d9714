"""The cameras of crops: what a network says in a crop's terms, taken to the camera of the full picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from bodycast.app.records import F32, CropBatch
from bodycast.hmr.body.keypoint_refinement import Seen
from bodycast.hmr.geometry.arrays import FloatArray
from bodycast.hmr.geometry.camera import Intrinsics, cam_crop_to_full
from bodycast.hmr.geometry.crop import stack_crops
from bodycast.hmr.geometry.crop_ray import crop_ray_rotation


@dataclass(frozen=True, slots=True)
class CropCameras:
    """Of N crops: `centre_px` (N,2) and `size_px` (N,), the height, in the picture with `intrinsics`. Where pixels are
    not square, the mean focal length counts."""

    centre_px: FloatArray
    size_px: FloatArray
    intrinsics: Intrinsics
    image_wh: tuple[int, int]

    @classmethod
    def of(cls, crops: CropBatch, intrinsics: Intrinsics, image_wh: tuple[int, int]) -> Self:
        """The cameras of all crops."""
        return cls(*stack_crops(crops.transforms), intrinsics, image_wh)

    def select(self, rows: NDArray[np.bool_]) -> CropCameras:
        """Those of the given rows (N,)."""
        return CropCameras(self.centre_px[rows], self.size_px[rows], self.intrinsics, self.image_wh)

    def box_info(self) -> F32:
        """(N,3) where the crop lies, from the principal point, and its height, in focal lengths."""
        info = np.concatenate([self.centre_px - self._principal_px, self.size_px[:, None]], axis=1)
        return (info / self.intrinsics.focal_px).astype(np.float32)

    def translation_m(self, camera: F32) -> F32:
        """Weak-perspective cameras (N,3) (s, tx, ty) of the crops -> translations (N,3) m in the picture's camera."""
        focal_px = self.intrinsics.focal_px
        full = cam_crop_to_full(camera, self.centre_px, self.size_px, self.image_wh, focal_px, self._principal_px)
        return full.astype(np.float32, copy=False)

    def root_turned(self, pose: F32) -> F32:
        """Poses (N,24,3,3) whose root is relative to the crop's ray -> relative to the camera, in a copy."""
        pose = pose.copy()
        pose[:, 0] = crop_ray_rotation(self.centre_px, self.intrinsics.focal_px, self._principal_px) @ pose[:, 0]
        return pose

    def seen(self, keypoints: F32) -> Seen:
        """Keypoints (N,K,3), x, y in crop heights from the crop's centre and confidence, in the picture's pixels."""
        at_px = self.centre_px[:, None] + keypoints[..., :2] * self.size_px[:, None, None]
        centre_px, size_px = self.centre_px.astype(np.float32), self.size_px.astype(np.float32)
        return Seen(at_px.astype(np.float32), keypoints[..., 2], centre_px, size_px)

    def keypoints_px(self, keypoints: F32) -> F32:
        """The same as (N,K,3) x, y px of the picture, confidence 0..1."""
        seen = self.seen(keypoints)
        return np.concatenate([seen.keypoints_px, np.clip(keypoints[..., 2:], 0, 1)], axis=-1).astype(np.float32)

    @property
    def _principal_px(self) -> NDArray[np.float64]:
        return np.array([self.intrinsics.cx, self.intrinsics.cy])
