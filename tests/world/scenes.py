"""Made-up people on a made-up floor, seen by a made-up camera: what the tests of the world start from."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from bodycast.app.files.motion_file import ROW, Motion, motion_from_rows
from bodycast.app.records import F32, F64
from bodycast.app.sinks.motion_rows import SMOOTHED
from bodycast.app.world.frame_world import world_rows
from bodycast.app.world.person_series import PersonSeries, Skeleton
from bodycast.app.world.repose import repose, repose_points
from bodycast.hmr.body.joints import Joint
from bodycast.hmr.body.keypoint_refinement import Held
from bodycast.hmr.body.soles import SOLE_CARRIER
from bodycast.hmr.geometry.camera import Intrinsics, project_intrinsics
from bodycast.hmr.geometry.ground import Floor
from bodycast.hmr.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from tests.sinks.results import META, embedded_body

FPS = 30.0
IMAGE_WH = (1280, 720)
LENS = Intrinsics.from_focal(1100.0, IMAGE_WH)
AVERAGE = np.zeros(10, np.float32)


def skeleton() -> Skeleton:
    """Of the embedded body."""
    return Skeleton.of(embedded_body())


def about_x(angle_rad: F64 | float) -> F32:
    """(...,3,3) rotations about x."""
    angle = np.asarray(angle_rad, np.float64)
    vector = np.zeros((*angle.shape, 3))
    vector[..., 0] = angle
    return axis_angle_to_matrix(vector).astype(np.float32)


def upright(frames: int, heading_rad: float = 0.0) -> F32:
    """(F,24,3,3) somebody who stands, arms down, root relative to the world; heading 0: towards the camera."""
    angles = np.zeros((frames, 24, 3))
    angles[:, 0, 1] = heading_rad
    angles[:, Joint.LEFT_SHOULDER, 2], angles[:, Joint.RIGHT_SHOULDER, 2] = -1.2, 1.2
    return axis_angle_to_matrix(angles).astype(np.float32)


def bowing(frames: int, most_rad: float, hz: float = 0.4) -> tuple[F32, F64]:
    """Somebody who stands and bows from the hips: pose, and how far they are bowed (F,) 0..1."""
    bow = 0.5 - 0.5 * np.cos(2 * np.pi * hz * np.arange(frames) / FPS)
    pose = upright(frames)
    pose[:, 0] = about_x(bow * most_rad)
    for hip in (Joint.LEFT_HIP, Joint.RIGHT_HIP):
        pose[:, hip] = about_x(-bow * most_rad)
    return pose, bow


def walking(frames: int, cadence_per_min: float, hip_rad: float, heading_rad: float = 0.0) -> tuple[F32, F32, F64]:
    """A sine gait: pose, place of the root (F,3) in the world with the lowest sole at 0 and the stance foot still, and
    the phase (F,) rad: sin > 0, left leg before; cos > 0, left leg swings."""
    phase = np.pi * cadence_per_min / 60 * np.arange(frames) / FPS
    pose = upright(frames, heading_rad)
    for sign, (hip, knee, ankle) in (
        (1, (Joint.LEFT_HIP, Joint.LEFT_KNEE, Joint.LEFT_ANKLE)),
        (-1, (Joint.RIGHT_HIP, Joint.RIGHT_KNEE, Joint.RIGHT_ANKLE)),
    ):
        forward = sign * hip_rad * np.sin(phase)
        bent = np.maximum(sign * np.cos(phase), 0) * 0.9
        pose[:, hip], pose[:, knee], pose[:, ankle] = about_x(-forward), about_x(bent), about_x(forward - bent)
    body = skeleton()
    rest = np.repeat(body.rest(AVERAGE[None]), frames, axis=0)
    _, soles = body.place(pose, rest, np.zeros((frames, 3), np.float32))
    middle = soles.reshape(frames, 2, 2, 3).mean(axis=2)
    root = np.zeros((frames, 3), np.float32)
    for row in range(1, frames):
        stance = 1 if np.cos(phase[row]) > 0 else 0
        root[row] = root[row - 1] - (middle[row, stance] - middle[row - 1, stance])
    root[:, 1] = -soles[..., 1].min(axis=1)
    return pose, root, phase


def on_floor(pose: F32, xz: tuple[float, float], level_m: float = 0.0, betas: F32 = AVERAGE) -> F32:
    """(F,3) roots of a pose in the world, at x, z, the lowest sole of each frame at the level."""
    body = skeleton()
    rest = np.repeat(body.rest(betas[None]), len(pose), axis=0)
    _, soles = body.place(pose, rest, np.zeros((len(pose), 3), np.float32))
    root = np.tile(np.array([xz[0], 0, xz[1]], np.float32), (len(pose), 1))
    root[:, 1] = level_m - soles[..., 1].min(axis=1)
    return root


@dataclass(frozen=True)
class Seen:
    """Pose (F,24,3,3) with the root relative to the camera, and root (F,3) in the camera frame."""

    pose: F32
    root_m: F32

    def series(self, betas: F32 = AVERAGE) -> PersonSeries:
        """As a person over time, both feet seen."""
        frames = len(self.pose)
        seen = np.ones((frames, 2), np.float32)
        return PersonSeries.of(skeleton(), np.arange(frames) / FPS, self.pose, betas, self.root_m, seen)

    def joints(self, betas: F32 = AVERAGE) -> F32:
        """(F,24,3) camera frame, m."""
        return self.series(betas).joints_m


def see(pose: F32, root_m: F32, floor: Floor) -> Seen:
    """Pose and places of the world as the camera has them."""
    to_camera = np.linalg.inv(floor.camera_to_world())
    turned = pose.copy()
    turned[:, 0] = to_camera[:3, :3].astype(np.float32) @ pose[:, 0]
    return Seen(turned, (root_m @ to_camera[:3, :3].T + to_camera[:3, 3]).astype(np.float32))


def pixels(joints: F32, lens: Intrinsics = LENS) -> F32:
    """(...,2) px."""
    return np.asarray(project_intrinsics(joints, lens), np.float32)


def motion_of(people: dict[int, Seen], floor: Floor | None = None) -> Motion:
    """A motion file's content; with a floor, world columns are those of that floor."""
    parts = []
    for person, seen in people.items():
        joints = seen.joints()
        rest = skeleton().rest(AVERAGE[None])[:, 0]
        rows = np.empty(len(joints), ROW)
        px = pixels(joints)
        rows["frame"], rows["time_s"] = np.arange(len(joints)), np.arange(len(joints)) / FPS
        rows["person_id"], rows["score"], rows["betas"] = person, 0.9, AVERAGE
        rows["bbox_xyxy"] = np.concatenate([px.min(axis=1), px.max(axis=1)], axis=1)
        rows["poses"] = matrix_to_axis_angle(seen.pose).reshape(-1, 72)
        rows["trans"], rows["joints_3d"], rows["joints_2d"] = seen.root_m - rest, joints, px
        rows["keypoints_2d"], rows["contacts"] = np.nan, np.nan
        for name in ("joints_world", "trans_world", "root_orient_world"):
            rows[name] = np.nan
        if floor is not None:
            placed = world_rows(floor.camera_to_world(), joints, seen.pose[:, 0], rows["trans"])
            rows["joints_world"], rows["trans_world"] = placed.joints_world, placed.trans_world
            rows["root_orient_world"], rows["contacts"] = placed.root_orient_world, 1.0
        parts.append(rows)
    motion = motion_from_rows(np.concatenate(parts), LENS.focal_px, IMAGE_WH, FPS, META)
    if floor is None:
        return motion
    return replace(motion, floor=floor.plane, camera_to_world=floor.camera_to_world())


def smoothed_of(motion: Motion) -> np.ndarray:
    """The same before anybody was placed: records of dtype SMOOTHED."""
    rows = np.zeros(len(motion), SMOOTHED)
    for name in ("poses", "betas", "trans"):
        rows[name] = getattr(motion, name)
    return rows


def at_another_depth(seen: Seen, factor: F64, lens: Intrinsics = LENS) -> Seen:
    """What a network makes of the same pictures when it errs in depth: roots at `factor` (F,) times the distance, poses
    turned so that the joints are seen about where they were."""
    body = skeleton()
    rest = np.repeat(body.rest(AVERAGE[None]), len(seen.pose), axis=0)
    free = np.zeros((len(seen.pose), 4), np.float32)
    held = Held(SOLE_CARRIER, body.offsets, np.zeros((*free.shape, 3), np.float32), free)
    root = (seen.root_m * factor[:, None]).astype(np.float32)
    pose, transl = repose(seen.pose, rest, root, repose_points(seen.joints(), lens), lens, held)
    return Seen(pose, transl + rest[:, 0])
