"""Bodies between two answers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bodycast.app.records import BodyEstimates
from bodycast.app.smoothers.interpolation import interpolate_bodies
from bodycast.hmr.geometry.rotations import axis_angle_to_matrix
from tests.smoothers.test_diffusion import body


def turned(angle_rad: float, person: int) -> BodyEstimates:
    pose = axis_angle_to_matrix(np.tile([0.0, angle_rad, 0.0], (24, 1))).astype(np.float32)
    place = np.array([[angle_rad, 0, 3]], np.float32)
    return replace(
        body(0.0, person=person), pose=pose[None], transl_m=place, betas=np.full((1, 10), angle_rad, np.float32)
    )


def test_joints_turn_at_a_constant_speed_and_who_is_new_is_as_he_is() -> None:
    earlier = BodyEstimates.joined([turned(9.0, 5), turned(0.0, 1)])
    later = BodyEstimates.joined([turned(1.0, 1), turned(2.0, 2)])
    found = interpolate_bodies(earlier, later, 0.25)
    assert found.id.tolist() == [1, 2]
    np.testing.assert_allclose(found.pose[0], turned(0.25, 1).pose[0], atol=1e-6)
    np.testing.assert_allclose(found.transl_m[0], [0.25, 0, 3], atol=1e-6)
    np.testing.assert_allclose(found.betas[0], 0.25, atol=1e-6)
    np.testing.assert_array_equal(found.pose[1], later.pose[1])
    np.testing.assert_array_equal(interpolate_bodies(BodyEstimates.empty(), later, 0.5).pose, later.pose)
    assert later.transl_m[0, 0] == 1.0
