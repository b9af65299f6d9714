"""Injected faults: the run ends, the first error is told once, files are finished, no thread stays."""

from __future__ import annotations

import threading
import time
import tracemalloc
from collections.abc import Generator

import numpy as np
import pytest

from bodycast.app.errors import RunError, UsageError
from bodycast.app.pipeline.pipeline import Pipeline, Progress
from bodycast.app.pipeline.stages import PipelineOptions
from bodycast.app.records import Frame
from bodycast.app.sources.base import SourceInfo
from bodycast.app.sources.threaded import ThreadedSource
from bodycast.app.tracking.detection_schedule import DetectInBackground
from tests.live.fakes import (
    IMAGE_WH,
    FakeDetector,
    FakeEstimator,
    FakeRenderer,
    FakeWindow,
    MemorySink,
    World,
    walk,
)


@pytest.fixture(autouse=True)
def no_thread_stays() -> object:
    """Every thread that a run started is gone a moment after it."""
    before = set(threading.enumerate())
    yield
    deadline_s = time.monotonic() + 2.0
    while set(threading.enumerate()) - before and time.monotonic() < deadline_s:
        time.sleep(0.01)
    assert {thread.name for thread in set(threading.enumerate()) - before} == set()


@pytest.mark.parametrize("live", [False, True])
def test_a_source_that_dies_ends_the_run_and_what_came_before_is_finished(live: bool) -> None:
    world = World(images=walk(30), live=live, fps=200.0, source_fails_at=10)
    summary = Pipeline(world.stages()).run()
    assert summary.failure is not None
    assert summary.failure.where == "inference"
    assert str(summary.failure.error) == "camera 0 was lost; plug it in again"
    sink = world.sinks[0]
    assert sink.closes == 1
    if not live:
        assert [entry[0] for entry in sink.kept] == list(range(10))
    assert world.estimator.closed and world.smoother.closed
    assert world.detector.closed


@pytest.mark.parametrize("live", [False, True])
def test_an_engine_that_raises(live: bool) -> None:
    world = World(images=walk(30), live=live, fps=200.0, estimator=FakeEstimator(fail_at=5))
    summary = Pipeline(world.stages()).run()
    assert summary.failure is not None
    assert isinstance(summary.failure.error, RunError)
    assert "the engine stopped" in summary.exit_reason
    assert world.sinks[0].closes == 1
    assert world.estimator.closed and world.smoother.closed


@pytest.mark.parametrize("live", [False, True])
def test_a_detector_that_raises_in_whatever_thread(live: bool) -> None:
    world = World(images=walk(200), live=live, fps=200.0, detector=FakeDetector(fail_at=1))
    summary = Pipeline(world.stages(), PipelineOptions(detect_every_s=0.05)).run()
    assert summary.failure is not None
    assert "the detector broke" in str(summary.failure.error)
    assert world.detector.closed


def test_a_renderer_that_raises_while_running() -> None:
    world = World(images=walk(30), make_renderer=lambda: FakeRenderer(fail_at=5))
    summary = Pipeline(world.stages()).run()
    assert summary.failure is not None
    assert summary.failure.where == "drawing"
    assert [entry[0] for entry in world.sinks[0].kept] == list(range(5))
    assert world.sinks[0].closes == 1


def test_a_renderer_that_cannot_be_made_stops_before_any_sink_exists() -> None:
    def no_renderer() -> FakeRenderer:
        raise UsageError("there is no OpenGL; use --renderer cpu")

    made: list[str] = []
    world = World(images=walk(30), make_renderer=no_renderer)
    stages = world.stages()
    object.__setattr__(stages, "make_sinks", lambda: made.append("sink") or [])
    with pytest.raises(UsageError, match="no OpenGL"):
        Pipeline(stages).run()
    assert made == []
    assert world.estimator.closed and world.smoother.closed


def test_sinks_that_cannot_be_made_stop_before_the_first_frame() -> None:
    def no_sinks() -> list[MemorySink]:
        raise UsageError("out/overlay.mp4 exists; add --overwrite")

    world = World(images=walk(30))
    stages = world.stages()
    object.__setattr__(stages, "make_sinks", no_sinks)
    with pytest.raises(UsageError, match="overwrite"):
        Pipeline(stages).run()
    assert world.estimator.calls == 0


