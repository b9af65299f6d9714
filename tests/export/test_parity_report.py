"""Parity reports: measures that mean what they say, refusal beyond the tolerance, repeatable without torch."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bodycast.engines.errors import PackageError
from bodycast.engines.package import PackageInfo, load_package
from bodycast.export import __main__ as export_main
from bodycast.export import network_package, parity, parity_command
from bodycast.export.exportable import Exportable, exportable
from bodycast.export.network_package import Options, Words, checked_graph, export_package
from bodycast.export.onnx_graph import ParityError, run_torch
from bodycast.export.parity import REFERENCE_FILE, REPORT_FILE, measure, measure_again, read_report, reference_outputs
from bodycast.export.parity_crops import crops_of
from bodycast.export.parity_errors import beyond_tolerance, compare
from tests.networks.registry_cases import tiny
from tests.tiny_packages import hmr_package

ONE_ENGINE = ("onnxruntime",)


def bodies(rows: int = 3) -> dict[str, np.ndarray]:
    return {
        "pose": np.tile(np.eye(3), (rows, 24, 1, 1)),
        "betas": np.zeros((rows, 10)),
        "camera": np.zeros((rows, 3)),
    }


def turned(degrees: float, joint: int, row: int) -> dict[str, np.ndarray]:
    outputs = bodies()
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    outputs["pose"][row, joint] = [[c, -s, 0], [s, c, 0], [0, 0, 1]]
    return outputs


def test_equal_outputs_are_no_distance_apart() -> None:
    errors = compare("hmr", bodies(), bodies())
    assert max(errors.values()) == 0 and beyond_tolerance("hmr", "fp32", errors) == []


def test_a_turned_joint_shows_in_degrees_and_millimetres() -> None:
    errors = compare("hmr", bodies(), turned(2, joint=16, row=1))
    assert errors["rotation_worst_deg"] == pytest.approx(2, abs=1e-3)
    assert errors["rotation_deg"] == pytest.approx(2 / (3 * 24), abs=1e-4)
    # A shoulder's turn moves elbow, wrist and hand: some 0.25, 0.5 and 0.6 m away, averaged over 24 joints.
    assert 1 < errors["mpjpe_worst_mm"] < 4
    assert errors["mpjpe_mm"] == pytest.approx(errors["mpjpe_worst_mm"] / 3)
    refused = beyond_tolerance("hmr", "fp16", errors)
    assert any("mpjpe_worst_mm" in text and "allowed are 1" in text for text in refused)
    assert beyond_tolerance("hmr", "int8", errors) == [] or errors["pve_worst_mm"] > 3


def test_values_that_are_not_finite_fail() -> None:
    broken = bodies()
    broken["camera"][0, 0] = np.nan
    with pytest.raises(ValueError, match="'camera' has values that are not finite"):
        compare("hmr", bodies(), broken)
    assert beyond_tolerance("smoother", "int8", {"mpjpe_worst_mm": float("nan")})


def test_the_other_tasks_have_their_own_units() -> None:
    motion = np.zeros((2, 5, 133))
    moved = motion.copy()
    moved[1, :, 0:87:3] = 0.003
    assert compare("smoother", {"motion": motion}, {"motion": moved})["mpjpe_worst_mm"] == pytest.approx(3)
    keypoints = np.zeros((2, 17, 3))
    keypoints[:, :5, 2] = 0.9
    moved = keypoints.copy()
    moved[1, 0, :2] = 0.5  # one place a row may be a tie's other side
    moved[1, 1, 0] = 0.01
    moved[:, 16, 1] = 0.2  # seen by nobody
    errors = compare("pose", {"keypoints": keypoints}, {"keypoints": moved}, crop_height=256)
    assert errors["seen_worst_px"] == pytest.approx(2.56) and errors["keypoint_worst_px"] == pytest.approx(51.2)
    assert beyond_tolerance("pose", "int8", errors) == []
    assert len(beyond_tolerance("pose", "fp32", errors)) == 2
    boxes = {"boxes": np.zeros((1, 40, 4)), "scores": np.linspace(0, 1, 40)[None]}
    shifted = {"boxes": boxes["boxes"].copy(), "scores": boxes["scores"]}
    shifted["boxes"][0, 0] = 50  # least probable: nobody looks at it
    shifted["boxes"][0, 39] = 2
    assert compare("detector", boxes, shifted)["box_worst_px"] == pytest.approx(2)


@pytest.mark.parametrize("kind", ["fixed", "random"])
def test_the_pictures_are_the_same_everywhere_and_differ_from_row_to_row(kind: str) -> None:
    crops = crops_of(kind, 4, (64, 48))
    assert crops.shape == (4, 64, 48, 3) and crops.dtype == np.uint8
    np.testing.assert_array_equal(crops[:2], crops_of(kind, 2, (64, 48)))
    assert all(np.abs(crops[0].astype(int) - other).mean() > 5 for other in crops[1:])


@pytest.fixture(scope="module")
def item() -> Exportable:
    return exportable(tiny("hmr2-s").eval())


def words(name: str) -> Words:
    return Words(name, "hmr2-s", {}, "MIT", "none", body="bodycast-adult", orientation_frame="crop-ray")


@pytest.fixture(scope="module")
def folder(item: Exportable, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("parity") / "package"
    export_package(item, out, words("package"), Options(precision="fp16", engines=ONE_ENGINE))
    return out


def test_the_report_is_hashed_and_can_be_repeated(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    package = load_package(folder)
    assert {REPORT_FILE, REFERENCE_FILE} <= set(package.files) and package.info.precision == "fp16"
    report = read_report(package)
    assert report.refused == [] and set(report.engines[0].ms_per_item) == {"1", "4", "16"}
    again = measure_again(package, ONE_ENGINE)
    assert again.engines[0].errors["random"] == pytest.approx(report.engines[0].errors["random"])
    assert parity_command.main([str(folder)]) == 0
    assert "MPJPE" in capsys.readouterr().out
    assert parity_command.main([str(folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[str(folder)]["precision"] == "fp16"


def test_a_changed_report_is_refused(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in folder.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    text = (copy / REPORT_FILE).read_text()
    (copy / REPORT_FILE).write_text(text.replace('"mpjpe_mm": ', '"mpjpe_mm": 0'))
    with pytest.raises(PackageError, match=r"parity\.json"):
        load_package(copy)


def archive_of(**arrays: np.ndarray) -> bytes:
    written = io.BytesIO()
    np.savez(written, **{name.replace("__", "/"): array for name, array in arrays.items()})
    return written.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (REPORT_FILE, b"{", "not a parity report"),
        (REPORT_FILE, b"[]", "schema None"),
        (REPORT_FILE, b"[1]", "not a parity report"),
        (REPORT_FILE, b'{"schema_version": 1}', "not a parity report"),
        (REPORT_FILE, b'{"schema_version": 2}', "schema 2, this program reads 1"),
        (REFERENCE_FILE, b"x", "does not hold torch's answers"),
        (REFERENCE_FILE, archive_of(fixed__pose=np.zeros((8, 24, 3, 3), np.float32)), "does not hold torch's answers"),
    ],
)
def test_what_is_no_report_or_reference_is_one_line(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, content: bytes, message: str
) -> None:
    """Somebody changed it on purpose: the hashes fit."""
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    (copy / name).write_bytes(content)
    document = json.loads((copy / "package.json").read_text())
    document["files"][name] = hashlib.sha256(content).hexdigest()
    (copy / "package.json").write_text(json.dumps(document))
    assert export_main.main(["parity", str(copy), "--engines", "onnxruntime"]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_a_package_of_another_task_has_no_use_for_the_report(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    document = json.loads((copy / "package.json").read_text())
    (copy / "package.json").write_text(json.dumps(document | {"task": "smoother"}))
    with pytest.raises(PackageError, match="not the parity report of a package for smoother"):
        read_report(load_package(copy))


def test_other_weights_are_beyond_the_tolerance(folder: Path) -> None:
    """The report is measured, not assumed: against another network's answers it refuses."""
    torch.manual_seed(1)
    net = tiny("hmr2-s")
    for parameter in net.parameters():
        parameter.data.add_(0.05 * torch.randn_like(parameter))
    report = measure(load_package(folder), reference_outputs(exportable(net.eval())), ONE_ENGINE)
    assert any("mpjpe_worst_mm" in text for text in report.refused)


