"""YOLO to a package, on a file with random weights: the same code that runs on fetched ones."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bodycast.app.commands import get_detector as command
from bodycast.app.detectors.package_detector import PackageDetector
from bodycast.app.errors import RunError, UsageError
from bodycast.app.records import Frame
from bodycast.hmr.geometry.boxes import iou_matrix
from tests.detectors.random_yolo import random_yolo

for _module in ("torch", "onnx", "onnxscript", "ultralytics"):
    pytest.importorskip(_module, reason="needs requirements/export.txt")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_yolo(tmp_path_factory.mktemp("yolo"))


@pytest.fixture(scope="module")
def package(weights: Path) -> Path:
    return command.get_detector(str(weights), weights.parent / "package", (160, 256))


def test_the_package_finds_what_ultralytics_finds(weights: Path, package: Path) -> None:
    """Same picture, same letterbox (the picture has the network's own size): the same boxes, best first."""
    from ultralytics import YOLO

    picture = np.random.default_rng(5).integers(0, 256, (20, 32, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
    detector = PackageDetector(str(package), "onnxruntime", "cpu", min_score=0.1)
    found = detector.detect(Frame(picture, 0, 0.0))
    detector.close()
    result = YOLO(str(weights)).predict(picture, classes=[0], conf=0.1, iou=0.6, imgsz=(160, 256), verbose=False)[0]
    expected, score = result.boxes.xyxy.numpy(), result.boxes.conf.numpy()
    assert len(expected) > 3 and len(found) == len(expected)
    assert np.all(iou_matrix(found.xyxy, expected).max(axis=1) > 0.99)
    np.testing.assert_allclose(found.score, score, atol=1e-3)


def test_the_package_says_its_licence(package: Path) -> None:
    from bodycast.engines.package import load_package

    info = load_package(package).info
    assert info.licence == "AGPL-3.0" and info.task == "detector" and info.arguments == {"input_hw": [160, 256]}


def test_running_it_needs_no_torch(package: Path, repository: Path) -> None:
    code = (
        "import sys, numpy as np; "
        "from bodycast.app.detectors import open_detector; from bodycast.app.records import Frame; "
        f"d = open_detector({str(package)!r}, 'onnxruntime', 'cpu'); "
        "d.detect(Frame(np.zeros((90, 160, 3), np.uint8), 0, 0.0)); "
        "print([m for m in ('torch', 'ultralytics', 'onnx') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=repository, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_what_cannot_be_fetched_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BODYCAST_HOME", str(tmp_path))
    import ultralytics.utils.downloads as downloads

    def no_network(file: str) -> str:
        raise ConnectionError("no route to host\nmore")

    monkeypatch.setattr(downloads, "attempt_download_asset", no_network)
    with pytest.raises(RunError, match=r"^yolo11n\.pt could not be fetched: no route to host$"):
        command.main([], "get-detector")
    monkeypatch.setattr(downloads, "attempt_download_asset", lambda file: file)
    with pytest.raises(RunError, match="could not be fetched; is the network there"):
        command.main(["--model", "yolo11s.pt"], "get-detector")
    with pytest.raises(UsageError, match=r"no file folder/yolo11n\.pt"):
        command.main(["--model", "folder/yolo11n.pt"], "get-detector")


def test_a_fetched_file_is_fetched_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BODYCAST_HOME", str(tmp_path))
    import ultralytics.utils.downloads as downloads

    calls: list[str] = []

    def write(file: str) -> str:
        calls.append(file)
        Path(file).write_bytes(b"weights")
        return file

    monkeypatch.setattr(downloads, "attempt_download_asset", write)
    assert command.fetch("yolo11n.pt") == command.fetch("yolo11n.pt") == tmp_path / "downloads" / "yolo11n.pt"
    assert len(calls) == 1


def test_another_file_than_the_known_one_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BODYCAST_HOME", str(tmp_path))
    (tmp_path / "downloads").mkdir()
    fetched = tmp_path / "downloads" / "yolo11n.pt"
    fetched.write_bytes(b"weights")
    digest = hashlib.sha256(b"weights").hexdigest()
    with pytest.raises(RunError, match=rf"yolo11n\.pt: its sha256 is {digest}, not 0ebbc80d.*--sha256 {digest}$"):
        command.main([], "get-detector")
    with pytest.raises(RunError, match=f"its sha256 is {digest}, not 00: "):
        command.main(["--model", str(fetched), "--sha256", "00"], "get-detector")
    with pytest.raises(UsageError, match="ultralytics cannot read it"):
        command.main(["--sha256", digest.upper()], "get-detector")
    fetched.rename(fetched.with_name("yolo8n.pt"))
    with pytest.raises(UsageError, match="ultralytics cannot read it"):
        command.main(["--model", "yolo8n.pt"], "get-detector")
    assert f"yolo8n.pt: sha256 {digest} (not checked" in capsys.readouterr().out


def test_bad_arguments(weights: Path, package: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="expected HEIGHTxWIDTH"):
        command.main(["--input", "640"], "get-detector")
    with pytest.raises(UsageError, match="multiples of 32, got 100x640"):
        command.get_detector(str(weights), tmp_path / "p", (100, 640))
    with pytest.raises(UsageError, match="exists; pass --overwrite"):
        command.get_detector(str(weights), package)


class Bomb:
    """Unpickling it leaves a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize("content", ["bomb", "missing module", "half", "text"])
def test_weight_files_run_no_code_and_are_left_alone(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    """A bare published name is the case where ultralytics would delete and download by itself."""
    import torch

    from bodycast.app.detectors.ultralytics_detector import UltralyticsDetector

    monkeypatch.chdir(tmp_path)
    bad, left = Path("yolo11n.pt"), tmp_path / "left-behind"
    if content == "bomb":
        torch.save({"model": Bomb(left)}, bad)
    elif content == "missing module":
        whole = weights.read_bytes()
        bad.write_bytes(whole.replace(b"ultralytics.nn.modules.conv", b"ultralytics_nn_modules_conv"))
    else:
        bad.write_bytes(weights.read_bytes()[:50_000] if content == "half" else b"no weights")
    before = bad.read_bytes()
    with pytest.raises(UsageError, match=r"yolo11n\.pt: ultralytics cannot read it: ") as of_export:
        command.get_detector(str(bad), tmp_path / "package", (160, 256))
    with pytest.raises(UsageError, match=r"yolo11n\.pt: ultralytics cannot read it: ") as of_run:
        UltralyticsDetector(bad)
    assert all("\n" not in str(raised.value) for raised in (of_export, of_run))
    assert bad.read_bytes() == before and [path.name for path in tmp_path.iterdir()] == ["yolo11n.pt"]


def test_a_missing_package_names_its_requirements(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(UsageError, match=r"'onnxscript' is not installed: pip install -r requirements/export\.txt"):
        command.main([], "get-detector")
