"""`--smoother diffusion --offline`: FastHMR's diffusion decoder (hmr/networks/temporal/diffusion_decoder.py) for files.

The package `motion-diffusion-offline` turns windows of 2.7 seconds of what the engine saw of somebody into motion, as
joints and bone twists; inverse kinematics makes poses of them. Windows are decoded every 0.3 seconds and overlap; a
frame's answer is their mean, those counting most that have it in their middle, and the live smoother's beside it
(app/smoothers/diffusion.py). Where people are, how they are shaped, and how somebody moves who has only just come, is
the live smoother's answer alone.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from app.errors import RunError, UsageError
from app.model_packages import find_package
from app.records import F32, F64, BodyEstimates
from app.smoothers.diffusion import LONGEST_LAG_S, TRUSTED_SCORE, DiffusionSmoother
from app.smoothers.foot_lock import FootLock
from app.smoothers.frame_memory import HIDDEN_TRUST, MAX_GAP_S
from engines.errors import EngineError
from engines.package import BATCH, ModelPackage, shape_text
from engines.registry import open_engine
from hmr.body.body_model import BodyModel
from hmr.body.motion_vectors import POINTS, WIDTH, motion_vectors, poses_of_vectors

PACKAGE = "motion-diffusion-offline"
RATE_HZ = 30.0
"""Of the frames in a window, as the decoder was trained."""

OFFLINE_LAG_S = 1.8
"""Two thirds of a window: what comes later adds little, and every frame that waits is a picture in memory."""

HOP_S = 0.3
LEAST_SEEN_S = 0.5
"""Nobody's motion is decoded who has been seen for less; a window that begins before him repeats his first frame."""

LIVE_WEIGHT = 3.0
"""The live answer counts as a window that has the frame so near its end: somebody new is taken over smoothly."""

SHARE = 0.5
"""Of the decoder in an answer; the rest is the live smoother's, whose errors are others. The decoder alone is 0.4 to
0.9 mm better on rendered motion, but in real films it takes hands further away from where the engine saw them."""

SHAKING_M = 0.012
"""Mean second difference of an engine's joints from frame to frame at which its motion is believed as much as the
decoder's: who hardly shakes hardly errs, and the decoder, which has seen 19 minutes of motion, is off by 20 mm."""

STRANGE_M = 0.16
"""Mean distance of joints between both at which the decoder counts half: a motion unlike all that it knows. Of the test
clips' frames nine in ten stay below 0.12."""

_ROUNDING_S = 1e-3


@dataclass
class _Seen:
    """One frame of one person: time, motion vector (133,), and the live answer about it, once it is there."""

    time_s: float
    motion: F32
    live: BodyEstimates
    answered: bool = False


@dataclass
class _Person:
    """Frames that still matter, newest last; decoded windows by the time of their last frame, and how far each is
    needed; and when the next is due."""

    next_s: float
    frames: deque[_Seen] = field(default_factory=deque[_Seen])
    windows: deque[tuple[float, F32, float]] = field(default_factory=deque[tuple[float, F32, float]])


