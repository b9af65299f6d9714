"""A TensorFlow.js graph is run as written, NanoDet's convolutions land in ours, and boxes are judged by a teacher's."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from bodycast.hmr.networks.encoders.csp_net import CspNet
from bodycast.hmr.networks.person_detector import PersonDetector
from training.detector import complete
from training.detector.complete import judged
from training.detector.graph_model import GraphModel, GraphModelError
from training.detector.starts import detector, fill_csp

VALID = base64.b64encode(b"VALID").decode()


def _graph(folder: Path, nodes: list[dict[str, Any]], weights: dict[str, np.ndarray], outputs: list[str]) -> Path:
    """A graph model's files; float arrays are stored in half precision."""
    manifest, data = [], b""
    for name, array in weights.items():
        half = array.dtype == np.float32
        entry: dict[str, Any] = {"name": name, "shape": list(array.shape), "dtype": "float32" if half else "int32"}
        if half:
            entry["quantization"] = {"dtype": "float16", "original_dtype": "float32"}
        manifest.append(entry)
        data += array.astype(np.float16 if half else np.int32).tobytes()
    content = {
        "modelTopology": {"node": [{"name": "input", "op": "Placeholder"}, *nodes]},
        "weightsManifest": [{"paths": ["model.bin"], "weights": manifest}],
        "signature": {"outputs": {f"{name}:0": {} for name in outputs}},
    }
    (folder / "model.json").write_text(json.dumps(content))
    (folder / "model.bin").write_bytes(data)
    return folder / "model.json"


def _node(name: str, op: str, inputs: list[str], **attributes: Any) -> dict[str, Any]:
    return {"name": name, "op": op, "input": inputs, "attr": attributes}


def test_a_graph_is_run_as_written(tmp_path: Path) -> None:
    """Padding, a strided convolution in TensorFlow's order, its two halves, one activated."""
    rng = np.random.default_rng(0)
    kernel = rng.standard_normal((3, 3, 2, 4)).astype(np.float16).astype(np.float32)
    weights = {
        "kernel": kernel, "bias": np.array([1, 2, 3, 4], np.float32), "sizes": np.array([1, 3]), "axis": np.array(3),
        "pads": np.array([[0, 0], [1, 1], [1, 1], [0, 0]]), "order": np.array([0, 3, 1, 2]),
    }  # fmt: skip
    strides = {"list": {"i": ["1", "2", "2", "1"]}}
    nodes = [
        _node("leaky", "LeakyRelu", ["halves:1"], alpha={"f": 0.1}),
        _node("padded", "Pad", ["input", "pads"]),
        _node("conv", "Conv2D", ["padded", "kernel"], padding={"s": VALID}, strides=strides),
        _node("sum", "AddV2", ["conv", "bias"]),
        _node("halves", "SplitV", ["sum", "sizes", "axis"]),
        _node("out", "Transpose", ["leaky", "order"]),
        _node("unused", "Nonsense", ["input"]),
    ]
    model = GraphModel(_graph(tmp_path, nodes, weights, ["out"]))
    images = torch.randn(1, 8, 6, 2)
    conv = torch.nn.functional.conv2d(
        images.permute(0, 3, 1, 2), torch.from_numpy(kernel).permute(3, 2, 0, 1), torch.tensor([1.0, 2, 3, 4]), 2, 1
    )
    torch.testing.assert_close(model(images)["out"], torch.nn.functional.leaky_relu(conv[:, 1:], 0.1))


def test_graphs_that_cannot_be_run(tmp_path: Path) -> None:
    with pytest.raises(GraphModelError, match="no TensorFlow"):
        GraphModel(tmp_path / "none.json")
    with pytest.raises(GraphModelError, match="Nonsense"):
        GraphModel(_graph(tmp_path, [_node("out", "Nonsense", ["input"])], {}, ["out"]))
    with pytest.raises(GraphModelError, match="no node 'lost'"):
        GraphModel(_graph(tmp_path, [_node("out", "Identity", ["lost"])], {}, ["out"]))


