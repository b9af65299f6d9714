"""Forward times on a CUDA GPU: fp16, batches of 1 and 16, replayed from a CUDA graph; part of `model-times`.

A graph launches all of a network's kernels at once, so that what is timed is the GPU's work and not Python's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from bodycast.hmr.networks.registry import ModelSpec
from evaluation.forward_times import program_of, time_calls
from evaluation.model_times_table import GPU_BATCHES, GpuTimes, Machine, Timing

Call = Callable[[], object]
MATRIX_SIZES = (2048, 4096, 8192)
STREAMED_HALVES = 1 << 29  # 1 GiB: far more than any cache
CAPTURE_WARM_UP = 3


def capture(call: Call) -> Call:
    """A CUDA graph of a call, as a function that replays it and waits for the result.

    Raises:
        RuntimeError: the call does something that cannot be recorded, such as a copy from the host.
    """
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(CAPTURE_WARM_UP):
            call()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call()

    def replay() -> None:
        graph.replay()
        torch.cuda.synchronize()

    return replay


def half_program(spec: ModelSpec, batch: int, device: str) -> tuple[nn.Module, list[Tensor]]:
    """A network in fp16 and a batch of inputs on the device; uint8 crops stay what they are."""
    module, inputs = program_of(spec)
    rows = [torch.cat([x] * -(-batch // len(x)))[:batch] for x in inputs]
    return module.to(device).half(), [(x.half() if x.is_floating_point() else x).to(device) for x in rows]


def time_gpu(
    spec: ModelSpec, runs: int, budget_s: float, machine: Machine, device: str = "cuda", record: Callable = capture
) -> GpuTimes:
    """Times at every batch of GPU_BATCHES, or why there are none.

    record: turns a call into what is timed; `capture`, but for tests.
    """
    times: dict[str, Timing] = {}
    try:
        with torch.inference_mode():
            for batch in GPU_BATCHES:
                module, inputs = half_program(spec, batch, device)
                call = record(lambda module=module, inputs=inputs: module(*inputs))
                times[str(batch)] = time_calls(call, runs, budget_s)
    except RuntimeError as error:
        # Out of memory, a kernel that fp16 lacks, a call that cannot be captured: a reason in the table.
        return GpuTimes(machine, {}, " ".join(str(error).split())[:200])
    return GpuTimes(machine, times)


def measure_gpu(
    device: str = "cuda", sizes: Sequence[int] = MATRIX_SIZES, record: Callable = capture, halves: int = STREAMED_HALVES
) -> Machine:
    """Rate of fp16 matrix products and bandwidth of copying memory: the best of each."""
    rate = 0.0
    with torch.inference_mode():
        for n in sizes:
            a, b = (torch.rand(n, n, device=device).half() for _ in range(2))
            call = record(lambda a=a, b=b: a @ b)
            rate = max(rate, 2 * n**3 / time_calls(call, 9, 1.0).least_ms / 1e6)
        source = torch.zeros(halves, dtype=torch.float16, device=device)
        target = torch.empty_like(source)
        bandwidth = 4 * halves / time_calls(record(lambda: target.copy_(source)), 9, 1.0).least_ms / 1e6
    name = torch.cuda.get_device_name() if device == "cuda" else device
    return Machine(round(rate, 1), round(bandwidth, 2), name)
