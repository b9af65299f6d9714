"""Senders in a whole run: the newest frame, never in the way, latency from the grab, and the avatar's key."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

from bodycast.app.pipeline.pipeline import Pipeline
from bodycast.app.pipeline.stages import PipelineOptions
from bodycast.app.records import FrameResult
from bodycast.app.senders.base import Sender
from tests.live.fakes import FakeWindow, MemorySink, World, walk


class FakeSender:
    """Takes `delay_s` a frame."""

    def __init__(self, delay_s: float = 0.0, needs_picture: bool = False) -> None:
        self.needs_picture = needs_picture
        self.drawn: list[bool] = []
        self.name = "fake sender"
        self.warnings: tuple[str, ...] = ()
        self.latency_s: float | None = None
        self.frames: list[int] = []
        self.sent_s: list[float] = []
        self.threads: set[str] = set()
        self.idles = self.centres = self.closes = 0
        self._delay_s = delay_s

    def describe(self) -> str:
        return "frames to nobody"

    def write(self, result: FrameResult) -> None:
        time.sleep(self._delay_s)
        self.threads.add(threading.current_thread().name)
        self.frames.append(result.frame.index)
        self.drawn.append(result.overlay is not result.frame.image)
        self.sent_s.append(time.monotonic())
        self.latency_s = time.monotonic() - result.frame.time_s

    def idle(self) -> None:
        self.idles += 1

    def recentre(self) -> None:
        self.centres += 1

    def close(self) -> None:
        self.closes += 1


def test_a_slow_sender_gets_the_newest_frames_and_costs_the_run_none() -> None:
    slow, file = FakeSender(delay_s=0.15), MemorySink()
    world = World(images=walk(30), fps=1000.0, sinks=[slow, file])  # type: ignore[list-item]
    assert isinstance(slow, Sender)
    begun = time.perf_counter()
    summary = Pipeline(world.stages(), world.options).run()
    assert summary.failure is None and time.perf_counter() - begun < 0.15 * 15
    assert [entry[0] for entry in file.kept] == list(range(30))
    assert slow.frames == sorted(slow.frames) and len(slow.frames) < 25
    assert summary.dropped["fake sender"] == 30 - len(slow.frames)
    assert slow.threads == {"fake sender"} and slow.closes == 1


def test_latency_of_a_live_source_is_from_the_grab_to_what_was_sent() -> None:
    sender = FakeSender(delay_s=0.02)
    world = World(images=walk(30), live=True, sinks=[sender])  # type: ignore[list-item]
    pipeline = Pipeline(world.stages(), world.options)
    pipeline.run()
    sent = pipeline.times.summary()["fake sender latency"]
    assert sent.count == len(sender.frames) > 10
    assert 20 <= sent.p50_ms < 500


def test_live_senders_do_not_wait_for_the_drawing_unless_they_send_it() -> None:
    for needs_picture in (False, True):
        sender = FakeSender(needs_picture=needs_picture)
        world = World(images=walk(20), live=True, sinks=[sender])  # type: ignore[list-item]
        assert Pipeline(world.stages(), world.options).run().failure is None
        assert len(sender.frames) > 10 and set(sender.drawn) == {needs_picture}


def test_a_film_has_no_such_latency_and_is_sent_at_its_own_pace() -> None:
    sender = FakeSender()
    world = World(images=walk(15), fps=30.0, sinks=[sender])  # type: ignore[list-item]
    pipeline = Pipeline(world.stages(), world.options)
    pipeline.run()
    assert "fake sender latency" not in pipeline.times.summary()
    assert sender.frames == list(range(15)), "none is dropped: they do not come in bursts"
    assert 0.3 < sender.sent_s[-1] - sender.sent_s[0] < 3


def test_a_run_that_is_stopped_does_not_wait_for_the_film() -> None:
    sender = FakeSender()
    world = World(images=walk(30), fps=0.1, sinks=[sender])  # type: ignore[list-item]
    pipeline = Pipeline(world.stages(), replace(world.options, backfill_s=0.0))
    threading.Timer(1.0, lambda: pipeline.request_stop("enough")).start()
    begun = time.perf_counter()
    assert pipeline.run().exit_reason == "enough"
    assert time.perf_counter() - begun < 5


def test_a_sender_is_told_when_no_frame_comes() -> None:
    sender = FakeSender()

    def seldom():
        for image in walk(2):
            yield image
            time.sleep(0.7)

    world = World(images=seldom(), live=True, fps=100.0, sinks=[sender])  # type: ignore[arg-type, list-item]
    Pipeline(world.stages(), world.options).run()
    assert sender.idles >= 2


def test_the_key_c_centres_and_r_records_nothing_where_there_are_no_takes() -> None:
    class Presses(FakeWindow):
        def write(self, result: FrameResult) -> None:
            super().write(result)
            if self.writes == 2:
                self.press("c")
                self.press("r")
                self.press("?")

    sender = FakeSender()
    world = World(images=walk(6), fps=100.0, sinks=[sender], window=Presses())  # type: ignore[list-item]
    assert Pipeline(world.stages(), PipelineOptions()).run().failure is None
    assert sender.centres == 1
