"""A whole run on a live source whose stages become slow and quick again."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import cast

import numpy as np

from bodycast.app.governor.governor import Governor
from bodycast.app.governor.ladder import Tradable, ladder
from bodycast.app.governor.networks import Networks, Spare
from bodycast.app.governor.policy import Goals, PolicyOptions, Trade
from bodycast.app.governor.report import GovernorReport
from bodycast.app.pipeline.pipeline import Pipeline
from bodycast.app.records import BodyEstimates, CropBatch, FrameResult
from bodycast.hmr.geometry.camera import Intrinsics
from tests.live.fakes import FakeEstimator, MemorySink, World, picture

QUICK = PolicyOptions(settle_s=0.3, calm_s=0.6)
GOALS = Goals(target_fps=10.0, max_latency_s=2.0)
STRESS = 8.0
LIMIT_S = 60.0
"""Of a run on a machine that has much else to do."""


@dataclass
class FakeNetwork:
    """A keypoint network that takes so long a crop."""

    name: str
    seconds: float
    closed: bool = False

    def close(self) -> None:
        self.closed = True


class SlowEstimator(FakeEstimator):
    """Takes as long as its network; `load` times as long under stress."""

    flip_test = False
    refines = False

    def __init__(self) -> None:
        super().__init__()
        self.keypoints = FakeNetwork("large", 0.024)
        self.load = 1.0
        self.used: list[str] = []
        self.threads: set[str] = set()

    def use_keypoints(self, keypoints: FakeNetwork) -> None:
        self.threads.add(threading.current_thread().name)
        self.keypoints = keypoints

    def estimate(self, crops: CropBatch, intrinsics: Intrinsics, image_wh: tuple[int, int]) -> BodyEstimates:
        if len(crops):
            self.used.append(self.keypoints.name)
            time.sleep(self.keypoints.seconds * self.load * len(crops))
        return super().estimate(crops, intrinsics, image_wh)


def governed(estimator: SlowEstimator, small: FakeNetwork, why: str = "") -> Governor:
    def opens() -> FakeNetwork:
        time.sleep(0.2)
        return small

    networks = Networks(estimator, (cast("object", estimator), Spare(opens, lambda: why)))  # type: ignore[arg-type]
    has = Tradable(detect_every_s=0.25, draws=True, keypoints=("large", "small"))
    steps = tuple(step for step in ladder(has) if step.trade is Trade.KEYPOINTS)
    return Governor(GOALS, steps, networks, options=QUICK, window_s=0.25)


def run(governor: Governor, estimator: SlowEstimator, over: Callable[[GovernorReport], bool]) -> MemorySink:
    """A live run of 30 pictures a second, under stress until something changes. It ends some frames after it is
    `over`, or after LIMIT_S."""
    last: list[int] = []

    def keep(result: FrameResult) -> tuple[list[int], tuple[str, ...]]:
        report = governor.report()
        estimator.load = 1.0 if report.changes else STRESS
        if over(report):
            last.append(result.frame.index)
            if len(last) == 3:
                pipeline.request_stop("seen enough")
        return result.estimates.id.tolist(), governor.hud()

    sink = MemorySink(keep=keep)
    standing = [picture([(40, 40, 80, 140)])] * round(30 * LIMIT_S)
    world = World(images=standing, live=True, estimator=estimator, sinks=[sink])
    pipeline = Pipeline(replace(world.stages(), governor=governor), world.options)
    assert pipeline.run().failure is None
    return sink


def test_a_slow_network_is_changed_and_comes_back_and_ids_stay() -> None:
    estimator, small = SlowEstimator(), FakeNetwork("small", 0.008)
    large = estimator.keypoints
    governor = governed(estimator, small)
    sink = run(governor, estimator, lambda report: len(report.changes) >= 2)
    report = governor.report()
    changes = [(change.trade, change.changed_from, change.changed_to) for change in report.changes]
    assert changes == [("keypoint network", "large", "small"), ("keypoint network", "small", "large")]
    assert "results a second of 10" in report.changes[0].reason and report.changes[1].reason.startswith("room")
    assert 0 < report.changes[0].time_s < report.changes[1].time_s
    assert estimator.used[0] == "large" and "small" in estimator.used and estimator.used[-1] == "large"
    assert {tuple(ids) for ids, _ in sink.kept} <= {(), (1,)}, "nobody's id changes with the network"
    lines = {line for _, said in sink.kept for line in said}
    assert "traded: small" in lines
    assert any(line.startswith("keypoint network large -> small: ") for line in lines)
    assert report.at_end == ()
    assert estimator.threads == {"inference"}
    assert large.closed and small.closed


def test_what_memory_does_not_allow_is_said_once_and_the_run_goes_on() -> None:
    estimator = SlowEstimator()
    governor = governed(estimator, FakeNetwork("small", 0.008), why="7 MB of memory are free, 512 MB are asked for")
    run(governor, estimator, lambda report: bool(report.not_possible))
    report = governor.report()
    assert report.not_possible[0] == "keypoint network small: 7 MB of memory are free, 512 MB are asked for"
    assert report.changes == () and set(estimator.used) == {"large"}
    assert report.lines()[:2] == ["governor  nothing was traded", f"governor  not possible: {report.not_possible[0]}"]


def test_a_spare_network_that_opens_after_the_end_is_closed() -> None:
    gate, small = threading.Event(), FakeNetwork("small", 0.0)

    def opens() -> FakeNetwork:
        gate.wait(5)
        return small

    spare = Spare(opens, lambda: "")
    spare.ask()
    spare.close()
    gate.set()
    limit_s = time.monotonic() + 5
    while not small.closed and time.monotonic() < limit_s:
        time.sleep(0.01)
    assert small.closed


def test_a_spare_network_that_cannot_be_opened_says_why() -> None:
    def fails() -> FakeNetwork:
        raise RuntimeError("no such operator")

    spare = Spare(fails, lambda: "")
    spare.ask(wait=True)
    assert spare.state.value == "refused" and spare.why == "RuntimeError: no such operator"


def test_a_governor_that_has_nothing_to_do_says_nothing() -> None:
    estimator = SlowEstimator()
    governor = governed(estimator, FakeNetwork("small", 0.008))
    assert governor.hud() == ()
    assert governor.report().lines() == ["governor  nothing was traded"]
    assert np.isclose(governor.settings.overlay_scale, 1.0)
