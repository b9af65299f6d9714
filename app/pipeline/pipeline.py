"""The run: inference, drawing and every sink in a thread of its own, bounded queues between them.

Source -> inference -> drawing -> one queue per sink; what a live source's senders send is not held up by the drawing
unless it is the picture. The window, if there is one, is served by the thread that calls `run`: the program's main
thread where the system asks for that (macOS). A live source has newest-frame queues that count what they drop; any
other source has waiting queues: no frame is lost and memory stays bounded.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import islice

from bodycast.app.errors import RunError, thread_failure
from bodycast.app.pipeline.display import Display, Screenshots, window_keys
from bodycast.app.pipeline.inference import Inference
from bodycast.app.pipeline.pace import Pace
from bodycast.app.pipeline.stages import PipelineOptions, Stages
from bodycast.app.pipeline.summary import Progress, RunSummary
from bodycast.app.pipeline.timing import FrameRate, StageTimes, timed
from bodycast.app.pipeline.view import View
from bodycast.app.pipeline.workers import FirstFailure, Worker
from bodycast.app.records import FrameResult
from bodycast.app.renderers.hud import Hud, HudStatus
from bodycast.app.renderers.picture import PeoplePicture
from bodycast.app.senders.base import Sender
from bodycast.app.sinks.base import Sink
from bodycast.app.sinks.take import TakeSink
from bodycast.app.sources.handoff import Handoff, WhenFull

POLL_S = 0.05
IDLE_S = 0.2
"""A sender that got no frame for so long is told."""
SENT = " latency"
"""After a sender's name: the stage that says how long frames took from the grab until they were sent."""


