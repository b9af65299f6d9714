"""From the configuration and the open stages to the governor of a live run."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from bodycast.app.config import RunConfig
from bodycast.app.errors import UsageError
from bodycast.app.governor.governor import Governor
from bodycast.app.governor.ladder import Tradable, ladder
from bodycast.app.governor.memory import room_for
from bodycast.app.governor.networks import Networks, Spare
from bodycast.app.governor.policy import Goals
from bodycast.app.governor.start import measure_start
from bodycast.app.model_packages import find_package
from bodycast.app.presets import QUICKER_KEYPOINTS, networks_of
from bodycast.app.sources.base import SourceInfo
from bodycast.engines.devices import usable_cores
from bodycast.engines.machine import QUIET, free_share

if TYPE_CHECKING:
    from bodycast.app.detectors.base import Detector
    from bodycast.app.estimation.estimator import Estimator
    from bodycast.app.estimation.fused_estimator import FusedEstimator
    from bodycast.app.estimation.keypoints import KeypointNetwork
    from bodycast.engines.base import Engine

USUAL_FPS = 30.0
"""Of a camera that does not say its rate."""
MAX_LATENCY_S = 0.25
BF16 = "openvino-bf16"
WORTH = 0.85
"""A second engine is taken where a crop takes it less than this share of the first one's time."""
LOOKED_S, MOST_TRIES, PAUSE_S = 4.0, 15, 0.1
"""How long, and how often, a second engine is timed beside a run, and the pause between two tries."""


def is_governed(config: RunConfig, live: bool) -> bool:
    """Whether a run has a governor. Raises: UsageError where one is asked for and the source is not live."""
    asked = config.live.target_fps is not None or config.live.max_latency is not None
    if asked and not live:
        raise UsageError("--target-fps and --max-latency are for live sources: of a file every frame is processed")
    return live and (asked or config.preset == "auto")


def open_governor(
    config: RunConfig,
    source: SourceInfo,
    estimator: Estimator | FusedEstimator,
    detector: Detector,
    *,
    draws: bool,
) -> Governor | None:
    """The governor of a run; None where it has none. It measures for a quarter of a second and may open a network.

    Raises: UsageError, RunError where a network or the detector fails.
    """
    if not is_governed(config, source.live):
        return None
    goals = Goals(config.live.target_fps or source.fps or USUAL_FPS, config.live.max_latency or MAX_LATENCY_S)
    costs = measure_start(estimator, detector, source.image_wh, shared_threads(estimator.engine))
    hmr = hmr_of(estimator)
    keypoints, engine = _quicker_keypoints(config, estimator), _quicker_engine(config, hmr)
    has = Tradable(
        detect_every_s=config.people.detect_every,
        draws=draws and config.results.draw != "skeleton",
        flip_test=estimator.flip_test,
        refines=estimator.refines,
        refinement_share=costs.refinement_share,
        keypoints=None if keypoints is None else (networks_of(config)[1], QUICKER_KEYPOINTS),
        engine=None if engine is None else (engine[0].engine.name, BF16),
    )
    networks = Networks(estimator, keypoints, engine)
    start = costs.as_measured(time.monotonic(), goals.target_fps, config.people.detect_every)
    return Governor(goals, ladder(has), networks, start)


def hmr_of(estimator: Estimator | FusedEstimator) -> Estimator | None:
    """The HMR network of an estimator, None where it has none."""
    from bodycast.app.estimation.fused_estimator import FusedEstimator

    return estimator.hmr if isinstance(estimator, FusedEstimator) else estimator


def _quicker_keypoints(
    config: RunConfig, estimator: Estimator | FusedEstimator
) -> tuple[FusedEstimator, Spare[KeypointNetwork]] | None:
    """Where the preset has chosen the keypoint network and there is a quicker one. One that the user named stays."""
    from bodycast.app.estimation.fused_estimator import FusedEstimator
    from bodycast.app.estimation.keypoints import KeypointNetwork

    network = config.network
    if not isinstance(estimator, FusedEstimator) or network.keypoints != "auto":
        return None
    if networks_of(config)[1] == QUICKER_KEYPOINTS:
        return None
    package = find_package(QUICKER_KEYPOINTS, "pose")
    make = partial(KeypointNetwork, package.folder, network.engine, network.device)
    return estimator, Spare(make, partial(room_for, package.folder))


def _quicker_engine(config: RunConfig, hmr: Estimator | None) -> tuple[Estimator, Spare[Engine]] | None:
    """bfloat16 for an HMR network that OpenVINO or ONNX Runtime runs on the CPU, where the user has named no engine."""
    from bodycast.engines.registry import ENGINES

    if hmr is None or config.network.engine != "auto" or hmr.engine.device != "cpu" or hmr.engine.name == BF16:
        return None
    if not ENGINES[BF16].installed():
        return None
    folder = hmr.package.folder
    return hmr, Spare(partial(open_if_quicker, hmr.engine), partial(room_for, folder, engines=2))


def shared_threads(engine: Engine) -> int | None:
    """Threads of an engine on the CPU while other programs use it; None where its wall time says what it costs, as on a
    GPU, which leaves the CPU idle."""
    if engine.device != "cpu":
        return None
    threads = engine.threads or usable_cores()
    return threads if free_share(threads) < QUIET else None


def open_if_quicker(first: Engine, look_s: float = LOOKED_S) -> Engine:
    """bfloat16 for the package of `first`, beside whose run it is timed, in turn with another engine like `first`: what
    disturbs one disturbs the other. Raises: UsageError where it is not quicker, EngineError where it cannot be opened.
    """
    from bodycast.engines.registry import open_engine

    engine = open_engine(first.package, BF16, "cpu", threads=first.threads)
    try:
        with open_engine(first.package, first.name, "cpu", threads=first.threads) as same:
            first_s, took_s = least_crop_s((same, engine), look_s)
        if took_s > WORTH * first_s:
            raise UsageError(f"a crop takes {1e3 * took_s:.0f} ms with it, {1e3 * first_s:.0f} ms without")
    except BaseException:
        engine.close()
        raise
    return engine


def least_crop_s(engines: Sequence[Engine], look_s: float) -> list[float]:
    """Seconds of the quickest crop of each, run in turn, for look_s or MOST_TRIES: a run disturbs most of them and
    makes none quicker. Raises: EngineError."""
    crop = {spec.name: np.zeros(spec.concrete(1), spec.dtype) for spec in engines[0].package.info.inputs}
    least_s, end_s = [float("inf")] * len(engines), time.monotonic() + look_s
    for _ in range(MOST_TRIES):
        for number, engine in enumerate(engines):
            began_s = time.perf_counter()
            engine.run(crop)
            least_s[number] = min(least_s[number], time.perf_counter() - began_s)
        if time.monotonic() > end_s:
            break
        time.sleep(PAUSE_S)  # another moment, and the run has the cores meanwhile
    return least_s
