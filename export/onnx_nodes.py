"""Write ONNX nodes one by one: what stands before and behind a graph that somebody else made.

Only operators that are the same from opset 11 on are meant for it: the graph keeps its own opset.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

OLDEST_OPSET = 11


class Nodes:
    """Nodes and constants with names that begin with `prefix`, in order."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.nodes: list[NodeProto] = []
        self.weights: list[TensorProto] = []

    def constant(self, value: NDArray[Any]) -> str:
        """The name of a new constant."""
        name = f"{self.prefix}constant_{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(value, name))
        return name

    def op(self, kind: str, *inputs: str | NDArray[Any], out: str | None = None, **attributes: Any) -> str:
        """Append a node; arrays become constants. Gives the name of its first output, `out` where it is given."""
        return self.ops(kind, *inputs, outputs=1, out=out, **attributes)[0]

    def ops(
        self, kind: str, *inputs: str | NDArray[Any], outputs: int, out: str | None = None, **attributes: Any
    ) -> list[str]:
        """As `op`, with several outputs."""
        names = [self.constant(value) if isinstance(value, np.ndarray) else value for value in inputs]
        node = f"{self.prefix}{kind}_{len(self.nodes)}"
        given = [out or node, *(f"{node}_{index}" for index in range(1, outputs))]
        self.nodes.append(helper.make_node(kind, names, given, name=node, **attributes))
        return given

    def reshape(self, tensor: str, *sizes: int, out: str | None = None) -> str:
        """Reshape; a size of 0 keeps the axis, -1 takes what is left."""
        return self.op("Reshape", tensor, np.array(sizes, np.int64), out=out)

    def number(self, value: float) -> NDArray[np.float32]:
        """A float32 scalar, to be given to `op`."""
        return np.array(value, np.float32)