class Pipeline:
    """One run of the given stages. `run` returns when everything has ended, and closes all stages."""

    def __init__(self, stages: Stages, options: PipelineOptions | None = None) -> None:
        self.times = StageTimes()
        self._stages = stages
        self._options = options or PipelineOptions()
        self._live = stages.source.info.live
        self._failures = FirstFailure(stages.source.close)
        self._when_full = WhenFull.DROP_OLDEST if self._live else WhenFull.WAIT
        self._to_draw: Handoff[FrameResult] = Handoff(1 if self._live else self._options.draw_queue, self._when_full)
        self._to_sinks: dict[str, Handoff[FrameResult]] = {}
        self._workers: list[Worker] = []
        self._senders: list[Sender] = []
        self._before_drawing: list[Handoff[FrameResult]] = []
        self._takes: TakeSink | None = None
        self._view = View(self._options.draw, self._options.mirror)
        self._drawing_ready: Handoff[str] = Handoff(1, WhenFull.WAIT)
        self._stop_reason = ""
        self._pace = Pace()
        self._busy_since: dict[str, float] = {}
        self._first_frame_wall_s: float | None = None
        self._frames_in = 0
        self._dropped_before = 0
        self._frames_out = 0
        self._people = 0
        self._ids: set[int] = set()
        self._renderer_name = "none"
        self._rate = FrameRate(window_s=3.0)

    def request_stop(self, reason: str) -> None:
        """Ask for an orderly end: what is in the queues is still finished. Only sets a flag, so that a signal
        handler may call it."""
        self._stop_reason = self._stop_reason or reason

    def lose_window(self, error: RunError, limit_s: float) -> None:
        """The thread that called `run` never comes back to it: let the others finish their files meanwhile."""
        self._failures.report("window", error)
        for queue in list(self._to_sinks.values()):
            queue.end()
        deadline_s = time.monotonic() + limit_s
        for worker in self._workers:
            worker.join(max(deadline_s - time.monotonic(), 0.1))

    def run(self, on_progress: Callable[[Progress], None] | None = None) -> RunSummary:
        """Run to the end of the source, to `request_stop`, or to the first error (see `RunSummary.failure`).

        Raises what making the renderer, the window or the sinks raises, before the first frame is taken.
        """
        began_s = time.perf_counter()
        workers = self._workers
        display: Display | None = None
        try:
            self._renderer_name = self._start_drawing(workers)
            display = self._make_window()
            self._start_sinks(workers)
            self._start_inference(workers)
            self._attend(display, workers, on_progress)
        except BaseException:
            self._abandon_queues()
            raise
        finally:
            hanging = self._shut_down(display, workers)
        return RunSummary(
            exit_reason=self._exit_reason(),
            failure=self._failures.failure,
            frames_in=self._frames_in,
            frames_out=self._frames_out,
            dropped=self._dropped(),
            seconds=time.perf_counter() - began_s,
            renderer=self._renderer_name,
            hanging=hanging,
            people=len(self._ids),
            first_frame_wall_s=self._first_frame_wall_s,
        )

    def _start(self, workers: list[Worker], name: str, loop: Callable[[], None], release: Callable[[], None]) -> None:
        worker = Worker(name, loop, release, self._failures)
        workers.append(worker)
        worker.start()

    def _start_drawing(self, workers: list[Worker]) -> str:
        """Start the drawing thread and wait until its renderer stands; gives the renderer's name."""
        self._start(workers, "drawing", self._draw_all, self._end_drawing)
        return self._drawing_ready.take() or "none"

    def _make_window(self) -> Display | None:
        if self._stages.make_window is None:
            return None
        hud = Hud(visible=self._options.hud)
        keys = window_keys(hud, self._view, self._toggle_take, self._recentre)
        window = self._stages.make_window(
            partial(self.request_stop, "window closed"), lambda key: keys[key]() if key in keys else None
        )
        queue: Handoff[FrameResult] = Handoff(1 if self._live else self._options.sink_queue, self._when_full)
        self._to_sinks[window.name] = queue
        kept = Screenshots(self._options.screenshots)
        display = Display(window, hud, self._view, self._hud_status, queue, self.times, kept, paced=not self._live)
        keys["s"] = display.save
        return display

    def _toggle_take(self) -> None:
        if self._takes is not None:
            self._takes.toggle()

    def _recentre(self) -> None:
        for sender in self._senders:
            sender.recentre()

    def _start_sinks(self, workers: list[Worker]) -> None:
        for sink in self._stages.make_sinks():
            if isinstance(sink, Sender):
                self._senders.append(sink)
                queue, feed = Handoff[FrameResult](1, WhenFull.DROP_OLDEST), partial(self._send, sink)
                if self._live and not sink.needs_picture:
                    self._before_drawing.append(queue)
            else:
                queue, feed = Handoff[FrameResult](self._options.sink_queue, self._when_full), partial(self._feed, sink)
            if isinstance(sink, TakeSink):
                self._takes = sink
            self._to_sinks[sink.name] = queue
            self._start(workers, sink.name, partial(feed, queue), partial(_end_sink, sink, queue))

    def _start_inference(self, workers: list[Worker]) -> None:
        inference = Inference(self._stages, self._options, self.times)
        self._start(workers, "inference", partial(self._infer_all, inference), partial(self._end_inference, inference))

    # -- inference thread

    def _infer_all(self, inference: Inference) -> None:
        # What a live source showed while the rest of the program was still being made is not counted as lost.
        self._dropped_before = self._stages.source.dropped
        frames = islice(self._stages.source, self._options.max_frames)
        try:
            while True:
                with self.times.measure("wait"):
                    frame = next(frames, None)
                if frame is None:
                    break
                if self._live and not self._frames_in:
                    self._first_frame_wall_s = time.time() - (time.monotonic() - frame.time_s)
                self._frames_in += 1
                with self.times.measure("frame"), self._busy("inference"):
                    finished = inference.process(frame)
                if not self._pass_on(finished):
                    return
        finally:
            # Whatever ends the run: frames that were held are finished too.
            with self._busy("inference"):
                late = inference.finish()
            self._pass_on(late)

    def _pass_on(self, finished: Sequence[FrameResult]) -> bool:
        """Frames with their people to the drawing; False once nobody takes them any more."""
        for result in finished:
            self._people = len(result.estimates)
            self._ids.update(result.estimates.id.tolist())
            for queue in self._before_drawing:
                queue.put(result)
            if not self._to_draw.put(result):
                return False
        return True

    def _end_inference(self, inference: Inference) -> None:
        self._to_draw.end()
        inference.close()

    # -- drawing thread

    def _draw_all(self) -> None:
        try:
            renderer = self._stages.make_renderer() if self._stages.make_renderer else None
            picture = PeoplePicture(renderer) if renderer else None
        except BaseException as error:
            self._drawing_ready.end(thread_failure("drawing", error))
            return
        try:
            self._drawing_ready.put(renderer.name if renderer else "none")
            while (inferred := self._to_draw.take()) is not None:
                with self._busy("drawing"):
                    result = self._draw(picture, inferred)
                self._frames_out += 1
                self._rate.tick(time.monotonic())
                if self._senders and not self._live:
                    self._wait_until_due(result)
                for queue in list(self._to_sinks.values()):
                    if queue not in self._before_drawing:
                        queue.put(result)
        finally:
            if renderer is not None:
                renderer.close()

    def _draw(self, picture: PeoplePicture | None, result: FrameResult) -> FrameResult:
        overlay, view = result.overlay, None
        if picture is not None:
            with timed("draw", result.stage_s):
                scale = 1.0 if self._stages.governor is None else self._stages.governor.settings.overlay_scale
                overlay = picture.draw(result, self._options.draw, scale=scale)
                if self._stages.make_window is not None and not self._view.as_files:
                    view = picture.draw(result, self._view.what, self._view.opacity, scale)
            self.times.add("draw", result.stage_s["draw"])
        if self._live:
            latency_s = time.monotonic() - result.frame.time_s
            self.times.add("latency", latency_s)
            if self._stages.governor is not None:
                self._stages.governor.drawn(result.stage_s.get("draw", 0.0), latency_s)
        dropped = self._source_dropped() + self._to_draw.dropped
        return replace(result, overlay=overlay, view=view, dropped=dropped)

    def _wait_until_due(self, result: FrameResult) -> None:
        """Other programs get a film as fast as it was filmed."""
        while (early_s := self._pace.early_s(result.frame.time_s)) > 0 and not self._stopping:
            time.sleep(min(early_s, POLL_S))

    def _end_drawing(self) -> None:
        self._to_draw.close()
        for queue in list(self._to_sinks.values()):
            queue.end()

    # -- sink threads

    def _feed(self, sink: Sink, queue: Handoff[FrameResult]) -> None:
        while (result := queue.take()) is not None:
            with self.times.measure(sink.name), self._busy(sink.name):
                sink.write(result)

    def _send(self, sender: Sender, queue: Handoff[FrameResult]) -> None:
        while True:
            try:
                result = queue.take(IDLE_S)
            except TimeoutError:
                sender.idle()
                continue
            if result is None:
                return
            with self.times.measure(sender.name), self._busy(sender.name):
                sender.write(result)
            if self._live and sender.latency_s is not None:
                self.times.add(sender.name + SENT, sender.latency_s)

    # -- main thread

    def _attend(
        self, display: Display | None, workers: list[Worker], on_progress: Callable[[Progress], None] | None
    ) -> None:
        """Serve the window, pass on stop requests, tell the progress, until all threads have ended.

        Once the run is to stop, threads get `join_s` to finish their files; a source that ends by itself sets no limit.
        """
        deadline_s: float | None = None
        while any(worker.alive for worker in workers) or (display is not None and display.open):
            if deadline_s is None and self._stopping:
                self._stages.source.close()
                deadline_s = time.monotonic() + self._options.join_s
                if display is not None:
                    display.end()
            self._look_for_hangs(self._options.step_s)
            if deadline_s is not None and time.monotonic() > deadline_s:
                self._look_for_hangs(self._options.join_s / 2)
                return
            if display is not None and display.open:
                self._step(display)
            else:
                next((worker for worker in workers if worker.alive), workers[0]).join(POLL_S)
            if on_progress is not None:
                on_progress(self.progress())

    @property
    def _stopping(self) -> bool:
        return bool(self._stop_reason) or self._failures.failure is not None

    @contextmanager
    def _busy(self, worker: str) -> Generator[None]:
        """Note that a thread works on one frame."""
        self._busy_since[worker] = time.monotonic()
        try:
            yield
        finally:
            self._busy_since.pop(worker, None)

    def _look_for_hangs(self, limit_s: float) -> None:
        """A thread that works on one frame for longer ends the run, and nobody waits for it any more."""
        now_s = time.monotonic()
        for worker, since_s in list(self._busy_since.items()):
            if now_s - since_s > limit_s:
                self._failures.report(worker, RunError(f"{worker} hangs: one frame takes more than {limit_s:.0f} s"))
                if worker in self._to_sinks:  # the other sinks get their frames
                    self._to_sinks[worker].close()

    def _step(self, display: Display) -> None:
        try:
            display.step(POLL_S)
        except Exception as error:
            self._failures.report("window", error)

    def _hud_status(self, result: FrameResult, fps: float) -> HudStatus:
        return HudStatus(
            fps=fps,
            latency_s=time.monotonic() - result.frame.time_s if self._live else None,
            people=tuple(result.estimates.id.tolist()),
            dropped=result.dropped,
            detector=self._stages.detector.name,
            engine=self._stages.estimator.label,
            smoother=self._stages.smoother.describe(),
            renderer=self._renderer_name,
            sending=tuple((sender.name, sender.latency_s if self._live else None) for sender in self._senders),
            traded=() if self._stages.governor is None else tuple(self._stages.governor.hud()),
            notes=tuple(self._stages.warnings())[-2:],
            recording=self._takes.recording if self._takes is not None else "",
        )

    def progress(self) -> Progress:
        """How far the run is. From any thread."""
        counts = [n for n in (self._stages.source.info.frame_count, self._options.max_frames) if n is not None]
        return Progress(self._frames_out, min(counts, default=None), self._rate.fps, self._people)

    def _abandon_queues(self) -> None:
        """Throw away what waits: the run could not be started, or the user has asked twice for its end."""
        self._to_draw.close()
        for queue in list(self._to_sinks.values()):
            queue.close()

    def _shut_down(self, display: Display | None, workers: list[Worker]) -> tuple[str, ...]:
        """Close everything whatever happened; every wait is bounded. Gives the names of threads that still hang."""
        self._stages.source.close()
        self._to_draw.end()
        if display is not None:
            display.end()
        deadline_s = time.monotonic() + self._options.join_s
        for worker in reversed(workers):  # inference first: what it leaves behind lets the others end
            worker.join(max(deadline_s - time.monotonic(), 0.1))
        hanging = tuple(worker.name for worker in workers if worker.alive)
        if not any(worker.name == "inference" for worker in workers):  # that thread closes them, once it has begun
            self._stages.detector.close()
            self._stages.estimator.close()
            self._stages.smoother.close()
            if self._stages.governor is not None:
                self._stages.governor.close()
        return hanging

    def _exit_reason(self) -> str:
        failure = self._failures.failure
        if failure is not None:
            return f"error in {failure.where}: {failure.error}"
        if self._frames_in == self._options.max_frames:
            return self._stop_reason or f"{self._frames_in} frames, as asked for"
        return self._stop_reason or "end of source"

    def _source_dropped(self) -> int:
        return self._stages.source.dropped - self._dropped_before

    def _dropped(self) -> dict[str, int]:
        sinks = {name: queue.dropped for name, queue in self._to_sinks.items()}
        return {"source": self._source_dropped(), "drawing": self._to_draw.dropped, **sinks}


def _end_sink(sink: Sink, queue: Handoff[FrameResult]) -> None:
    queue.close()
    sink.close()
