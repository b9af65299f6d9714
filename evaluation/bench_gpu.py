"""`python -m evaluation bench --gpu`: everything that is to be known about an NVIDIA GPU, in one command.

Every network with random weights, at every batch: torch eager, compiled and as a CUDA graph, in fp32 and fp16; its fp32
and fp16 packages on ONNX Runtime and on the TensorRT packages that are installed, plans built on the spot. Beside each
time: the floor (multiply-accumulates over the rate of a big matrix product here), the difference from fp32 torch, and
whether it is beyond the task's tolerance. Then the merged networks against the plain ones, from plain fp32 to merged
fp16, and whole frames for several numbers of people (`bench_gpu_frames`). What does not run here is listed with the
reason.
"""

from __future__ import annotations

import copy
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bodycast.engines.package import ModelPackage, Tensors
from bodycast.engines.registry import ENGINES, open_engine
from bodycast.export.exportable import Exportable, exportable
from bodycast.export.network_package import Options, Words, checked_graph, export_package
from bodycast.export.onnx_graph import run_torch
from bodycast.export.parity_errors import TOLERANCES, compare
from evaluation.bench_gpu_frames import FrameTime, frame_table, frame_times, short_line

NETWORKS: dict[str, tuple[str, Mapping[str, Any]]] = {
    name: (name, {})
    for name in ("swin-t-s2", "swin-t-s3", "swin-b-s3", "gmf-t-s2", "vmamba-t-s2", "hmr2-s", "hmr2-s-fast", "hmr2-b")
} | {
    "hmr2-b-fast": ("hmr2-b-fast", {}),
    "deformable-x4 on ViT-S": ("deformable-x4", {"size": "s"}),
    "pose-vit-s": ("pose-vit-s", {}),
    "diffusion-decoder": ("diffusion-decoder", {}),
    "hmr2-h": ("hmr2-h", {}),
    "hmr2-h-fast": ("hmr2-h-fast", {}),
}
_TOY = {
    "image_hw": (32, 32),
    "decoder": {"width": 32, "depth": 1, "heads": 2, "head_width": 8, "mlp_width": 16},
}
TOYS: dict[str, tuple[str, Mapping[str, Any]]] = {"toy": ("swin-t-s2", _TOY), "toy-again": ("swin-t-s2", _TOY)}
"""For trying the command: the second stands where a merged network would, and is none."""
NETWORKS |= TOYS
MERGED = {"toy-again": "toy"} | {"hmr2-s-fast": "hmr2-s", "hmr2-b-fast": "hmr2-b", "hmr2-h-fast": "hmr2-h"}
PACKAGE_ENGINES = ("onnxruntime", "tensorrt-rtx", "tensorrt")
WARM_UP = 5
RATE_SIDE = 8192


@dataclass(frozen=True)
class GpuTime:
    """least_ms, median_ms: of a whole call, copies to the device and back included for the engines, not for torch.
    floor_ms: of its products at this GPU's rate. error: from fp32 torch, in `unit`."""

    network: str
    method: str
    batch: int
    least_ms: float
    median_ms: float
    floor_ms: float
    unit: str
    error: float
    within: bool = True
    """The tolerance of the task and the arithmetic (export/parity_errors.py)."""


@dataclass
class GpuReport:
    """What the command writes. rates: arithmetic -> multiply-accumulates a second. failed: what did not run, why.
    speedups: merged network -> method and batch -> how many times as fast as the plain one. ladder: merged network ->
    batch -> milliseconds of the fastest way: plain fp32, plain fp16, merged fp16, and the first over the last. frames:
    whole frames (`bench_gpu_frames.FrameTime`)."""

    device: str
    versions: dict[str, str]
    rates: dict[str, float]
    times: list[GpuTime] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    speedups: dict[str, dict[str, float]] = field(default_factory=dict)
    ladder: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)
    frames: list[FrameTime] = field(default_factory=list)


Runner = Callable[[], Sequence[Tensor] | Tensors]
Methods = dict[str, Callable[[], AbstractContextManager[Runner]]]


def run(
    names: Sequence[str], batches: Sequence[int], repeats: int, device: str = "cuda", out: Path | None = None
) -> GpuReport:
    """Measure; the report is written after every network, so that a run that is stopped leaves what it has.

    device: "cuda"; "cpu" leaves out what needs a GPU, to try the command itself.
    """
    if device == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    versions = {"torch": torch.__version__, "cuda": str(torch.version.cuda), "numpy": np.__version__}
    title = torch.cuda.get_device_name() if device == "cuda" else "CPU"
    report = GpuReport(title, versions, {kind: matrix_rate(device, kind) for kind in ("fp32", "fp16")})
    for name in names:
        print(f"{name} ...", file=sys.stderr, flush=True)
        try:
            with torch.no_grad():
                measure_network(name, batches, repeats, device, report)
        # Whatever a network, the exporter or protobuf raises, MemoryError too: the others are still measured.
        except Exception as error:
            report.failed[name] = short_line(error)
        finally:
            if device == "cuda":
                torch.cuda.empty_cache()
        report.speedups, report.ladder = speedups(report.times), ladder(report.times)
        if out is not None:
            out.write_text(json.dumps(asdict(report), indent=2) + "\n", encoding="utf-8")
    return report


