"""Model package -> TensorRT plan: strongly typed, for one GPU generation.

TensorRT for RTX builds ahead of time, on a machine without a GPU, for any compute capability it knows. The full
TensorRT times kernels while it builds, so it needs the very GPU that will run the plan (TensorRT 11 documentation).
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from bodycast.engines.devices import cuda_devices, cuda_gpus
from bodycast.engines.errors import PlanError
from bodycast.engines.optional import require
from bodycast.engines.package import DATA_FILE, ModelPackage
from bodycast.engines.plans import (
    ANY_GPU,
    Plan,
    PlanKey,
    list_in_package,
    plan_folders,
    read_record,
    save_plan,
    this_platform,
    timing_cache_path,
)
from bodycast.engines.user_cache import write_whole
from bodycast.export.tensorrt_turing import NO_FP32_PRODUCTS, products_to_fp16

LIBRARIES = {"tensorrt": "tensorrt", "rtx": "tensorrt_rtx"}
"""`--runtime` -> the Python package."""

Progress = Callable[[str, float], None]
"""Called with the name of the running phase and the part of it that is done, 0..1."""

_MIB = 1 << 20


@dataclass(frozen=True)
class BuildOptions:
    """What to build. runtime: "rtx" or "tensorrt". compute_capability: "8.6".

    batches: least, best and most rows. workspace_mib: device memory that the build may plan with, None for all.
    beside: put the plan into the package's folder, to ship it, in place of the user's cache.
    """

    compute_capability: str
    runtime: str = "rtx"
    batches: tuple[int, int, int] = (1, 4, 16)
    workspace_mib: int | None = None
    beside: bool = False
    rebuild: bool = False

    def __post_init__(self) -> None:
        if self.runtime not in LIBRARIES:
            raise ValueError(f"no runtime {self.runtime!r}; there are {', '.join(LIBRARIES)}")
        least, best, most = self.batches
        if not 1 <= least <= best <= most:
            raise ValueError(f"batches: expected 1 <= min <= opt <= max, got {least}, {best}, {most}")
        if self.workspace_mib is not None and self.workspace_mib < 1:
            raise ValueError(f"workspace: expected at least 1 MiB, got {self.workspace_mib}")


def supported_capabilities(runtime: str) -> list[str]:
    """Compute capabilities that a plan can be built for here: the library's list, or this machine's GPUs.

    Raises: EngineUnavailableError where the library is not installed; PlanError where "tensorrt" has no GPU.
    """
    if runtime == "rtx":
        trt = require(LIBRARIES[runtime], "gpu.txt")
        known = [name for name in vars(trt.ComputeCapability) if name.startswith("SM")]
        return sorted((f"{name[2:-1]}.{name[-1]}" for name in known), key=float)
    capabilities = sorted({gpu.compute_capability for gpu in cuda_gpus()}, key=float)
    if not capabilities:
        raise PlanError(
            f"a tensorrt plan is built on the GPU that runs it, and here is none ({cuda_devices()[1]}); for RTX cards "
            "--runtime rtx builds ahead of time without one"
        )
    return capabilities


def build_plan(package: ModelPackage, options: BuildOptions, progress: Progress | None = None) -> Plan:
    """Build a plan, or give the one that is there already.

    Raises: EngineUnavailableError (library missing), PlanError (this capability cannot be built for here, or the
    library does not build the graph: each node it cannot take is named), KeyboardInterrupt where it is stopped; then
    nothing is left behind.
    """
    capabilities = supported_capabilities(options.runtime)
    if options.compute_capability not in capabilities:
        raise PlanError(
            f"{options.runtime} builds no plan for compute capability {options.compute_capability!r} here; "
            f"it can for {', '.join(capabilities)}"
        )
    if package.info.precision == "int8":
        raise PlanError(
            f"{package.info.name}: int8 packages are made for CPUs, with DynamicQuantizeLinear and MatMulInteger, "
            "which TensorRT does not take; export with --precision fp16"
        )
    library = LIBRARIES[options.runtime]
    trt = require(library, "gpu.txt")
    model, precision = _graph_for(package, options)
    key = PlanKey(
        library=library,
        version=str(trt.__version__),
        gpu=ANY_GPU if options.runtime == "rtx" else _gpu_name(options.compute_capability),
        compute_capability=options.compute_capability,
        platform=this_platform(),
        graph=package.sha256,
        precision=precision,
        shapes=_shapes(package, options.batches),
    )
    folder = plan_folders(package)[0 if options.beside else 1]
    there = folder / f"{key.stem}.json"
    if there.is_file() and not options.rebuild:
        plan = read_record(there)
        plan.read()
        return plan
    plan = save_plan(folder, key, _build(trt, model, package.model_path, key, options, progress))
    if options.beside:
        list_in_package(package.folder, plan)
    return plan


def _graph_for(package: ModelPackage, options: BuildOptions) -> tuple[bytes, str]:
    """The graph to build, and its precision as the key says it."""
    model = package.model_path.read_bytes()
    if options.runtime == "rtx" and options.compute_capability in NO_FP32_PRODUCTS:
        if DATA_FILE in package.files:
            raise PlanError(
                f"{package.info.name}: compute capability {options.compute_capability} needs fp16 products, and this "
                "graph is above 2 GB; export it with --precision fp16"
            )
        turned = products_to_fp16(model, package)
        if turned.count:
            return turned.model, f"{package.info.precision}+fp16-products"
    return model, package.info.precision


def _gpu_name(compute_capability: str) -> str:
    return next(gpu.name for gpu in cuda_gpus() if gpu.compute_capability == compute_capability)


def _shapes(
    package: ModelPackage, batches: tuple[int, int, int]
) -> dict[str, tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]]:
    least, best, most = batches
    return {spec.name: (spec.concrete(least), spec.concrete(best), spec.concrete(most)) for spec in package.info.inputs}


def _build(trt: Any, model: bytes, path: Path, key: PlanKey, options: BuildOptions, progress: Progress | None) -> bytes:
    """path: where weights that are not in the graph are looked for."""
    said: list[str] = []
    logger = _logger(trt, said)
    builder = trt.Builder(logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(model, str(path)):
        raise PlanError(f"{key.library} {key.version} does not take the graph: {_parser_errors(parser)}")
    config = builder.create_builder_config()
    _target(trt, config, key, options)
    profile = builder.create_optimization_profile()
    for name, shapes in key.shapes.items():
        profile.set_shape(name, *shapes)
    config.add_optimization_profile(profile)
    timing = _timing_cache(config, key)
    with _stoppable(trt, config, progress) as stopped:
        content = builder.build_serialized_network(network, config)
    if stopped.is_set():
        raise KeyboardInterrupt
    if content is None:
        raise PlanError(
            f"{key.library} {key.version} builds no plan for compute capability {key.compute_capability}: "
            f"{'; '.join(dict.fromkeys(said)) or 'it does not say why'}"
        )
    _keep_timing(timing, key)
    return bytes(content)


def _target(trt: Any, config: Any, key: PlanKey, options: BuildOptions) -> None:
    if options.runtime == "rtx":
        config.num_compute_capabilities = 1
        member = "SM" + key.compute_capability.replace(".", "")
        config.set_compute_capability(getattr(trt.ComputeCapability, member), 0)
    if options.workspace_mib is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_mib * _MIB)


def _parser_errors(parser: Any) -> str:
    """Each node that is not supported, by operator and what the parser says about it."""
    nodes: dict[tuple[str, str], list[str]] = {}
    for error in (parser.get_error(index) for index in range(parser.num_errors)):
        # "false" is how a parser rule that does not hold is printed; it says nothing.
        said = "" if error.desc() == "false" else f": {error.desc()}"
        nodes.setdefault((str(error.node_operator()), said), []).append(repr(error.node_name()))
    return "; ".join(f"{operator} {', '.join(dict.fromkeys(names))}{said}" for (operator, said), names in nodes.items())


def _timing_cache(config: Any, key: PlanKey) -> Any:
    """Kernel times of earlier builds, so that this one measures only what is new."""
    path = timing_cache_path(key.library, key.version)
    cache = config.create_timing_cache(path.read_bytes() if path.is_file() else b"")
    if cache is None or not config.set_timing_cache(cache, False):
        cache = config.create_timing_cache(b"")
        config.set_timing_cache(cache, False)
    return cache


def _keep_timing(cache: Any, key: PlanKey) -> None:
    content = cache.serialize()
    if content is not None:
        write_whole(timing_cache_path(key.library, key.version), bytes(content))


def _logger(trt: Any, said: list[str]) -> Any:
    class Collecting(trt.ILogger):
        """Keeps the errors for ours; the library's information is of no use to whoever builds."""

        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            if severity <= trt.ILogger.Severity.ERROR:
                said.append(" ".join(message.split()))

    return Collecting()


@contextmanager
def _stoppable(trt: Any, config: Any, progress: Progress | None) -> Iterator[threading.Event]:
    """Report progress, and let Ctrl-C end the build between two steps: the library cannot bear an exception."""
    stopped = threading.Event()

    class Monitor(trt.IProgressMonitor):
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.steps: dict[str, int] = {}

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self.steps[phase_name] = max(1, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            if progress is not None:
                progress(phase_name, min(1.0, (step + 1) / self.steps[phase_name]))
            return not stopped.is_set()

        def phase_finish(self, phase_name: str) -> None:
            self.steps.pop(phase_name, None)

    config.progress_monitor = Monitor()
    if threading.current_thread() is not threading.main_thread():
        yield stopped
        return

    def stop(number: int, frame: FrameType | None) -> None:
        stopped.set()

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield stopped
    finally:
        signal.signal(signal.SIGINT, before)


def plan_path_shown(plan: Plan) -> Path:
    """The plan's path as people read it: relative to where they are, if it lies below."""
    return plan.path.relative_to(Path.cwd()) if plan.path.is_relative_to(Path.cwd()) else plan.path
