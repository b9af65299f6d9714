"""A graph that was made for one picture, for any number of them.

Where every operator of it takes a batch, freeing the first axis is all; else it becomes the body of a Scan, which runs
it for one picture after the other inside the graph. What is right is found out by running it.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from bodycast.engines.package import BATCH
from bodycast.export.keypoint_file import open_session
from bodycast.export.onnx_nodes import Nodes


class ForeignFile(Protocol):
    """A graph of the user's for one picture, and how pictures go into it (`KeypointFile`, `MaskFile`)."""

    @property
    def where(self) -> str: ...
    @property
    def model(self) -> onnx.ModelProto: ...
    @property
    def input_name(self) -> str: ...
    @property
    def input_type(self) -> int: ...
    @property
    def input_hw(self) -> tuple[int, int]: ...
    @property
    def outputs(self) -> tuple[str, ...]: ...
    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]: ...
    def session(self) -> Any: ...
    def planes(self, crops: NDArray[np.uint8]) -> NDArray[Any]: ...


TRIED_ROWS = 3
TOLERANCE = 1e-3
"""Largest difference, over the spread of an output, between a batch and its rows one by one."""


def takes_batches(file: ForeignFile, examples: NDArray[np.uint8]) -> bool:
    """Whether the graph with a free first axis answers to `examples` (N, h, w, 3) as it does to each alone."""
    freed = with_free_batch(file.model, file.input_name)
    planes = file.planes(examples[:TRIED_ROWS])
    single = file.session()
    names = list(file.outputs)
    one_by_one = [single.run(names, {file.input_name: planes[row : row + 1]}) for row in range(len(planes))]
    try:
        together = open_session(freed.SerializeToString(), file.where).run(names, {file.input_name: planes})
    except Exception:  # ONNX Runtime's exception classes share no public base; whatever it is, the graph takes no batch
        return False
    for index, batch in enumerate(together):
        rows = np.concatenate([answers[index] for answers in one_by_one]).astype(np.float64)
        if batch.shape != rows.shape or not np.abs(batch - rows).max() <= TOLERANCE * max(float(np.ptp(rows)), 1e-6):
            return False
    return True


def with_free_batch(model: onnx.ModelProto, input_name: str) -> onnx.ModelProto:
    """A copy whose input and outputs have the first axis `N`, and no shapes of inner tensors."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    del copy.graph.value_info[:]
    for value in (*copy.graph.input, *copy.graph.output):
        sizes = value.type.tensor_type.shape.dim
        if sizes and (value.name == input_name or value in copy.graph.output):
            sizes[0].Clear()
            sizes[0].dim_param = BATCH
    return copy


def scanned(nodes: Nodes, file: ForeignFile, planes: str) -> list[str]:
    """Append a Scan that runs the file's graph for each row of `planes`; gives its outputs, first axis the batch."""
    graph = onnx.GraphProto()
    graph.CopyFrom(file.model.graph)
    del graph.value_info[:]
    element = file.input_type
    shape = [int(size) for size in file.planes(np.zeros((1, *file.input_hw, 3), np.uint8)).shape]
    inner = Nodes(f"{nodes.prefix}row_")
    row = f"{nodes.prefix}row"
    inner.reshape(row, *shape, out=file.input_name)
    before = list(inner.nodes)
    results = [
        inner.reshape(name, *size[1:], out=f"{nodes.prefix}result_{index}")
        for index, (name, size) in enumerate(zip(file.outputs, file.shapes, strict=True))
    ]
    types = {value.name: value.type.tensor_type.elem_type for value in graph.output}
    body = helper.make_graph(
        [*before, *graph.node, *inner.nodes[len(before) :]],
        f"{nodes.prefix}one",
        [helper.make_tensor_value_info(row, element, shape[1:])],
        [
            helper.make_tensor_value_info(result, types[name], list(size[1:]))
            for result, name, size in zip(results, file.outputs, file.shapes, strict=True)
        ],
        [*graph.initializer, *inner.weights],
    )
    body.sparse_initializer.extend(graph.sparse_initializer)
    return nodes.ops("Scan", planes, outputs=len(results), body=body, num_scan_inputs=1)
