"""Stages for tests: a synthetic world in which coloured rectangles are people, and every stage knows how to read it.

A person is a rectangle of one pure colour on black. The detector finds the rectangles, the estimator reads where its
crop's rectangle is, and the body is a box of eight vertices with the rectangle's size: meshes project exactly onto it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from bodycast.app.errors import RunError
from bodycast.app.pipeline.stages import PipelineOptions, Stages
from bodycast.app.records import F32, I32, U8, BodyEstimates, CropBatch, Detections, Frame, FrameResult, Tracks
from bodycast.app.sources.array_source import open_array_source
from bodycast.app.tracking.options import FollowOptions
from bodycast.hmr.body.body_model import BodyOutput
from bodycast.hmr.geometry import boxes
from bodycast.hmr.geometry.camera import Intrinsics
from bodycast.hmr.geometry.crop import crop_transforms

IMAGE_WH = (320, 180)
DEPTH_M = 3.0
COLOURS = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 0], [0, 255, 255]], np.uint8)


def picture(people_xyxy: Sequence[Sequence[float]]) -> U8:
    """A black (180,320,3) picture with one coloured rectangle per person."""
    image = np.zeros((IMAGE_WH[1], IMAGE_WH[0], 3), np.uint8)
    for colour, (x0, y0, x1, y1) in zip(COLOURS, people_xyxy, strict=False):
        image[round(y0) : round(y1), round(x0) : round(x1)] = colour
    return image


def walk(frames: int, step_px: float = 1.0) -> list[U8]:
    """One person walking to the right."""
    return [picture([(20 + step_px * i, 40, 60 + step_px * i, 140)]) for i in range(frames)]


def rectangles(image: U8) -> F32:
    """The rectangles in a picture, (N,4), in the order of COLOURS."""
    found: list[list[float]] = []
    for colour in COLOURS:
        rows, columns = np.nonzero((image == colour).all(axis=2))
        if len(rows):
            found.append([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
    return np.array(found, np.float32).reshape(-1, 4)


class FakeDetector:
    """Finds the rectangles; remembers the times of the frames that it was asked about."""

    name = "fake detector"

    def __init__(self, delay_s: float = 0.0, fail_at: int | None = None, score: float = 1.0) -> None:
        self.asked_s: list[float] = []
        self._score = score
        self.threads: set[str] = set()
        self.closed = False
        self._delay_s = delay_s
        self._fail_at = fail_at

    def describe(self) -> str:
        return self.name

    def detect(self, frame: Frame) -> Detections:
        self.asked_s.append(frame.time_s)
        self.threads.add(threading.current_thread().name)
        if self._fail_at is not None and len(self.asked_s) > self._fail_at:
            raise RunError("the detector broke; get another")
        time.sleep(self._delay_s)
        found = rectangles(frame.image)
        return Detections(found, np.full(len(found), self._score, np.float32))

    def close(self) -> None:
        self.closed = True


class FakeTracker:
    """Ids by greatest overlap with the last boxes; keeps those gone for a second."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[F32, float]] = {}
        self._next = 1
        self.resets = 0

    def update(self, detections: Detections, time_s: float) -> Tracks:
        ids: list[int] = []
        for box in detections.xyxy:
            best, best_iou = 0, 0.2
            for track, (known, seen_s) in self._known.items():
                overlap = float(boxes.iou_matrix(box[None], known[None])[0, 0])
                if track not in ids and time_s - seen_s <= 1.0 and overlap > best_iou:
                    best, best_iou = track, overlap
            if not best:
                best, self._next = self._next, self._next + 1
            ids.append(best)
            self._known[best] = (box, time_s)
        return Tracks(np.array(ids, np.int32), detections.xyxy, np.zeros(len(ids)))

    def reset(self) -> None:
        self._known.clear()
        self.resets += 1


