"""YOLO pose weights and their ONNX exports become packages; the program's own copy is made once."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("ultralytics", reason="needs requirements/export.txt")

from bodycast.app.detectors.quiet_ultralytics import import_ultralytics
from bodycast.engines.package import load_package
from bodycast.engines.registry import ENGINES, open_engine
from bodycast.export import __main__ as export_main
from bodycast.export import keypoint_package
from bodycast.export.keypoint_package import yolo_pose_package
from bodycast.export.parity_crops import crops_of
from tests.export.pose_files import fixed_answer, yolo_pose


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """`.pt` files: a plain head, an end-to-end one, and a detector."""
    import_ultralytics()
    folder = tmp_path_factory.mktemp("yolo")
    made = {"plain": yolo_pose(), "end-to-end": yolo_pose(end_to_end=True), "detector": yolo_pose(task="detect")}
    for name, yolo in made.items():
        yolo.save(str(folder / f"{name}.pt"))
    return {name: folder / f"{name}.pt" for name in made}


def keypoints_of(folder: Path, crops: np.ndarray, engine: str = "onnxruntime") -> np.ndarray:
    with open_engine(folder, engine, "cpu") as opened:
        return opened.run({"crops": crops})["keypoints"]


@pytest.mark.parametrize("head", ["plain", "end-to-end"])
def test_weights_and_their_onnx_file_see_the_same(head: str, weights: dict[str, Path], tmp_path: Path) -> None:
    library = import_ultralytics()
    path = tmp_path / "given.pt"
    shutil.copyfile(weights[head], path)
    # The exporter calls networks without duplicates "end2end".
    further = {"end2end": True} if head == "end-to-end" else {}
    exported = library.YOLO(str(path)).export(format="onnx", imgsz=(96, 64), simplify=False, verbose=False, **further)
    words = ["--kind", "yolo-pose", "--joints", "coco-17"]
    folders = (tmp_path / "of-weights", tmp_path / "of-graph")
    assert export_main.main(["keypoints", str(path), *words, "--input", "96x64", "--out", str(folders[0])]) == 0
    assert export_main.main(["keypoints", str(exported), *words, "--out", str(folders[1])]) == 0
    info = load_package(folders[0]).info
    assert (info.joint_set, info.crop_rule, info.licence) == ("coco-17", "padded", "AGPL-3.0")
    crops = crops_of("fixed", 4, (96, 64))
    first, second = (keypoints_of(folder, crops) for folder in folders)
    np.testing.assert_allclose(first, second, atol=2e-3)
    if ENGINES["openvino"].installed():
        np.testing.assert_allclose(keypoints_of(folders[0], crops, "openvino"), first, atol=1e-3)
    assert np.abs(first[0] - first[1]).max() > 0.01


def test_the_programs_copy_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    people = np.random.default_rng(0).uniform(0, 64, (1, 56, 21))
    path, cache = fixed_answer(tmp_path / "mine.onnx", people / 64), tmp_path / "cache"
    folder = yolo_pose_package(path, cache)
    assert folder.parent == cache and load_package(folder).info.inputs[0].shape == ("N", 64, 64, 3)
    renamed = path.rename(tmp_path / "renamed.onnx")
    with monkeypatch.context() as patch:
        patch.setattr(keypoint_package, "export_keypoints", None)
        assert yolo_pose_package(renamed, cache) == folder
    (folder / "model.onnx").write_bytes(b"damaged")
    assert yolo_pose_package(renamed, cache) == folder
    assert load_package(folder).info.task == "pose" and [entry.name for entry in cache.iterdir()] == [folder.name]


def test_other_files_are_one_line(weights: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cut, text = tmp_path / "cut.pt", tmp_path / "text.pt"
    cut.write_bytes(weights["plain"].read_bytes()[:200_000])
    text.write_text("no weights")
    for path, words, said in [
        (weights["detector"], [], "finds no keypoints"),
        (weights["plain"], ["--joints", "halpe-26"], "has 26 keypoints"),
        (weights["plain"], ["--input", "100x64"], "multiples of 32"),
        (weights["plain"], ["--kind", "rtmpose"], "reads ONNX files"),
        (cut, [], "cannot read it"),
        (text, [], "cannot read it"),
    ]:
        capsys.readouterr()
        command = ["keypoints", str(path), "--kind", "yolo-pose", *words, "--out", str(tmp_path / "out")]
        assert export_main.main(command) == 2
        printed = capsys.readouterr()
        assert said in printed.err and printed.err.count("\n") == 1 and not (tmp_path / "out").exists()
    with pytest.raises(ValueError, match="finds no keypoints"):
        yolo_pose_package(weights["detector"], tmp_path / "cache")
    with pytest.raises(ValueError, match="no file"):
        yolo_pose_package(tmp_path / "none.pt", tmp_path / "cache")
