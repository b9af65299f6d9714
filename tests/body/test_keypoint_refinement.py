"""Limbs move onto the joints that are seen, where they are believed, and nothing else moves."""

from __future__ import annotations

import numpy as np
import pytest

from bodycast.hmr.body import keypoint_refinement
from bodycast.hmr.body.body_model import BodyModel, forward_kinematics
from bodycast.hmr.body.coco_joints import coco_offsets, coco_points
from bodycast.hmr.body.joints import Joint
from bodycast.hmr.body.keypoint_refinement import COCO_REFINEMENT, LIMBS, SMPL_REFINEMENT, Refinement, Seen, refine
from bodycast.hmr.geometry.camera import Intrinsics, project_intrinsics
from bodycast.hmr.geometry.rotations import axis_angle_to_matrix

WH, CROP_PX = (1280, 720), 1100.0
CAMERA = Intrinsics.default(WH)
SEEN = np.ones((1, 24), np.float32)
FACING = axis_angle_to_matrix(np.array([np.pi, 0, 0], np.float32))


class Person:
    """Somebody 3.5 m away, where he really is and where a network says that he is."""

    def __init__(self, count: int = 1, seed: int = 0, wrong_rad: float = 0.15) -> None:
        rng = np.random.default_rng(seed)
        self.body = BodyModel.load()
        turns = rng.normal(0, 0.3, (count, 24, 3)).astype(np.float32)
        self.true_pose = axis_angle_to_matrix(turns)
        self.true_pose[:, 0] = FACING @ self.true_pose[:, 0]
        self.true_place = rng.normal([0, 0, 3.5], 0.1, (count, 3)).astype(np.float32)
        self.rest = self.body.joints(rng.normal(0, 1, (count, 10)))
        off = np.zeros((count, 24, 3), np.float32)
        off[:, LIMBS] = rng.normal(0, wrong_rad, (count, len(LIMBS), 3))
        self.pose = (axis_angle_to_matrix(off) @ self.true_pose).astype(np.float32)
        self.place = (self.true_place + rng.normal(0, [0.03, 0.03, 0.1], (count, 3))).astype(np.float32)
        self.keypoints = self.pixels(self.true_pose, self.true_place)
        self.centre_px = project_intrinsics(self.place, CAMERA).astype(np.float32)
        self.crop_px = np.full(count, CROP_PX, np.float32)

    def joints(self, pose: np.ndarray, place: np.ndarray) -> np.ndarray:
        return forward_kinematics(pose, self.rest)[1] + place[:, None]

    def pixels(self, pose: np.ndarray, place: np.ndarray) -> np.ndarray:
        return project_intrinsics(self.joints(pose, place), CAMERA).astype(np.float32)

    def fit(self, confidence: np.ndarray, keypoints: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        wanted = self.keypoints if keypoints is None else keypoints
        seen = Seen(wanted, confidence, self.centre_px, self.crop_px)
        return refine(self.pose, self.rest, self.place, None, seen, CAMERA, SMPL_REFINEMENT)

    def off_px(self, pose: np.ndarray, place: np.ndarray) -> float:
        return float(np.linalg.norm(self.pixels(pose, place) - self.keypoints, axis=-1).mean())

    def off_m(self, pose: np.ndarray, place: np.ndarray) -> float:
        """Relative to the pelvis."""
        found, true = self.joints(pose, place), self.joints(self.true_pose, self.true_place)
        return float(np.linalg.norm(found - found[:, :1] - true + true[:, :1], axis=-1).mean())


def test_limbs_come_to_where_they_are_seen() -> None:
    people = Person(count=40)
    pose, place = people.fit(np.ones((40, 24), np.float32))
    assert people.off_px(pose, place) < 0.35 * people.off_px(people.pose, people.place)
    assert people.off_m(pose, place) < 0.8 * people.off_m(people.pose, people.place)
    np.testing.assert_allclose(np.linalg.det(pose), 1, atol=1e-4)


def test_trunk_and_ends_stay_and_so_does_what_came_in() -> None:
    person = Person()
    before = person.pose.copy(), person.place.copy()
    pose, _ = person.fit(SEEN)
    others = [joint for joint in Joint if joint not in LIMBS]
    np.testing.assert_array_equal(pose[:, others], person.pose[:, others])
    assert (np.abs(pose[:, LIMBS] - person.pose[:, LIMBS]).max(axis=(2, 3)) > 1e-4).all()
    np.testing.assert_array_equal(person.pose, before[0])
    np.testing.assert_array_equal(person.place, before[1])


def test_what_is_not_seen_moves_nothing() -> None:
    person = Person()
    pose, place = person.fit(0 * SEEN)
    np.testing.assert_allclose(pose, person.pose, atol=1e-6)
    np.testing.assert_allclose(place, person.place, atol=1e-6)


def test_an_agreeing_picture_moves_nothing() -> None:
    person = Person(wrong_rad=0.0)
    person.place = person.true_place
    pose, place = person.fit(SEEN)
    np.testing.assert_allclose(pose, person.pose, atol=1e-4)
    np.testing.assert_allclose(place, person.place, atol=1e-4)


def test_a_keypoint_on_somebody_else_is_not_followed() -> None:
    person = Person(wrong_rad=0.0)
    person.place = person.true_place
    wrong = person.keypoints.copy()
    wrong[0, Joint.LEFT_WRIST] += 0.6 * CROP_PX
    moved = np.linalg.norm(person.pixels(*person.fit(SEEN, wrong)) - person.keypoints, axis=-1)
    near = person.keypoints.copy()
    near[0, Joint.LEFT_WRIST] += 0.04 * CROP_PX
    followed = np.linalg.norm(person.pixels(*person.fit(SEEN, near)) - person.keypoints, axis=-1)
    assert moved.max() < 0.05 * np.hypot(0.6, 0.6) * CROP_PX
    assert followed[0, Joint.LEFT_WRIST] > 0.25 * np.hypot(0.04, 0.04) * CROP_PX


def test_a_joint_outside_the_crop_is_not_seen() -> None:
    person = Person()
    person.centre_px = person.pixels(person.pose, person.place)[:, Joint.HEAD] - [0, 0.45 * CROP_PX]
    pose, _ = person.fit(SEEN)  # the crop ends below the head
    hips_and_knees = list(LIMBS[:4])
    np.testing.assert_allclose(pose[:, hips_and_knees], person.pose[:, hips_and_knees], atol=1e-6)


def test_rows_do_not_depend_on_each_other() -> None:
    people = Person(count=3, seed=5)
    together = people.fit(np.ones((3, 24), np.float32))
    for row in range(3):
        one = slice(row, row + 1)
        seen = Seen(people.keypoints[one], SEEN, people.centre_px[one], people.crop_px[one])
        alone = refine(people.pose[one], people.rest[one], people.place[one], None, seen, CAMERA, SMPL_REFINEMENT)
        for found, expected in zip(alone, together, strict=True):
            np.testing.assert_allclose(found, expected[one], atol=2e-5)


def test_nobody_and_somebody_around_the_camera() -> None:
    none = Person(count=0)
    pose, place = none.fit(np.zeros((0, 24), np.float32))
    assert pose.shape == (0, 24, 3, 3) and place.shape == (0, 3)
    person = Person()
    person.place = np.array([[0.0, 0.0, 0.2]], np.float32)  # some joints are behind the camera
    pose, place = person.fit(SEEN)
    assert np.isfinite(pose).all() and np.isfinite(place).all() and place[0, 2] > 0


@pytest.mark.parametrize("how", [SMPL_REFINEMENT, COCO_REFINEMENT], ids=["smpl", "coco"])
def test_the_jacobian_is_the_slope(how: Refinement) -> None:
    """Against differences of the real projection, for every unknown. A shoulder's point turns a little less with the
    bones between the rib cage and the shoulder than the jacobian says: it is tied to the rib cage."""
    person = Person(seed=3)
    offsets = None if how is SMPL_REFINEMENT else coco_offsets(person.body)

    def points(pose: np.ndarray, place: np.ndarray) -> np.ndarray:
        turns, places = forward_kinematics(pose, person.rest)
        found = places[:, how.joint] if offsets is None else coco_points(turns, places, offsets)
        return found + place[:, None]

    def pixels(pose: np.ndarray, place: np.ndarray) -> np.ndarray:
        return project_intrinsics(points(pose, place), CAMERA).astype(np.float32)

    turns, places = forward_kinematics(person.pose, person.rest)
    at = pixels(person.pose, person.place)
    here, pivots = points(person.pose, person.place), (places + person.place[:, None])[:, list(how.turned)]
    scale = np.full((1, 1), 1 / CROP_PX, np.float32)
    _, by_place = keypoint_refinement._residuals(here, at, CAMERA, scale)
    jacobian = (by_place @ keypoint_refinement._place_jacobian(here, pivots, person.place, how.reach()))[0]
    small, turned = 1e-3, len(how.turned)
    for unknown in range(3 * turned):
        step = np.zeros((1, turned, 3), np.float32)
        step.reshape(-1)[unknown] = small
        moved = pixels(keypoint_refinement._turned(person.pose, turns, step, how.turned), person.place)
        np.testing.assert_allclose((moved - at)[0] / CROP_PX / small, jacobian[..., unknown], atol=5e-3)
    aside, down = np.eye(3, dtype=np.float32)[:2] * small
    places_after = (person.place + aside, person.place + down, person.place * np.exp(small))
    for unknown, place in enumerate(places_after, 3 * turned):
        moved = pixels(person.pose, place.astype(np.float32))
        np.testing.assert_allclose((moved - at)[0] / CROP_PX / small, jacobian[..., unknown], atol=5e-3)


def test_coco_keypoints_bring_trunk_and_limbs() -> None:
    """A body that leans wrongly comes upright where COCO's points say so."""
    person = Person(count=20, wrong_rad=0.1)
    offsets = coco_offsets(person.body)

    def points(pose: np.ndarray, place: np.ndarray) -> np.ndarray:
        turns, places = forward_kinematics(pose, person.rest)
        return coco_points(turns, places, offsets) + place[:, None]

    lean = axis_angle_to_matrix(np.array([0, 0, 0.15], np.float32))
    start = person.pose.copy()
    start[:, 0] = lean @ start[:, 0]
    wanted = project_intrinsics(points(person.true_pose, person.true_place), CAMERA).astype(np.float32)
    seen = Seen(wanted, np.ones((20, 17), np.float32), person.centre_px, person.crop_px)
    pose, place = refine(start, person.rest, person.place, offsets, seen, CAMERA, COCO_REFINEMENT)
    before = np.linalg.norm(project_intrinsics(points(start, person.place), CAMERA) - wanted, axis=-1).mean()
    after = np.linalg.norm(project_intrinsics(points(pose, place), CAMERA) - wanted, axis=-1).mean()
    assert after < 0.25 * before
