"""Whole frames on a GPU: crops, networks, refinement and skinning for 1, 2, 6 and 10 people, on each engine.

A frame of the demo film, with one of its people as often as wanted; crops cut on the GPU and on the CPU. Decoding,
detection and drawing run beside it in other threads and are not in these times.
"""

from __future__ import annotations

import gc
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

from bodycast.app.commands.bench_stages import Scene, demo_scene, measure, side_by_side
from bodycast.app.config import RunConfig
from bodycast.app.estimation.gpu_body import posing_of, skinned_where
from bodycast.app.model_packages import find_package
from bodycast.app.pipeline.build import open_estimator
from bodycast.app.presets import networks_of, preset_defaults
from bodycast.engines.errors import first_line
from bodycast.engines.registry import ENGINES
from bodycast.hmr.body.body_model import BodyModel


@dataclass(frozen=True)
class FrameTime:
    """Milliseconds of a frame with so many people. crops: where they are cut; skinned: where, of many people."""

    engine: str
    crops: str
    people: int
    least_ms: float
    median_ms: float
    skinned: str

    @property
    def frames_per_s(self) -> float:
        """At the median."""
        return 1e3 / self.median_ms


def frame_times(
    device: str, engines: Sequence[str], people: Sequence[int], repeats: int, failed: dict[str, str]
) -> list[FrameTime]:
    """All of them; what does not run is noted in `failed`, and the others go on."""
    body = BodyModel.load()
    first = demo_scene(body)
    kind = "cpu" if device == "cpu" else "cuda"
    found: list[FrameTime] = []
    for name in engines:
        if kind not in ENGINES[name].devices or not ENGINES[name].installed():
            continue
        for cut in ("gpu", "cpu") if kind == "cuda" else ("cpu",):
            for count in people:
                try:
                    found.append(_frame_time(side_by_side(first, count, body), body, name, device, cut, repeats))
                # Engines of three makers, whose exceptions share no base below Exception.
                except Exception as error:
                    failed[f"frames on {name}, crops on the {cut}, {count} people"] = short_line(error)
                gc.collect()
    return found


def _frame_time(scene: Scene, body: BodyModel, engine: str, device: str, cut: str, repeats: int) -> FrameTime:
    config = preset_defaults("fast")
    if engine.startswith("tensorrt"):
        _build_plan(config, engine)
    network = replace(config.network, engine=engine, device=device)  # type: ignore[arg-type]
    with ExitStack() as opened:
        estimator = open_estimator(replace(config, network=network))
        opened.callback(estimator.close)
        estimator.cuts_on_gpu = cut == "gpu"
        posing, why = posing_of(body, estimator.engine, opened)

        def frame(index: int) -> object:
            # A number of its own: every frame is uploaded.
            picture = replace(scene.frame, index=index)
            crops = estimator.crop(picture, scene.tracks, estimator.input_hw)
            estimates = estimator.estimate(crops, scene.intrinsics, picture.image_wh)
            return posing(estimates.pose, estimates.betas, estimates.transl_m)

        time = measure("frame", engine, len(scene.tracks), frame, repeats)
    where = skinned_where(posing).removeprefix("; ") or (why[0] if why else "on the CPU")
    return FrameTime(engine, cut, len(scene.tracks), time.least_ms, time.median_ms, where)


def _build_plan(config: RunConfig, engine: str) -> None:
    """The keypoint network's plan, in the user's cache; found again if it is there."""
    from bodycast.engines.devices import cuda_gpus
    from bodycast.export.tensorrt_plan import BuildOptions, build_plan

    runtime = "rtx" if engine == "tensorrt-rtx" else "tensorrt"
    package = find_package(networks_of(config)[1], "pose")
    build_plan(package, BuildOptions(cuda_gpus()[0].compute_capability, runtime))


def short_line(error: BaseException) -> str:
    """What an error says, in one line of a report."""
    return first_line(error)[:300]


def frame_table(times: Sequence[FrameTime]) -> list[str]:
    """Markdown lines."""
    head = ["| whole frame: engine | crops cut on | people | least ms | median | frames/s |", "|" + "---|" * 6]
    return head + [
        f"| {row.engine} | {row.crops} | {row.people} | {row.least_ms:.2f} | {row.median_ms:.2f} | "
        f"{row.frames_per_s:.1f} |"
        for row in times
    ]
