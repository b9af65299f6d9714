"""Where people stand, frame by frame, from what came before: floor, contacts, root trajectory, camera motion."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bodycast.app.records import F32, F64, BodyEstimates, Frame, FrameWorld
from bodycast.app.sources.base import SourceInfo
from bodycast.app.world.camera_motion import CameraMotion
from bodycast.app.world.clip import ground_of
from bodycast.app.world.contacts import Signals, contact_network
from bodycast.app.world.floor_fit import Vertical
from bodycast.app.world.held_feet import held_soles
from bodycast.app.world.leaps import hold_leaps
from bodycast.app.world.lens import SeenLens, relens
from bodycast.app.world.lens_watch import LensWatch
from bodycast.app.world.live_feet import PlaneRows, SeenFeet, step_feet
from bodycast.app.world.live_floor import LiveFloor
from bodycast.app.world.live_lens import LiveLens
from bodycast.app.world.live_person import LivePerson
from bodycast.app.world.options import WorldOptions
from bodycast.app.world.person_series import (
    PersonSeries,
    Skeleton,
    ankles_seen,
    resized_root,
    straight_leg_m,
    well_seen,
)
from bodycast.app.world.placing import upright_directions
from bodycast.app.world.report import WorldReport, floor_report, lens_report
from bodycast.app.world.repose import repose, repose_points
from bodycast.app.world.shapes import body_height_m, with_height
from bodycast.app.world.standing import Plane, Planes, lowest
from bodycast.app.world.verticals import Verticals
from bodycast.hmr.body.body_model import BodyModel
from bodycast.hmr.body.keypoint_refinement import Held
from bodycast.hmr.body.soles import SOLE_CARRIER
from bodycast.hmr.geometry.camera import Intrinsics
from bodycast.hmr.geometry.ground import LEVEL

FORGET_S = 60.0
"""Somebody who was away for longer is a new person to the world."""
FIRST_UP: F64 = np.array([0.0, -1.0, 0.0])
NO_WORLD = "the camera moves: world coordinates are off, the motion is in camera coordinates only"


class LiveWorld:
    """Places people as they come. Use it from one thread; `warnings` from any."""

    def __init__(
        self, body: BodyModel, options: WorldOptions | None = None, lens_watch: LensWatch | None = None
    ) -> None:
        """body: whose betas the people have. lens_watch: says the lens by the pictures, where nobody else says it."""
        self._options = options or WorldOptions()
        self._skeleton = Skeleton.of(body)
        self._people: dict[int, LivePerson] = {}
        self._floor = LiveFloor(self._options)
        self._camera = CameraMotion()
        self._warnings: list[str] = []
        self._live_lens = LiveLens()
        self._lens_watch = lens_watch
        self._verticals = Verticals()
        self._lens: Intrinsics | None = None
        self._image_wh = (1, 1)
        self._was_cut = False

    @property
    def warnings(self) -> tuple[str, ...]:
        """One line each: what is not known of the world."""
        return tuple(self._warnings)

    def fresh_lens_watch(self, source: SourceInfo) -> LensWatch | None:
        """Its network, for the world of another source."""
        return None if self._lens_watch is None else self._lens_watch.fresh(source.live, source.stills)

    @property
    def seen_lens(self) -> SeenLens | None:
        """What the pictures show of the lens."""
        return None if self._lens_watch is None else self._lens_watch.seen

    def vertical(self, focal_px: float) -> Vertical | None:
        """What upright edges say of the whole clip's camera under a focal length; None where shots with people follow
        each other, each from a camera of its own."""
        return None if self._was_cut else self._verticals.vertical(focal_px)

    @property
    def camera_moves(self) -> bool:
        """Whether the camera has been seen to move."""
        return self._camera.moves

    @property
    def floor(self) -> LiveFloor:
        """The floor in use, and its last fit."""
        return self._floor

    def report(self) -> WorldReport:
        """What has been found out so far."""
        focal_px = 0.0 if self._lens is None else self._lens.focal_px
        lens = lens_report(focal_px, self._image_wh, self._live_lens.estimate, self._options)
        body = self._skeleton.body
        return replace(
            floor_report(lens, self._floor.fit),
            camera_moves=self._camera.moves,
            has_world=not self._camera.lost,
            heights_m={n: round(body_height_m(body, kept.shape.betas), 3) for n, kept in self._people.items()},
            levels_m={n: round(level, 3) for n, level in self._floor.levels.items()},
        )

    def reset(self) -> None:
        """A cut: another camera. Bodies stay with their ids."""
        self._was_cut = self._was_cut or bool(self._people)
        self._floor.reset()
        self._camera.reset()
        self._verticals.reset()
        self._live_lens.reset()
        if self._lens_watch is not None:
            self._lens_watch.reset()
        for person in self._people.values():
            person.forget_place()

    def place(
        self, frame: Frame, estimates: BodyEstimates, xyxy: F32, intrinsics: Intrinsics
    ) -> tuple[BodyEstimates, FrameWorld]:
        """The people of a frame where they stand; rows and ids stay. xyxy: (N,4) px."""
        if self._lens_watch is not None and not self._options.lens_from:
            self._lens_watch.offer(frame, intrinsics)
            self._live_lens.seen = self._lens_watch.seen
            if self._options.stills:
                self._live_lens.settle()
        estimates, intrinsics, ratio = self._under_lens(estimates, intrinsics, frame.time_s)
        self._lens, self._image_wh = intrinsics, frame.image_wh
        turn = self._camera.update(frame.image, frame.time_s, xyxy, intrinsics)
        lost = not np.isfinite(turn).all()
        if lost and NO_WORLD not in self._warnings:
            self._warnings.append(NO_WORLD)
        if self._options.floor and not lost and not self._options.known.level:
            self._verticals.update(frame.image, frame.time_s, xyxy, turn, intrinsics)
        if not len(estimates):
            self._floor.update({}, frame.time_s, self._seen_vertical)
            return estimates, replace(self._world(np.zeros((0, 4), np.float32), turn), focal_ratio=ratio)
        placed, contacts = self._place(frame, estimates, intrinsics, np.eye(3) if lost else turn, lost)
        return placed, replace(self._world(contacts, turn), focal_ratio=ratio)

    def _under_lens(
        self, estimates: BodyEstimates, intrinsics: Intrinsics, time_s: float
    ) -> tuple[BodyEstimates, Intrinsics, float]:
        """The same picture under the lens that walks and pictures say, and its focal length over the assumed one."""
        if self._options.lens_from or not (self._options.live or self._options.stills):
            return estimates, intrinsics, 1.0
        rest = self._skeleton.rest(estimates.betas)
        root = (estimates.transl_m + rest[:, 0]).astype(np.float32)
        _, soles = self._skeleton.place(estimates.pose, rest, root)
        before = self._live_lens.ratio
        self._live_lens.update([int(person) for person in estimates.id], root, soles, time_s)
        ratio = self._live_lens.ratio
        if ratio != before:
            for person in self._people.values():
                person.samples.relens(ratio / before)
        if ratio == 1.0 or not len(estimates):
            return estimates, intrinsics.with_focal_times(ratio), ratio
        moved, turns = relens(root.astype(np.float64), estimates.pose[:, 0].astype(np.float64), ratio)
        pose = estimates.pose.copy()
        pose[:, 0] = turns
        estimates = replace(estimates, pose=pose, transl_m=(moved - rest[:, 0]).astype(np.float32))
        return estimates, intrinsics.with_focal_times(ratio), ratio

    def _place(
        self, frame: Frame, estimates: BodyEstimates, intrinsics: Intrinsics, turn: F64, lost: bool
    ) -> tuple[BodyEstimates, F32]:
        """turn: this frame's camera frame -> the first one's, in which everything is kept. lost: nothing holds."""
        time_s, ids = frame.time_s, [int(person) for person in estimates.id]
        people = [self._person(person, time_s) for person in ids]
        betas = self._betas(people, estimates)
        rest, seen_rest = self._skeleton.rest(betas), self._skeleton.rest(estimates.betas)
        root = resized_root(estimates.transl_m + seen_rest[:, 0], seen_rest, rest)
        joints, soles = self._skeleton.place(estimates.pose, rest, root)
        pose = self._without_leaps(people, estimates, joints, time_s)
        if pose is not estimates.pose:
            estimates = replace(estimates, pose=pose)
            joints, soles = self._skeleton.place(pose, rest, root)
        targets = repose_points(joints, intrinsics)
        sure = well_seen(estimates.keypoints, estimates.score)
        seen = ankles_seen(estimates.keypoints, soles, estimates.score, intrinsics, frame.image_wh)
        still = turn.astype(np.float32)
        root_f, joints_f, soles_f = ((points @ still.T).astype(np.float32) for points in (root, joints, soles))
        series = PersonSeries(
            np.full(len(ids), time_s), estimates.pose, betas[0], root_f, joints_f, soles_f, seen, sure
        )
        contacts = self._contacts(people, series, time_s)
        self._update_floor(people, series, contacts, time_s, lost)
        holds_feet = self._options.hold_feet and not lost
        feet = SeenFeet(
            series.root_m.astype(np.float64), series.soles_m.astype(np.float64), contacts * np.float32(holds_feet),
            series.seen, series.sure, straight_leg_m(rest),
        )  # fmt: skip
        planes = [() if lost else self._floor.planes_of(person) for person in ids]
        state = np.stack([kept.feet for kept in people])
        at, moved, correction, left = step_feet(state, feet, PlaneRows.of(planes), time_s, intrinsics.focal_px)
        for kept, own in zip(people, state, strict=True):
            kept.feet = own
        ground = PlaneRows.of([self._lowest(own, lost) for own in planes])
        places, precision = held_soles(moved, correction, left, ground.up[:, 0], ground.height_m[:, 0], moved)
        root = (at @ turn).astype(np.float32)
        held_feet = Held(SOLE_CARRIER, self._skeleton.offsets, (places @ still).astype(np.float32), precision)
        pose, transl = repose(estimates.pose, rest, root, targets, intrinsics, held_feet)
        return replace(estimates, pose=pose, betas=betas, transl_m=transl), contacts

    def _without_leaps(self, people: list[LivePerson], estimates: BodyEstimates, joints_m: F32, time_s: float) -> F32:
        """Poses (N,24,3,3) without limbs that leap; the same array where none does."""
        if not self._options.smooth_clip:
            return estimates.pose
        state = np.stack([kept.leaps for kept in people])
        keypoints = estimates.keypoints
        # Those of a crowd whose turn it is not (app/pipeline/crop_turns.py) have keypoints of confidence 0.
        looked = (keypoints[..., 2] > 0).sum(axis=1) > 0 if keypoints.shape[1] else None
        given = hold_leaps(state, estimates.pose, joints_m, time_s, looked)
        for kept, own in zip(people, state, strict=True):
            kept.leaps = own
        return given

    def _lowest(self, planes: Planes, lost: bool) -> Planes:
        """One plane: nobody is under it; of no height where there is none."""
        found = lowest(planes, None if lost else ground_of(self._floor.floor))
        return (Plane(FIRST_UP, np.nan) if found is None else found,)

    def _person(self, person: int, time_s: float) -> LivePerson:
        kept = self._people.get(person)
        if kept is None or time_s - kept.last_s > FORGET_S:
            for gone in [n for n, other in self._people.items() if time_s - other.last_s > FORGET_S]:
                del self._people[gone]
                self._floor.forget(gone)
            kept = self._people[person] = LivePerson(time_s)
        kept.seen_at(time_s)
        return kept

    def _betas(self, people: list[LivePerson], estimates: BodyEstimates) -> F32:
        """(N,10) one body each."""
        scores = [float(score) for score in estimates.score]
        rows = [
            kept.shape.add(estimates.betas[row], score)
            for row, (kept, score) in enumerate(zip(people, scores, strict=True))
        ]
        if self._options.person_height_m is not None:
            rows = [with_height(self._skeleton.body, betas, self._options.person_height_m) for betas in rows]
        return np.stack(rows)

    def _contacts(self, people: list[LivePerson], series: PersonSeries, time_s: float) -> F32:
        """(N,4) probabilities from each person's last half second."""
        floor = self._floor.floor
        now = Signals.of(series, FIRST_UP if floor is None else floor.up)
        inputs = [person.contact_inputs(now, row, time_s) for row, person in enumerate(people)]
        said = contact_network()(np.concatenate(inputs))
        return said * np.repeat(np.minimum(2 * series.seen, 1), 2, axis=1)

    def _update_floor(
        self, people: list[LivePerson], series: PersonSeries, contacts: F32, time_s: float, lost: bool
    ) -> None:
        if lost:
            return
        vectors, straight = upright_directions(series)
        for row, person in enumerate(people):
            person.samples.add(series.soles_m[row], contacts[row], vectors[row], bool(straight[row]), time_s)
        self._floor.update({person: kept.samples for person, kept in self._people.items()}, time_s, self._seen_vertical)

    def _seen_vertical(self) -> Vertical | None:
        return None if self._lens is None else self._verticals.vertical(self._lens.focal_px)

    def _world(self, contacts: F32, turn: F64) -> FrameWorld:
        floor = self._floor.floor
        nowhere = np.full(4, np.nan)
        if not np.isfinite(turn).all():
            return FrameWorld(contacts, nowhere, np.full((4, 4), np.nan), turn)
        moved = np.eye(4)
        moved[:3, :3] = turn
        if floor is None:
            return FrameWorld(contacts, nowhere, LEVEL @ moved, turn)
        return FrameWorld(
            contacts, np.array([*(floor.up @ turn), floor.height_m]), floor.camera_to_world() @ moved, turn
        )