class OfflineSmoother:
    """`Smoother` by FastHMR's decoder, `OFFLINE_LAG_S` behind."""

    def __init__(self, package: Path | str = PACKAGE, foot_lock: BodyModel | None = None) -> None:
        """package: folder, or name of an installed one. foot_lock: see `DiffusionSmoother`.

        Raises: UsageError where a package cannot be used.
        """
        opened = find_package(package, "smoother")
        self._frames = _check(opened)
        self._window_s = (self._frames - 1) / RATE_HZ
        self._live = DiffusionSmoother(lag_s=LONGEST_LAG_S)
        try:
            self._engine = open_engine(opened, "onnxruntime", "cpu", threads=1)
        except EngineError as error:
            self._live.close()
            raise UsageError(str(error)) from error
        self._feet = None if foot_lock is None else FootLock(foot_lock)
        self._people: dict[int, _Person] = {}

    @property
    def name(self) -> str:
        """`diffusion`."""
        return "diffusion"

    @property
    def lag_s(self) -> float:
        """How far behind it answers, seconds."""
        return OFFLINE_LAG_S

    def describe(self) -> str:
        """For the HUD and the report."""
        return f"diffusion, offline, {OFFLINE_LAG_S:g} s behind"

    def reset(self) -> None:
        """See `Smoother.reset`."""
        self._live.reset()
        self._people.clear()
        if self._feet is not None:
            self._feet.clear()

    def close(self) -> None:
        """Release both engines. May be called twice."""
        self._live.close()
        self._engine.close()

    def update(self, estimates: BodyEstimates, time_s: float) -> BodyEstimates:
        """See `Smoother.update`. `score` and `token` pass through. Raises: RunError where an engine fails."""
        live = self._live.update(estimates, time_s)
        ids: list[int] = estimates.id.tolist()
        trusted = estimates.score / TRUSTED_SCORE >= HIDDEN_TRUST
        motion = motion_vectors(estimates.pose) if ids else np.zeros((0, WIDTH), np.float32)
        for row, person in enumerate(ids):
            self._remember(person, motion[row] if trusted[row] else None, live.select(np.array([row])), time_s)
        self._decode([person for person in ids if self._people[person].next_s <= time_s + _ROUNDING_S], time_s)
        answers = [self._answer(self._people[person], time_s - OFFLINE_LAG_S) for person in ids]
        self._forget(time_s)
        if not answers:
            return live
        pose, betas, transl_m = (np.concatenate([answer[k] for answer in answers]) for k in range(3))
        if self._feet is not None:
            pose = self._feet.update(estimates.id, pose, betas, transl_m, time_s)
        return replace(live, pose=pose, betas=betas, transl_m=transl_m)

    def _remember(self, person: int, motion: F32 | None, live: BodyEstimates, time_s: float) -> None:
        """One more frame; `motion` None: nothing to be believed was seen, and what was seen before goes on."""
        known = self._people.get(person)
        if known is None or not 0 <= time_s - known.frames[-1].time_s <= MAX_GAP_S:
            known = self._people[person] = _Person(time_s + LEAST_SEEN_S)
        if motion is None:
            motion = np.full(WIDTH, np.nan, np.float32)
        known.frames.append(_Seen(time_s, motion, live))
        about_s = time_s - LONGEST_LAG_S + _ROUNDING_S
        # The live answer is about the newest frame that is due; others, of a hurried camera, take the next one.
        for frame in known.frames:
            if frame.time_s <= about_s and not frame.answered:
                frame.live, frame.answered = live, True
        oldest_s = time_s - self._window_s - HOP_S
        while len(known.frames) > 2 and known.frames[1].time_s <= oldest_s:
            known.frames.popleft()

    def _decode(self, people: list[int], time_s: float) -> None:
        """Decode a window of each of these people that ends now."""
        asked = [p for p in people if any(np.isfinite(frame.motion[0]) for frame in self._people[p].frames)]
        if not asked:
            return
        at_s = time_s - self._window_s + np.arange(self._frames) / RATE_HZ
        windows = np.stack([_motion_at(self._people[person].frames, at_s) for person in asked])
        try:
            found = self._engine.run({"estimates": windows})["motion"]
        except EngineError as error:
            raise RunError(str(error)) from error
        if not np.isfinite(found).all():
            raise RunError(f"{self._engine.describe()}: answers that are not finite")
        for person, seen, window in zip(asked, windows, found, strict=True):
            known = self._people[person]
            known.windows.append((time_s, window.astype(np.float32), _shaking(seen)))
            known.next_s = time_s + HOP_S

    def _answer(self, known: _Person, about_s: float) -> tuple[F32, F32, F32]:
        """Pose (1,24,3,3), betas (1,10) and translation (1,3) of the newest frame that is due, the oldest where none
        is."""
        due = [frame for frame in known.frames if frame.time_s <= about_s + _ROUNDING_S]
        frame = due[-1] if due else known.frames[0]
        live = frame.live
        total, mass, trust = np.zeros(WIDTH, np.float32), 0.0, 0.0
        for end_s, window, shakes in known.windows:
            place = (frame.time_s - end_s) * RATE_HZ + self._frames - 1
            weight = min(place + 1, self._frames - place)
            if weight > 0:
                low = int(np.clip(place, 0, self._frames - 2))
                total += weight * (window[low] + (place - low) * (window[low + 1] - window[low]))
                mass += weight
                trust += weight * shakes
        if mass <= 0:
            return live.pose, live.betas, live.transl_m
        calm = motion_vectors(live.pose)
        off = (total / np.float32(mass) - calm).astype(np.float32)
        apart_m = float(np.linalg.norm(off[:, : 3 * POINTS].reshape(POINTS, 3), axis=1).mean())
        share = SHARE * trust / (LIVE_WEIGHT + mass) / (1 + (apart_m / STRANGE_M) ** 4)
        return poses_of_vectors((calm + share * off).astype(np.float32)), live.betas, live.transl_m

    def _forget(self, time_s: float) -> None:
        """People who have been away for too long, and windows that nobody asks about any more."""
        for person in [p for p, known in self._people.items() if time_s - known.frames[-1].time_s > MAX_GAP_S]:
            del self._people[person]
        for known in self._people.values():
            while known.windows and known.windows[0][0] < time_s - OFFLINE_LAG_S - HOP_S:
                known.windows.popleft()


def _shaking(window: F32) -> float:
    """From 0, nothing to smooth, to 1, of what was seen: (F,133)."""
    joints = window[:, : 3 * POINTS].reshape(len(window), POINTS, 3)
    turn_m = float(np.linalg.norm(np.diff(joints, n=2, axis=0), axis=-1).mean())
    return turn_m**2 / (turn_m**2 + SHAKING_M**2)


def _motion_at(frames: deque[_Seen], at_s: F64) -> F32:
    """(F,133) at times (F,): linear between what was seen, the first and the last held."""
    seen = [frame for frame in frames if np.isfinite(frame.motion[0])]
    times, motion = np.array([frame.time_s for frame in seen]), np.stack([frame.motion for frame in seen])
    at = np.clip(at_s, times[0], times[-1])
    high = np.clip(np.searchsorted(times, at, side="right"), 1, max(len(times) - 1, 1))
    if len(times) == 1:
        return np.repeat(motion, len(at_s), axis=0)
    span = times[high] - times[high - 1]
    share = ((at - times[high - 1]) / np.maximum(span, 1e-9)).astype(np.float32)[:, None]
    return (motion[high - 1] + share * (motion[high] - motion[high - 1])).astype(np.float32)


def _check(package: ModelPackage) -> int:
    """Frames of the window, after checking that the graph is one of this kind."""
    info = package.info
    for side, specs, name in (("input", info.inputs, "estimates"), ("output", info.outputs, "motion")):
        spec = next((spec for spec in specs if spec.name == name), None)
        if spec is None or len(spec.shape) != 3 or spec.shape[0] != BATCH or spec.shape[2] != WIDTH:
            expected = shape_text((BATCH, "frames", WIDTH))
            raise UsageError(f"{package.folder}: an offline smoother has the {side} {name} {expected}, this one {spec}")
    return int(info.input("estimates").shape[1])
