"""All poses that synthetic people take: motion capture, gestures, MakeHuman's poses; mixed and perturbed."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bodycast.hmr.body.body_model import BodyModel, forward_kinematics, mirror_pose
from bodycast.hmr.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from training.synthetic.gestures import gesture, seated
from training.synthetic.poses import UPPER_BODY, heading_rad, split_files
from training.synthetic.reach import limbs_inside

F32 = NDArray[np.float32]
Rng = np.random.Generator
GESTURES_PER_SPLIT = {"train": 6000, "test": 1200}
_SEEDS = {"train": 101, "test": 202}
MOVING_JOINTS = [1, 2, 4, 5, 16, 17, 18, 19]  # hips, knees, shoulders, elbows
LIMB_CHAINS = ((13, 16, 18, 20, 22), (14, 17, 19, 21, 23), (1, 4, 7, 10), (2, 5, 8, 11))
# One standard deviation in rad of what a joint is turned beyond its pose.
JITTER_RAD = np.full(24, 0.03, np.float32)
JITTER_RAD[[15, 12]] = 0.17, 0.13
JITTER_RAD[[16, 17, 18, 19]] = 0.15, 0.15, 0.12, 0.12
JITTER_RAD[[20, 21, 22, 23]] = 0.22, 0.22, 0.1, 0.1
JITTER_RAD[[1, 2, 4, 5, 7, 8]] = 0.1, 0.1, 0.08, 0.08, 0.12, 0.12


class Kind(IntEnum):
    """Where a pose comes from."""

    MOCAP = 0
    GESTURE = 1
    MAKEHUMAN = 2


# Share of each kind by the kind of camera: webcams meet gestures, rooms meet movement.
SHARES = {True: {Kind.MOCAP: 0.3, Kind.GESTURE: 0.68, Kind.MAKEHUMAN: 0.02},
          False: {Kind.MOCAP: 0.76, Kind.GESTURE: 0.2, Kind.MAKEHUMAN: 0.04}}  # fmt: skip


@dataclass(frozen=True)
class PosePool:
    """Poses of a split. pose (T, 24, 3, 3) float32, y up, facing +z; kind (T,) uint8 of Kind. own_limbs: share of the
    samples whose limbs come from other poses, each by itself; lively: share of the poses that are taken for being the
    farthest of three from the pool's mean pose, since people mostly stand."""

    pose: F32
    kind: NDArray[np.uint8]
    own_limbs: float = 0.2
    lively: float = 0.0

    @cached_property
    def _distance(self) -> F32:
        """(T,) how far the limbs are turned from their means: 3 minus the rotations' traces, summed."""
        limbs = self.pose[:, MOVING_JOINTS]
        mean = limbs.mean(0)
        return (3 * len(MOVING_JOINTS) - np.einsum("tjab,jab->t", limbs, mean)).astype(np.float32)

    def sample(self, rng: Rng, webcam: bool) -> F32:
        """(24, 3, 3): a pose with a chance of other limbs, a mirror image, lying down, and small turns."""
        pose = self.take(rng, webcam).copy()
        if rng.random() < 0.25:  # another upper body on these legs
            pose[list(UPPER_BODY)] = self.take(rng, webcam)[list(UPPER_BODY)]
        if rng.random() < self.own_limbs:
            for limb in LIMB_CHAINS[: 2 if webcam else 4]:
                if rng.random() < 0.6:
                    pose[list(limb)] = self.take(rng, webcam)[list(limb)]
        if rng.random() < 0.12:
            pose = seated(pose, rng)
        if rng.random() < 0.5:
            pose = mirror_pose(pose)
        if not webcam:
            pose[0] = unusual_root(rng) @ pose[0]
        turns = rng.normal(0, 1, (24, 3)).astype(np.float32) * JITTER_RAD[:, None]
        turns[0] = 0
        size = rng.choice([0.0, 1.0, 2.2], p=[0.25, 0.6, 0.15])
        return (pose @ axis_angle_to_matrix(turns * np.float32(size))).astype(np.float32)

    def take(self, rng: Rng, webcam: bool) -> F32:
        """(24, 3, 3) a pose as it is in the pool."""
        shares = SHARES[webcam]
        for _ in range(4):
            rows = self.rows_of(Kind(rng.choice(list(shares), p=list(shares.values()))))
            if len(rows) and self.lively and rng.random() < self.lively:
                three = rows[rng.integers(len(rows), size=3)]
                return self.pose[three[self._distance[three].argmax()]]
            if len(rows):
                return self.pose[rows[rng.integers(len(rows))]]
        return self.pose[rng.integers(len(self.pose))]

    def rows_of(self, kind: Kind) -> NDArray[np.intp]:
        """Rows of one kind."""
        start, stop = np.searchsorted(self.kind, [kind, kind + 1])
        return np.arange(start, stop)

    def sample_clear(self, rng: Rng, webcams: list[bool], joints_rest: F32) -> tuple[F32, F32, F32]:
        """A pose for each entry of `webcams`, limbs out of the body where a few tries find such.

        Returns poses (N,24,3,3), global rotations (N,24,3,3) and places (N,24,3) of joints resting at `joints_rest`.
        """
        poses = np.stack([self.sample(rng, webcam) for webcam in webcams])
        turns, places = forward_kinematics(poses, joints_rest)
        for _ in range(4):
            bad = np.flatnonzero(limbs_inside(turns, places))
            if not len(bad):
                break
            poses[bad] = np.stack([self.sample(rng, webcams[i]) for i in bad])
            turns[bad], places[bad] = forward_kinematics(poses[bad], joints_rest[bad])
        return poses, turns, places


