"""End to end without a window: a clip through the app's own pipeline, per stage, with people side by side."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cv2
import numpy as np

from evaluation.bench_engines import resident_mb

DEMO = Path(__file__).resolve().parents[1] / "assets" / "demo" / "demo.mp4"
FRAMES = 90


@dataclass(frozen=True)
class PipelineTime:
    """fps: frames out over the whole run. stages: name -> {"p50_ms", "p95_ms", ...}, as run.json has them."""

    package: str
    engine: str
    clip: str
    people: int
    frames: int
    fps: float
    memory_mb: float | None
    stages: dict[str, dict[str, float]]


def in_own_process(package: Path, engine: str, video: Path, people: int, frames: int = FRAMES) -> PipelineTime:
    """`run` in a fresh process, so that memory is that of this run alone."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(run, package, engine, video, people, frames).result()


def run(package: Path, engine: str, video: Path, people: int, frames: int = FRAMES) -> PipelineTime:
    """Run the first frames of `video`, `people` copies side by side, with overlay and motion written.

    Raises: BodycastError as a run does, RuntimeError where the run failed half-way.
    """
    from bodycast.app.config import NetworkConfig, PeopleConfig, ResultsConfig, RunConfig
    from bodycast.app.pipeline.build import build_run
    from bodycast.app.pipeline.pipeline import Pipeline

    with TemporaryDirectory() as folder:
        clip = side_by_side(video, Path(folder) / "clip.mp4", people, frames)
        network: dict[str, Any] = {"model": str(package), "engine": engine}
        config = RunConfig(
            source=str(clip),
            network=NetworkConfig(**network),
            people=PeopleConfig(max_people=max(people, 1)),
            results=ResultsConfig(output=Path(folder) / "out", window=False),
        )
        built = build_run(config)
        pipeline = Pipeline(built.stages, built.options)
        summary = pipeline.run()
        if summary.failure is not None:
            raise RuntimeError(summary.exit_reason)
        return PipelineTime(
            package=built.parts.package,
            engine=built.parts.engine,
            clip=video.name,
            people=people,
            frames=summary.frames_out,
            fps=summary.frames_out / summary.seconds,
            memory_mb=resident_mb("VmHWM"),
            stages={name: asdict(stage) for name, stage in pipeline.times.summary().items()},
        )


def side_by_side(video: Path, target: Path, people: int, frames: int) -> Path:
    """A clip that shows `video` as often as there are to be people. Raises ValueError where it cannot be read."""
    capture = cv2.VideoCapture(str(video))
    writer: cv2.VideoWriter | None = None
    try:
        for _ in range(frames):
            ok, image = capture.read()
            if not ok:
                break
            wide = np.tile(image, (1, people, 1))
            if writer is None:
                fps = capture.get(cv2.CAP_PROP_FPS) or 30.0
                size = (wide.shape[1], wide.shape[0])
                writer = cv2.VideoWriter(str(target), cv2.VideoWriter.fourcc(*"mp4v"), fps, size)
            writer.write(wide)
    finally:
        capture.release()
        if writer is not None:
            writer.release()
    if writer is None:
        raise ValueError(f"{video}: no frame could be read")
    return target
