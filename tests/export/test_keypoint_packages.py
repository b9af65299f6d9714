"""Users' 2D-pose files become packages that every engine reads as the file itself is read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto
from torch import Tensor, nn

from bodycast.engines.package import JOINT_SETS, load_package
from bodycast.engines.registry import ENGINES, open_engine
from bodycast.export import __main__ as export_main
from bodycast.export import keypoint_package, keypoints_command
from bodycast.export.exportable import JOINT_SETS as BY_NUMBER
from bodycast.export.keypoint_file import KINDS, read_keypoint_file
from bodycast.export.keypoint_reference import reference_keypoints
from bodycast.export.parity_crops import crops_of
from tests.export.pose_files import HW, HeatmapNet, SimccNet, fixed_answer, movenet_file, torch_file

SIMCC = ["simcc_x", "simcc_y"]
CPU_ENGINES = [name for name in ("onnxruntime", "openvino") if ENGINES[name].installed()]
FILES: dict[str, tuple[str, str, tuple[int, int], Callable[[Path], Path]]] = {
    "rtmpose": ("rtmpose", "coco-17", HW, lambda path: torch_file(path, SimccNet(17), SIMCC)),
    "rtmpose in fp16": ("rtmpose", "halpe-26", HW, lambda path: torch_file(path, SimccNet(26), SIMCC, half=True)),
    "vitpose, names as ours": ("vitpose", "coco-17", HW, lambda path: torch_file(path, HeatmapNet(17), ["keypoints"])),
    "vitpose, one crop": (
        "vitpose", "coco-wholebody-133", HW, lambda path: torch_file(path, HeatmapNet(133), ["out"], batch=False),
    ),
    "movenet, int32": ("movenet", "coco-17", (64, 64), movenet_file),
    "movenet, float": ("movenet", "coco-17", (64, 64), lambda path: movenet_file(path, element=TensorProto.FLOAT)),
}  # fmt: skip


def convert(path: Path, kind: str, out: Path, *words: str) -> int:
    return export_main.main(["keypoints", str(path), "--kind", kind, "--out", str(out), *words])


@pytest.mark.parametrize("name", FILES)
def test_every_engine_reads_it_as_the_file_is_read(name: str, tmp_path: Path) -> None:
    kind, joints, hw, make = FILES[name]
    path = make(tmp_path / "file.onnx")
    assert convert(path, kind, tmp_path / "out", "--licence", "CC0") == 0
    info = load_package(tmp_path / "out").info
    assert (info.task, info.joint_set, info.crop_rule, info.normalisation) == ("pose", joints, "padded", "in-graph")
    assert (info.name, info.licence, info.architecture) == ("out", "CC0", kind)
    assert [str(one) for one in info.inputs] == [f"crops uint8 (N, {hw[0]}, {hw[1]}, 3)"]
    keypoints = next(count for count, joint_set in BY_NUMBER.items() if joint_set == joints)
    assert [str(one) for one in info.outputs] == [f"keypoints float32 (N, {keypoints}, 3)"]
    file = read_keypoint_file(path, kind)
    crops = crops_of("random", 5, hw)
    expected = reference_keypoints(file, file.session(), crops)
    for engine in CPU_ENGINES:
        with open_engine(tmp_path / "out", engine, "cpu") as opened:
            for rows in (5, 1):
                found = opened.run({"crops": crops[:rows]})["keypoints"]
                apart = np.sort(np.abs(found - expected[:rows])[..., :2].max(axis=2), axis=1)
                # In fp16 two bins tie more often.
                assert np.median(apart) < 1e-4 and (file.half or apart[:, :-2].max() < 1e-3), engine
                assert np.abs(found - expected[:rows])[..., 2].max() < 5e-3, engine


class DotSimcc(nn.Module):
    """Two bins a pixel, as high as the brightest pixel of a column or row: finds a dot exactly."""

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        bright = images.mean(1).clamp(0, 1)
        x, y = bright.amax(1).repeat_interleave(2, dim=1), bright.amax(2).repeat_interleave(2, dim=1)
        return x[:, None] * torch.ones(1, 17, 1), y[:, None] * torch.ones(1, 17, 1)


class DotHeatmap(nn.Module):
    """The mean of every four by four pixels, made smooth: within two pixels of a dot."""

    def forward(self, images: Tensor) -> Tensor:
        maps = nn.functional.avg_pool2d(images.mean(1, keepdim=True).clamp(min=0), 4)
        for _ in range(6):  # sigma 2, the width that UDP's reading is for
            maps = nn.functional.avg_pool2d(maps, 3, stride=1, padding=1)
        return 50 * maps * torch.ones(1, 17, 1, 1)


@pytest.mark.parametrize(("kind", "net", "names", "within_px"), [
    ("rtmpose", DotSimcc(), SIMCC, 1e-3), ("vitpose", DotHeatmap(), ["maps"], 2.0),
])  # fmt: skip
def test_a_dot_is_where_it_is(kind: str, net: nn.Module, names: list[str], within_px: float, tmp_path: Path) -> None:
    path = tmp_path / "dot.onnx"
    hw = (128, 96)
    images = torch.zeros(2, 3, *hw)
    shapes = {"images": {0: torch.export.Dim("batch", min=1, max=64)}}
    program = torch.onnx.export(
        net.eval(), (images,), dynamo=True, opset_version=18, input_names=["images"], output_names=names,
        dynamic_shapes=shapes, external_data=False, verbose=False,
    )  # fmt: skip
    assert program is not None
    path.write_bytes(program.model_proto.SerializeToString())
    assert convert(path, kind, tmp_path / "out") == 0
    crops = np.zeros((3, *hw, 3), np.uint8)
    centres = ((48, 64), (30, 90), (66, 41))  # u, v
    for crop, (u, v) in zip(crops, centres, strict=True):
        crop[v - 1 : v + 2, u - 1 : u + 2] = 128
        crop[v, u] = 255
    with open_engine(tmp_path / "out", "onnxruntime", "cpu") as engine:
        found = engine.run({"crops": crops})["keypoints"]
    pixels = found[:, 0, :2] * hw[0] + [hw[1] / 2, hw[0] / 2]
    np.testing.assert_allclose(pixels, centres, atol=within_px)
    assert (found[..., 2] > 0.05).all()


def answer_of(path: Path, kind: str, out: Path) -> np.ndarray:
    """(17, 3) that the package of a file gives."""
    assert convert(path, kind, out) == 0
    hw = load_package(out).info.inputs[0].shape[1:3]
    with open_engine(out, "onnxruntime", "cpu") as engine:
        found = engine.run({"crops": np.zeros((2, *hw, 3), np.uint8)})["keypoints"]
    np.testing.assert_array_equal(found[0], found[1])
    return found[0]


def test_movenet_counts_from_the_corner(tmp_path: Path) -> None:
    answer = np.tile(np.float32([0.75, 0.5, 0.8]), (1, 1, 17, 1))
    found = answer_of(fixed_answer(tmp_path / "m.onnx", answer, layout="NHWC"), "movenet", tmp_path / "out")
    np.testing.assert_allclose(found, np.tile([-0.5 / 64, 0.25 - 0.5 / 64, 0.8], (17, 1)), atol=1e-6)


@pytest.mark.parametrize("rows", [False, True], ids=["anchors", "end to end"])
def test_yolo_gives_the_person_in_the_middle(rows: bool, tmp_path: Path) -> None:
    people = np.zeros((40, 57 if rows else 56), np.float32)
    for index, (x, y, score) in enumerate([(60, 32, 0.9), (34, 30, 0.5), (30, 34, 0.3)]):
        people[index, :4] = (x - 5, y - 20, x + 5, y + 20) if rows else (x, y, 10, 40)
        people[index, 4] = score
        people[index, -51:] = np.tile([x + 1, y - 2, 0.5 + 0.1 * index], 17)
    answer = people[None] if rows else people.T[None]
    found = answer_of(fixed_answer(tmp_path / "y.onnx", answer), "yolo-pose", tmp_path / "out")
    np.testing.assert_allclose(found, np.tile([(35 - 32) / 64, (28 - 32) / 64, 0.6 * 0.5], (17, 1)), atol=1e-6)


def refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line of a command that is refused with exit code 2."""
    capsys.readouterr()
    assert export_main.main(["keypoints", *words]) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.startswith("error: ") and printed.err.count("\n") == 1, printed.err
    return printed.err


