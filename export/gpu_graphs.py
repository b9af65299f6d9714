"""`python -m bodycast.export.gpu_graphs`: writes the two graphs of ours that run beside the networks on a GPU.

They are ONNX, so that ONNX Runtime runs them where the networks run, and so that their numbers can be held against the
CPU's own crops and bodies on any machine (tests/engines/test_gpu_graphs.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FOLDER = Path(__file__).resolve().parent.parent / "engines" / "cuda"
OPSET = 17


class _Graph:
    """Nodes under construction; every method gives the name of what it made."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, value: object, dtype: Any = np.float32) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def node(self, kind: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        made = output or f"n{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [made], **attributes))
        return made

    def axes(self, name: str, *axes: int) -> str:
        """With new axes of length 1."""
        return self.node("Unsqueeze", name, self.constant(axes, np.int64))

    def clip(self, name: str, low: float, high: float) -> str:
        return self.node("Clip", name, self.constant(low), self.constant(high))

    def model(
        self, name: str, inputs: Mapping[str, tuple[int, list[Any]]], output: tuple[str, int, list[Any]]
    ) -> bytes:
        values = [helper.make_tensor_value_info(key, kind, shape) for key, (kind, shape) in inputs.items()]
        graph = helper.make_graph(self.nodes, name, values, [helper.make_tensor_value_info(*output)], self.constants)
        # IR 8 is what the oldest supported ONNX Runtime reads.
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
        onnx.checker.check_model(model, full_check=True)
        return model.SerializeToString()


def crop_graph() -> bytes:
    """Crops of one frame: frame (H, W, 3) uint8 BGR -> crops (N, h, w, 3) uint8 RGB.

    crops (N, 9) float32: frame's x under column 0 and its step from column to column, the same for y and rows, half the
    width of the filter in frame pixels, and the columns and rows that are shown (left, top, right, bottom; right and
    bottom exclusive), what lies beyond is black. A negative step mirrors. columns, rows, us, vs: 0, 1, 2, ... for W, H,
    w, h; size: W and H.

    A crop is a picture that is moved and scaled, not turned, so each of its pixels is a product of weights along x and
    along y: all crops are two matrix products with the frame. The weights of a column: a box of k pixels and bilinear
    sampling, together a trapezoid, max(0, min(1, (k + 1) / 2 - |column - x|)), over its sum; k = 1 is bilinear alone.
    Outside the picture is zero, as in `cv2.warpAffine`. Pixel values are exact in half precision; products sum in
    single.
    """
    g = _Graph()

    def weights(axis: int, at: str, pixels: str) -> str:
        """(N, 1, crop pixels, frame pixels) half precision; axis: 0 x, 1 y."""

        def parameter(number: int) -> str:
            start, stop = g.constant([number], np.int64), g.constant([number + 1], np.int64)
            return g.node("Slice", "crops", start, stop, g.constant([1], np.int64))

        here = g.axes(at, 0)
        x = g.node("Add", g.node("Mul", here, parameter(2 * axis + 1)), parameter(2 * axis))
        away = g.node("Abs", g.node("Sub", g.axes(pixels, 0, 1), g.axes(x, 2)))
        share = g.clip(g.node("Sub", g.axes(parameter(4), 2), away), 0, 1)
        total = g.node("ReduceSum", share, g.constant([2], np.int64), keepdims=1)
        # How much of a bilinear sample lies inside the picture. `cv2.blur` with an even k writes at p what lies around
        # p - 1/2, and of a picture so blurred the CPU samples.
        written = g.node("Add", x, g.node("Sub", parameter(4), g.node("Floor", parameter(4))))
        edge = g.node("Gather", "size", g.constant([axis], np.int64))
        entered = g.clip(g.node("Add", written, g.constant(1)), 0, 1)
        inside = g.node("Mul", entered, g.clip(g.node("Sub", edge, written), 0, 1))
        shown = g.node(
            "And", g.node("GreaterOrEqual", here, parameter(5 + axis)), g.node("Less", here, parameter(7 + axis))
        )
        kept = g.node("Mul", inside, g.node("Cast", shown, to=TensorProto.FLOAT))
        scale = g.node("Div", g.axes(kept, 2), g.node("Max", total, g.constant(1e-6)))
        return g.axes(g.node("Cast", g.node("Mul", share, scale), to=TensorProto.FLOAT16), 1)

    planes = g.node("Transpose", g.node("Cast", "frame", to=TensorProto.FLOAT16), perm=[2, 0, 1])
    # The network sees RGB.
    planes = g.axes(g.node("Gather", planes, g.constant([2, 1, 0], np.int64), axis=0), 0)
    along_x = g.node("Transpose", weights(0, "us", "columns"), perm=[0, 1, 3, 2])
    narrow = g.node("MatMul", planes, along_x)
    small = g.node("Cast", g.node("MatMul", weights(1, "vs", "rows"), narrow), to=TensorProto.FLOAT)
    whole = g.clip(g.node("Round", small), 0, 255)
    g.node("Cast", g.node("Transpose", whole, perm=[0, 2, 3, 1]), output="pixels", to=TensorProto.UINT8)
    vector = {name: (TensorProto.FLOAT, [name.upper()]) for name in ("columns", "rows", "us", "vs")}
    inputs = {
        "frame": (TensorProto.UINT8, ["ROWS", "COLUMNS", 3]),
        "crops": (TensorProto.FLOAT, ["N", 9]),
        **vector,
        "size": (TensorProto.FLOAT, [2]),
    }
    return g.model("crops", inputs, ("pixels", TensorProto.UINT8, ["N", "VS", "US", 3]))


