"""What `bodycast bench` measures: each stage on a frame of the demo clip, alone and one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from time import perf_counter

import cv2
import numpy as np

from bodycast.app.config import NetworkConfig, PresetName, RunConfig
from bodycast.app.detectors import open_detector
from bodycast.app.errors import BodycastError, UsageError
from bodycast.app.pipeline.build import open_estimator
from bodycast.app.presets import networks_of, preset_defaults
from bodycast.app.records import BodyEstimates, Detections, Frame, Tracks
from bodycast.app.renderers import open_renderer
from bodycast.app.smoothers import open_smoother
from bodycast.app.sources.factory import DEMO_CLIP
from bodycast.app.tracking import open_tracker
from bodycast.app.world.live import LiveWorld
from bodycast.hmr.body.body_model import BodyModel
from bodycast.hmr.geometry.boxes import from_points
from bodycast.hmr.geometry.camera import Intrinsics, project_intrinsics

FRAME_INDEX = 100
WARM_UP = 3
FPS = 30.0
SMOOTHERS = ("one-euro", "diffusion")


@dataclass(frozen=True, slots=True)
class BenchOptions:
    """As `bodycast.app.commands.bench.Bench` has them, engines named."""

    people: tuple[int, ...]
    presets: tuple[PresetName, ...]
    engines: tuple[str, ...]
    device: str
    renderers: tuple[str, ...]
    threads: int | None
    repeats: int


@dataclass(frozen=True, slots=True)
class StageTime:
    """Milliseconds of one call of a stage, with `people` in the picture. engine: what ran it, "" for no network."""

    stage: str
    engine: str
    people: int
    least_ms: float
    median_ms: float
    p95_ms: float


@dataclass(frozen=True, slots=True)
class Scene:
    """A picture and the bodies in it."""

    frame: Frame
    intrinsics: Intrinsics
    estimates: BodyEstimates
    tracks: Tracks


def measure_all(options: BenchOptions) -> tuple[list[StageTime], dict[str, str]]:
    """All lines, and what was left out with the reason.

    Raises: UsageError where the demo clip or the embedded networks are not there.
    """
    times: list[StageTime] = []
    left_out: dict[str, str] = {}
    body = BodyModel.load()
    first = demo_scene(body)
    for people in options.people:
        scene = side_by_side(first, people, body)
        times += detector_times(scene, options)
        times += stage_times(scene, body, options, left_out)
        for preset_names, config in networks(options.presets):
            times += network_times(preset_names, config, scene, options, left_out)
    return times, left_out


def demo_scene(body: BodyModel) -> Scene:
    """One person of the demo clip, as the default preset sees them. Raises: UsageError where the clip is missing."""
    capture = cv2.VideoCapture(str(DEMO_CLIP))
    capture.set(cv2.CAP_PROP_POS_FRAMES, FRAME_INDEX)
    ok, image = capture.read()
    capture.release()
    if not ok:
        raise UsageError(f"{DEMO_CLIP} cannot be read: this copy of the project is not complete")
    frame = Frame(np.asarray(image, np.uint8), 0, 0.0)
    intrinsics = Intrinsics.default(frame.image_wh)
    detector = open_detector()
    found = detector.detect(frame)
    detector.close()
    if not len(found):
        raise UsageError(f"{detector.name} finds nobody in frame {FRAME_INDEX} of {DEMO_CLIP.name}")
    tracks = Tracks(np.ones(1, np.int32), found.xyxy[:1], np.zeros(1))
    estimator = open_estimator(preset_defaults("fast"))
    estimates = estimator.estimate(estimator.crop(frame, tracks, estimator.input_hw), intrinsics, frame.image_wh)
    estimator.close()
    if not len(estimates):
        raise UsageError("the embedded networks give no body for the demo clip")
    return side_by_side(Scene(frame, intrinsics, estimates, tracks), 1, body)


def side_by_side(scene: Scene, people: int, body: BodyModel) -> Scene:
    """The scene's first person as often as wanted, one beside the other and each a little further away."""
    one = scene.estimates
    beside = np.arange(people) - (people - 1) / 2
    shift = np.stack([0.45 * beside, np.zeros(people), 0.3 * np.abs(beside)], axis=1)
    estimates = BodyEstimates(
        id=np.arange(1, people + 1, dtype=np.int32),
        pose=np.repeat(one.pose[:1], people, axis=0),
        betas=np.repeat(one.betas[:1], people, axis=0),
        transl_m=(one.transl_m[:1] + shift).astype(np.float32),
        score=np.ones(people, np.float32),
        token=np.repeat(one.token[:1], people, axis=0),
    )
    vertices = body(estimates.pose, estimates.betas, estimates.transl_m).vertices
    xyxy = from_points(project_intrinsics(vertices, scene.intrinsics)).astype(np.float32)
    return replace(scene, estimates=estimates, tracks=Tracks(estimates.id, xyxy, np.zeros(people)))


