"""Whom an avatar follows, and what it does while nobody is seen: it comes to rest, and no motion jumps."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from bodycast.app.errors import UsageError
from bodycast.app.records import FrameResult, FrameWorld
from bodycast.app.senders.skeleton import (
    BONES,
    SOLE_BELOW_TOES_M,
    TPose,
    bone_rotations,
    quaternions,
    rest_offsets,
    t_pose,
)
from bodycast.hmr.body.joints import Joint
from bodycast.hmr.geometry.arrays import F32, F64

HOLD_S = 0.5
"""Somebody who is not seen for less than this is taken to stay as they were."""
REST_S = 0.8
"""How long the avatar takes to come to rest."""
CATCH_UP_S = 0.25
"""How long it takes from rest, or from another person, to the person that it follows."""
RELEASE_S = 1.0
"""With `largest`: when somebody has been gone for so long, the avatar follows another."""
OTHER_GROUND_M, OTHER_GROUND_S = 0.25, 1.0
"""Whose feet touch something so far above or below the ground, for so long, stand on other ground."""
BELOW_GROUND_S = 0.2
"""Nobody stands below the ground: whoever jumps off a roof takes it with them."""
FEET = (Joint.LEFT_ANKLE, Joint.RIGHT_ANKLE, Joint.LEFT_FOOT, Joint.RIGHT_FOOT)
SAME_BETAS = 0.05
"""Shapes that differ by less have bones that differ by less than a millimetre."""
ARMS_DOWN_RAD = np.deg2rad(72.0)


@dataclass(frozen=True, slots=True)
class AvatarPose:
    """An avatar in our world (app/senders/skeleton.py). `seen`: whether it is somebody's pose. `rotations` (22,4) unit
    quaternions x, y, z, w of BONES relative to their parents, from the T-pose; `places_m` (22,3): the hips' place in
    the world, and of every other bone its place from its parent in the T-pose."""

    seen: bool
    rotations: F64
    places_m: F64


class PersonChoice:
    """Chooses one person of each frame: an id, or the largest, who stays chosen until they are gone."""

    def __init__(self, spec: str) -> None:
        """spec: `largest` or an id from 1. Raises: UsageError."""
        self._id: int | None = None
        self._fixed = spec != "largest"
        if self._fixed:
            if not (spec.isascii() and spec.isdigit() and int(spec) >= 1):
                raise UsageError(f"--person {spec}: expected largest, or the number that a person has in the window")
            self._id = int(spec)
        self._gone_since_s: float | None = None

    def row(self, result: FrameResult, now_s: float) -> int | None:
        """Row of the person in the frame; None: they are not seen."""
        ids = result.estimates.id
        known: list[int] = ids.tolist()
        if self._id in known:
            self._gone_since_s = None
            return known.index(self._id)
        if self._fixed or len(ids) == 0:
            self._gone(now_s)
            return None
        if self._id is not None and now_s - self._gone(now_s) < RELEASE_S:
            return None
        self._gone_since_s = None
        row = int(np.argmax(np.prod(result.xyxy[:, 2:] - result.xyxy[:, :2], axis=1)))
        self._id = int(ids[row])
        return row

    def _gone(self, now_s: float) -> float:
        self._gone_since_s = now_s if self._gone_since_s is None else self._gone_since_s
        return self._gone_since_s


class Performer:
    """One person's motion as an avatar's: on the floor, begun in the middle, at the avatar's own height of the hips."""

    def __init__(
        self,
        person: str,
        rest_joints_m: F32,
        avatar_hips_m: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """person: see PersonChoice. rest_joints_m: (24,3) of the body at rest, for as long as nobody was seen.
        avatar_hips_m: height of the avatar's hips in its T-pose; None: the person's own. Raises: UsageError."""
        self._choice = PersonChoice(person)
        self._clock = clock
        self._avatar_hips_m = avatar_hips_m
        identity = np.broadcast_to(np.eye(3), (24, 3, 3))
        self._body = t_pose(rest_offsets(identity, rest_joints_m.astype(np.float64)))
        self._measured: int | None = None
        self._betas: F32 = np.zeros(10, np.float32)
        self._origin_m = np.zeros(3)
        self._heading = np.eye(3)
        self._turn_too = False
        self._centred_on: int | None = None
        self._level_of = (0, False)
        self._elsewhere_since_s: float | None = None
        self._live: AvatarPose | None = None
        self._live_id = 0
        self._last_seen_s = float("-inf")
        self._target: int | None = None
        self._from: AvatarPose | None = None
        self._sent: AvatarPose | None = None
        self._changed_s = float("-inf")

    def recentre(self) -> None:
        """Whoever is followed stands in the middle and looks ahead, from the next frame on."""
        self._turn_too = True

    def follow(self, result: FrameResult | None) -> AvatarPose:
        """The avatar's pose for a frame; None: no frame came."""
        now_s = self._clock()
        row = None if result is None else self._choice.row(result, now_s)
        if result is not None and row is not None:
            self._live, self._live_id = self._pose_of(result, row), int(result.estimates.id[row])
            self._last_seen_s = now_s
        if self._live is None or now_s - self._last_seen_s > HOLD_S:
            return self._towards(self._at_rest(), None, REST_S, now_s)
        return self._towards(replace(self._live, seen=row is not None), self._live_id, CATCH_UP_S, now_s)

    def _towards(self, pose: AvatarPose, target: int | None, takes_s: float, now_s: float) -> AvatarPose:
        """`pose`, approached from what was sent last where it is another person's, or the first at rest."""
        if target != self._target and self._sent is not None:
            self._from, self._changed_s = self._sent, now_s
        self._target = target
        share = (now_s - self._changed_s) / takes_s
        if self._from is not None and share < 1:
            pose = _mixed(self._from, pose, share * share * (3 - 2 * share))
        self._sent = pose
        return pose

    def _pose_of(self, result: FrameResult, row: int) -> AvatarPose:
        pose, joints = result.estimates.pose[row].astype(np.float64), result.bodies.joints[row].astype(np.float64)
        self._measure(int(result.estimates.id[row]), result.estimates.betas[row], pose, joints)
        camera_to_world = (result.world or FrameWorld.unknown(0)).camera_to_world
        if not np.isfinite(camera_to_world).all():
            camera_to_world = FrameWorld.unknown(0).camera_to_world
        root = camera_to_world[:3, :3] @ pose[0]
        hips = camera_to_world[:3, :3] @ joints[0] + camera_to_world[:3, 3]
        self._centre(int(result.estimates.id[row]), root, hips)
        self._level(result, row, camera_to_world)
        places = self._body.offsets_m.copy()
        places[0] = self._heading @ (hips - self._origin_m) * self._scale(self._body)
        rotations = bone_rotations(pose, self._heading @ root, self._body)
        return AvatarPose(True, quaternions(rotations), places)

    def _measure(self, person: int, betas: F32, pose: F64, joints: F64) -> None:
        """The skeleton at rest, anew where the shape has changed by something that can be seen."""
        if person == self._measured and np.abs(betas - self._betas).max() < SAME_BETAS:
            return
        self._body, self._measured, self._betas = t_pose(rest_offsets(pose, joints)), person, betas

    def _level(self, result: FrameResult, row: int, camera_to_world: F64) -> None:
        """Find the height that the person stands on: an avatar's ground is at 0, whether they are on a roof or not.

        Where the floor is known it counts, unless they are seen to stand elsewhere; where it is not, they are taken to
        stand when they are seen first. Whoever jumps does not stand.
        """
        world, person = result.world, int(result.estimates.id[row])
        known = world is not None and bool(np.isfinite(world.floor).all())
        lowest = float((result.bodies.joints[row, FEET] @ camera_to_world[1, :3]).min() + camera_to_world[1, 3])
        stands_at = lowest - SOLE_BELOW_TOES_M
        if (person, known) != self._level_of:
            self._level_of, self._elsewhere_since_s = (person, known), None
            self._origin_m[1] = 0.0 if known and abs(stands_at) < OTHER_GROUND_M else stands_at
        touches = world is not None and bool((world.contacts[row] > 0.5).any())
        below = stands_at < self._origin_m[1] - OTHER_GROUND_M
        if not (touches or below) or abs(stands_at - self._origin_m[1]) < OTHER_GROUND_M:
            self._elsewhere_since_s = None
            return
        now_s = self._clock()
        if self._elsewhere_since_s is None:
            self._elsewhere_since_s = now_s
        elif now_s - self._elsewhere_since_s > (BELOW_GROUND_S if below else OTHER_GROUND_S):
            self._origin_m[1] = stands_at
            self._from, self._changed_s = self._sent, now_s

    def _centre(self, person: int, root: F64, hips: F64) -> None:
        if self._turn_too:
            ahead = root[:, 2] * (1.0, 0.0, 1.0)
            yaw = np.arctan2(ahead[0], ahead[2])
            cos, sin = np.cos(yaw), np.sin(yaw)
            self._heading = np.array([[cos, 0, -sin], [0, 1, 0], [sin, 0, cos]])
        if self._turn_too or self._centred_on != person:
            self._origin_m = hips * (1.0, 0.0, 1.0)
            self._level_of = (0, False)
        self._turn_too, self._centred_on = False, person

    def _scale(self, body: TPose) -> float:
        """The floor is at 0 for both: places times this leave an avatar's feet on it."""
        return 1.0 if self._avatar_hips_m is None else self._avatar_hips_m / max(body.hips_m, 0.1)

    def _at_rest(self) -> AvatarPose:
        """Standing with the arms down, where the person was last, turned as they were."""
        places = self._body.offsets_m.copy()
        places[0] = 0.0 if self._live is None else self._live.places_m[0]
        places[0, 1] = self._body.hips_m * self._scale(self._body)
        rotations = np.zeros((len(BONES), 4))
        rotations[:, 3] = 1.0
        for bone, sign in (("LeftUpperArm", -1.0), ("RightUpperArm", 1.0)):
            half = sign * ARMS_DOWN_RAD / 2
            rotations[BONES.index(bone)] = (0.0, 0.0, np.sin(half), np.cos(half))
        if self._live is not None:
            _, y, _, w = self._live.rotations[0]
            length = float(np.hypot(y, w))
            if length > 1e-3:
                rotations[0] = (0.0, y / length, 0.0, w / length)
        return AvatarPose(False, rotations, places)


def _mixed(first: AvatarPose, second: AvatarPose, share: float) -> AvatarPose:
    """Between two poses: `share` 0 is the first. Rotations along the shorter way, by normalised sums."""
    near = np.where((first.rotations * second.rotations).sum(axis=1, keepdims=True) < 0, -1.0, 1.0)
    rotations = (1 - share) * first.rotations * near + share * second.rotations
    length = np.linalg.norm(rotations, axis=1, keepdims=True)
    rotations = np.where(length > 1e-6, rotations / np.maximum(length, 1e-6), second.rotations)
    places = (1 - share) * first.places_m + share * second.places_m
    return AvatarPose(second.seen, rotations, places)
