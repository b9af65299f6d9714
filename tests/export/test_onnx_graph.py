"""Torch to ONNX on a module of one layer: names, dynamic batch, parity that can fail, nothing of the machine left."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from bodycast.export.onnx_graph import OPSET, ParityError, check_parity, to_onnx


class Tiny(nn.Module):
    """Two outputs, one of them with a Gelu."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(4, 3)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        x = self.layer(pixels.float())
        return nn.functional.gelu(x), x.sum(dim=1)


def pixels(rows: int) -> list[Tensor]:
    return [torch.arange(4 * rows, dtype=torch.uint8).reshape(rows, 4)]


@pytest.fixture(scope="module")
def exported() -> tuple[Tiny, bytes]:
    module = Tiny()
    return module, to_onnx(module, pixels(2), ["pixels"], ["y", "sum"])


def test_names_and_dynamic_batch(exported: tuple[Tiny, bytes]) -> None:
    graph = onnx.load_from_string(exported[1]).graph
    assert [node.name for node in graph.input] == ["pixels"] and [node.name for node in graph.output] == ["y", "sum"]
    assert graph.input[0].type.tensor_type.shape.dim[0].dim_param
    assert [node.op_type for node in graph.node].count("Gelu") == 1
    assert onnx.load_from_string(exported[1]).opset_import[0].version == OPSET


def test_equals_torch_at_other_batches(exported: tuple[Tiny, bytes]) -> None:
    module, model = exported
    worst = check_parity(model, module, [pixels(1), pixels(3), pixels(7)], ["y", "sum"], 1e-4)
    assert set(worst) == {"y", "sum"} and max(worst.values()) < 1e-4


def test_another_network_is_found_out(exported: tuple[Tiny, bytes]) -> None:
    model = exported[1]
    other = Tiny()
    with torch.no_grad():
        other.layer.bias.add_(0.01)
    with pytest.raises(ParityError, match=r"ONNX Runtime and torch differ by .*allowed are 1e-03"):
        check_parity(model, other, [pixels(3)], ["y", "sum"], 1e-3)
    with torch.no_grad():
        other.layer.bias.fill_(float("nan"))
    with pytest.raises(ParityError, match="not finite"):
        check_parity(model, other, [pixels(3)], ["y", "sum"], 1e-3)


class Points(nn.Module):
    """Keypoints (N, 4, 3), the same in every row."""

    def __init__(self) -> None:
        super().__init__()
        self.points = nn.Parameter(torch.arange(12.0).reshape(1, 4, 3) / 12)

    def forward(self, pixels: Tensor) -> tuple[Tensor]:
        return (self.points + 0 * pixels.float().sum(dim=1)[:, None, None],)


@pytest.mark.parametrize(
    ("joints", "part", "refused"), [((2,), 0, False), ((1, 2), 0, True), ((2,), 2, True)], ids=["tie", "two", "height"]
)
def test_one_keypoint_may_lie_elsewhere_where_cells_tie(joints: tuple[int, ...], part: int, refused: bool) -> None:
    module = Points()
    model = to_onnx(module, pixels(2), ["pixels"], ["keypoints"])
    with torch.no_grad():
        module.points[0, list(joints), part] += 0.1
    if refused:
        with pytest.raises(ParityError, match="keypoints: ONNX Runtime and torch differ by 1"):
            check_parity(model, module, [pixels(3)], ["keypoints"], 1e-4)
    else:
        assert check_parity(model, module, [pixels(3)], ["keypoints"], 1e-4)["keypoints"] < 1e-4


def test_nothing_of_the_machine_is_left(exported: tuple[Tiny, bytes]) -> None:
    for trace in (b"site-packages", b".py", b"test_onnx_graph", __file__.encode()):
        assert trace not in exported[1]


def test_one_row_would_freeze_the_batch() -> None:
    with pytest.raises(ValueError, match="at least two rows"):
        to_onnx(Tiny(), pixels(1), ["pixels"], ["y", "sum"])
    assert np.all(pixels(1)[0].numpy() < 4)
