"""Cost, export and forward time of one registered network; the work behind `python -m evaluation bench`."""

from __future__ import annotations

import multiprocessing
import queue
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from bodycast.export.onnx_graph import OPSET, check_parity, to_onnx
from bodycast.hmr.networks.flops import count_cost
from bodycast.hmr.networks.hmr_net import ExportedHmr, HmrNet
from bodycast.hmr.networks.registry import ModelSpec, example_inputs
from evaluation.bench_table import Machine, Record, Timing

WARM_UP = 2
FEWEST_RUNS = 3
EXPORTED_BATCH = 3
MATRIX_SIZES = (768, 1536, 2304)
PARAMETER_NOISE = 0.02
IR_VERSION = 10  # what opset 20 goes with
STREAMED_FLOATS = 1 << 26  # 256 MiB: far more than any cache


class FlatOutputs(nn.Module):
    """Gives a network's outputs, however nested, as a flat tuple of tensors."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Any inputs the network takes."""
        return tuple(x for x in pytree.tree_leaves(self.net(*inputs)) if isinstance(x, Tensor))


def program_of(spec: ModelSpec) -> tuple[nn.Module, list[Tensor]]:
    """A network as it is exported, and a batch of inputs. Networks of bodies normalise uint8 crops inside."""
    torch.manual_seed(0)
    net = spec.build().eval()
    with torch.no_grad():
        # Some layers start at or near zero; their outputs would agree whatever the graph computes.
        for parameter in net.parameters():
            parameter.add_(PARAMETER_NOISE * torch.randn_like(parameter))
    inputs = list(example_inputs(net, batch=EXPORTED_BATCH))
    if isinstance(net, HmrNet):
        inputs[0] = torch.randint(0, 256, (EXPORTED_BATCH, *net.image_hw, 3), dtype=torch.uint8)
        net = ExportedHmr(net)
    return FlatOutputs(net).eval(), inputs


def new_record(spec: ModelSpec) -> Record:
    """Size and cost of a network, counted without memory or arithmetic."""
    with torch.device("meta"):
        net = spec.build().eval()
        inputs = example_inputs(net)
        cost = count_cost(net, *inputs)
        with torch.no_grad():
            outputs = FlatOutputs(net)(*inputs)
    moved = sum(x.numel() * x.element_size() for x in (*inputs, *outputs))
    return Record(spec.name, round(cost.parameters / 1e6, 4), round(cost.macs / 1e9, 4), round(moved / 1e6, 4))


def _export(spec: ModelSpec, path: Path, answers: Any) -> None:
    """Export and compare with torch; answers (difference or None, seconds, reason or None)."""
    torch.set_num_threads(1)
    start = time.monotonic()
    try:
        module, inputs = program_of(spec)
        names = [f"input{i}" for i in range(len(inputs))]
        with torch.inference_mode():
            outputs = [f"output{i}" for i in range(len(module(*inputs)))]
        model = to_onnx(module, inputs, names, outputs)
        seconds = time.monotonic() - start
        batches = [[x[:count] for x in inputs] for count in (1, EXPORTED_BATCH)]
        difference = max(check_parity(model, module, batches, outputs, tolerance=float("inf")).values())
        part = path.with_suffix(".part")
        part.write_bytes(model)
        part.replace(path)
    except Exception as error:
        # Whatever an exporter raises becomes the table's reason, and the next network is tried.
        answers.put((None, time.monotonic() - start, f"{type(error).__name__}: {error}".splitlines()[0][:200]))
    else:
        answers.put((difference, seconds, None))


def export_within(spec: ModelSpec, record: Record, path: Path, limit_s: float) -> None:
    """Export to `path` in a process of its own, ended at the limit; the outcome goes into the record."""
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    worker = context.Process(target=_export, args=(spec, path, answers), daemon=True)
    worker.start()
    try:
        record.parity, seconds, record.not_exported = answers.get(timeout=limit_s)
        record.export_seconds = round(seconds, 1)
    except queue.Empty:
        record.not_exported = f"the export was given up after {limit_s:.0f} s"
        worker.terminate()
    worker.join()


def time_calls(call: Callable[[], object], runs: int, budget_s: float) -> Timing:
    """Time a call after a warm-up: `runs` times, or fewer (never under three) where that takes more than the budget."""
    for _ in range(WARM_UP):
        call()
    times_ms: list[float] = []
    while len(times_ms) < runs and (len(times_ms) < FEWEST_RUNS or sum(times_ms) < 1e3 * budget_s):
        start = time.perf_counter()
        call()
        times_ms.append(1e3 * (time.perf_counter() - start))
    return Timing(round(statistics.median(times_ms), 3), round(min(times_ms), 3), len(times_ms))


def measure_machine(threads: int) -> Machine:
    """Rate of fp32 matrix products, and bandwidth of reading and of copying memory: the best of each.

    Products are done by torch and by ONNX Runtime, since either's library may be the faster one on a processor.
    """
    torch.set_num_threads(threads)
    rate = bandwidth = 0.0
    with torch.inference_mode():
        for n in MATRIX_SIZES:
            a, b = torch.rand(n, n), torch.rand(n, n)
            product = _onnx_product(n, threads)
            feed = {"a": a.numpy(), "b": b.numpy()}
            for call in (lambda: a @ b, lambda: product.run(None, feed)):  # noqa: B023
                rate = max(rate, 2 * n**3 / time_calls(call, 5, 1.0).least_ms / 1e6)
        source = torch.rand(STREAMED_FLOATS)
        target = torch.empty_like(source)
        for stream, bytes_each in ((source.sum, 4), (lambda: target.copy_(source), 8)):
            bandwidth = max(bandwidth, bytes_each * STREAMED_FLOATS / time_calls(stream, 5, 1.0).least_ms / 1e6)
    return Machine(round(rate, 1), round(bandwidth, 2))


def _onnx_product(n: int, threads: int) -> onnxruntime.InferenceSession:
    """A graph of one n x n matrix product."""
    tensors = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, (n, n)) for name in "abc"]
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("MatMul", ["a", "b"], ["c"])], "product", tensors[:2], tensors[2:]
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", OPSET)])
    model.ir_version = IR_VERSION
    return _session(model.SerializeToString(), threads)


def _session(model: str | bytes, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def time_torch(spec: ModelSpec, threads: int, runs: int, budget_s: float) -> Timing:
    """Forward time in torch at batch 1."""
    torch.set_num_threads(threads)
    module, inputs = program_of(spec)
    one = [x[:1] for x in inputs]
    with torch.inference_mode():
        return time_calls(lambda: module(*one), runs, budget_s)


def time_onnxruntime(path: Path, threads: int, runs: int, budget_s: float) -> Timing:
    """Forward time of an ONNX file in ONNX Runtime on the CPU at batch 1, on random inputs."""
    session = _session(str(path), threads)
    generator = np.random.default_rng(0)
    feed: dict[str, np.ndarray] = {}
    for node in session.get_inputs():
        shape = (1, *node.shape[1:])
        if node.type == "tensor(uint8)":
            feed[node.name] = generator.integers(0, 256, shape, dtype=np.uint8)
        else:
            feed[node.name] = generator.standard_normal(shape).astype(np.float32)
    return time_calls(lambda: session.run(None, feed), runs, budget_s)
