"""A torch module as an ONNX graph, and proof that it computes the same.

torch's dynamo exporter, written out explicitly (its default has changed between releases), only the batch dynamic.
Opset 20 is the first with Gelu as one operator: ONNX Runtime then fuses it with its bias, and TensorRT, OpenVINO and
ONNX Runtime all read it.
"""

from __future__ import annotations

import inspect
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.onnx import OnnxExporterError

from bodycast.engines.package import Tensors
from bodycast.export.errors import WorkError
from bodycast.export.large_graph import LARGEST_FILE, Graph, from_program, openable
from bodycast.export.parity_errors import ties

OPSET = 20
MAX_BATCH = 64


class ParityError(WorkError):
    """The exported graph does not compute what the module computes."""


def to_onnx(
    module: nn.Module,
    inputs: Sequence[Tensor],
    input_names: Sequence[str],
    output_names: Sequence[str],
    opset: int = OPSET,
) -> bytes:
    """The module as one serialised, checked ONNX file; see `to_graph`. Raises also WorkError where it is above 2 GB."""
    return to_graph(module, inputs, input_names, output_names, opset).serialised()


def to_graph(
    module: nn.Module,
    inputs: Sequence[Tensor],
    input_names: Sequence[str],
    output_names: Sequence[str],
    opset: int = OPSET,
    largest_file: int = LARGEST_FILE,
) -> Graph:
    """The module as a checked ONNX graph whose first axes are dynamic; weights of more than `largest_file` bytes in all
    are kept beside it.

    inputs: examples, all with the same number of rows, at least two (a batch of one would be taken for a constant).
    Names and stack traces of the exporting machine are taken out. Raises: ValueError, WorkError where torch cannot.
    """
    if any(len(tensor) < 2 for tensor in inputs):
        raise ValueError("example inputs need at least two rows, or the batch becomes a constant")
    module.eval()
    batch = torch.export.Dim("N", min=1, max=MAX_BATCH)
    with torch.no_grad(), _quiet():
        try:
            program = torch.onnx.export(
                module,
                tuple(inputs),
                dynamo=True,
                opset_version=opset,
                input_names=list(input_names),
                output_names=list(output_names),
                dynamic_shapes=_dynamic_shapes(module, inputs, batch),
                external_data=False,
                verbose=False,
            )
        except OnnxExporterError as error:
            cause = error.__cause__ or error
            raise WorkError(f"torch's exporter does not take this network: {first_words(cause)}") from error
    assert program is not None
    graph = from_program(program, largest_file)
    _strip(graph.proto)
    graph.check()
    return graph


def check_parity(
    model: bytes | Graph, module: nn.Module, batches: Sequence[Sequence[Tensor]], names: Sequence[str], tolerance: float
) -> dict[str, float]:
    """Largest absolute difference, by output name, between ONNX Runtime and torch over all batches.

    Of `keypoints` (N, K, 3) a few places a row may be anywhere (`parity_errors.ties`). How high the peaks are has to
    agree.

    Raises: ParityError naming the output, the difference and the tolerance, or a value that is not finite; also for a
    graph that ONNX Runtime does not open.
    """
    with nullcontext(model) if isinstance(model, bytes) else openable(model) as content:
        worst = _largest_differences(content, module, batches, names)
    for name, difference in worst.items():
        if difference > tolerance:
            raise ParityError(f"{name}: ONNX Runtime and torch differ by {difference:.2e}, allowed are {tolerance:.0e}")
    return worst


def _largest_differences(
    model: bytes | str, module: nn.Module, batches: Sequence[Sequence[Tensor]], names: Sequence[str]
) -> dict[str, float]:
    """By output name; `model` is what a session takes, content or path. Raises: ParityError."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exception classes share no public base
        raise ParityError(f"ONNX Runtime cannot open the exported graph: {first_words(error)}") from error
    inputs = [node.name for node in session.get_inputs()]
    worst = dict.fromkeys(names, 0.0)
    for batch in batches:
        expected = run_torch(module, batch, names)
        feed = {name: tensor.numpy() for name, tensor in zip(inputs, batch, strict=True)}
        for name, actual in zip(names, session.run(list(names), feed), strict=True):
            if actual.shape != expected[name].shape:
                raise ParityError(f"{name}: ONNX Runtime gives {actual.shape}, torch {expected[name].shape}")
            apart = np.abs(actual - expected[name])
            if not np.isfinite(apart).all():
                raise ParityError(f"{name}: values that are not finite at a batch of {len(batch[0])}")
            difference = _without_ties(apart) if name == "keypoints" else apart
            worst[name] = max(worst[name], float(difference.max(initial=0.0)))
    return worst


def _without_ties(apart: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
    """Differences (N, K, 3) of keypoints without the places of each row that are furthest off and may be."""
    places = np.sort(apart[..., :2].max(axis=-1), axis=-1)[:, : -ties(apart.shape[1])]
    return np.concatenate([places, apart[..., 2]], axis=-1)


def first_words(error: BaseException) -> str:
    """The first line of an error, of a length that people read."""
    return (str(error).strip().partition("\n")[0] or type(error).__name__)[:300]


def run_torch(module: nn.Module, inputs: Sequence[Tensor], names: Sequence[str]) -> Tensors:
    """Outputs of the module by name, as numpy arrays."""
    with torch.no_grad():
        outputs = module.eval()(*inputs)
    return {name: tensor.numpy() for name, tensor in zip(names, outputs, strict=True)}


def _dynamic_shapes(module: nn.Module, inputs: Sequence[Tensor], batch: object) -> tuple[object, ...]:
    """One entry for each parameter of `forward`; a `*rest` parameter takes a tuple."""
    parameters = inspect.signature(module.forward).parameters.values()
    plain = [p for p in parameters if p.kind is not inspect.Parameter.VAR_POSITIONAL]
    entries: list[object] = [{0: batch} for _ in inputs[: len(plain)]]
    if len(inputs) > len(plain):
        entries.append(tuple({0: batch} for _ in inputs[len(plain) :]))
    return tuple(entries)


def _strip(model: onnx.ModelProto) -> None:
    """Remove what the exporter notes about the machine: file names, stack traces, module paths."""
    graphs = [model.graph, *model.functions]
    for graph in graphs:
        for item in (graph, *graph.node, *getattr(graph, "value_info", ())):
            item.doc_string = ""
            del item.metadata_props[:]
    for item in (*model.graph.input, *model.graph.output, *model.graph.initializer):
        item.doc_string = ""
        del item.metadata_props[:]
    # Shapes of inner tensors are those of before the exporter's own folding: some contradict the weights.
    del model.graph.value_info[:]
    model.doc_string = ""
    del model.metadata_props[:]


@contextmanager
def _quiet() -> Iterator[None]:
    """Hold back the exporter's warnings about itself."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
