"""What the steps do to the stages: turns of a crowd, meshes at a lower resolution, the detector's interval."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import numpy as np
import pytest

from bodycast.app.errors import UsageError
from bodycast.app.governor import factory, memory
from bodycast.app.governor.factory import open_if_quicker
from bodycast.app.governor.ladder import looked_at
from bodycast.app.governor.meter import Meter
from bodycast.app.governor.policy import Trade
from bodycast.app.governor.start import measure_start
from bodycast.app.pipeline.crop_turns import CropTurns
from bodycast.app.records import BodyEstimates, Detections, Frame, Tracks
from bodycast.app.renderers.cpu_renderer import CpuRenderer
from bodycast.app.renderers.scaled import render_scaled
from bodycast.app.tracking.detection_schedule import DetectionSchedule
from bodycast.engines import registry
from bodycast.hmr.geometry.camera import Intrinsics
from tests.live.fakes import FakeDetector, FakeEstimator
from tests.meshes import ellipsoid

if TYPE_CHECKING:
    from bodycast.engines.base import Engine

CAMERA = Intrinsics.from_focal(400.0, (640, 480))


def tracks_at(x: float, people: int) -> Tracks:
    left = x + 60.0 * np.arange(people)
    boxes = np.stack([left, np.full(people, 100.0), left + 50, np.full(people, 300.0)], axis=1).astype(np.float32)
    return Tracks(np.arange(1, people + 1, dtype=np.int32), boxes, np.zeros(people))


class Looks:
    """Gives bodies at the boxes' centres, 4 m away, and remembers who was looked at."""

    def __init__(self) -> None:
        self.calls: list[list[int]] = []

    def __call__(self, tracks: Tracks) -> BodyEstimates:
        self.calls.append(tracks.id.tolist())
        count = len(tracks)
        centre = 0.5 * (tracks.xyxy[:, :2] + tracks.xyxy[:, 2:])
        transl = np.full((count, 3), 4.0, np.float32)
        transl[:, :2] = (centre - (CAMERA.cx, CAMERA.cy)) * 4.0 / CAMERA.focal_px
        pose = np.broadcast_to(np.eye(3, dtype=np.float32), (count, 24, 3, 3)).copy()
        keypoints = np.concatenate([np.repeat(centre[:, None], 17, 1), np.ones((count, 17, 1))], 2).astype(np.float32)
        return BodyEstimates(
            tracks.id, pose, np.zeros((count, 10), np.float32), transl, np.full(count, 0.9, np.float32),
            np.zeros((count, 0), np.float32), keypoints,
        )  # fmt: skip


def test_a_crowd_takes_turns_and_everybody_comes_in_order() -> None:
    turns, looks = CropTurns(looked_at), Looks()
    for frame in range(7):
        estimates = turns.estimate(tracks_at(float(frame), 4), 0.5, CAMERA, looks)
        assert estimates.id.tolist() == [1, 2, 3, 4]
    assert looks.calls[0] == [1, 2, 3, 4], "new people are looked at in their first frame"
    assert [len(call) for call in looks.calls[1:]] == [2] * 6
    counts = {person: sum(person in call for call in looks.calls[1:]) for person in (1, 2, 3, 4)}
    assert set(counts.values()) == {3}
    assert turns.looked == 2


def test_who_is_carried_moves_with_their_box_and_has_no_keypoints() -> None:
    turns, looks = CropTurns(looked_at), Looks()
    turns.estimate(tracks_at(0.0, 2), 0.5, CAMERA, looks)
    estimates = turns.estimate(tracks_at(8.0, 2), 0.5, CAMERA, looks)
    expected = Looks()(tracks_at(8.0, 2))
    np.testing.assert_allclose(estimates.transl_m, expected.transl_m, atol=1e-5)
    (carried,) = {1, 2} - set(looks.calls[1])
    row = carried - 1
    assert (estimates.keypoints[row, :, 2] == 0).all() and (estimates.keypoints[1 - row, :, 2] == 1).all()


def test_a_newcomer_is_looked_at_at_once_and_a_cut_forgets_all() -> None:
    turns, looks = CropTurns(looked_at), Looks()
    turns.estimate(tracks_at(0.0, 3), 1 / 3, CAMERA, looks)
    turns.estimate(tracks_at(0.0, 4), 1 / 3, CAMERA, looks)
    assert 4 in looks.calls[1] and len(looks.calls[1]) == 2
    turns.reset()
    turns.estimate(tracks_at(0.0, 4), 1 / 3, CAMERA, looks)
    assert looks.calls[2] == [1, 2, 3, 4]


