"""People placed from beginning to end, over a whole clip and frame by frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from bodycast.app.files.motion_file import Motion
from bodycast.app.records import F32, BodyEstimates, Frame, FrameWorld
from bodycast.app.world.floor_fit import FloorKnown
from bodycast.app.world.live import LiveWorld
from bodycast.app.world.offline import place_motion
from bodycast.app.world.options import WorldOptions
from bodycast.app.world.repose import repose_points
from bodycast.app.world.shapes import body_height_m, with_height
from bodycast.hmr.body.joints import PARENTS
from bodycast.hmr.geometry.ground import Floor
from bodycast.hmr.geometry.rotations import axis_angle_to_matrix
from tests.sinks.results import embedded_body
from tests.world.scenes import (
    AVERAGE,
    FPS,
    IMAGE_WH,
    LENS,
    Seen,
    at_another_depth,
    bowing,
    motion_of,
    on_floor,
    see,
    skeleton,
    smoothed_of,
    upright,
)

FLOOR = Floor.of_angles(0.2, 0.0, 1.6)
LENS_KNOWN = WorldOptions(lens_from="--focal-px")
GREY = np.full((IMAGE_WH[1], IMAGE_WH[0], 3), 128, np.uint8)
WANDER_M, SPREAD_M = 0.1, 0.01


@dataclass(frozen=True)
class Bow:
    """Somebody who stands and bows three times, and what the network makes of it: farther away, the deeper they bow."""

    truth: Seen
    motion: Motion

    def wander_m(self, joints: F32) -> float:
        """How far the depth error of the root moves."""
        return float(np.ptp(joints[:, 0, 2] - self.truth.root_m[-len(joints) :, 2]))

    def spread_m(self, joints: F32) -> float:
        """Of the lowest joint's height above the true floor."""
        return float(np.ptp((joints @ FLOOR.up).min(axis=1)))

    def off_px(self, joints: F32) -> F32:
        """(F,14) how far joints moved in the picture."""
        before = self.motion.joints_3d[-len(joints) :]
        return np.linalg.norm(repose_points(joints, LENS) - repose_points(before, LENS), axis=-1)


@pytest.fixture(scope="module")
def bow() -> Bow:
    pose, bent = bowing(180, 0.8, hz=0.5)
    truth = see(pose, on_floor(pose, (0.3, -4.5)), FLOOR)
    return Bow(truth, motion_of({1: at_another_depth(truth, 1 + 0.06 * bent)}))


@dataclass(frozen=True)
class Live:
    """What came of a motion frame by frame."""

    joints: F32
    betas: F32
    worlds: list[FrameWorld]
    world: LiveWorld


def live(motion: Motion, images: list[np.ndarray] | None = None, options: WorldOptions = LENS_KNOWN) -> Live:
    """Of one person."""
    world = LiveWorld(embedded_body(), options)
    rest = skeleton().rest(motion.betas)
    joints, betas, worlds = [], [], []
    seen = Seen(_pose_of(motion), motion.trans + rest[:, 0])
    for row in range(len(motion)):
        estimates = BodyEstimates(
            id=np.ones(1, np.int32),
            pose=seen.pose[row : row + 1],
            betas=motion.betas[row : row + 1],
            transl_m=motion.trans[row : row + 1],
            score=np.full(1, 0.9, np.float32),
            token=np.zeros((1, 0), np.float32),
        )
        frame = Frame(GREY if images is None else images[row], row, row / FPS)
        out, found = world.place(frame, estimates, motion.bbox_xyxy[row : row + 1], LENS)
        own = skeleton().rest(out.betas)[:, 0]
        joints.append(Seen(out.pose, out.transl_m + own).joints(out.betas[0])[0])
        betas.append(out.betas[0])
        worlds.append(found)
    return Live(np.stack(joints), np.stack(betas), worlds, world)


def _pose_of(motion: Motion) -> F32:
    return axis_angle_to_matrix(motion.poses.reshape(-1, 24, 3)).astype(np.float32)


def test_who_stands_and_bows_stays_where_they_stand(bow: Bow) -> None:
    placed, report = place_motion(bow.motion, smoothed_of(bow.motion), embedded_body(), LENS_KNOWN)
    assert bow.wander_m(bow.motion.joints_3d) > 2 * WANDER_M
    assert bow.wander_m(placed.joints_3d) < WANDER_M
    assert bow.spread_m(bow.motion.joints_3d) > SPREAD_M
    assert bow.spread_m(placed.joints_3d) < SPREAD_M
    assert np.ptp(placed.joints_world[..., 1].min(axis=1)) < SPREAD_M
    assert bow.off_px(placed.joints_3d).mean() < 1
    assert np.percentile(bow.off_px(placed.joints_3d), 90) < 2
    assert placed.has_world
    assert placed.contacts.mean() > 0.5
    assert report.camera_height_m == pytest.approx(FLOOR.height_m, rel=0.1)
    assert "height of 1: 1.70 m" in "\n".join(report.lines())