class FakeEstimator:
    """Puts the translation and the size (in betas 0 and 1) of the rectangle that the crop's centre lies on."""

    input_hw = (8, 6)

    def __init__(self, fail_at: int | None = None, delay_s: float = 0.0, silent_at: int | None = None) -> None:
        self.calls = 0
        self.batches: list[int] = []
        self.closed = False
        self._fail_at = fail_at
        self._delay_s = delay_s
        self._silent_at = silent_at
        self._image = np.zeros((1, 1, 3), np.uint8)

    def crop(self, frame: Frame, tracks: Tracks, input_hw: tuple[int, int]) -> CropBatch:
        """The colour at each box's centre fills its crop: by that colour `estimate` finds the rectangle."""
        self._image = frame.image
        pixels = np.zeros((len(tracks), *input_hw, 3), np.uint8)
        centres = (tracks.xyxy[:, :2] + tracks.xyxy[:, 2:]) / 2
        for row, (x, y) in enumerate(np.clip(centres, 0, np.array(frame.image_wh) - 1).astype(int)):
            pixels[row] = frame.image[y, x]
        return CropBatch(pixels, crop_transforms(tracks.xyxy, input_hw), tracks.id)

    def estimate(self, crops: CropBatch, intrinsics: Intrinsics, image_wh: tuple[int, int]) -> BodyEstimates:
        if self.calls == self._fail_at:
            raise RunError("the engine stopped; start again")
        call, self.calls = self.calls, self.calls + 1
        self.batches.append(len(crops))
        time.sleep(self._delay_s)
        found = rectangles(self._image)
        count = len(crops)
        betas = np.zeros((count, 10), np.float32)
        transl = np.zeros((count, 3), np.float32)
        score = np.zeros(count, np.float32)
        for row, crop in enumerate(crops.pixels):
            colour = crop[0, 0]
            for x0, y0, x1, y1 in found:
                if colour.any() and (self._image[int(y0), int(x0)] == colour).all():
                    score[row] = 0.9
                    centre = np.array([(x0 + x1) / 2, (y0 + y1) / 2])
                    transl[row, :2] = (centre - (intrinsics.cx, intrinsics.cy)) * DEPTH_M / intrinsics.focal_px
                    betas[row, :2] = np.array([x1 - x0, y1 - y0]) * DEPTH_M / intrinsics.focal_px
        transl[:, 2] = DEPTH_M
        pose = np.broadcast_to(np.eye(3, dtype=np.float32), (count, 24, 3, 3)).copy()
        estimates = BodyEstimates(crops.id, pose, betas, transl, score, np.zeros((count, 0), np.float32))
        # As the real estimator does where the engine's answer is not finite.
        return BodyEstimates.empty() if call == self._silent_at else estimates

    label = "fake estimator"

    def describe(self) -> str:
        return self.label

    def close(self) -> None:
        self.closed = True


def fake_body(pose: F32, betas: F32, transl: F32) -> BodyOutput:
    """A flat rectangle of betas[0] x betas[1] metres: 4 corners; 24 joints spread over it."""
    corners = np.array([[-0.5, -0.5, 0], [0.5, -0.5, 0], [0.5, 0.5, 0], [-0.5, 0.5, 0]], np.float32)
    spread = np.stack([np.linspace(-0.5, 0.5, 24), np.linspace(0.5, -0.5, 24), np.zeros(24)], axis=1)
    size = np.concatenate([betas[:, :2], np.ones((len(betas), 1), np.float32)], axis=1)[:, None]
    vertices = corners * size + transl[:, None]
    joints = spread.astype(np.float32) * size + transl[:, None]
    return BodyOutput(vertices.astype(np.float32), joints.astype(np.float32))


class FakeSmoother:
    """Changes nothing; remembers when it was told to forget."""

    name = "none"
    lag_s = 0.0

    def __init__(self) -> None:
        self.resets = 0
        self.closed = False

    def describe(self) -> str:
        return self.name

    def update(self, estimates: BodyEstimates, time_s: float) -> BodyEstimates:
        return estimates

    def reset(self) -> None:
        self.resets += 1

    def close(self) -> None:
        self.closed = True


