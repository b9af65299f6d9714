"""One person's motion as a skeleton in the world frame: what all exporters start from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bodycast.app.errors import UsageError
from bodycast.app.files.motion_file import Motion
from bodycast.hmr.body.joints import NUM_JOINTS, PARENTS
from bodycast.hmr.geometry.ground import LEVEL
from bodycast.hmr.geometry.rotations import axis_angle_to_matrix, interpolate_rotations

Floats = NDArray[np.float64]

WORLD_FROM_CAMERA: Floats = LEVEL[:3, :3]
"""Half a turn about x: the camera frame (y down, z forward) becomes y up, right-handed, the camera looking along -z."""

Z_UP: Floats = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
"""y up -> z up, both right-handed: who looked along z looks along -y, as in Blender and AMASS."""

LOWEST_PERCENTILE = 1.0
"""Where no floor is known, the lowest joints of a clip lie on it, but for so many."""
JOINT_ABOVE_FLOOR_M = 0.02

MOST_FRAMES = 1_000_000
"""Nine hours at 30 frames a second: formats without time stamps hold no more."""
MOST_HELD = 100_000
"""Frames of pauses, an hour at 30 frames a second: three rows that are nine hours apart are no motion."""
_AT_A_TIME = 4096

GAP_S = 0.5
"""Frames further apart than this are a gap: the film paused, or the person was not seen."""

UNIFORM_TOLERANCE = 0.1
"""Time stamps that are off the steady grid by less than this share of a frame count as being on it."""


@dataclass(frozen=True, slots=True)
class PersonMotion:
    """F frames of one person; world frame, metres, seconds, float64.

    `frame` (F,) int64; `time_s`, `score` (F,); `rotations` (F,24,3,3) relative to the parent joint, the root's to the
    world; `root_m` (F,3) place of the root joint; `offsets_m` (24,3) rest place of each joint from its parent (the
    root's is 0); `pelvis_rest_m` (3,) rest place of the root in the body's own frame; `betas` (10,), the mean.
    """

    person_id: int
    frame: NDArray[np.int64]
    time_s: Floats
    score: Floats
    rotations: Floats
    root_m: Floats
    offsets_m: Floats
    pelvis_rest_m: Floats
    betas: Floats

    def __len__(self) -> int:
        return len(self.time_s)

    def joints_m(self) -> Floats:
        """(F,24,3) joints in the world, by forward kinematics."""
        places, _ = forward_kinematics(self.rotations, self.offsets_m, self.root_m)
        return places

    def rest_joints(self) -> Floats:
        """(24,3) joints of the rest pose, the root at its rest place, m."""
        places = np.empty((NUM_JOINTS, 3))
        places[0] = self.pelvis_rest_m
        for joint in range(1, NUM_JOINTS):
            places[joint] = places[int(PARENTS[joint])] + self.offsets_m[joint]
        return places

    def turned(self, turn: Floats) -> PersonMotion:
        """The same motion in another world: `turn` (3,3) takes this one's points there."""
        rotations = self.rotations.copy()
        rotations[:, 0] = turn @ rotations[:, 0]
        return replace(self, rotations=rotations, root_m=self.root_m @ turn.T)

    def from_time(self, start_s: float) -> PersonMotion:
        """The same motion with the first pose held from `start_s` on, for formats in which nobody can be absent."""
        if self.time_s[0] - start_s <= 0:
            return self
        held = {
            name: np.concatenate([getattr(self, name)[:1], getattr(self, name)])
            for name in ("frame", "score", "rotations", "root_m")
        }
        return replace(self, time_s=np.concatenate([[start_s], self.time_s]), **held)

    @property
    def _gap_s(self) -> float:
        usual = float(np.median(np.diff(self.time_s))) if len(self) > 1 else 0.0
        return max(GAP_S, 3 * usual)

    def at_steady_rate(self, fps: float) -> PersonMotion:
        """The same motion at `fps` frames a second from its first frame, for formats without time stamps.

        Frames that already lie on that grid are kept as they are; otherwise (variable rate) places are interpolated
        linearly and rotations along the shortest arc. Over a gap of more than GAP_S the last pose is held: how they
        moved meanwhile is not known.
        """
        count = self.count_at(fps)
        elapsed = self.time_s - self.time_s[0]
        grid = np.arange(count) / fps
        if count == len(self) and np.abs(elapsed - grid).max() * fps < UNIFORM_TOLERANCE:
            return self
        rotations = np.empty((count, NUM_JOINTS, 3, 3))
        root_m, score = np.empty((count, 3)), np.empty(count)
        for begin in range(0, count, _AT_A_TIME):  # turning takes ten times the memory of what is turned
            some = slice(begin, begin + _AT_A_TIME)
            rotations[some], root_m[some], score[some] = self._at(grid[some])
        frame, time_s = self.frame[0] + np.arange(count), self.time_s[0] + grid
        return replace(self, frame=frame, time_s=time_s, score=score, rotations=rotations, root_m=root_m)

    def count_at(self, fps: float) -> int:
        """Frames at this rate, from the first to the last. Raises: UsageError for more than there can be."""
        seconds = float(self.time_s[-1] - self.time_s[0])
        count = seconds * fps + 1
        usual_s = min(GAP_S, float(np.median(np.diff(self.time_s)))) if len(self) > 1 else 0.0
        if not 0.5 < count <= min(MOST_FRAMES, MOST_HELD + 2 * len(self) * usual_s * fps):
            raise UsageError(
                f"person {self.person_id}: {len(self)} frames over {seconds:.3g} s are too many at {fps:.3g} frames/s "
                f"({count:.3g}): the motion's times or its rate are wrong; a .glb or .csv keeps its times"
            )
        return round(count)

    def _at(self, elapsed_s: Floats) -> tuple[Floats, Floats, Floats]:
        """Rotations (T,24,3,3), root (T,3) and score (T,) so many seconds (T,) after the first frame."""
        elapsed = self.time_s - self.time_s[0]
        after = np.clip(np.searchsorted(elapsed, elapsed_s), 1, max(1, len(self) - 1))
        before = after - 1
        after = np.minimum(after, len(self) - 1)
        span = np.maximum(elapsed[after] - elapsed[before], 1e-9)
        weight = np.clip((elapsed_s - elapsed[before]) / span, 0.0, 1.0)
        weight = np.where((span > self._gap_s) & (weight < 1.0 - 1e-6), 0.0, weight)

        def blend(values: Floats) -> Floats:
            w = weight.reshape(-1, *[1] * (values.ndim - 1))
            return (1 - w) * values[before] + w * values[after]

        turns = interpolate_rotations(self.rotations[before], self.rotations[after], weight[:, None])
        return turns.astype(np.float64), blend(self.root_m), blend(self.score)


def forward_kinematics(rotations: Floats, offsets_m: Floats, root_m: Floats) -> tuple[Floats, Floats]:
    """(F,24,3,3) rotations relative to the parent, (24,3) offsets, (F,3) root -> (F,24,3) joints, (F,24,3,3) global
    rotations."""
    places = np.empty((len(rotations), NUM_JOINTS, 3))
    turns = np.empty_like(rotations)
    places[:, 0], turns[:, 0] = root_m, rotations[:, 0]
    for joint in range(1, NUM_JOINTS):
        parent = int(PARENTS[joint])
        turns[:, joint] = turns[:, parent] @ rotations[:, joint]
        places[:, joint] = places[:, parent] + turns[:, parent] @ offsets_m[joint]
    return places, turns


def people_in_world(motion: Motion, ids: Sequence[int]) -> list[PersonMotion]:
    """The people with these ids, in one world whose floor is at y = 0 and whose origin is below whoever is seen first,
    in the first frame that shows them.

    Where the motion knows no world (its camera moves, or an older version wrote it), that of a level camera is taken;
    where it knows no floor, the lowest joints of everybody lie on it.
    """
    people = [_person_in_world(motion, person) for person in ids]
    first = min(people, key=lambda person: (int(person.frame[0]), person.person_id))
    shift = first.root_m[0] * np.array([1.0, 0.0, 1.0])
    if not (motion.has_world and np.isfinite(motion.floor).all()):
        lowest = np.concatenate([person.joints_m()[..., 1].min(axis=1) for person in people])
        shift[1] = float(np.percentile(lowest, LOWEST_PERCENTILE)) - JOINT_ABOVE_FLOOR_M
    return [replace(person, root_m=person.root_m - shift) for person in people]


def clip_start_s(motion: Motion) -> float:
    """When frame 0 of the clip was, on its clock: the same start for every file that is made of it."""
    if np.isfinite(motion.start_s) and motion.start_s <= motion.time_s.min(initial=np.inf):
        return motion.start_s
    first = int(np.argmin(motion.frame))
    return float(motion.time_s[first]) - int(motion.frame[first]) / motion.fps


def _person_in_world(motion: Motion, person_id: int) -> PersonMotion:
    """One person of a motion file.

    The skeleton comes from the recorded joints, turned back into the rest pose, so no body file is needed; where the
    shape varies from frame to frame, the median bone is taken.
    """
    rows = motion.of_person(person_id)
    rotations = axis_angle_to_matrix(rows.poses.reshape(-1, NUM_JOINTS, 3).astype(np.float64)).astype(np.float64)
    joints = rows.joints_3d.astype(np.float64)
    _, turns = forward_kinematics(rotations, np.zeros((NUM_JOINTS, 3)), joints[:, 0])
    parents = PARENTS[1:]
    bones = np.swapaxes(turns[:, parents], -1, -2) @ (joints[:, 1:] - joints[:, parents])[..., None]
    offsets = np.zeros((NUM_JOINTS, 3))
    offsets[1:] = np.median(bones[..., 0], axis=0)
    if motion.has_world:
        rotations[:, 0] = axis_angle_to_matrix(rows.root_orient_world.astype(np.float64))
        root = rows.joints_world[:, 0].astype(np.float64)
    else:
        rotations[:, 0] = WORLD_FROM_CAMERA @ rotations[:, 0]
        root = joints[:, 0] @ WORLD_FROM_CAMERA.T
    return PersonMotion(
        person_id=person_id,
        frame=rows.frame.astype(np.int64),
        time_s=rows.time_s,
        score=rows.score.astype(np.float64),
        rotations=rotations,
        root_m=root,
        offsets_m=offsets,
        pelvis_rest_m=np.median(joints[:, 0] - rows.trans, axis=0),
        betas=rows.betas.mean(axis=0, dtype=np.float64),
    )
