"""The Python API: `bodycast.track`, `bodycast.Tracker`, `bodycast.recover`, `bodycast.Overlay`.

Records are frozen, arrays are the caller's to keep. Nothing is printed: the logger "bodycast" gets what a run would
show. Camera frame: x right, y down, z forward, metres. Pixels: those of the picture that was given.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, fields, replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np

from bodycast.app.config import PresetName, RunConfig
from bodycast.app.errors import UsageError
from bodycast.app.presets import preset_defaults
from bodycast.app.records import F32, F64, U8, Frame, FrameResult, FrameWorld
from bodycast.app.sources.base import SourceInfo
from bodycast.app.world.lens import usual_lens
from bodycast.hmr.geometry.camera import Intrinsics

if TYPE_CHECKING:
    from bodycast.app.pipeline.build import WarningSource
    from bodycast.app.pipeline.inference import Inference

LOG = logging.getLogger("bodycast")
LOG.addHandler(logging.NullHandler())

_STILL_STEP_S = 1 / 30
"""Between two pictures of a `Tracker` that were given no time."""


@dataclass(frozen=True, slots=True, eq=False)
class Person:
    """One person in one picture, on the body that the run uses (SMPL's 24 joints, root first).

    `id` from 1, never re-used; `score` 0..1; `box_xyxy` (4,) float32 px; `pose` (24,3,3) float32 rotations relative
    to the parent joint, the root's relative to the camera; `betas` (10,) float32; `translation_m` (3,) float32, SMPL's
    translation in the camera frame; `joints_m` (24,3), `vertices_m` (V,3) float32, camera frame; `joints_px` (24,2)
    float32, NaN behind the camera. `joints_world_m` (24,3) float32: the joints in the world, y up, its floor at 0 once
    feet have been seen to stand, NaN where the camera moves in a way that is not known; `contacts` (4,) float32:
    probability that left heel, left toe, right heel, right toe touch what carries them.
    """

    id: int
    score: float
    box_xyxy: F32
    pose: F32
    betas: F32
    translation_m: F32
    joints_m: F32
    joints_px: F32
    vertices_m: F32
    joints_world_m: F32
    contacts: F32


@dataclass(frozen=True, slots=True, eq=False)
class TrackedFrame:
    """A picture and its people. `image` (H,W,3) uint8 BGR; `index` from 0 in the source, dropped pictures counted;
    `time_s`: presentation time in a file, a monotonic clock for live sources; `camera`: the lens that was assumed,
    given, or said by the file. With `calibration` the image is the undistorted one. `floor` (4,) float64: n.x + d is
    the height of a camera-frame point, m; NaN: none was found (yet)."""

    image: U8
    index: int
    time_s: float
    people: tuple[Person, ...]
    camera: Intrinsics
    floor: F64


class _Closing(ABC):
    """Closes itself at the end of a `with` block."""

    @abstractmethod
    def close(self) -> None:
        """Release what is open. May be called twice."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


class Tracker(_Closing):
    """Pictures in, people out, one call a picture, in the caller's thread; no other is started.

    People are the same `id` from call to call. A person is shown once two detections agree, so a single picture is
    for `recover`.
    """

    def __init__(self, preset: PresetName = "fast", **options: Any) -> None:
        """`options`: the flags of `bodycast run` that concern networks, people, motion and lens, by their names:
        model, keypoints, engine, device, detector, detect_every, max_people, smoother, focal_px, fov_deg, calibration,
        body, ...

        Raises: BodycastError (UsageError), one line, for an unknown option or whatever cannot be opened.
        """
        config = configuration(preset, options)
        if config.motion.offline or config.motion.lag:
            raise UsageError("a Tracker has no latency: leave out lag and offline, or use track()")
        self._opened = ExitStack()
        self._inference = _open_inference(config, _Pictures(), self._opened, hold_s=0.0, lag_s=0.0)
        self._index = 0
        self._time_s = 0.0
        self._last: FrameResult | None = None

    def __call__(self, image_bgr: U8, time_s: float | None = None) -> tuple[Person, ...]:
        """The people in a picture (H,W,3) uint8 BGR, at `time_s` seconds on any clock that only grows; where it is
        left out, pictures are a thirtieth of a second apart. A picture of another scene is noticed.

        Raises: ValueError for another shape or dtype.
        """
        self._time_s = self._time_s + _STILL_STEP_S if time_s is None else float(time_s)
        frame = Frame(image_bgr, self._index, self._time_s)
        self._index += 1
        self._last = self._inference.process(frame)[-1]
        return _people(self._last)

    @property
    def image(self) -> U8 | None:
        """The picture in which the last call's people are: the one that was given, with `calibration` undistorted;
        (H,W,3) uint8 BGR. None before the first call."""
        return None if self._last is None else self._last.frame.image

    @property
    def camera(self) -> Intrinsics | None:
        """The lens of that picture, given or assumed. None before the first call."""
        return None if self._last is None else self._last.intrinsics

    def reset(self) -> None:
        """Forget everybody, as at a cut; ids go on counting."""
        self._inference.reset()

    def close(self) -> None:
        """Release the networks. May be called twice."""
        self._opened.close()


class FrameStream(_Closing, Iterator[TrackedFrame]):
    """The frames of a source with their people, in order. Ends with the source; `close`, or leaving its `with` block,
    ends it early."""

    def __init__(self, source: str | Path | int, config: RunConfig) -> None:
        from bodycast.app.pipeline.run_options import undistorter_of
        from bodycast.app.sources import open_source

        self._opened = ExitStack()
        try:
            opened = open_source(str(source), config.capture)
            self._opened.callback(opened.close)
            undistorter_of(config, opened.info.image_wh)  # refused before the networks are opened
            self._inference = _open_inference(config, opened, self._opened)
        except BaseException:
            self._opened.close()
            raise
        self._frames = iter(opened)
        self._limit = config.max_frames
        self._taken = 0
        self._ready: deque[TrackedFrame] = deque()
        self._ended = False

    def __next__(self) -> TrackedFrame:
        while not self._ready:
            if self._ended:
                raise StopIteration
            try:
                self._advance()
            except BaseException:
                self.close()
                raise
        return self._ready.popleft()

    def _advance(self) -> None:
        frame = None if self._taken == self._limit else next(self._frames, None)
        if frame is not None:
            self._taken += 1
        for result in self._inference.finish() if frame is None else self._inference.process(frame):
            people = _people(result)
            shown = result.frame
            floor = _world(result).floor
            self._ready.append(TrackedFrame(shown.image, shown.index, shown.time_s, people, result.intrinsics, floor))
        if frame is None:
            self.close()

    def close(self) -> None:
        """Release source and networks. May be called twice."""
        self._ended = True
        self._opened.close()

    def __del__(self) -> None:
        if hasattr(self, "_opened"):
            self.close()


def track(source: str | Path | int, preset: PresetName = "fast", **options: Any) -> FrameStream:
    """People in a camera (its number), a video file, a picture or folder of pictures, or a stream (its URL).

    Files: every frame, in order; people are backfilled to where they first were seen, as in `bodycast run`. Live
    sources: the newest frame each time. The source is read in one thread, which ends with the iteration; a live source
    has the detector in another. `options` as in `Tracker`, and max_frames, lag, offline, camera_size, ...

    Raises: BodycastError (UsageError), one line, before the first frame; RunError from the iteration.
    """
    return FrameStream(source, configuration(preset, options))


def recover(picture: str | Path | U8, preset: PresetName = "fast", **options: Any) -> tuple[Person, ...]:
    """The people in one picture: a file, or (H,W,3) uint8 BGR. `options` as in `Tracker`.

    Raises: BodycastError (UsageError), ValueError.
    """
    if isinstance(picture, str | Path):
        if not Path(picture).is_file():
            raise UsageError(f"{picture}: no such file")
        with track(picture, preset, **options) as frames:
            return next(frames).people
    with ExitStack() as opened:
        inference = _open_inference(configuration(preset, options), _Pictures(), opened, lag_s=0.0)
        results = [*inference.process(Frame(picture, 0, 0.0)), *inference.finish()]
        return _people(results[-1])


class Overlay(_Closing):
    """Draws people over their picture. Use it in the thread that made it: it may own an OpenGL context."""

    def __init__(self, renderer: Literal["auto", "moderngl", "cpu", "pyrender"] = "auto", body: str = "auto") -> None:
        """`body`: as the tracker's. Raises: BodycastError where nothing can draw."""
        from bodycast.app.pipeline.build import load_body
        from bodycast.app.renderers.factory import open_renderer

        self._renderer = open_renderer(renderer, load_body(body, "", pose_only=True).faces)

    def __call__(self, image_bgr: U8, people: Sequence[Person], camera: Intrinsics | None = None) -> U8:
        """(H,W,3) uint8 BGR, a new picture. `camera`: the frame's; where left out, what a tracker assumes."""
        height, width = image_bgr.shape[:2]
        vertices = np.stack([person.vertices_m for person in people]) if people else np.zeros((0, 0, 3), np.float32)
        ids = np.array([person.id for person in people], np.int32)
        if not people:
            return image_bgr.copy()
        return self._renderer.render(image_bgr, vertices, ids, camera or usual_lens((width, height)))

    def close(self) -> None:
        """Release the context. May be called twice."""
        self._renderer.close()


def configuration(preset: PresetName, options: dict[str, Any]) -> RunConfig:
    """The configuration of a run: the preset's, changed by `options`, whose names are the flags' with underscores.

    Raises: UsageError for a name or a value that no flag has.
    """
    from bodycast.app.presets import PRESETS

    if preset not in PRESETS:
        raise UsageError(f"no preset {preset!r}; there are {', '.join(PRESETS)}")
    config = preset_defaults(preset)
    groups = ("network", "people", "motion", "lens", "capture")
    for name, value in options.items():
        if name == "max_frames":
            config = replace(config, max_frames=value)
            continue
        group = next((one for one in groups if name in _fields(getattr(config, one))), None)
        if group is None:
            known = sorted({"max_frames", *(field for one in groups for field in _fields(getattr(config, one)))})
            raise UsageError(f"no option {name!r}; there are {', '.join(known)}")
        config = replace(config, **{group: replace(getattr(config, group), **{name: value})})
    return config


def _fields(group: Any) -> set[str]:
    return {field.name for field in fields(group)}


class _Pictures:
    """The source of a `Tracker`: pictures are handed to it, it has none of its own."""

    info = SourceInfo("pictures", live=False, fps=None, frame_count=None, image_wh=(1, 1))
    dropped = 0
    warnings = ()

    def __iter__(self) -> Iterator[Frame]:
        return iter(())

    def close(self) -> None:
        """Nothing is open."""


class _Logged:
    """`Inference` whose warnings go to the log, each once."""

    def __init__(self, inference: Inference, warnings: Callable[[], Sequence[str]]) -> None:
        self._inference = inference
        self._warnings = warnings
        self._said: set[str] = set()

    def process(self, frame: Frame) -> Sequence[FrameResult]:
        results = self._inference.process(frame)
        self._say()
        return results

    def finish(self) -> Sequence[FrameResult]:
        results = self._inference.finish()
        self._say()
        return results

    def reset(self) -> None:
        self._inference.finish()
        self._inference.reset()

    def _say(self) -> None:
        for line in self._warnings():
            if line not in self._said:
                self._said.add(line)
                LOG.warning("%s", line)


def _open_inference(
    config: RunConfig, source: WarningSource, opened: ExitStack, hold_s: float | None = None, lag_s: float | None = None
) -> _Logged:
    """Networks, detector, tracker and smoother of `config`, to be closed by `opened`. `hold_s`: how long frames are
    held for backfill, `lag_s`: the smoother's latency; None: as in a run. Raises: UsageError."""
    from bodycast.app.pipeline.build import open_stages
    from bodycast.app.pipeline.inference import Inference
    from bodycast.app.pipeline.run_options import pipeline_options
    from bodycast.app.pipeline.timing import StageTimes

    with ExitStack() as safe:
        stages = open_stages(config, source, safe, lag_s).stages
        options = pipeline_options(config)
        inference = Inference(stages, options if hold_s is None else replace(options, backfill_s=hold_s), StageTimes())
        safe.callback(inference.close)
        opened.push(safe.pop_all())
    return _Logged(inference, stages.warnings)


def _world(result: FrameResult) -> FrameWorld:
    return result.world or FrameWorld.unknown(len(result.estimates))


def _people(result: FrameResult) -> tuple[Person, ...]:
    estimates, bodies, xyxy, world = result.estimates, result.bodies, result.xyxy, _world(result)
    turn, shift = world.camera_to_world[:3, :3], world.camera_to_world[:3, 3]
    return tuple(
        Person(
            id=int(estimates.id[row]),
            score=float(estimates.score[row]),
            box_xyxy=xyxy[row].copy(),
            pose=estimates.pose[row].copy(),
            betas=estimates.betas[row].copy(),
            translation_m=estimates.transl_m[row].copy(),
            joints_m=bodies.joints[row].copy(),
            joints_px=bodies.joints_px[row].copy(),
            vertices_m=bodies.vertices[row].copy(),
            joints_world_m=(bodies.joints[row] @ turn.T + shift).astype(np.float32),
            contacts=world.contacts[row].copy(),
        )
        for row in range(len(estimates))
    )
