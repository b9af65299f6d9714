"""`--smoother diffusion`: the live smoother (diffusion/live.py), corrected by FastHMR's diffusion decoder.

The package `motion-decoder` turns windows of 2.7 seconds of what the engine saw of somebody into motion, as joints and
bone twists; inverse kinematics makes poses of them (hmr/networks/temporal/diffusion_decoder.py). A window that ends now
is decoded every 0.1 seconds. How far its estimate lies from the live smoother's changes slowly: mostly it is the depth
of limbs, where engines err for long. That difference, followed smoothly, is what the live estimate is corrected by, at
the lag; so the mesh is as smooth as the live smoother's. Where people are, how they are shaped, and how somebody moves
who has only just come, is the live smoother's estimate alone.

`--offline` is the same with a lag of two thirds of a window.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np

from bodycast.app.errors import RunError, UsageError
from bodycast.app.model_packages import find_package, package_folders
from bodycast.app.records import F32, F64, BodyEstimates
from bodycast.app.smoothers.diffusion.frame_memory import HIDDEN_TRUST, MAX_GAP_S
from bodycast.app.smoothers.diffusion.live import (
    DEFAULT_LAG_S,
    LONGEST_LAG_S,
    PACKAGE,
    TRUSTED_SCORE,
    DiffusionSmoother,
    open_on_one_core,
)
from bodycast.engines.base import Engine
from bodycast.engines.errors import EngineError
from bodycast.engines.package import BATCH, ModelPackage, read_metadata, shape_text
from bodycast.engines.registry import open_engine
from bodycast.hmr.body.joints import ARM_JOINTS
from bodycast.hmr.body.motion_vectors import POINTS, WIDTH, motion_vectors, poses_of_vectors
from bodycast.hmr.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle

DECODER = "motion-decoder"
RATE_HZ = 30.0
"""Of the frames in a window, as the decoder was trained."""

OFFLINE_LAG_S = 1.8
"""Two thirds of a window: what comes later adds little, and every frame that waits is a picture in memory."""

HOP_S, OFFLINE_HOP_S = 0.1, 0.3
SHIPPED_WINDOW_S = 80 / RATE_HZ
"""Of the shipped decoder, to which the times between windows belong; FastHMR's of 243 frames is three times as long."""

AT_ONCE = 5
"""So many people's windows are decoded after one frame; of more, those first who have waited longest."""

LEAST_SEEN_S = 0.5
"""Nobody's motion is decoded who has been seen for less; a window that begins before their first frame repeats it."""

FOLLOW_S, FOLLOW_AT_ONCE_S = 0.07, 0.15
"""Time constants with which the correction follows the windows, each of which is a new one; the second at lag 0, where
the windows' ends are read, which disagree most. Live at 0.1 s, on every fourth test clip, 0.2 s cost 1.5 mm and 0.05 s
add a twentieth to the acceleration error; at lag 0 the longer one costs 1 mm and takes 3 % off."""

SHARE, LATERAL, ARMS = 0.75, 0.25, 0.25
"""Of the difference: what is taken of it in depth; of that again what is taken across the picture, which engines see
better than depth; and of the turns that follow what is taken at the joints of the arms. Twice as much of the last two
is 0.5 mm better on rendered motion, and takes the wrists of two real films further from where MediaPipe has them."""

SHAKING_M = 0.012
"""Mean second difference of an engine's joints from frame to frame at which its motion is believed as much as the
decoder's: who hardly shakes hardly errs, and the decoder, which has seen 19 minutes of motion, is off by 20 mm."""

STRANGE_M = 0.16
"""Mean distance of joints of both at which the decoder counts half: a motion unlike all that it knows. Of the test
clips' frames nine in ten stay below 0.12."""

_ROUNDING_S = 1e-3


@dataclass(slots=True)
class _Seen:
    """One frame of one person: time, the pose (24,3,3) that was seen, None where it was not trusted, as a motion vector
    (133,) too once a window needs it, the network's token (C,), and its live estimate: pose (24,3,3), betas (10,),
    translation (3,); until that is there (`final`), one of an earlier frame."""

    time_s: float
    pose: F32 | None
    live: tuple[F32, F32, F32]
    token: F32
    motion: F32 | None = None
    final: bool = False


