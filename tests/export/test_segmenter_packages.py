"""Networks that cut people out become segmenter packages: ONNX files of one mask, and YOLO-seg weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx", reason="needs requirements/export.txt")

import torch
from torch import Tensor, nn

from bodycast.app.estimation.segmenter import SegmenterMasks
from bodycast.engines.package import load_package
from bodycast.engines.registry import open_engine
from bodycast.export import __main__ as export_main
from bodycast.export.parity_crops import crops_of
from tests.export.pose_files import HW, Trunk, fixed_answer, torch_file


class MaskNet(nn.Module):
    """As background matting networks: a map of one or two channels at a quarter of the size, or at all of it."""

    def __init__(self, channels: int = 1, whole: bool = False) -> None:
        super().__init__()
        self.trunk, self.head, self.whole = Trunk(), nn.Conv2d(16, channels, 1), whole

    def forward(self, images: Tensor) -> Tensor:
        maps = self.head(self.trunk(images))
        return nn.functional.interpolate(maps, scale_factor=4.0) if self.whole else maps


def export(file: Path, out: Path, *words: str) -> int:
    return export_main.main(["segmenter", str(file), "--out", str(out), *words])


def mask_of(folder: Path, crops: np.ndarray) -> np.ndarray:
    with open_engine(folder, "onnxruntime", "cpu") as engine:
        return engine.run({"crops": crops})["mask"]


@pytest.mark.parametrize(
    ("net", "batch", "words"),
    [
        (MaskNet(), True, ["--activation", "sigmoid"]),
        (MaskNet(whole=True), False, ["--pixels", "imagenet", "--activation", "sigmoid"]),
        (MaskNet(2), True, ["--pixels", "signed", "--activation", "softmax"]),
    ],
    ids=["quarter", "whole, one picture", "two channels"],
)
def test_a_mask_file_answers_as_torch_does(net: nn.Module, batch: bool, words: list[str], tmp_path: Path) -> None:
    file = torch_file(tmp_path / "given.onnx", net, ["alpha"], batch=batch)
    assert export(file, tmp_path / "package", *words) == 0
    package = load_package(tmp_path / "package")
    assert package.info.task == "segmenter" and package.info.inputs[0].shape == ("N", *HW, 3)
    crops = crops_of("random", 3, HW)
    pixels = torch.from_numpy(crops).permute(0, 3, 1, 2).float()
    mean, std = torch.tensor([123.675, 116.28, 103.53]), torch.tensor([58.395, 57.12, 57.375])
    taken = {
        "imagenet": (pixels - mean.view(3, 1, 1)) / std.view(3, 1, 1), "signed": pixels / 127.5 - 1,
    }.get(words[1], pixels / 255)  # fmt: skip
    with torch.no_grad():
        maps = net(taken)
        shares = maps.softmax(1)[:, 1:] if maps.shape[1] == 2 else maps.sigmoid()
        expected = nn.functional.interpolate(shares, HW, mode="bilinear", align_corners=False)[:, 0]
    np.testing.assert_allclose(mask_of(package.folder, crops), expected, atol=2e-3)
    assert float(expected.std()) > 0.01
    masks = SegmenterMasks(package.folder, "onnxruntime", "cpu")
    assert masks.look(crops).shape == (3, *HW)
    masks.close()


def test_other_files_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = tmp_path / "text.onnx"
    text.write_text("no graph")
    mask = torch_file(tmp_path / "mask.onnx", MaskNet(), ["alpha"])
    for file, words, said in [
        (tmp_path / "no.onnx", [], "no file"),
        (text, [], "not an ONNX graph"),
        (fixed_answer(tmp_path / "pose.onnx", np.zeros((1, 56, 21))), [], "no mask file: expected an output"),
        (fixed_answer(tmp_path / "row.onnx", np.zeros((1, 5))), [], "no mask file: expected an output"),
        (mask, ["--activation", "softmax"], "--activation softmax is for two channels"),
        (mask, ["--input", "32x32"], "the file's picture is"),
        (mask, ["--input", "wide"], "expected HxW"),
    ]:
        assert export(file, tmp_path / "package", *words) == 2
        error = capsys.readouterr().err
        assert said in error and len(error.splitlines()) == 1, error
    assert not (tmp_path / "package").exists()


class Answers(nn.Module):
    """What a fused YOLO-seg gives: boxes, scores of two classes, two coefficients; prototypes of the left and right."""

    def __init__(self) -> None:
        super().__init__()
        self.model = nn.ModuleList([nn.Identity()])
        found = [
            [2.0, 8.0, 30.0, 56.0, 0.1, 0.9, 9.0, -9.0],  # the person in the middle
            [40.0, 0.0, 48.0, 60.0, 0.1, 0.95, -9.0, 9.0],  # a surer one at the border
            [2.0, 8.0, 30.0, 56.0, 0.99, 0.0, -9.0, 9.0],  # something else in the middle
        ]
        left = torch.zeros(16, 12)
        left[:, :6] = 1
        self.found = torch.tensor(found).T[None]
        self.prototypes = torch.stack([left, 1 - left])[None]

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return self.found.expand(len(images), -1, -1), self.prototypes.expand(len(images), -1, -1, -1)


def test_yolos_mask_is_that_of_the_person_in_the_middle_cut_at_its_box() -> None:
    pytest.importorskip("ultralytics", reason="needs requirements/export.txt")
    from bodycast.export.yolo_segmenter import PersonMaskYolo

    module = PersonMaskYolo(Answers(), person=1, classes=2, hw=HW).eval()
    (mask,) = module(torch.zeros(2, *HW, 3, dtype=torch.uint8))
    assert mask.shape == (2, *HW)
    assert (mask[:, 10:54, 4:20] > 0.99).all() and (mask[:, :, 26:] < 0.01).all()
    assert (mask[:, :8] == 0).all() and (mask[:, 57:] == 0).all() and (mask[:, :, :2] == 0).all()


def test_yolo_weights_become_a_package(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("ultralytics", reason="needs requirements/export.txt")
    from bodycast.app.detectors.quiet_ultralytics import import_ultralytics
    from tests.export.pose_files import yolo_pose

    import_ultralytics()
    for task in ("segment", "detect"):
        yolo_pose(task=task).save(str(tmp_path / f"{task}.pt"))
    out = tmp_path / "package"
    assert export(tmp_path / "segment.pt", out, "--input", "96x64") == 0
    info = load_package(out).info
    assert (info.task, info.licence, info.outputs[0].shape) == ("segmenter", "AGPL-3.0", ("N", 96, 64))
    masks = mask_of(out, crops_of("fixed", 4, (96, 64)))
    assert masks.min() >= 0 and masks.max() <= 1 and masks.std() > 0.01
    capsys.readouterr()
    for file, words, said in [
        (tmp_path / "detect.pt", [], "segments nothing (it ends in Detect); expected YOLO-seg"),
        (tmp_path / "segment.pt", ["--input", "90x64"], "multiples of 32"),
        (tmp_path / "no.pt", [], "no file"),
    ]:
        assert export(file, tmp_path / "other", *words) == 2
        error = capsys.readouterr().err
        assert said in error and len(error.splitlines()) == 1, error
