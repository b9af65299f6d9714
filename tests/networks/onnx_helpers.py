"""Shared by the network tests: export to ONNX and compare, and build with TensorRT on the CPU.

Every module that is to be exported gets, in its tests:

    path = export_and_compare(module, inputs, ["maps"], tmp_path)   # dynamo exporter, opset 18, dynamic batch
    build_with_tensorrt_rtx(path)                                   # in a test marked `@pytest.mark.trt`
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

OPSET = 18
TOLERANCE = 1e-4


class _FlatOutputs(nn.Module):
    """Gives a module's outputs as a flat tuple, so that each gets its name in the graph."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        return tuple(x for x in pytree.tree_leaves(self.module(*inputs)) if isinstance(x, Tensor))


def export_and_compare(
    module: nn.Module,
    inputs: Sequence[Tensor],
    names: Sequence[str],
    directory: Path,
    batches: Sequence[int] = (1, 3),
    tolerance: float = TOLERANCE,
) -> Path:
    """Export `module` with a dynamic batch and require ONNX Runtime to equal torch.

    Args:
        module: put into eval mode; returns a tensor, a sequence or a dictionary of tensors.
        inputs: its positional inputs, batch first, with at least `max(batches)` items each.
        names: one name per output.
        directory: where `model.onnx` goes (`tmp_path`).
        batches: batch sizes that are run; they must include none that is special in the graph.
        tolerance: largest absolute difference allowed.

    Returns:
        The path of the ONNX file.
    """
    import onnxruntime

    wrapped = _FlatOutputs(module.eval()).eval()
    inputs = tuple(inputs)
    input_names = [f"input{i}" for i in range(len(inputs))]
    path = directory / "model.onnx"
    torch.onnx.export(
        wrapped,
        tuple(x[:2] for x in inputs),
        path,
        dynamo=True,
        opset_version=OPSET,
        input_names=input_names,
        output_names=list(names),
        dynamic_shapes=[tuple({0: torch.export.Dim("batch", min=1, max=64)} for _ in inputs)],
        external_data=False,
        verbose=False,
    )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    assert [output.name for output in session.get_outputs()] == list(names)
    for batch in batches:
        chunk = [x[:batch] for x in inputs]
        assert all(len(x) == batch for x in chunk), f"the inputs hold fewer than {batch} items"
        with torch.no_grad():
            expected = wrapped(*chunk)
        actual = session.run(None, {n: x.numpy() for n, x in zip(input_names, chunk, strict=True)})
        for name, ours, theirs in zip(names, actual, expected, strict=True):
            np.testing.assert_allclose(ours, theirs.numpy(), rtol=0, atol=tolerance, err_msg=f"{name} at batch {batch}")
    return path


def build_with_tensorrt_rtx(path: Path, batch_max: int = 4) -> bytes:
    """Parse an ONNX file and build a TensorRT-RTX engine for compute capability 8.6, with no GPU.

    Skips the test where `tensorrt_rtx` is not installed. The first axis of every input is taken as the batch,
    1 to `batch_max`.

    Returns:
        The serialised engine.
    """
    trt = pytest.importorskip("tensorrt_rtx")
    logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(path)):
        errors = [parser.get_error(i).desc() for i in range(parser.num_errors)]
        pytest.fail(f"TensorRT does not parse {path.name}: {'; '.join(errors)}")
    config = builder.create_builder_config()
    config.num_compute_capabilities = 1
    config.set_compute_capability(trt.ComputeCapability.SM86, 0)
    profile = builder.create_optimization_profile()
    for i in range(network.num_inputs):
        tensor = network.get_input(i)
        rest = tuple(tensor.shape)[1:]
        profile.set_shape(tensor.name, (1, *rest), (1, *rest), (batch_max, *rest))
    config.add_optimization_profile(profile)
    plan = builder.build_serialized_network(network, config)
    assert plan is not None, f"TensorRT builds no engine from {path.name}"
    return bytes(plan)
