"""People of a frame are stepped together: nobody's place depends on who else is there."""

from __future__ import annotations

import numpy as np
import pytest

from bodycast.app.records import F32, BodyEstimates, Frame
from bodycast.app.world.live import LiveWorld
from bodycast.app.world.live_feet import PlaneRows
from bodycast.app.world.options import WorldOptions
from bodycast.app.world.standing import Plane, Planes, chosen_plane
from bodycast.hmr.body.joints import Joint
from bodycast.hmr.geometry.ground import Floor
from bodycast.hmr.geometry.rotations import axis_angle_to_matrix
from tests.sinks.results import embedded_body
from tests.world.scenes import AVERAGE, FPS, IMAGE_WH, LENS, see, skeleton, walking

FRAMES = 25
POSE, ROOT, _ = walking(FRAMES, 110.0, 0.4)
PEOPLE = {
    person: see(POSE, ROOT + np.float32([0.6 * person - 1, 0, -4]), Floor.of_angles(0.2, 0.0, 1.6))
    for person in (1, 2, 3)
}
GREY = np.full((IMAGE_WH[1], IMAGE_WH[0], 3), 128, np.uint8)


def placed(there: dict[int, set[int]]) -> dict[int, F32]:
    """(F,3) places of people by id, without a floor, which all share. there: the frames that each is seen in."""
    world = LiveWorld(embedded_body(), WorldOptions(floor=False, lens_from="--focal-px"))
    pelvis = skeleton().rest(AVERAGE[None])[0, 0]
    found: dict[int, list[F32]] = {person: [] for person in there}
    for row in range(FRAMES):
        ids = [person for person in there if row in there[person]]
        count = len(ids)
        pose = np.stack([PEOPLE[person].pose[row] for person in ids]) if ids else np.zeros((0, 24, 3, 3), np.float32)
        at = [PEOPLE[person].root_m[row] - pelvis for person in ids]
        estimates = BodyEstimates(
            id=np.array(ids, np.int32),
            pose=pose,
            betas=np.tile(AVERAGE, (count, 1)),
            transl_m=np.array(at, np.float32).reshape(count, 3),
            score=np.full(count, 0.9, np.float32),
            token=np.zeros((count, 0), np.float32),
        )
        xyxy = np.tile(np.array([[500, 100, 700, 600]], np.float32), (count, 1))
        out, _ = world.place(Frame(GREY, row, row / FPS), estimates, xyxy, LENS)
        for person, place in zip(ids, out.transl_m, strict=True):
            found[person].append(place)
    return {person: np.stack(places) for person, places in found.items()}


def test_people_who_come_and_go_do_not_move_each_other() -> None:
    every = set(range(FRAMES))
    there = {1: every, 2: set(range(5, 15)), 3: every - {8, 9}}
    together = placed(there)
    for person, frames in there.items():
        np.testing.assert_allclose(together[person], placed({person: frames})[person], atol=1e-6)


def test_each_sole_is_on_the_plane_that_is_chosen_for_it_alone() -> None:
    rng = np.random.default_rng(2)
    soles = rng.normal(0, 1, (40, 4, 3)) * [1, 0.7, 1] + [0, 1.2, 4]
    low, high = Plane(np.array([0.0, -1.0, 0.0]), 1.6), Plane(np.array([0.05, -0.99, 0.1]), 0.9)
    above = Plane(np.array([0.0, -1.0, 0.0]), -0.5)
    sets: list[Planes] = [(), (low,), (high, low), (low, above)]
    planes = [sets[row % len(sets)] for row in range(40)]
    up, height_m = PlaneRows.of(planes).chosen(soles)
    for row, own in enumerate(planes):
        for sole in range(4):
            wanted = chosen_plane(own, soles[row, sole][None])
            if wanted is None:
                assert np.isnan(height_m[row, sole])
            else:
                assert height_m[row, sole] == wanted.height_m
                np.testing.assert_array_equal(up[row, sole], wanted.up)
    found = np.isfinite(height_m)
    assert found.any()
    assert not found.all()


@pytest.mark.parametrize("confidence", [0.0, 0.9])
def test_an_arm_that_leaps_waits_only_where_it_was_looked_at(confidence: float) -> None:
    """Keypoints of no confidence: another person's turn, the pose is an earlier one."""
    world = LiveWorld(embedded_body(), WorldOptions(floor=False, lens_from="--focal-px"))
    pose = np.repeat(POSE[:1], 11, axis=0)
    pose[10, Joint.LEFT_SHOULDER] = axis_angle_to_matrix(np.array([0.0, 0.0, 2.0]))
    for row in range(11):
        keypoints = np.zeros((1, 17, 3), np.float32)
        keypoints[..., 2] = confidence if row == 10 else 0.9
        estimates = BodyEstimates(
            id=np.ones(1, np.int32), pose=pose[row : row + 1], betas=AVERAGE[None],
            transl_m=np.array([[0, 0, 4]], np.float32), score=np.full(1, 0.9, np.float32),
            token=np.zeros((1, 0), np.float32), keypoints=keypoints,
        )  # fmt: skip
        xyxy = np.array([[500, 100, 700, 600]], np.float32)
        out, _ = world.place(Frame(GREY, row, row / FPS), estimates, xyxy, LENS)
    given = pose[9 if confidence else 10, Joint.LEFT_SHOULDER]
    np.testing.assert_allclose(out.pose[0, Joint.LEFT_SHOULDER], given, atol=1e-6)
