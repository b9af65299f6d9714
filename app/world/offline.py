"""A whole recorded motion put where its people stand: floor, one body a person, trajectories.

What comes in is what the smoother gave, in the camera frame; what comes out replaces poses, betas, translations and
joints, and fills the world's columns. Pixels stay: a body that moves along its line of sight is posed again so that its
joints project where they did (app/world/repose.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bodycast.app.estimation.projection import joint_pixels
from bodycast.app.files.motion_file import Motion
from bodycast.app.files.motion_parts import SMOOTHED as SMOOTHED
from bodycast.app.records import F32, F64
from bodycast.app.world.clip import ClipPlacement, judge_clip
from bodycast.app.world.clip_smoothing import smooth_clip
from bodycast.app.world.floor_fit import Vertical
from bodycast.app.world.frame_world import world_rows
from bodycast.app.world.lens import LensEstimate, SeenLens, estimate_lens, relens
from bodycast.app.world.options import WorldOptions
from bodycast.app.world.person_series import PersonSeries, Skeleton, ankles_seen, resized_root, well_seen
from bodycast.app.world.placing import place_person
from bodycast.app.world.report import WorldReport, floor_report, lens_report
from bodycast.app.world.shapes import body_height_m, clip_shape, with_height
from bodycast.hmr.body.body_model import BodyModel
from bodycast.hmr.geometry.camera import Intrinsics
from bodycast.hmr.geometry.ground import LEVEL
from bodycast.hmr.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle

LONGEST_GAP_S = 0.5


@dataclass(frozen=True)
class _Stretch:
    """Frames of one person without a gap: rows of the motion, and the series."""

    rows: NDArray[np.intp]
    person: int
    series: PersonSeries
    turns: F32


def place_motion(
    motion: Motion,
    smoothed: NDArray[np.void],
    body: BodyModel,
    options: WorldOptions,
    seen_lens: Callable[[], SeenLens | None] = lambda: None,
    vertical: Callable[[float], Vertical | None] = lambda focal_px: None,
) -> tuple[Motion, WorldReport]:
    """The motion with everybody where they stand, and what was found out. smoothed: (R,) records of dtype SMOOTHED,
    rows of the motion. seen_lens, vertical: what the pictures have shown by now,
    the latter under a focal length."""
    if not len(motion):
        return motion, WorldReport()
    skeleton = Skeleton.of(body)
    ids = motion.person_ids
    betas = [_betas_of(motion, smoothed, person, body, options) for person in ids]
    turned = bool(np.isfinite(smoothed["turn"]).all())
    smooths = options.smooth_clip and not options.stills
    stretches = _all_stretches(motion, smoothed, betas, skeleton, turned, smooths)
    lens = LensEstimate(spread=0.0)
    if not options.lens_from:
        lens = estimate_lens([stretch.series for stretch in stretches], seen_lens())
        if lens.walks or lens.pictures:
            motion, smoothed = _under_lens(motion, smoothed, lens.ratio, skeleton)
            stretches = _all_stretches(motion, smoothed, betas, skeleton, turned, smooths)
    placement = judge_clip(
        [stretch.series for stretch in stretches],
        [stretch.person for stretch in stretches],
        [options.size_spread] * len(ids),
        replace(options.known, vertical=vertical(motion.focal_px)),
    )
    if not options.floor or not turned:
        none = replace(placement.fit, floor=None, log_size=np.zeros(len(ids)), level_m=np.zeros(len(ids)))
        placement = replace(placement, fit=none)
    sizes = np.exp(placement.fit.log_size)
    heights = [body_height_m(body, shape) * float(size) for shape, size in zip(betas, sizes, strict=True)]
    betas = [with_height(body, shape, height) for shape, height in zip(betas, heights, strict=True)]
    placed = _written(motion, stretches, placement, betas, skeleton, options, turned)
    return placed, _report(placed, placement, lens, options, turned, dict(zip(ids, heights, strict=True)), smoothed)


def _report(
    motion: Motion,
    placement: ClipPlacement,
    lens: LensEstimate,
    options: WorldOptions,
    turned: bool,
    heights_m: dict[int, float],
    smoothed: NDArray[np.void],
) -> WorldReport:
    report = lens_report(motion.focal_px, motion.image_wh, lens, options)
    levels = zip(motion.person_ids, placement.fit.level_m.tolist(), strict=True)
    return replace(
        floor_report(report, placement.fit),
        camera_moves=not turned or bool(np.any(smoothed["turn"])),
        has_world=turned,
        heights_m={person: round(height, 3) for person, height in heights_m.items()},
        levels_m={person: round(float(level), 3) for person, level in levels},
    )


def _under_lens(
    motion: Motion, smoothed: NDArray[np.void], ratio: float, skeleton: Skeleton
) -> tuple[Motion, NDArray[np.void]]:
    """The same pictures under another focal length."""
    rest = skeleton.rest(smoothed["betas"])[:, 0]
    turns = axis_angle_to_matrix(smoothed["poses"][:, :3].astype(np.float64)).astype(np.float64)
    places, turns = relens((smoothed["trans"] + rest).astype(np.float64), turns, ratio)
    smoothed = smoothed.copy()
    smoothed["trans"] = places - rest
    smoothed["poses"][:, :3] = matrix_to_axis_angle(turns)
    return replace(motion, focal_px=motion.focal_px * ratio), smoothed


def _all_stretches(
    motion: Motion,
    smoothed: NDArray[np.void],
    betas: list[F32],
    skeleton: Skeleton,
    turned: bool,
    smooths: bool,
) -> list[_Stretch]:
    lens = Intrinsics.from_focal(motion.focal_px, motion.image_wh)
    found: list[_Stretch] = []
    for number, person in enumerate(motion.person_ids):
        rows = np.flatnonzero(motion.person_id == person)
        found += _stretches(motion, smoothed, rows, number, betas[number], skeleton, lens, turned, smooths)
    return found


def _betas_of(motion: Motion, smoothed: NDArray[np.void], person: int, body: BodyModel, options: WorldOptions) -> F32:
    rows = motion.person_id == person
    betas = clip_shape(smoothed["betas"][rows], motion.score[rows])
    return betas if options.person_height_m is None else with_height(body, betas, options.person_height_m)


def _stretches(
    motion: Motion,
    smoothed: NDArray[np.void],
    rows: NDArray[np.intp],
    person: int,
    betas: F32,
    skeleton: Skeleton,
    lens: Intrinsics,
    turned: bool,
    smooths: bool,
) -> list[_Stretch]:
    gaps = np.flatnonzero(np.diff(motion.time_s[rows]) > LONGEST_GAP_S) + 1
    found: list[_Stretch] = []
    for part in np.split(rows, gaps):
        pose = axis_angle_to_matrix(smoothed["poses"][part].reshape(-1, 24, 3))
        seen_rest = skeleton.rest(smoothed["betas"][part])
        rest = np.repeat(skeleton.rest(betas[None]), len(part), axis=0)
        root = resized_root(smoothed["trans"][part] + seen_rest[:, 0], seen_rest, rest)
        keypoints = motion.keypoints_2d[part]
        keypoints = keypoints if np.isfinite(keypoints).all() else np.zeros((len(part), 0, 3), np.float32)
        _, soles = skeleton.place(pose, rest, root)
        sure = well_seen(keypoints, motion.score[part])
        seen = ankles_seen(keypoints, soles, motion.score[part], lens, motion.image_wh)
        turns = axis_angle_to_matrix(smoothed["turn"][part] if turned else np.zeros((len(part), 3), np.float32))
        pose[:, 0] = turns @ pose[:, 0]
        root = (turns @ root[..., None])[..., 0].astype(np.float32)
        if smooths:
            pose = smooth_clip(motion.time_s[part], pose, skeleton.place(pose, rest, root)[0])
        series = PersonSeries.of(skeleton, motion.time_s[part], pose, betas, root, seen, sure)
        found.append(_Stretch(part, person, series, turns))
    return found


def _written(
    motion: Motion,
    stretches: list[_Stretch],
    placement: ClipPlacement,
    betas: list[F32],
    skeleton: Skeleton,
    options: WorldOptions,
    turned: bool,
) -> Motion:
    lens = Intrinsics.from_focal(motion.focal_px, motion.image_wh)
    table = motion.table
    floor = placement.fit.floor
    to_world = LEVEL.copy() if floor is None else floor.camera_to_world()
    for stretch, contact in zip(stretches, placement.contacts, strict=True):
        series, rows = _resized(stretch.series, betas[stretch.person], skeleton), stretch.rows
        held = contact if options.hold_feet else np.zeros_like(contact)
        planes = placement.planes_of(stretch.person)
        placed = place_person(series, held, planes, placement.ground, skeleton, lens, stretch.turns)
        back = stretch.turns.swapaxes(1, 2)
        rest = skeleton.rest(placed.betas[None])[0]
        pose = placed.pose.copy()
        pose[:, 0] = back @ pose[:, 0]
        joints = (back[:, None] @ placed.joints_m[..., None])[..., 0].astype(np.float32)
        table["poses"][rows] = matrix_to_axis_angle(pose).reshape(-1, 72)
        table["betas"][rows], table["trans"][rows] = placed.betas, joints[:, 0] - rest[0]
        table["joints_3d"][rows], table["joints_2d"][rows] = joints, joint_pixels(joints, lens)
        table["contacts"][rows] = contact
        world = world_rows(to_world, placed.joints_m, placed.pose[:, 0], placed.root_m - rest[0])
        for name in ("joints_world", "trans_world", "root_orient_world"):
            table[name][rows] = getattr(world, name) if turned else np.nan
    columns = {name: np.ascontiguousarray(table[name]) for name in table.dtype.names or ()}
    plane: F64 = np.full(4, np.nan) if floor is None else floor.plane
    return replace(motion, **columns, floor=plane, camera_to_world=to_world)


def _resized(series: PersonSeries, betas: F32, skeleton: Skeleton) -> PersonSeries:
    """The same picture of a person of another size."""
    if np.array_equal(series.betas, betas):
        return series
    rest = np.repeat(skeleton.rest(series.betas[None]), len(series), axis=0)
    new = np.repeat(skeleton.rest(betas[None]), len(series), axis=0)
    root = resized_root(series.root_m, rest, new)
    return PersonSeries.of(skeleton, series.time_s, series.pose, betas, root, series.seen, series.sure)