def test_without_a_share_everybody_is_looked_at() -> None:
    turns, looks = CropTurns(looked_at), Looks()
    for _ in range(3):
        turns.estimate(tracks_at(0.0, 3), 1.0, CAMERA, looks)
    assert looks.calls == [[1, 2, 3]] * 3


@pytest.mark.parametrize("scale", [0.75, 0.5])
def test_meshes_at_a_lower_resolution_lie_where_they_lay_and_the_picture_stays_sharp(scale: float) -> None:
    vertices, faces = ellipsoid()
    renderer = CpuRenderer(faces)
    image = np.random.default_rng(0).integers(0, 255, (480, 640, 3)).astype(np.uint8)
    body = (vertices[None] * 0.5 + np.array([0.2, -0.1, 3.0])).astype(np.float32)
    people = body, np.ones(1, np.int32), CAMERA
    full = render_scaled(renderer, image, *people, 1.0)
    small = render_scaled(renderer, image, *people, scale)
    assert small.shape == full.shape and (image != small).any()
    in_full, in_small = (full != image).any(axis=2), (small != image).any(axis=2)
    assert (in_full & in_small).sum() / (in_full | in_small).sum() > 0.95
    inside = in_full & in_small
    assert np.abs(full[inside].astype(int) - small[inside]).mean() < 8
    nobody = render_scaled(renderer, image, body[:0], np.zeros(0, np.int32), CAMERA, scale)
    assert (nobody == image).all()


def test_the_detector_is_slowed_down_and_let_go_again() -> None:
    schedule = DetectionSchedule(0.25)
    schedule.started(0.0)
    assert schedule.due(0.3, 1, None)
    schedule.slow_down(1.0, 0.4)
    assert not schedule.due(0.9, 1, None) and schedule.due(1.0, 1, None)
    assert not schedule.due(0.3, 0, None) and schedule.due(0.4, 0, None), "while nobody is there too"
    assert not schedule.due(0.3, 1, None, unsure=True) and schedule.due(0.4, 1, None, unsure=True)
    schedule.slow_down()
    assert schedule.due(0.25, 1, None)


def test_windows_hold_means_and_the_95th_percentile() -> None:
    meter = Meter(window_s=1.0)
    assert meter.window(10.0) is None
    for number in range(20):
        meter.frame(0.02, {"crop": 0.001, "estimate": 0.011}, people=3, looked=2)
        meter.drawn(0.005, 0.1 if number else 0.5)
    meter.detection(0.04)
    assert meter.window(10.5) is None
    window = meter.window(12.0)
    assert window is not None
    assert (window.fps, window.people, window.looked, window.detections) == (10.0, 3.0, 2.0, 0.5)
    assert window.frame_s == pytest.approx(0.02) and window.estimate_s == pytest.approx(0.012)
    assert 0.1 <= window.latency_s < 0.5
    assert window.cost(Trade.KEYPOINTS) == pytest.approx(0.006)
    assert meter.window(14.0) is None, "no frame came"