def measure(stage: str, engine: str, people: int, call: Callable[[int], object], repeats: int) -> StageTime:
    """Time `call(i)`; a few calls before are not counted."""
    times_ms: list[float] = []
    for i in range(repeats + WARM_UP):
        start = perf_counter()
        call(i)
        times_ms.append(1e3 * (perf_counter() - start))
    counted = np.array(times_ms[WARM_UP:])
    figures = (float(counted.min()), float(np.median(counted)), float(np.percentile(counted, 95)))
    return StageTime(stage, engine, people, *(round(figure, 3) for figure in figures))


def detector_times(scene: Scene, options: BenchOptions) -> Iterator[StageTime]:
    """The detector that a run takes, on the whole picture."""
    detector = open_detector("auto", "auto", options.device, threads=options.threads)
    try:
        people = len(scene.tracks)
        yield measure(
            f"detect ({detector.name})", "auto", people, lambda _: detector.detect(scene.frame), options.repeats
        )
    finally:
        detector.close()


def stage_times(scene: Scene, body: BodyModel, options: BenchOptions, left_out: dict[str, str]) -> Iterator[StageTime]:
    """Every stage but the networks."""
    estimates, people, repeats = scene.estimates, len(scene.tracks), options.repeats
    boxes = Detections(scene.tracks.xyxy, np.ones(people, np.float32))
    tracker = open_tracker(people)
    yield measure("track", "", people, lambda i: tracker.update(boxes, i / FPS), repeats)
    for name in SMOOTHERS:
        smoother = open_smoother(name)

        def smooth(i: int) -> object:
            return smoother.update(estimates, i / FPS)  # noqa: B023

        yield measure(f"smooth ({name})", "", people, smooth, repeats)
        smoother.close()
    world = LiveWorld(body)

    def place(i: int) -> object:
        frame = Frame(scene.frame.image, i, i / FPS)
        return world.place(frame, estimates, scene.tracks.xyxy, scene.intrinsics)

    yield measure("place", "", people, place, repeats)
    yield measure("body", "", people, lambda _: body(estimates.pose, estimates.betas, estimates.transl_m), repeats)
    vertices = body(estimates.pose, estimates.betas, estimates.transl_m).vertices
    for name in options.renderers:
        try:
            renderer = open_renderer(name, body.faces)
        except BodycastError as error:
            left_out[f"overlay ({name})"] = str(error)
            continue

        def draw(_: int) -> object:
            return renderer.render(scene.frame.image, vertices, estimates.id, scene.intrinsics)  # noqa: B023

        yield measure(f"overlay ({renderer.name})", "", people, draw, repeats)
        renderer.close()


def networks(presets: Sequence[PresetName]) -> list[tuple[str, RunConfig]]:
    """The configurations of presets whose networks differ, with the names of those that share them."""
    found: dict[tuple[str, str, bool], list[str]] = {}
    configs: dict[tuple[str, str, bool], RunConfig] = {}
    for name in presets:
        config = preset_defaults(name)
        key = (*networks_of(config), config.network.flip_test)
        found.setdefault(key, []).append(name)
        configs.setdefault(key, config)
    return [(", ".join(names), configs[key]) for key, names in found.items()]


def network_times(
    preset_names: str, config: RunConfig, scene: Scene, options: BenchOptions, left_out: dict[str, str]
) -> Iterator[StageTime]:
    """Crops and networks of a preset on every engine that runs on the device."""
    people, frame = len(scene.tracks), scene.frame
    cropped = False
    for engine in options.engines:
        network: NetworkConfig = replace(config.network, engine=engine, device=options.device)  # type: ignore[arg-type]
        try:
            estimator = open_estimator(replace(config, network=network), options.threads)
        except BodycastError as error:
            left_out[f"networks of {preset_names} on {engine}"] = str(error)
            continue
        try:
            crops = estimator.crop(frame, scene.tracks, estimator.input_hw)

            def crop(_: int) -> object:
                return estimator.crop(frame, scene.tracks, estimator.input_hw)  # noqa: B023

            def estimate(_: int) -> object:
                return estimator.estimate(crops, scene.intrinsics, frame.image_wh)  # noqa: B023

            if not cropped:
                yield measure(f"crop ({preset_names})", "", people, crop, options.repeats)
                cropped = True
            yield measure(f"networks ({preset_names})", engine, people, estimate, options.repeats)
        except BodycastError as error:
            left_out[f"networks of {preset_names} on {engine}"] = str(error)
        finally:
            estimator.close()