@pytest.mark.parametrize("live", [False, True])
def test_a_full_disk_stops_the_run_and_the_other_files_are_finished(live: bool) -> None:
    full, fine = MemorySink("video", fail_at=7), MemorySink("motion")
    world = World(images=walk(1000, step_px=0), live=live, fps=200.0, sinks=[full, fine])
    summary = Pipeline(world.stages()).run()
    assert summary.failure is not None
    assert summary.failure.where == "video"
    assert "disk is full" in str(summary.failure.error)
    assert full.closes == fine.closes == 1
    assert fine.writes >= 7
    assert summary.frames_in < 1000


def test_a_sink_that_cannot_finish_is_reported() -> None:
    class Unfinished(MemorySink):
        def close(self) -> None:
            raise RunError("motion: the disk is full; free some space and run again")

    summary = Pipeline(World(images=walk(3), sinks=[Unfinished("motion")]).stages()).run()
    assert summary.failure is not None
    assert "disk is full" in summary.exit_reason


def test_a_window_that_fails() -> None:
    world = World(images=walk(300), window=FakeWindow(fail_at=3))
    summary = Pipeline(world.stages()).run()
    assert summary.failure is not None
    assert summary.failure.where == "window"
    assert world.sinks[0].closes == 1


def test_only_the_first_of_several_errors_is_told() -> None:
    sinks = [MemorySink("one", fail_at=3), MemorySink("two", fail_at=6)]
    summary = Pipeline(World(images=walk(100), sinks=sinks).stages()).run()
    assert summary.failure is not None
    assert summary.failure.where == "one"


def test_a_requested_stop_finishes_what_is_queued() -> None:
    world = World(images=walk(2000), sinks=[MemorySink(delay_s=0.005)])
    pipeline = Pipeline(world.stages())
    threading.Timer(0.2, pipeline.request_stop, args=("interrupted",)).start()
    summary = pipeline.run()
    assert summary.exit_reason == "interrupted"
    assert summary.failure is None
    assert world.sinks[0].writes == summary.frames_out < 2000
    assert world.sinks[0].closes == 1


def test_a_thread_that_hangs_is_named_and_does_not_hold_the_program() -> None:
    released = threading.Event()

    class Hanging(MemorySink):
        def write(self, result: object) -> None:
            released.wait(20.0)

    world = World(images=walk(100), sinks=[Hanging("video")], options=PipelineOptions(join_s=0.3))
    pipeline = Pipeline(world.stages(), world.options)
    threading.Timer(0.1, pipeline.request_stop, args=("interrupted",)).start()
    summary = pipeline.run()
    released.set()
    assert summary.seconds < 5.0
    assert "video" in summary.hanging


@pytest.mark.parametrize("live", [False, True])
def test_memory_stays_bounded(live: bool) -> None:
    """300 frames of 170 kB: a queue that grew would show as tens of megabytes."""

    def endless() -> object:
        for step in range(300):
            yield walk(1, step_px=0)[0] + np.uint8(step % 2)

    sink = MemorySink(delay_s=0.001, keep=lambda result: None)
    world = World(images=endless(), live=live, fps=500.0, sinks=[sink])  # type: ignore[arg-type]
    pipeline = Pipeline(world.stages(), PipelineOptions(backfill_s=0.02))  # 10 frames held
    tracemalloc.start()
    try:
        summary = pipeline.run()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert 200 < summary.frames_in + summary.dropped["source"] <= 300
    picture_bytes = IMAGE_WH[0] * IMAGE_WH[1] * 3
    # Some 20 places in queues hold a picture and its overlay each; the fakes need a little room of their own.
    assert peak < 80 * picture_bytes


def test_a_second_signal_throws_away_what_waits_and_still_closes_everything() -> None:
    slow = MemorySink(delay_s=0.05)
    world = World(images=walk(2000), sinks=[slow])
    pipeline = Pipeline(world.stages())

    def interrupt(progress: Progress) -> None:
        if progress.frames_out >= 5:
            raise KeyboardInterrupt

    start_s = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        pipeline.run(interrupt)
    assert time.monotonic() - start_s < 5.0
    assert slow.closes == 1
    assert world.estimator.closed and world.smoother.closed
    assert world.detector.closed