def unusual_root(rng: Rng) -> F32:
    """(3, 3) mostly none; sometimes lying on the back, the front or a side, leaning far, or upside down."""
    kind = rng.random()
    if kind < 0.9:
        return np.eye(3, dtype=np.float32)
    if kind < 0.965:
        angle = np.array([rng.choice([-1, 1]) * rng.normal(np.pi / 2, 0.2), 0, 0])
    elif kind < 0.985:
        angle = np.array([0, 0, rng.choice([-1, 1]) * rng.normal(np.pi / 2, 0.25)])
    elif kind < 0.995:
        angle = rng.normal(0, 0.5, 3) * [1, 0, 1]
    else:
        angle = np.array([rng.normal(np.pi, 0.2), 0, 0])
    return axis_angle_to_matrix(angle.astype(np.float32)).astype(np.float32)


def facing_forward(pose: F32) -> F32:
    """(T, 24, 3, 3) with the root's heading taken off."""
    out = pose.copy()
    turn = np.zeros((len(pose), 3), np.float32)
    turn[:, 1] = -heading_rad(pose[:, 0])
    out[:, 0] = axis_angle_to_matrix(turn) @ out[:, 0]
    return out.astype(np.float32)


def gather_poses(mocap: Path | None, makehuman: Path | None, split: str, body: BodyModel) -> PosePool:
    """The split's motion capture, if given; gestures made by code; MakeHuman's poses (a folder of .bvh, train only)."""
    from training.mocap.makehuman_pose import load_makehuman_pose
    from training.mocap.retarget import load_smpl_motion

    parts: dict[Kind, F32] = {}  # in the order of their numbers: `PosePool.rows_of` searches
    if mocap is not None:
        motions = [load_smpl_motion(path, body) for path in split_files(mocap, split)]
        parts[Kind.MOCAP] = facing_forward(np.concatenate([m.pose[m.plausible][::2] for m in motions]))
    rng = np.random.default_rng(_SEEDS[split])
    parts[Kind.GESTURE] = np.stack([gesture(rng, body) for _ in range(GESTURES_PER_SPLIT[split])])
    if makehuman is not None and split == "train":
        files = sorted(makehuman.glob("*.bvh"))
        if not files:
            raise ValueError(f"no .bvh in {makehuman}")
        parts[Kind.MAKEHUMAN] = facing_forward(np.stack([load_makehuman_pose(path, body) for path in files]))
    kind = np.concatenate([np.full(len(part), number, np.uint8) for number, part in parts.items()])
    return PosePool(np.concatenate(list(parts.values())).astype(np.float32), kind)


def packed(pool: PosePool) -> dict[str, NDArray[np.generic]]:
    """The pool as small arrays: rotation vectors in half floats."""
    return {"axis_angle": matrix_to_axis_angle(pool.pose).astype(np.float16), "kind": pool.kind}


def unpacked(
    axis_angle: NDArray[np.generic], kind: NDArray[np.uint8], own_limbs: float = 0.2, lively: float = 0.0
) -> PosePool:
    """The pool of `packed` arrays."""
    return PosePool(axis_angle_to_matrix(axis_angle.astype(np.float32)).astype(np.float32), kind, own_limbs, lively)
