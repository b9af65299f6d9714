"""A live run on a synthetic camera, with and without other programs that take the CPU: what the governor makes of it.

The demo clip, played to and fro at a camera's rate, is the live source of a whole run without a window: networks,
detector, overlay. Each round is printed with the load that others put on the machine meanwhile.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from itertools import cycle, islice
from pathlib import Path

import cv2
import numpy as np

from bodycast.app.config import RunConfig
from bodycast.app.governor.report import Change
from bodycast.app.pipeline.build import build_run
from bodycast.app.pipeline.pipeline import Pipeline
from bodycast.app.presets import PRESETS, preset_defaults
from bodycast.app.records import U8, FrameResult
from bodycast.app.sources.array_source import open_array_source
from bodycast.app.sources.factory import DEMO_CLIP
from bodycast.app.sources.threaded import ThreadedSource

SETTLED_S = 20.0
"""From here on changes must be rare: at most one in BETWEEN_S."""
BETWEEN_S = 10.0
SPIN = "import os\nif hasattr(os, 'sched_setaffinity'): os.sched_setaffinity(0, {%d})\nwhile True: pass"


@dataclass(frozen=True)
class Round:
    """One run. Latencies in ms from grab to drawn; `others`: CPUs that programs beside this run used, the stress
    counted; `changes`: what the governor did; `most_in_10_s`: changes within any ten seconds after SETTLED_S."""

    preset: str
    stress: int
    seconds: float
    updates_per_s: float
    latency_p50_ms: float
    latency_p95_ms: float
    others: float
    most_in_10_s: int
    at_end: tuple[str, ...]
    changes: tuple[str, ...]
    ids: int

    def line(self) -> str:
        """For people."""
        return (
            f"{self.preset:<8} stress {self.stress}  {self.updates_per_s:5.1f} updates/s  latency p50 "
            f"{self.latency_p50_ms:5.0f} p95 {self.latency_p95_ms:5.0f} ms  others use {self.others:.1f} CPUs  "
            f"changes in 10 s after settling: {self.most_in_10_s}  at the end: {', '.join(self.at_end) or 'nothing'}"
        )


class Counted:
    """A sink that counts results and remembers ids."""

    name = "counted"

    def __init__(self) -> None:
        self.drawn_s: list[float] = []
        self.ids: set[int] = set()

    def write(self, result: FrameResult) -> None:
        """One result."""
        self.drawn_s.append(time.monotonic())
        self.ids.update(int(person) for person in result.estimates.id)

    def close(self) -> None:
        """Nothing to release."""


def pictures(film: Path, most: int) -> list[U8]:
    """The first pictures of a film."""
    capture, images = cv2.VideoCapture(str(film)), list[U8]()
    while len(images) < most:
        ok, image = capture.read()
        if not ok:
            break
        images.append(np.asarray(image, np.uint8))
    capture.release()
    return images


def camera(images: Sequence[U8], fps: float, seconds: float) -> ThreadedSource:
    """A live source that plays the pictures to and fro, on time, for so long."""

    to_and_fro = cycle([*images, *images[-2:0:-1]])
    return open_array_source(islice(to_and_fro, round(seconds * fps)), fps=fps, live=True, name="synthetic camera")


@contextmanager
def stress(processes: int) -> Iterator[None]:
    """So many processes that never sleep, each on a core of its own."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))
    spinning = [
        subprocess.Popen([sys.executable, "-c", SPIN % cores[number % len(cores)]]) for number in range(processes)
    ]
    try:
        yield
    finally:
        for process in spinning:
            process.kill()
            process.wait()


def busy_s() -> float:
    """CPU seconds that all programs have used so far; 0 where the system does not say."""
    try:
        user, nice, system = Path("/proc/stat").read_text(encoding="ascii").split()[1:4]
    except OSError:
        return 0.0
    return (int(user) + int(nice) + int(system)) / os.sysconf("SC_CLK_TCK")


def most_within(times_s: Sequence[float], span_s: float) -> int:
    """The most of these moments within any span."""
    moments = sorted(set(times_s))
    return max((sum(start <= moment < start + span_s for moment in moments) for start in moments), default=0)


def settled_changes(changes: Sequence[Change]) -> int:
    """The most changes in BETWEEN_S after SETTLED_S."""
    return most_within([change.time_s for change in changes if change.time_s >= SETTLED_S], BETWEEN_S)


def measure(config: RunConfig, images: Sequence[U8], fps: float, seconds: float, processes: int) -> Round:
    """One run. Raises what the run raises."""
    sink = Counted()
    with stress(processes):
        built = build_run(config, check_display=False, source=camera(images, fps, seconds))
        stages = replace(built.stages, make_window=None, make_sinks=lambda: [sink])
        pipeline = Pipeline(stages, built.options)
        all_s, own_s, began_s = busy_s(), time.process_time(), time.monotonic()
        summary = pipeline.run()
        took_s = time.monotonic() - began_s
        others = (busy_s() - all_s - (time.process_time() - own_s)) / took_s
    if summary.failure is not None:
        raise summary.failure.error
    report = None if built.governor is None else built.governor()
    changes = () if report is None else report.changes
    latency = pipeline.times.summary()["latency"]
    return Round(
        preset=config.preset,
        stress=processes,
        seconds=round(took_s, 1),
        updates_per_s=round((len(sink.drawn_s) - 1) / (sink.drawn_s[-1] - sink.drawn_s[0]), 1),
        latency_p50_ms=round(latency.p50_ms, 1),
        latency_p95_ms=round(latency.p95_ms, 1),
        others=round(others, 2),
        most_in_10_s=settled_changes(changes),
        at_end=() if report is None else report.at_end,
        changes=tuple(change.line() for change in changes),
        ids=len(sink.ids),
    )


def main(argv: Sequence[str]) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m evaluation live-load", description=__doc__)
    parser.add_argument("--film", type=Path, default=DEMO_CLIP, help="what the camera sees")
    parser.add_argument("--frames", type=int, default=230, help="so many of its first pictures, to and fro")
    parser.add_argument("--fps", type=float, default=30.0, help="of the camera")
    parser.add_argument("--seconds", type=float, default=60.0, help="of each round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--stress", type=int, nargs="+", default=[0, 1], help="processes that spin, for each round")
    parser.add_argument("--presets", nargs="+", default=["auto"], choices=["auto", *PRESETS])
    parser.add_argument("--max-people", type=int, default=10)
    parser.add_argument("--target-fps", type=float, help="as in a run")
    parser.add_argument("--json", type=Path, help="write the rounds there")
    args = parser.parse_args(argv)
    images = pictures(args.film, args.frames)
    if not images:
        parser.error(f"{args.film}: no pictures")
    rounds: list[Round] = []
    for _ in range(args.rounds):
        for processes in args.stress:
            for preset in args.presets:
                config = preset_defaults(preset)
                people = replace(config.people, max_people=args.max_people)
                live = replace(config.live, target_fps=args.target_fps)
                config = replace(config, people=people, live=live, results=replace(config.results, window=True))
                rounds.append(measure(config, images, args.fps, args.seconds, processes))
                print(rounds[-1].line(), flush=True)
                for change in rounds[-1].changes:
                    print(f"    {change}", flush=True)
    if args.json is not None:
        args.json.write_text(json.dumps([asdict(one) for one in rounds], indent=2) + "\n", encoding="utf-8")
    return 0