@dataclass(slots=True)
class _Person:
    """Frames that still matter, newest last; decoded windows by the time of their last frame, and how far each is
    needed; when the next is due; the turns (24,3), axis-angle in the joints' own frames, that windows ask for, and
    those of the estimate at `corrected_s`, which follow them."""

    next_s: float
    frames: deque[_Seen] = field(default_factory=deque[_Seen])
    windows: deque[tuple[float, F32, float]] = field(default_factory=deque[tuple[float, F32, float]])
    asked: F32 = field(default_factory=lambda: np.zeros((24, 3), np.float32))
    correction: F32 = field(default_factory=lambda: np.zeros((24, 3), np.float32))
    corrected_s: float = 0.0

    def due(self, about_s: float) -> _Seen:
        """The newest frame that is due at a time, the oldest where none is."""
        for frame in reversed(self.frames):
            if frame.time_s <= about_s + _ROUNDING_S:
                return frame
        return self.frames[0]

    def follow(self, time_s: float, constant_s: float) -> None:
        """Let the correction at this time follow what the windows ask for."""
        passed_s = max(time_s - self.corrected_s, 0.0)
        self.correction += np.float32(1 - np.exp(-passed_s / constant_s)) * (self.asked - self.correction)
        self.corrected_s = time_s


class DecodedSmoother:
    """`Smoother` by both networks. Its output is `lag_s` behind the frame that came in."""

    def __init__(
        self,
        lag_s: float = DEFAULT_LAG_S,
        *,
        offline: bool = False,
        package: Path | str = DECODER,
        live_package: Path | str = PACKAGE,
    ) -> None:
        """lag_s: 0 (causal) to 0.5 s. offline: `OFFLINE_LAG_S` instead, and a third of the work. Packages: folders, or
        names of installed ones, of the decoder and the live smoother. A decoder that reads `features` is FastHMR's own:
        it is conditioned on the tokens of the estimates.

        Raises: UsageError where a package cannot be used, or for a lag beyond what the live one was trained for.
        """
        opened = find_package(package, "smoother")
        self._frames, self._token_width = _check(opened)
        self._window_s = (self._frames - 1) / RATE_HZ
        self._live_lag_s = LONGEST_LAG_S if offline else lag_s
        self._lag_s, self._hop_s = (OFFLINE_LAG_S, OFFLINE_HOP_S) if offline else (lag_s, HOP_S)
        # A longer window costs more and changes less from one to the next.
        self._hop_s *= max(1.0, self._window_s / SHIPPED_WINDOW_S)
        self._follow_s = FOLLOW_S if self._lag_s > 0 else FOLLOW_AT_ONCE_S
        self._offline = offline
        self._live = DiffusionSmoother(live_package, self._live_lag_s)
        try:
            self._engine = _open_large(opened) if self._token_width else open_on_one_core(opened)
        except UsageError:
            self._live.close()
            raise
        self._people: dict[int, _Person] = {}

    @property
    def name(self) -> str:
        """`diffusion`, with the decoder's name where it is not the shipped one's kind."""
        return f"diffusion ({self._engine.package.info.name})" if self._token_width else "diffusion"

    @property
    def lag_s(self) -> float:
        """How far its output is behind its input, seconds."""
        return self._lag_s

    def describe(self) -> str:
        """For the HUD: the lag, and whom one-euro has for now."""
        return f"{self.name}, offline, {self._lag_s:g} s behind" if self._offline else self._live.describe()

    def reset(self) -> None:
        """See `Smoother.reset`."""
        self._live.reset()
        self._people.clear()

    def close(self) -> None:
        """Release both engines. May be called twice."""
        self._live.close()
        self._engine.close()

    def update(self, estimates: BodyEstimates, time_s: float) -> BodyEstimates:
        """See `Smoother.update`. `score` and `token` pass through. Raises: RunError where an engine fails, or the
        estimates have not the tokens that the decoder reads."""
        live = self._live.update(estimates, time_s)
        ids: list[int] = estimates.id.tolist()
        if not ids:
            self._forget(time_s)
            return live
        if self._token_width and estimates.token.shape[1] != self._token_width:
            raise RunError(f"{self._engine.package.info.name}: expected tokens of {self._token_width} numbers")
        trusted = estimates.score / TRUSTED_SCORE >= HIDDEN_TRUST
        for row, person in enumerate(ids):
            body = live.pose[row], live.betas[row], live.transl_m[row]
            seen = estimates.pose[row] if trusted[row] else None
            self._remember(person, _Seen(time_s, seen, body, estimates.token[row]))
        decoded = self._decode(ids, time_s)
        known = [self._people[person] for person in ids]
        frames = [one.due(time_s - self._lag_s) for one in known]
        # Live, a window's word is kept until the next one: inverse kinematics after every frame would double the cost.
        rows = [row for row, person in enumerate(ids) if known[row].windows and (self._offline or person in decoded)]
        if rows:
            self._ask([known[row] for row in rows], [frames[row] for row in rows])
        for one, frame in zip(known, frames, strict=True):
            one.follow(frame.time_s, self._follow_s)
        pose, betas, transl_m = (np.stack([frame.live[k] for frame in frames]) for k in range(3))
        turns = np.stack([one.correction for one in known])
        if turns.any():
            pose = (pose @ axis_angle_to_matrix(turns)).astype(np.float32)
        self._forget(time_s)
        return replace(live, pose=pose, betas=betas, transl_m=transl_m)

    def _remember(self, person: int, new: _Seen) -> None:
        """One more frame, and the live estimate that came with it."""
        time_s, live = new.time_s, new.live
        known = self._people.get(person)
        if known is None or not 0 <= time_s - known.frames[-1].time_s <= MAX_GAP_S:
            known = self._people[person] = _Person(time_s + LEAST_SEEN_S)
        known.frames.append(new)
        about_s = time_s - self._live_lag_s + _ROUNDING_S
        # The live estimate belongs to the newest frame that is due; others, of a hurried camera, take the next one.
        for frame in reversed(known.frames):
            if frame.final:
                break
            if frame.time_s <= about_s:
                frame.live, frame.final = live, True
        oldest_s = time_s - self._window_s - self._hop_s
        while len(known.frames) > 2 and known.frames[1].time_s <= oldest_s:
            known.frames.popleft()

    def _decode(self, ids: list[int], time_s: float) -> set[int]:
        """Decode windows, that end now, of those people who are due, and tell whose."""
        due = [p for p in ids if self._people[p].next_s <= time_s + _ROUNDING_S]
        asked = [p for p in due if any(frame.pose is not None for frame in self._people[p].frames)]
        asked = sorted(asked, key=lambda person: self._people[person].next_s)[:AT_ONCE]
        if not asked:
            return set()
        frames = [frame for person in asked for frame in self._people[person].frames]
        new = [(frame, frame.pose) for frame in frames if frame.motion is None and frame.pose is not None]
        if new:
            for (frame, _), motion in zip(new, motion_vectors(np.stack([pose for _, pose in new])), strict=True):
                frame.motion = motion
        at_s = time_s - self._window_s + np.arange(self._frames) / RATE_HZ
        windows = np.stack([_at(self._people[person].frames, at_s, "motion") for person in asked])
        conditions = {"estimates": windows}
        if self._token_width:
            conditions = {"features": np.stack([_at(self._people[person].frames, at_s, "token") for person in asked])}
        try:
            found = self._engine.run(conditions)["motion"]
        except EngineError as error:
            raise RunError(str(error)) from error
        if not np.isfinite(found).all():
            raise RunError(f"{self._engine.describe()}: outputs that are not finite")
        turns = -(-len(ids) // AT_ONCE)
        for person, seen, window in zip(asked, windows, found, strict=True):
            known = self._people[person]
            known.windows.append((time_s, window.astype(np.float32), _shaking(seen)))
            known.next_s = time_s + turns * self._hop_s
        return set(asked)

    def _ask(self, people: list[_Person], frames: list[_Seen]) -> None:
        """How far the joints of these people's live estimates of these frames should be turned."""
        pose = np.stack([frame.live[0] for frame in frames])
        calm = motion_vectors(pose)
        drawn = calm + np.stack([self._offset(*of) for of in zip(people, frames, calm, strict=True)])
        turns = matrix_to_axis_angle(pose.swapaxes(-1, -2) @ poses_of_vectors(drawn))
        turns[:, ARM_JOINTS] *= ARMS
        for one, asked in zip(people, turns.astype(np.float32), strict=True):
            one.asked = asked

    def _offset(self, known: _Person, frame: _Seen, calm: F32) -> F32:
        """(133,) from the live estimate's motion vector (133,) of a frame towards the decoder's: the mean of the
        windows that have it, those counting most that have it in their middle."""
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
            return np.zeros(WIDTH, np.float32)
        off = (total / np.float32(mass) - calm).astype(np.float32)
        apart_m = float(np.linalg.norm(off[: 3 * POINTS].reshape(POINTS, 3), axis=1).mean())
        off[: 3 * POINTS].reshape(POINTS, 3)[:, :2] *= np.float32(LATERAL)
        return np.float32(SHARE * trust / mass / (1 + (apart_m / STRANGE_M) ** 4)) * off

    def _forget(self, time_s: float) -> None:
        """People who have been away for too long, and windows that nobody asks about any more."""
        for person in [p for p, known in self._people.items() if time_s - known.frames[-1].time_s > MAX_GAP_S]:
            del self._people[person]
        for known in self._people.values():
            while known.windows and known.windows[0][0] < time_s - self._lag_s - self._hop_s:
                known.windows.popleft()


def _shaking(window: F32) -> float:
    """From 0, nothing to smooth, to 1, of what was seen: (F,133)."""
    joints = window[:, : 3 * POINTS].reshape(len(window), POINTS, 3)
    turn_m = float(np.linalg.norm(np.diff(joints, n=2, axis=0), axis=-1).mean())
    return turn_m**2 / (turn_m**2 + SHAKING_M**2)


def _at(frames: deque[_Seen], at_s: F64, what: Literal["motion", "token"]) -> F32:
    """Motion vectors (F,133), or tokens (F,C), of the trusted frames at times (F,): linearly interpolated, the first
    and the last held."""
    seen = [frame for frame in frames if frame.motion is not None]
    times = np.array([frame.time_s for frame in seen])
    values = np.stack([np.asarray(getattr(frame, what), np.float32) for frame in seen])
    at = np.clip(at_s, times[0], times[-1])
    high = np.clip(np.searchsorted(times, at, side="right"), 1, max(len(times) - 1, 1))
    if len(times) == 1:
        return np.repeat(values, len(at_s), axis=0)
    span = times[high] - times[high - 1]
    share = ((at - times[high - 1]) / np.maximum(span, 1e-9)).astype(np.float32)[:, None]
    return (values[high - 1] + share * (values[high] - values[high - 1])).astype(np.float32)


def token_decoder(tokens_of: str, width: int) -> Path | None:
    """The folder of the first installed decoder that learned from this hmr package's tokens (N,width); None: there is
    none. Raises: UsageError for a damaged package."""
    if not width:
        return None
    for folder in package_folders("smoother"):
        info = read_metadata(folder)[0]
        features = next((spec for spec in info.inputs if spec.name == "features"), None)
        if features is not None and info.tokens_of == tokens_of and features.shape[2:] == (width,):
            return folder
    return None


def _open_large(package: ModelPackage) -> Engine:
    """FastHMR's decoder: 30 M parameters are worth all cores, or a GPU. Raises: UsageError."""
    try:
        return open_engine(package, "auto", "auto")
    except EngineError as error:
        raise UsageError(str(error)) from error


def _check(package: ModelPackage) -> tuple[int, int]:
    """Frames of the window, and the width of the tokens that it reads, 0 for estimates of the motion; after checking
    that the graph is one of this kind."""
    info = package.info
    tokens = any(spec.name == "features" for spec in info.inputs)
    sides = (("input", info.inputs, "features" if tokens else "estimates"), ("output", info.outputs, "motion"))
    for side, specs, name in sides:
        spec = next((spec for spec in specs if spec.name == name), None)
        wide = spec is not None and len(spec.shape) == 3 and spec.shape[2] == WIDTH
        if spec is None or len(spec.shape) != 3 or spec.shape[0] != BATCH or not (wide or name == "features"):
            expected = shape_text((BATCH, "frames", WIDTH))
            raise UsageError(f"{package.folder}: a motion decoder has the {side} {name} {expected}, this one {spec}")
    shape = info.input("features" if tokens else "estimates").shape
    return int(shape[1]), int(shape[2]) if tokens else 0