@pytest.fixture(scope="module")
def simcc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return torch_file(tmp_path_factory.mktemp("simcc") / "rtmpose.onnx", SimccNet(17), SIMCC)


def test_what_does_not_go_together_is_one_line(
    simcc: Path, repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hmr = str(repository / "assets/models/hmr-swin-t-s2-lite/model.onnx")
    detector = str(repository / "assets/models/person-detector/model.onnx")
    odd = str(torch_file(tmp_path / "odd.onnx", SimccNet(21), SIMCC))
    batch = str(movenet_file(tmp_path / "batch.onnx", rows=4))
    out = tmp_path / "out"
    for words, said in [
        ([str(simcc), "--kind", "rtmpose", "--joints", "halpe-26"], "has 26 keypoints"),
        ([str(simcc), "--kind", "rtmpose", "--input", "256x192"], "is 64x48"),
        ([str(simcc), "--kind", "rtmpose", "--input", "256"], "expected HxW"),
        ([str(simcc), "--kind", "vitpose"], "heat maps"),
        ([str(simcc), "--kind", "movenet"], "expected an input (N, h, w, 3)"),
        ([str(simcc), "--kind", "yolo-pose"], "expected one output"),
        ([odd, "--kind", "rtmpose"], "gives 21 keypoints, expected 17"),
        ([batch, "--kind", "movenet"], "batch is fixed at 4"),
        ([hmr, "--kind", "rtmpose"], "it is uint8"),
        ([hmr, "--kind", "movenet"], "MoveNet"),
        ([detector, "--kind", "yolo-pose"], "it is uint8"),
        ([str(tmp_path / "none.onnx"), "--kind", "rtmpose"], "no file"),
        ([str(tmp_path), "--kind", "rtmpose"], "no file"),
    ]:
        assert said in refused([*words, "--out", str(out)], capsys), words
        assert not out.exists()


@pytest.mark.parametrize("damage", ["cut", "text", "empty", "outside", "scrambled", "old"])
def test_a_broken_file_is_one_line(
    damage: str, simcc: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "broken.onnx"
    content = simcc.read_bytes()
    model = onnx.load_from_string(content)
    if damage == "outside":
        onnx.save(model, path, save_as_external_data=True, size_threshold=0)
    elif damage == "old":
        model.opset_import[0].version = 9
        onnx.save(model, path)
    elif damage == "scrambled":
        model.graph.node[0].op_type = "NoSuchOperator"
        onnx.save(model, path)
    else:
        path.write_bytes({"cut": content[: len(content) // 2], "text": b"no graph", "empty": b""}[damage])
    said = refused([str(path), "--kind", "rtmpose", "--out", str(tmp_path / "out")], capsys)
    assert str(path) in said and not (tmp_path / "out").exists()


def test_a_package_that_reads_otherwise_is_not_written(
    simcc: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    right = keypoint_package.reference_keypoints
    monkeypatch.setattr(keypoint_package, "reference_keypoints", lambda *given: right(*given) + np.float32(0.002))
    assert convert(simcc, "rtmpose", tmp_path / "out") == 1
    assert "keypoint_worst_px 0.18" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_the_command_line_knows_the_kinds_and_joint_sets() -> None:
    assert keypoints_command.KINDS == KINDS
    assert tuple(BY_NUMBER.values()) == keypoints_command.JOINT_SETS and set(BY_NUMBER.values()) <= set(JOINT_SETS)


def test_published_movenet(shared_dir: Path, tmp_path: Path) -> None:
    path = shared_dir / "teachers" / "movenet-lightning.onnx"
    if not path.is_file():
        pytest.skip(f"{path.name} is not on this machine")
    assert convert(path, "movenet", tmp_path / "out", "--joints", "coco-17") == 0
