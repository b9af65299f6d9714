"""2D skeletons over a picture."""

from __future__ import annotations

import numpy as np

from bodycast.app.records import BodyEstimates, Frame, FrameResult, PosedBodies
from bodycast.app.renderers.shading import person_colours
from bodycast.app.renderers.skeleton import COCO_LIMBS, SMPL_LIMBS, draw_skeletons
from bodycast.hmr.body.joints import Joint
from bodycast.hmr.geometry.camera import Intrinsics

HW = (120, 160)


def result_of(keypoints: np.ndarray, joints_px: np.ndarray | None = None, depths: tuple[float, ...] = (3.0,)):
    count = len(depths)
    picture = np.full((*HW, 3), 90, np.uint8)
    frame = Frame(picture, 0, 0.0)
    estimates = BodyEstimates(
        id=np.arange(1, count + 1, dtype=np.int32),
        pose=np.tile(np.eye(3, dtype=np.float32), (count, 24, 1, 1)),
        betas=np.zeros((count, 10), np.float32),
        transl_m=np.array([[0, 0, depth] for depth in depths], np.float32),
        score=np.ones(count, np.float32),
        token=np.zeros((count, 0), np.float32),
        keypoints=keypoints.astype(np.float32),
    )
    joints = np.full((count, 24, 2), np.nan, np.float32) if joints_px is None else joints_px.astype(np.float32)
    bodies = PosedBodies(np.zeros((count, 1, 3), np.float32), np.zeros((count, 24, 3), np.float32), joints)
    box = np.tile(np.array([10, 10, 110, 110], np.float32), (count, 1))
    return FrameResult(frame, estimates, bodies, box, Intrinsics.default((HW[1], HW[0])), picture)


def coco(**places: tuple[float, float, float]) -> np.ndarray:
    points = np.zeros((1, 17, 3))
    for name, value in places.items():
        points[0, int(name[1:])] = value
    return points


def test_sure_keypoints_are_joined_in_the_persons_colour() -> None:
    result = result_of(coco(k5=(40, 30, 0.9), k7=(40, 80, 0.8), k9=(90, 80, 0.1)))
    drawn = draw_skeletons(result.overlay, result)
    assert (result.overlay == 90).all() and drawn.shape == result.overlay.shape
    np.testing.assert_allclose(drawn[55, 40], person_colours(np.array([1], np.int32))[0], atol=1)
    assert (drawn[30, 40] == 255).all() and (drawn[80, 40] == 255).all()
    assert (drawn[80, 60:] == 90).all()  # the wrist is not sure


def test_who_has_no_keypoints_has_the_joints_of_the_body() -> None:
    joints = np.full((1, 24, 2), np.nan)
    joints[0, Joint.LEFT_KNEE], joints[0, Joint.LEFT_ANKLE] = (50, 40), (50, 100)
    for keypoints in (np.zeros((1, 0, 3)), np.zeros((1, 17, 3))):
        result = result_of(keypoints, joints)
        drawn = draw_skeletons(result.overlay, result)
        assert (drawn[70, 50] != 90).any() and (drawn[:, 80:] == 90).all()


def test_the_nearest_person_is_drawn_last() -> None:
    line = coco(k5=(20, 60, 1), k6=(140, 60, 1))
    result = result_of(np.concatenate([line, line]), depths=(2.0, 5.0))
    drawn = draw_skeletons(result.overlay, result)
    np.testing.assert_allclose(drawn[60, 80], person_colours(np.array([1], np.int32))[0], atol=1)


def test_nobody_and_points_far_outside() -> None:
    result = result_of(coco(k5=(1e9, 5, 1), k7=(-1e5, 1e5, 1)))
    assert (draw_skeletons(result.overlay, result) == 90).all()
    empty = result.select(np.zeros(1, bool))
    assert (draw_skeletons(empty.overlay, empty) == 90).all()


def test_the_limbs_are_those_of_the_joint_sets() -> None:
    assert {end for limb in COCO_LIMBS for end in limb} == set(range(17))
    assert len(SMPL_LIMBS) == 23 and (Joint.LEFT_KNEE, Joint.LEFT_ANKLE) in SMPL_LIMBS