def test_convolutions_of_nanodet_land_in_ours(tmp_path: Path) -> None:
    """By their numbers, not their order; the first one's colours turned round."""
    net, lateral = CspNet(), nn.ModuleList(nn.Conv2d(c, 128, 1) for c in (128, 256, 512))
    layers = [m for m in [*net.modules(), *lateral] if isinstance(m, nn.Conv2d)]
    nodes, weights = [], {}
    for index, layer in reversed(list(enumerate(layers))):
        name = f"convolution_{index}" if index else "convolution"
        weights[f"w{index}"] = layer.weight.detach().half().float().permute(2, 3, 1, 0).contiguous().numpy()
        assert layer.bias is not None
        weights[f"b{index}"] = layer.bias.detach().half().float().numpy()
        nodes.append(_node(name, "Conv2D", ["input", f"w{index}"]))
        nodes.append(_node(f"add{index}", "Add", [name, f"b{index}"]))
    outputs = [f"add{index}" for index in range(len(layers))]
    file = _graph(tmp_path, nodes, weights, outputs)
    made = detector("csp", file, (64, 96))
    assert isinstance(made.backbone, CspNet)
    torch.testing.assert_close(made.backbone.stem[0].weight, layers[0].weight.half().float().flip(1))
    torch.testing.assert_close(made.lateral[2].weight, lateral[2].weight.half().float())
    torch.testing.assert_close(made.backbone.stages[3].last[0].bias, layers[24].bias.half().float())  # type: ignore[union-attr]
    with pytest.raises(GraphModelError, match="no NanoDet-g"):
        fill_csp(CspNet(), nn.ModuleList(nn.Conv2d(c, 64, 1) for c in (128, 256, 512)), GraphModel(file))
    with pytest.raises(ValueError, match="--start"):
        detector("residual", file, (64, 96))
    assert isinstance(detector("mobilenet-v2", None, (64, 96)), PersonDetector)


def test_given_boxes_beside_a_teachers() -> None:
    given = np.array([[0, 0, 50, 100], [100, 0, 400, 100], [500, 0, 550, 100]], np.float32)
    seen = np.array(
        [[0, 0, 52, 98], [110, 0, 160, 100], [200, 0, 250, 100], [600, 0, 650, 100], [700, 0, 750, 100],
         [0, 0, 50, 45]], np.float32,
    )  # fmt: skip
    scores = np.array([0.9, 0.8, 0.7, 0.6, 0.3, 0.5], np.float32)
    out = judged(given, seen, scores)
    assert [(origin, round(score, 1)) for _, origin, score in out] == [
        ("given", 0.9), ("group", 0.0), ("doubted", 0.0),
        ("added", 0.8), ("added", 0.7), ("added", 0.6), ("unsure", 0.3),
    ]  # fmt: skip
    assert judged(np.zeros((0, 4), np.float32), np.zeros((0, 4), np.float32), np.zeros(0, np.float32)) == []


def test_a_label_file_is_completed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Teacher:
        def __init__(self, model: Path) -> None:
            pass

        def people(self, picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            assert picture.shape == (100, 200, 3)
            return np.array([[0, 0, 50, 100], [100, 0, 150, 100]], np.float32), np.array([0.9, 0.8], np.float32)

    monkeypatch.setattr(complete, "NanoDet", Teacher)
    (tmp_path / "images").mkdir()
    cv2.imwrite(str(tmp_path / "images" / "a.png"), np.zeros((100, 200, 3), np.uint8))
    labels = {"images": [{"id": 7, "file_name": "a.png", "stretch_x": 1.4}],
              "annotations": [{"image_id": 7, "bbox": [0, 0, 50, 95]}]}  # fmt: skip
    (tmp_path / "boxes.json").write_text(json.dumps(labels))
    arguments = [str(tmp_path / "out.json"), "--photographs", str(tmp_path), "--model", "m.json"]
    assert complete.main(arguments) == 0
    made = json.loads((tmp_path / "out.json").read_text())
    assert made["images"] == labels["images"]
    assert [(a["origin"], a["bbox"], a["iscrowd"]) for a in made["annotations"]] == [
        ("given", [0, 0, 50, 95], 0), ("added", [100, 0, 50, 100], 0),
    ]  # fmt: skip
    (tmp_path / "images" / "a.png").unlink()
    assert complete.main(arguments) == 1
    assert "a.png is not a readable picture" in capsys.readouterr().err