def add_frames(report: GpuReport, people: Sequence[int], repeats: int, device: str, out: Path | None = None) -> None:
    """Whole frames beside the networks; the report is written again."""
    try:
        report.frames += frame_times(device, PACKAGE_ENGINES, people, repeats, report.failed) if people else []
    # As above: the networks' figures are worth having all the same.
    except Exception as error:
        report.failed["whole frames"] = short_line(error)
    if out is not None:
        out.write_text(json.dumps(asdict(report), indent=2) + "\n", encoding="utf-8")


def measure_network(name: str, batches: Sequence[int], repeats: int, device: str, report: GpuReport) -> None:
    """All methods on one network; what fails is noted and the rest goes on."""
    from bodycast.hmr.networks import registry
    from bodycast.hmr.networks.flops import count_cost

    torch.manual_seed(0)
    model, arguments = NETWORKS[name]
    with torch.device("meta"):
        counted = registry.build(model, **arguments).eval()
        macs = count_cost(counted, *registry.example_inputs(counted)).macs
    item = exportable(registry.build(model, **arguments).eval())
    with TemporaryDirectory() as folder:
        words = Words(name=model, architecture=model, arguments=arguments, licence="none", training_data="none")
        graph = checked_graph(item)
        packages: dict[str, ModelPackage] = {}
        for precision in ("fp32", "fp16"):
            options = Options(precision=precision, accept_error=True, engines=("onnxruntime",), timed_batches=())
            try:
                packages[precision], _ = export_package(item, Path(folder) / precision, words, options, graph)
            # The exporter's and protobuf's errors share no base; the other precision and torch are still measured.
            except Exception as error:
                report.failed[f"{name}, {precision} package"] = short_line(error)
        for batch in batches:
            inputs = item.examples(batch)
            wanted = run_torch(item.module, inputs, item.output_names)
            methods = torch_methods(item.module, inputs, device)
            for package in packages.values():
                methods |= engine_methods(package, item, inputs, device)
            for method, prepare in methods.items():
                key = f"{name}, {method}, batch {batch}"
                try:
                    with prepare() as runner:
                        times, answers = timed(runner, repeats, device)
                        precision = method.rpartition(" ")[2]
                        unit, distance, within = error_of(item.task, wanted, named(answers, item.output_names))
                # Compilers and engines of four makers, whose exceptions share no base below Exception.
                except Exception as error:
                    report.failed[key] = short_line(error)
                    continue
                finally:
                    if device == "cuda":
                        torch.cuda.empty_cache()
                rate = report.rates[precision]
                report.times.append(
                    GpuTime(
                        name,
                        method,
                        batch,
                        min(times),
                        float(np.median(times)),
                        1e3 * batch * macs / rate,
                        unit,
                        distance,
                        within,
                    )
                )


def torch_methods(module: nn.Module, inputs: Sequence[Tensor], device: str) -> Methods:
    """Name -> what prepares a run of torch on inputs that are on the device already."""

    @contextmanager
    def method(half: bool, compiled: bool, recorded: bool) -> Iterator[Runner]:
        net = copy.deepcopy(module).to(device).eval()
        net = net.half() if half else net
        there = [tensor.to(device) for tensor in inputs]
        there = [tensor.half() if half and tensor.is_floating_point() else tensor for tensor in there]
        call: Callable[..., Any] = torch.compile(net) if compiled else net
        if not recorded:
            yield lambda: call(*there)
            return
        stream = torch.cuda.Stream()
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP):
                call(*there)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            outputs = call(*there)

        def replay() -> Sequence[Tensor]:
            graph.replay()
            return outputs

        yield replay

    kinds = {"eager": (False, False)}
    if device == "cuda":
        kinds |= {"compile": (True, False), "CUDA graph": (False, True), "compile and CUDA graph": (True, True)}
    return {
        f"torch {kind} {'fp16' if half else 'fp32'}": lambda half=half, kind=kinds[kind]: method(half, *kind)
        for kind in kinds
        for half in (False, True)
    }


def engine_methods(package: ModelPackage, item: Exportable, inputs: Sequence[Tensor], device: str) -> Methods:
    """Name -> what opens the package on an engine; TensorRT plans are built first, once a package."""
    arrays = {name: tensor.numpy() for name, tensor in zip(item.input_names, inputs, strict=True)}

    @contextmanager
    def engine(name: str) -> Iterator[Runner]:
        if name.startswith("tensorrt"):
            build_for_here(package, name)
        with open_engine(package, name, device) as opened:
            yield lambda: opened.run(arrays)

    able = [name for name in PACKAGE_ENGINES if device in ENGINES[name].devices and ENGINES[name].installed()]
    return {f"{name} {package.info.precision}": lambda name=name: engine(name) for name in able}