def test_an_error_in_the_background_detector_does_not_leave_its_thread() -> None:
    world = World(images=walk(100), live=True, fps=200.0, detector=FakeDetector(delay_s=0.05, fail_at=1))
    summary = Pipeline(world.stages(), PipelineOptions(detect_every_s=0.0)).run()
    assert summary.failure is not None
    assert world.detector.closed


@pytest.mark.parametrize("error", [SystemExit(0), SystemExit(7), KeyboardInterrupt(), GeneratorExit()])
@pytest.mark.parametrize("live", [False, True])
def test_whatever_ends_a_thread_is_a_failure_of_the_run(live: bool, error: BaseException) -> None:
    class Ending(MemorySink):
        def write(self, result: object) -> None:
            raise error

    fine = MemorySink("motion")
    world = World(images=walk(200), live=live, fps=200.0, sinks=[Ending("video"), fine])
    summary = Pipeline(world.stages()).run()
    assert summary.failure is not None and summary.failure.where == "video"
    assert isinstance(summary.failure.error, RunError) and type(error).__name__ in str(summary.failure.error)
    assert fine.closes == 1


@pytest.mark.parametrize("live", [False, True])
def test_a_detector_that_exits_is_no_end_of_the_film(live: bool) -> None:
    class Exiting(FakeDetector):
        def detect(self, frame: object) -> object:
            raise SystemExit(0)

    world = World(images=walk(400), live=live, fps=200.0, detector=Exiting())
    summary = Pipeline(world.stages()).run()
    assert summary.failure is not None and "SystemExit" in summary.exit_reason


def test_a_source_that_exits_is_no_end_of_the_film() -> None:
    def frames() -> Generator[Frame, None, None]:
        yield Frame(np.zeros((8, 8, 3), np.uint8), 0, 0.0)
        raise SystemExit(0)

    source = ThreadedSource(SourceInfo("film", False, 30.0, None, (8, 8)), frames())
    with pytest.raises(RunError, match="film was ended by SystemExit"):
        list(source)


@pytest.mark.parametrize("stage", ["engine", "video"])
def test_a_stage_that_hangs_ends_the_run_and_the_other_file_is_finished(stage: str) -> None:
    released = threading.Event()

    class HangingSink(MemorySink):
        def write(self, result: object) -> None:
            super().write(result)
            if self.writes == 5:
                released.wait(20.0)

    class HangingEstimator(FakeEstimator):
        def estimate(self, *arguments: object, **named: object) -> object:
            if self.calls == 5:
                released.wait(20.0)
            return super().estimate(*arguments, **named)

    fine = MemorySink("motion")
    world = World(
        images=walk(300, step_px=0),
        sinks=[HangingSink("video") if stage == "video" else MemorySink("video"), fine],
        options=PipelineOptions(join_s=1.0, step_s=0.4, backfill_s=0.0),
        **({"estimator": HangingEstimator()} if stage == "engine" else {}),
    )
    summary = Pipeline(world.stages(), world.options).run()
    assert summary.seconds < 6.0
    released.set()
    assert summary.failure is not None and "hangs" in summary.exit_reason
    assert summary.failure.where == ("video" if stage == "video" else "inference")
    assert fine.closes == 1 and fine.writes >= 1


def test_a_background_detector_that_hangs_is_noticed() -> None:
    released = threading.Event()

    class Hanging(FakeDetector):
        def detect(self, frame: object) -> object:
            released.wait(20.0)
            return super().detect(frame)

    runner = DetectInBackground(Hanging(), join_s=0.1, limit_s=0.2)
    assert runner.submit(Frame(np.zeros((8, 8, 3), np.uint8), 0, 0.0))
    assert runner.poll() is None
    time.sleep(0.3)
    with pytest.raises(RunError, match="detector has not answered"):
        runner.poll()
    runner.close()
    released.set()
