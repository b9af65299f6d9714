"""Crowds take turns: in each frame some people go through the networks, the others are carried along.

Who is carried keeps pose, shape and depth of their last estimate and moves as their box is predicted to. New tracks are
always looked at; then those whose last look is longest ago.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bodycast.app.records import F32, F64, BodyEstimates, Tracks
from bodycast.hmr.geometry.camera import Intrinsics


@dataclass(frozen=True, slots=True)
class _Look:
    """One row of estimates, the box (4,) px of the crop, and the number of the frame."""

    estimate: BodyEstimates
    xyxy: F32
    frame: int


class CropTurns:
    """Used by one thread. `looked`: how many went through the networks in the last frame."""

    def __init__(self, count: Callable[[int, float], int]) -> None:
        """count: people and share -> how many of them are looked at in a frame."""
        self._count = count
        self._last: dict[int, _Look] = {}
        self._frame = 0
        self.looked = 0

    def estimate(
        self, tracks: Tracks, share: float, intrinsics: Intrinsics, look: Callable[[Tracks], BodyEstimates]
    ) -> BodyEstimates:
        """Estimates of all tracks, in their order: `look` gives those of this frame's turn. share: 1 for all."""
        self._frame += 1
        turn = self._turn(tracks, share)
        self.looked = int(turn.sum())
        fresh = look(tracks if turn.all() else _rows(tracks, turn))
        if share < 1:
            self._remember(tracks, fresh)
        else:
            self._last.clear()
        if turn.all():
            return fresh
        carried = [self._carried(tracks, int(row), intrinsics) for row in np.flatnonzero(~turn)]
        joined = BodyEstimates.joined([fresh, *carried])
        place = {int(key): row for row, key in enumerate(joined.id)}
        return joined.select(np.array([place[int(key)] for key in tracks.id if int(key) in place], np.intp))

    def reset(self) -> None:
        """A cut: nobody's last look holds."""
        self._last.clear()

    def _turn(self, tracks: Tracks, share: float) -> NDArray[np.bool_]:
        """(N,) who is looked at in this frame."""
        known = [self._last.get(int(key)) for key in tracks.id]
        wait = np.array([np.inf if look is None else self._frame - look.frame for look in known])
        turn = np.isinf(wait)
        room = self._count(len(tracks), share) - int(turn.sum())
        for row in np.argsort(-wait, kind="stable")[int(turn.sum()) :][: max(room, 0)]:
            turn[row] = True
        return turn

    def _remember(self, tracks: Tracks, fresh: BodyEstimates) -> None:
        box_of = {int(key): tracks.xyxy[row] for row, key in enumerate(tracks.id)}
        self._last = {key: look for key, look in self._last.items() if key in box_of}
        for row, key in enumerate(fresh.id.tolist()):
            self._last[key] = _Look(fresh.select(np.array([row])), box_of[key], self._frame)

    def _carried(self, tracks: Tracks, row: int, intrinsics: Intrinsics) -> BodyEstimates:
        look = self._last[int(tracks.id[row])]
        step_px = _centre(tracks.xyxy[row]) - _centre(look.xyxy)
        estimate = look.estimate
        transl_m = estimate.transl_m.copy()
        transl_m[0, :2] += step_px * transl_m[0, 2] / np.array([intrinsics.fx, intrinsics.fy])
        keypoints = estimate.keypoints.copy()
        keypoints[..., :2] += step_px
        keypoints[..., 2] = 0  # not looked at
        return replace(estimate, transl_m=transl_m.astype(np.float32), keypoints=keypoints.astype(np.float32))


def _centre(xyxy: F32) -> F64:
    return 0.5 * (xyxy[:2].astype(np.float64) + xyxy[2:])


def _rows(tracks: Tracks, rows: NDArray[np.bool_]) -> Tracks:
    return Tracks(tracks.id[rows], tracks.xyxy[rows], tracks.age_s[rows])
