"""A body put somewhere else with the same picture: its pose gives what its place takes away, and its feet stay put.

A camera sees a person who bends towards it as a smaller one: who is too far away in the estimate is bent too little.
So once the root's place is known better, the joints are turned until they project where they did before, by the steps
of keypoint refinement (hmr/body/keypoint_refinement.py), with the feet's places as further targets.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bodycast.app.records import F32
from bodycast.hmr.body.joints import Joint
from bodycast.hmr.body.keypoint_refinement import Held, Refinement, Seen, refine
from bodycast.hmr.geometry.camera import Intrinsics, project_intrinsics

LIMB_TURNS = (
    *(Joint.LEFT_HIP, Joint.RIGHT_HIP, Joint.LEFT_KNEE, Joint.RIGHT_KNEE, Joint.LEFT_ANKLE, Joint.RIGHT_ANKLE),
    *(Joint.LEFT_SHOULDER, Joint.RIGHT_SHOULDER, Joint.LEFT_ELBOW, Joint.RIGHT_ELBOW),
)
_POINTS: NDArray[np.intp] = np.array(
    [
        *(Joint.LEFT_HIP, Joint.RIGHT_HIP, Joint.LEFT_KNEE, Joint.RIGHT_KNEE, Joint.LEFT_ANKLE, Joint.RIGHT_ANKLE),
        *(Joint.LEFT_SHOULDER, Joint.RIGHT_SHOULDER, Joint.LEFT_ELBOW, Joint.RIGHT_ELBOW),
        *(Joint.LEFT_WRIST, Joint.RIGHT_WRIST, Joint.NECK, Joint.HEAD),
    ],
    np.intp,
)
REPOSE = Refinement(
    turned=(Joint.PELVIS, Joint.SPINE2, *LIMB_TURNS),
    turn_rad=(0.2, 0.2, *(0.3,) * 4, 0.15, 0.15, *(0.3,) * 4),
    shift_m=0.03,
    depth=0.01,
    keypoint=1 / 150,
    outlier=1.0,
    half_crop=(1e3, 1e3),
    joint=_POINTS,
    carrier=_POINTS,
    steps=2,
)
NEAREST_M = 0.2
BODY_CROP_M = 2.4
"""Height of a padded crop around somebody who stands, at their distance."""


def repose(
    pose: F32, rest: F32, root_m: F32, targets_px: F32, intrinsics: Intrinsics, held: Held, how: Refinement = REPOSE
) -> tuple[F32, F32]:
    """Poses (N,24,3,3) and translations (N,3) m of bodies whose root joints are put at `root_m` (N,3), camera frame.

    rest: (N,24,3) joints of the rest pose, m. targets_px: (N,14,2) where `repose_points` of them are to be seen.
    """
    transl = (root_m - rest[:, 0]).astype(np.float32)
    depth = np.maximum(root_m[:, 2], NEAREST_M)
    crop_px = (BODY_CROP_M * intrinsics.focal_px / depth).astype(np.float32)
    seen = Seen(targets_px, np.ones(targets_px.shape[:2], np.float32), targets_px.mean(axis=1), crop_px)
    return refine(pose, rest, transl, None, seen, intrinsics, how, held)


def repose_points(joints_m: F32, intrinsics: Intrinsics) -> F32:
    """(N,14,2) px of the joints (N,24,3), camera frame, that `repose` holds in the picture."""
    points = joints_m[:, _POINTS].copy()
    points[..., 2] = np.maximum(points[..., 2], NEAREST_M)
    return project_intrinsics(points, intrinsics).astype(np.float32)
