"""`python -m evaluation stages`: how long each stage takes on this machine, one after the other in one thread.

Poses, boxes and pictures are those of the demo clip. Compare figures of one run with each other: machines are shared,
so the least time says what the code costs, the median and the 95th percentile what the machine made of it.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter

import cv2
import numpy as np
from rich.console import Console
from rich.table import Table

from bodycast.app.errors import BodycastError
from bodycast.app.estimation.cropper import crop_people
from bodycast.app.estimation.estimator import Estimator
from bodycast.app.model_packages import installed_packages
from bodycast.app.records import BodyEstimates, Detections, Frame, Tracks
from bodycast.app.renderers import open_renderer
from bodycast.app.smoothers import open_smoother
from bodycast.app.tracking import open_tracker
from bodycast.hmr.body.body_model import BodyModel
from bodycast.hmr.geometry.boxes import from_points
from bodycast.hmr.geometry.camera import Intrinsics, project_intrinsics
from bodycast.hmr.geometry.rotations import axis_angle_to_matrix

DEMO = Path(__file__).resolve().parents[1] / "assets" / "demo"


@dataclass(frozen=True, slots=True)
class StageTime:
    """Milliseconds per call of one stage with `people` in the picture."""

    stage: str
    people: int
    least_ms: float
    median_ms: float
    p95_ms: float


@dataclass(frozen=True)
class Scene:
    """A picture and what is known about the people in it."""

    frame: Frame
    intrinsics: Intrinsics
    estimates: BodyEstimates
    tracks: Tracks


def demo_scene(people: int, body: BodyModel) -> Scene:
    """A frame of the demo clip, with as many people (the clip's own, moved sideways and back) as wanted."""
    with np.load(DEMO / "demo.npz", allow_pickle=False) as truth:
        focal_px, width, height = float(truth["focal_px"]), *(int(size) for size in truth["image_wh"])
        frame_index = int(truth["frame"][len(truth["frame"]) // 2])
        row = int(np.flatnonzero(truth["frame"] == frame_index)[0])
        poses, betas, trans = (truth[key][row : row + 1] for key in ("poses", "betas", "trans"))
    image = _demo_picture(frame_index)
    intrinsics = Intrinsics.from_focal(focal_px, (width, height))
    beside = np.arange(people) - (people - 1) / 2
    shift = np.stack([0.45 * beside, np.zeros(people), 0.3 * np.abs(beside)], axis=1)
    estimates = BodyEstimates(
        id=np.arange(1, people + 1, dtype=np.int32),
        pose=np.repeat(axis_angle_to_matrix(poses.reshape(1, 24, 3)), people, axis=0).astype(np.float32),
        betas=np.repeat(betas, people, axis=0).astype(np.float32),
        transl_m=(trans + shift).astype(np.float32),
        score=np.ones(people, np.float32),
        token=np.zeros((people, 0), np.float32),
    )
    vertices = body(estimates.pose, estimates.betas, estimates.transl_m).vertices
    xyxy = from_points(project_intrinsics(vertices, intrinsics)).astype(np.float32)
    tracks = Tracks(estimates.id, xyxy, np.zeros(people, np.float64))
    return Scene(Frame(image, frame_index, 0.0, intrinsics), intrinsics, estimates, tracks)


def _demo_picture(index: int) -> np.ndarray:
    capture = cv2.VideoCapture(str(DEMO / "demo.mp4"))
    capture.set(cv2.CAP_PROP_POS_FRAMES, index)
    ok, image = capture.read()
    capture.release()
    if not ok:
        raise SystemExit(f"evaluation: {DEMO / 'demo.mp4'} has no frame {index}")
    return np.asarray(image, np.uint8)


def measure(stage: str, people: int, call: Callable[[int], object], repeats: int) -> StageTime:
    """Time `call(i)`; three calls before are not counted."""
    times_ms: list[float] = []
    for i in range(repeats + 3):
        start = perf_counter()
        call(i)
        times_ms.append(1e3 * (perf_counter() - start))
    counted = np.array(times_ms[3:])
    return StageTime(stage, people, *(round(float(x), 3) for x in (counted.min(), *np.percentile(counted, [50, 95]))))


def stage_times(people: int, repeats: int, renderers: Sequence[str]) -> Iterator[StageTime]:
    """Every stage that this machine can run."""
    body = BodyModel.load()
    scene = demo_scene(people, body)
    estimates, frame = scene.estimates, scene.frame
    boxes = Detections(scene.tracks.xyxy, np.ones(people, np.float32))
    tracker, smoother = open_tracker(people), open_smoother("one-euro")
    yield measure("track", people, lambda i: tracker.update(boxes, i / 30), repeats)
    yield measure("crop", people, lambda _: crop_people(frame, scene.tracks), repeats)
    yield from network_times(scene, repeats)
    yield measure("smooth (one-euro)", people, lambda i: smoother.update(estimates, i / 30), repeats)
    yield measure("body", people, lambda _: body(estimates.pose, estimates.betas, estimates.transl_m), repeats)
    vertices = body(estimates.pose, estimates.betas, estimates.transl_m).vertices
    for name in renderers:
        try:
            renderer = open_renderer(name, body.faces)
        except BodycastError as error:
            Console(stderr=True).print(f"{name}: {error}")
            continue

        def draw(_: int) -> object:
            return renderer.render(frame.image, vertices, estimates.id, scene.intrinsics)  # noqa: B023

        yield measure(f"overlay ({renderer.name})", people, draw, repeats)
        renderer.close()


def network_times(scene: Scene, repeats: int) -> Iterator[StageTime]:
    """Every installed network on the engine that is fastest here."""
    for package in installed_packages("hmr"):
        estimator = Estimator(package.folder, "auto", "auto")
        crops = crop_people(scene.frame, scene.tracks, estimator.input_hw)

        def estimate(_: int) -> object:
            return estimator.estimate(crops, scene.intrinsics, scene.frame.image_wh)  # noqa: B023

        name = f"network {package.info.name} ({estimator.engine.name})"
        yield measure(name, len(scene.estimates), estimate, repeats)
        estimator.close()


def main(argv: Sequence[str]) -> int:
    """Measure and print a table, or JSON."""
    parser = argparse.ArgumentParser(prog="python -m evaluation stages", description="Time every stage of a run.")
    parser.add_argument("--people", type=int, nargs="+", default=[1, 2, 6], help="people in the picture")
    parser.add_argument("--repeats", type=int, default=30, help="calls per figure")
    parser.add_argument("--renderers", nargs="+", default=["moderngl", "cpu"], help="which overlays to time")
    parser.add_argument("--json", action="store_true", help="print a JSON list")
    options = parser.parse_args(argv)
    if min(options.people) < 1 or options.repeats < 1:
        parser.error("--people and --repeats must be at least 1")
    times = [time for people in options.people for time in stage_times(people, options.repeats, options.renderers)]
    if options.json:
        print(json.dumps([asdict(time) for time in times], indent=2))
        return 0
    table = Table("stage", "people", "least ms", "median ms", "95 % ms", title="1280x720, one stage at a time")
    for time in times:
        table.add_row(time.stage, str(time.people), *(f"{x:.2f}" for x in (time.least_ms, time.median_ms, time.p95_ms)))
    Console().print(table)
    return 0