class FakeRenderer:
    """Writes the number of people into the picture; knows which thread made, used and closed it."""

    name = "fake renderer"

    def __init__(self, fail_at: int | None = None, delay_s: float = 0.0) -> None:
        self.threads = {threading.current_thread().name}
        self.calls = 0
        self.closed = False
        self._fail_at = fail_at
        self._delay_s = delay_s

    def render(self, image: U8, vertices: F32, person_id: I32, intrinsics: Intrinsics) -> U8:
        self.threads.add(threading.current_thread().name)
        if self.calls == self._fail_at:
            raise RuntimeError("no more triangles")
        self.calls += 1
        time.sleep(self._delay_s)
        picture = image.copy()
        picture[0, 0] = len(vertices)
        return picture

    def close(self) -> None:
        self.threads.add(threading.current_thread().name)
        self.closed = True


class MemorySink:
    """Keeps what matters of every result; may be slow, may fail."""

    def __init__(
        self,
        name: str = "memory",
        delay_s: float = 0.0,
        fail_at: int | None = None,
        error: Callable[[], Exception] = lambda: RunError("memory: the disk is full; free some space and run again"),
        keep: Callable[[FrameResult], object] = lambda result: (
            result.frame.index,
            result.estimates.id.tolist(),
            result.xyxy.tolist(),
        ),
    ) -> None:
        self.name = name
        self.kept: list[object] = []
        self.writes = 0
        self.closes = 0
        self.thread = ""
        self._delay_s = delay_s
        self._fail_at = fail_at
        self._error = error
        self._keep = keep

    def write(self, result: FrameResult) -> None:
        self.thread = threading.current_thread().name
        if self.writes == self._fail_at:
            raise self._error()
        self.writes += 1
        time.sleep(self._delay_s)
        self.kept.append(self._keep(result))

    def close(self) -> None:
        self.closes += 1


class FakeWindow(MemorySink):
    """A window whose user presses q after `quit_after` pictures."""

    def __init__(self, quit_after: int | None = None, fail_at: int | None = None, delay_s: float = 0.0) -> None:
        super().__init__("window", delay_s=delay_s, fail_at=fail_at)
        self.polls = 0
        self._quit_after = quit_after
        self._on_quit: Callable[[], None] = lambda: None

    def make(self, on_quit: Callable[[], None], on_key: Callable[[str], None]) -> FakeWindow:
        self._on_quit = on_quit
        self.press = on_key
        return self

    def write(self, result: FrameResult) -> None:
        super().write(result)
        if self.writes == self._quit_after:
            self._on_quit()

    def poll(self) -> None:
        self.polls += 1


@dataclass
class World:
    """The parts of a run, each replaceable, and the options; `stages()` puts them together."""

    images: Sequence[U8] = field(default_factory=lambda: walk(20))
    live: bool = False
    fps: float = 30.0
    source_fails_at: int | None = None
    source_error: Callable[[], Exception] = lambda: RunError("camera 0 was lost; plug it in again")
    detector: FakeDetector = field(default_factory=FakeDetector)
    tracker: FakeTracker = field(default_factory=FakeTracker)
    estimator: FakeEstimator = field(default_factory=FakeEstimator)
    smoother: FakeSmoother = field(default_factory=FakeSmoother)
    make_renderer: Callable[[], FakeRenderer] | None = FakeRenderer
    sinks: Sequence[MemorySink] = field(default_factory=lambda: [MemorySink()])
    window: FakeWindow | None = None
    options: PipelineOptions = field(default_factory=lambda: PipelineOptions(join_s=5.0, follow=FollowOptions()))

    def stages(self) -> Stages:
        """Opens the source: its thread runs from here on."""
        return Stages(
            source=open_array_source(
                self.images, fps=self.fps, live=self.live, fail_at=self.source_fails_at, error=self.source_error
            ),
            detector=self.detector,
            tracker=self.tracker,
            crop=self.estimator.crop,
            estimator=self.estimator,
            body=fake_body,
            smoother=self.smoother,
            make_renderer=self.make_renderer,
            make_sinks=lambda: self.sinks,
            make_window=None if self.window is None else self.window.make,
        )