def skin_graph() -> bytes:
    """Linear blend skinning of N bodies (hmr/body/body_model.py): vertices (N, V, 3) float32, metres.

    turns (N, 24, 9), shifts (N, 24, 3): the joints' rigid motions, made on the CPU; betas (N, 10); bend (N, B): the
    weights of the pose correctives. Of the body: template (1, 3V), shapedirs (10, 3V), posedirs (B, 3V), weights
    (V, 24). A body without correctives has B = 1 and zeros.
    """
    g = _Graph()
    shaped = g.node("Add", g.node("MatMul", "betas", "shapedirs"), "template")
    shaped = g.node("Add", shaped, g.node("MatMul", "bend", "posedirs"))
    shaped = g.node("Reshape", shaped, g.constant([0, -1, 1, 3], np.int64))
    blended = g.node("MatMul", "weights", "turns")
    blended = g.node("Reshape", blended, g.constant([0, 0, 3, 3], np.int64))
    turned = g.node("ReduceSum", g.node("Mul", blended, shaped), g.constant([3], np.int64), keepdims=0)
    g.node("Add", turned, g.node("MatMul", "weights", "shifts"), output="vertices")
    shapes: dict[str, list[Any]] = {
        "turns": ["N", 24, 9],
        "shifts": ["N", 24, 3],
        "betas": ["N", 10],
        "bend": ["N", "B"],
        "template": [1, "V3"],
        "shapedirs": [10, "V3"],
        "posedirs": ["B", "V3"],
        "weights": ["V", 24],
    }
    inputs = {name: (TensorProto.FLOAT, shape) for name, shape in shapes.items()}
    return g.model("skinning", inputs, ("vertices", TensorProto.FLOAT, ["N", "V", 3]))


GRAPHS = {"crop.onnx": crop_graph, "skin.onnx": skin_graph}


def same_graph(one: bytes, other: bytes) -> bool:
    """Whether two graphs are the same but for who wrote them."""
    models = [onnx.load_from_string(content) for content in (one, other)]
    return models[0].graph == models[1].graph and models[0].opset_import == models[1].opset_import


def main() -> None:
    """Write both."""
    for name, make in GRAPHS.items():
        (FOLDER / name).write_bytes(make())


if __name__ == "__main__":
    main()