def build_for_here(package: ModelPackage, engine: str) -> None:
    """A plan for the GPU that is here; found again if it is there. Raises PlanError."""
    from bodycast.engines.devices import cuda_gpus
    from bodycast.export.tensorrt_plan import BuildOptions, build_plan

    runtime = "rtx" if engine == "tensorrt-rtx" else "tensorrt"
    build_plan(package, BuildOptions(cuda_gpus()[0].compute_capability, runtime, beside=True))


def timed(runner: Runner, repeats: int, device: str) -> tuple[list[float], Sequence[Tensor] | Tensors]:
    """Milliseconds of each call, the device's work included, and the last answers."""
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    answers = runner()
    for _ in range(WARM_UP):
        answers = runner()
    wait()
    times: list[float] = []
    for _ in range(repeats):
        start = perf_counter()
        answers = runner()
        wait()
        times.append(1e3 * (perf_counter() - start))
    return times, answers


def matrix_rate(device: str, kind: str) -> float:
    """Multiply-accumulates a second of a big product: the best of a few. fp32 is TF32 where the GPU has it."""
    side = RATE_SIDE if device == "cuda" else 128
    dtype = torch.float16 if kind == "fp16" else torch.float32
    a = torch.randn(side, side, device=device).to(dtype)
    times, _ = timed(lambda: [a @ a], 20, device)
    return side**3 / (min(times) / 1e3)


def named(answers: Sequence[Tensor] | Tensors, names: Sequence[str]) -> Tensors:
    """Answers of torch or an engine as arrays by name."""
    if isinstance(answers, dict):
        return answers
    return {name: tensor.float().cpu().numpy() for name, tensor in zip(names, answers, strict=True)}


def error_of(task: str, expected: Tensors, actual: Tensors) -> tuple[str, float, bool]:
    """The task's last measure with a tolerance, worst row, and whether every measure is within its tolerance. fp32 on a
    GPU multiplies in TF32, which is held to fp16's."""
    errors = compare(task, expected, actual)
    limits = TOLERANCES[task]["fp16"]
    # Written so that a NaN is beyond.
    within = all(errors[measure] <= limit for measure, limit in limits.items())
    measure = list(limits)[-1]
    return measure, errors[measure], within


def ladder(times: Sequence[GpuTime]) -> dict[str, dict[str, dict[str, float]]]:
    """FastHMR's speed-up step by step, all of this run: the fastest plain fp32, plain fp16 and merged fp16."""

    def least(network: str, precision: str, batch: int) -> float | None:
        found = [
            row.least_ms
            for row in times
            if (row.network, row.batch) == (network, batch) and row.method.endswith(precision) and row.within
        ]
        return min(found, default=None)

    steps: dict[str, dict[str, dict[str, float]]] = {}
    for merged, plain in MERGED.items():
        for batch in sorted({row.batch for row in times if row.network == merged}):
            one, two, three = (least(plain, "fp32", batch), least(plain, "fp16", batch), least(merged, "fp16", batch))
            if one is not None and two is not None and three is not None:
                row = {"plain fp32 ms": one, "plain fp16 ms": two, "merged fp16 ms": three}
                steps.setdefault(merged, {})[f"batch {batch}"] = {**row, "times as fast": round(one / three, 2)}
    return steps


def speedups(times: Sequence[GpuTime]) -> dict[str, dict[str, float]]:
    """How many times as fast the merged networks are, by method and batch."""
    least = {(row.network, row.method, row.batch): row.least_ms for row in times}
    found: dict[str, dict[str, float]] = {}
    for (network, method, batch), merged_ms in least.items():
        plain = least.get((MERGED.get(network, ""), method, batch))
        if plain is not None:
            found.setdefault(network, {})[f"{method}, batch {batch}"] = round(plain / merged_ms, 2)
    return found


def table(report: GpuReport) -> str:
    """The report as Markdown."""
    rates = ", ".join(f"{kind} {rate / 1e12:.1f} T" for kind, rate in report.rates.items())
    lines = [f"{report.device}, torch {report.versions['torch']}; multiply-accumulates a second: {rates}", ""]
    lines += ["| network | method | batch | least ms | median | floor | x floor | error |", "|" + "---|" * 8]
    lines += [
        f"| {row.network} | {row.method} | {row.batch} | {row.least_ms:.2f} | {row.median_ms:.2f} | "
        f"{row.floor_ms:.2f} | {row.least_ms / row.floor_ms:.1f} | {row.error:.2g} {row.unit.rpartition('_')[2]}"
        f"{'' if row.within else ', BEYOND its tolerance'} |"
        for row in report.times
    ]
    for network, by_method in report.speedups.items():
        lines += ["", f"{network} against {MERGED[network]}, times as fast:"]
        lines += [f"- {method}: {times}" for method, times in by_method.items()]
    for network, by_batch in report.ladder.items():
        lines += ["", f"{network}: plain fp32, plain fp16, merged fp16, each the fastest way within tolerance:"]
        for batch, row in by_batch.items():
            steps = ", ".join(f"{what} {value:.2f}" for what, value in row.items())
            lines.append(f"- {batch}: {steps}")
    lines += ["", *frame_table(report.frames)] if report.frames else []
    lines += [f"not run: {what}: {why}" for what, why in report.failed.items()]
    return "\n".join(lines)