def test_live_is_within_one_and_a_half_times_that(bow: Bow) -> None:
    done = live(bow.motion)
    # Live, the floor and the places are found in the first second and a half.
    assert bow.wander_m(done.joints[45:]) < 1.5 * WANDER_M
    assert bow.spread_m(done.joints[45:]) < 1.5 * SPREAD_M
    assert bow.off_px(done.joints).mean() < 1.5
    last = done.worlds[-1]
    assert last.floor[3] == pytest.approx(FLOOR.height_m, rel=0.1)
    heights = np.array([world.floor[3] for world in done.worlds if np.isfinite(world.floor[3])])
    assert np.abs(np.diff(np.log(heights))).max() < 0.05  # it follows and does not jump
    assert done.world.report().lines()[1].startswith("floor: camera 1.")


def test_live_without_a_floor_and_with_a_given_height(bow: Bow) -> None:
    first = bow.motion.select(bow.motion.frame < 20)
    done = live(first, options=WorldOptions(floor=False, person_height_m=1.8, lens_from="--focal-px"))
    assert body_height_m(embedded_body(), done.betas[-1]) == pytest.approx(1.8, abs=0.005)
    for world in done.worlds:
        assert np.isnan(world.floor).all()
        np.testing.assert_array_equal(world.camera_to_world, np.diag([1, -1, -1, 1]))


def test_a_cut_forgets_the_floor_and_keeps_the_body(bow: Bow) -> None:
    done = live(bow.motion.select(bow.motion.frame < 60))
    assert done.world.floor.floor is not None
    heights = done.world.report().heights_m
    done.world.reset()
    assert done.world.floor.floor is None
    assert done.world.report().camera_height_m is None
    assert done.world.report().heights_m == heights


def test_bones_do_not_breathe(bow: Bow) -> None:
    smoothed = smoothed_of(bow.motion)
    smoothed["betas"] += np.random.default_rng(0).normal(0, 0.4, smoothed["betas"].shape)
    placed, _ = place_motion(bow.motion, smoothed, embedded_body(), LENS_KNOWN)
    bones = np.linalg.norm(placed.joints_3d[:, 1:] - placed.joints_3d[:, PARENTS[1:]], axis=-1)
    assert (np.ptp(bones, axis=0) / bones.mean(axis=0)).max() < 1e-4
    assert (placed.betas == placed.betas[0]).all()


def test_a_jump_stays_a_jump() -> None:
    pose = upright(90, 0.2)
    root = on_floor(pose, (0.0, -4.5))
    flown = np.arange(18) / FPS
    root[30:48, 1] += np.maximum(0, 2.9 * flown - 4.905 * flown**2)
    seen = see(pose, root, FLOOR)
    motion = motion_of({1: seen})
    placed, _ = place_motion(motion, smoothed_of(motion), embedded_body(), LENS_KNOWN)
    lowest = placed.joints_world[..., 1].min(axis=1)
    assert lowest.max() - np.median(lowest) == pytest.approx(np.ptp(root[:, 1]), abs=0.05)
    assert np.ptp(lowest[:25]) < SPREAD_M
    assert placed.contacts[36:42].max() < 0.2


def test_a_known_camera_height_gives_the_persons_height() -> None:
    body = embedded_body()
    tall = with_height(body, AVERAGE, 1.78)
    parts = []
    for x, z in ((-0.5, -3.5), (0.5, -5.0), (0.0, -7.0), (1.0, -9.0)):
        pose = upright(90, 0.2)
        parts.append(see(pose, on_floor(pose, (x, z), 0.0, tall), FLOOR))
    smaller = np.float32(body_height_m(body, AVERAGE) / 1.78)
    # The network takes them for an average person who is nearer.
    pose, root = (np.concatenate([getattr(part, name) for part in parts]) for name in ("pose", "root_m"))
    motion = motion_of({1: Seen(pose, root * smaller)})
    known = WorldOptions(known=FloorKnown(camera_height_m=FLOOR.height_m), lens_from="--focal-px")
    placed, report = place_motion(motion, smoothed_of(motion), body, known)
    assert report.heights_m[1] == pytest.approx(1.78, abs=0.06)
    usual = body_height_m(body, AVERAGE)
    assert report.heights_m[1] - usual > 0.25 * (1.78 - usual)
    assert body_height_m(body, placed.betas[0]) == pytest.approx(report.heights_m[1], abs=0.005)
    given = WorldOptions(person_height_m=1.78, lens_from="--focal-px")
    _, said = place_motion(motion, smoothed_of(motion), body, given)
    assert said.heights_m[1] == pytest.approx(1.78, abs=0.02)
    assert said.camera_height_m == pytest.approx(FLOOR.height_m, rel=0.03)


def test_no_floor_where_none_is_wanted(bow: Bow) -> None:
    options = WorldOptions(floor=False, lens_from="--focal-px")
    placed, _ = place_motion(bow.motion, smoothed_of(bow.motion), embedded_body(), options)
    assert np.isnan(placed.floor).all()
    assert placed.has_world
    flipped = placed.joints_3d * np.array([1, -1, -1], np.float32)
    np.testing.assert_allclose(placed.joints_world, flipped, atol=1e-5)


def test_nobody_is_placed_too() -> None:
    motion = motion_of({1: see(upright(1), on_floor(upright(1), (0, -4)), FLOOR)}).select(np.zeros(1, np.bool_))
    placed, report = place_motion(motion, smoothed_of(motion), embedded_body(), LENS_KNOWN)
    assert len(placed) == 0
    assert report.camera_height_m is None