def test_memory_decides_with_a_reason(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model.onnx").write_bytes(bytes(2**20))
    for free, says in ((2**33, ""), (2**20, "1 MB of memory are free, 516 MB are asked for"), (None, "not known")):
        monkeypatch.setattr(memory, "available_bytes", lambda free=free: free)
        assert (memory.room_for(tmp_path) == "") == (says == "") and says in memory.room_for(tmp_path)
    monkeypatch.undo()
    monkeypatch.setattr(memory, "available_bytes", lambda: 0)
    assert "520 MB are asked for" in memory.room_for(tmp_path, engines=2)
    monkeypatch.undo()
    free = memory.available_bytes()
    assert free is None or free > 0


class Costly(FakeEstimator):
    """Takes so many seconds of the wall and of the CPU: 0.010 of both, 0.008 without refinement; the first time 0.150
    more; `stretch` times as long by the wall."""

    refines = True
    flip_test = False

    def __init__(self, stretch: float = 1.0) -> None:
        super().__init__()
        self.stretch = stretch
        self.wall_s = self.cpu_s = 0.0
        self.detections = self.people = 0

    def takes(self, cpu_s: float) -> None:
        self.cpu_s += cpu_s
        self.wall_s += cpu_s * self.stretch

    def estimate(self, *args) -> BodyEstimates:
        self.takes((0.010 if self.refines else 0.008) + (0.0 if self.people else 0.150))
        self.people += 1
        return super().estimate(*args)

    def detect(self, frame: Frame) -> Detections:
        self.takes(0.030 if self.detections else 0.500)
        self.detections += 1
        return FakeDetector().detect(frame)

    def close(self) -> None: ...


@pytest.mark.parametrize(
    ("stretch", "threads", "person", "detector"),
    [(1.0, None, 1.0, 1.0), (0.6, None, 0.6, 0.6), (3.0, 1, 1.0, 1.0), (3.0, 2, 0.5, 1.0), (0.4, 2, 0.4, 0.4)],
)
def test_the_start_measures_for_a_quarter_of_a_second_without_first_times_and_other_programs(
    stretch: float, threads: int | None, person: float, detector: float
) -> None:
    """stretch: others take the cores, or several threads share the work. threads: given while others take them."""
    estimator = Costly(stretch)
    clocks = (lambda: estimator.wall_s, lambda: estimator.cpu_s)
    costs = measure_start(estimator, estimator, (320, 180), threads, clocks)  # type: ignore[arg-type]
    assert costs.person_s == pytest.approx(0.010 * person) and costs.detector_s == pytest.approx(0.030 * detector)
    assert costs.refinement_share == pytest.approx(0.2)
    assert estimator.wall_s <= stretch * (0.160 + 0.500) + 0.25 + 1e-6 and estimator.refines
    window = costs.as_measured(0.0, 30.0, 0.25)
    assert window.frame_s == pytest.approx(0.0125 * person) and window.detections == 4


def test_other_programs_are_looked_for_where_an_engine_runs_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def free(share: float) -> None:
        monkeypatch.setattr(factory, "free_share", lambda threads: asked.append(threads) or share)

    engine = cast("Engine", SimpleNamespace(device="cpu", threads=3))
    free(0.5)
    assert factory.shared_threads(engine) == 3
    free(0.95)
    assert factory.shared_threads(engine) is None and asked == [3, 3]
    assert factory.shared_threads(cast("Engine", SimpleNamespace(device="cuda", threads=3))) is None
    assert asked == [3, 3]


class SlowEngine:
    """An engine of a package without inputs, whose run takes so long; the first ones, disturbed, ten times as long."""

    threads = 1
    name = "exact"

    def __init__(self, seconds: float, disturbed: int = 0) -> None:
        self.package = SimpleNamespace(info=SimpleNamespace(inputs=()))
        self.seconds, self.disturbed, self.runs = seconds, disturbed, 0
        self.closed = False

    def run(self, inputs: dict[str, object]) -> None:
        assert inputs == {}
        self.runs += 1
        time.sleep(self.seconds if self.runs > self.disturbed else 10 * self.seconds)

    def __enter__(self) -> SlowEngine:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize(("quick_s", "taken"), [(0.005, True), (0.0095, False)])
def test_a_second_engine_is_timed_in_turn_with_one_like_the_first(
    quick_s: float, taken: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside a run: what disturbs both decides nothing, nor does what disturbs the first tries of one."""
    first, same, quick = SlowEngine(0.01), SlowEngine(0.01, disturbed=1), SlowEngine(quick_s, disturbed=2)
    opened = {"exact": same, "openvino-bf16": quick}
    monkeypatch.setattr(registry, "open_engine", lambda package, name, *args, **options: opened[name])
    monkeypatch.setattr(factory, "PAUSE_S", 0.0)
    if taken:
        assert open_if_quicker(cast("Engine", first)) is quick and not quick.closed
    else:
        with pytest.raises(UsageError, match=r"^a crop takes \d+ ms with it, \d+ ms without$"):
            open_if_quicker(cast("Engine", first))
        assert quick.closed
    assert same.closed and first.runs == 0, "the run has the first one"
    assert 2 < same.runs == quick.runs


def test_a_package_that_was_removed_is_a_reason_not_an_error(tmp_path: Path) -> None:
    assert memory.room_for(tmp_path / "gone").endswith("gone: No such file or directory")