class Sharp(nn.Module):
    """Motion whose size half precision cannot hold to a millimetre: kilometres from the origin."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.inner, self.outer = nn.Linear(12, 64), nn.Linear(64, 133)

    def forward(self, features: Tensor) -> tuple[Tensor]:
        return (500 * self.outer(torch.relu(self.inner(features))),)


def test_export_beyond_the_tolerance_leaves_nothing_unless_accepted(item: Exportable, tmp_path: Path) -> None:
    del item
    from bodycast.engines.package import BATCH, TensorSpec

    sharp = Exportable(
        Sharp().eval(),
        "smoother",
        (TensorSpec("features", "float32", (BATCH, 4, 12), "1", "tokens"),),
        {"motion": ("m", "joints and twists")},
    )
    options = Options(precision="fp16", engines=ONE_ENGINE)
    with pytest.raises(ParityError, match=r"in fp16 is not close enough to torch: .*--accept-error"):
        export_package(sharp, tmp_path / "sharp", words("sharp"), options)
    assert list(tmp_path.iterdir()) == []
    package, report = export_package(sharp, tmp_path / "sharp", words("sharp"), replace(options, accept_error=True))
    assert report.refused and read_report(package).refused == report.refused


@pytest.mark.parametrize("fault", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()], ids=repr)
@pytest.mark.parametrize("step", ["measure", "write_package"])
def test_a_full_disk_or_ctrl_c_leaves_no_half_package(
    item: Exportable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: BaseException, step: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise fault

    graph = checked_graph(item)
    out = tmp_path / "new" / "package"
    monkeypatch.setattr(network_package, step, fail)
    with pytest.raises(type(fault)):
        export_package(item, out, words("package"), Options(engines=ONE_ENGINE), graph)
    assert not out.exists() and not list(tmp_path.rglob("*.onnx"))


def test_a_package_without_a_report_says_so(tmp_path: Path) -> None:
    package = hmr_package(tmp_path / "plain", (64, 48))
    assert isinstance(package.info, PackageInfo)
    with pytest.raises(PackageError, match="no parity report"):
        read_report(package)


def test_large_networks_are_compared_a_few_rows_at_a_time(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a ViT-H with an upsampler keeps of eight crops is more than its weights."""
    item = exportable(tiny("hmr2-s").eval())
    whole = reference_outputs(item)
    rows: list[int] = []

    def counted(module: nn.Module, inputs: Sequence[Tensor], names: Sequence[str]) -> dict[str, np.ndarray]:
        rows.append(len(inputs[0]))
        return run_torch(module, inputs, names)

    monkeypatch.setattr(parity, "run_torch", counted)
    monkeypatch.setattr(parity, "LARGE_BYTES", 0)
    parts = reference_outputs(item)
    assert rows == [parity.FEW_ROWS] * (2 * parity.ROWS // parity.FEW_ROWS)
    for kind, tensors in whole.items():
        for name, array in tensors.items():
            np.testing.assert_allclose(parts[kind][name], array, atol=1e-4)
    assert not measure(load_package(folder), parts, ONE_ENGINE, timed_batches=()).refused
