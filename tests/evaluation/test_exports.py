"""The table of exports: what is worst, what it is compared with, and that a run goes on where it was stopped."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs requirements/export.txt")
pytest.importorskip("onnxscript", reason="needs requirements/export.txt")

from evaluation import exports, exports_full_size
from evaluation.exports import Exported, line, table, worst

ROW = Exported(
    "swin-t-s2",
    "fp16",
    3_400_000,
    9.7,
    "pve_worst_mm",
    {"onnxruntime": 0.0072},
    6.8,
    [],
    {"8.6": {"seconds": 14.0, "megabytes": 19.6}},
)


def test_the_worst_row_of_either_kind_counts() -> None:
    errors = {"onnxruntime": {"fixed": {"a_mm": 9.0, "b_mm": 1.0}, "random": {"a_mm": 0.0, "b_mm": 2.0}}}
    assert worst({"a_mm": 10, "b_mm": 3}, errors) == ("b_mm", {"onnxruntime": 2.0})


def test_a_row_as_people_read_it() -> None:
    assert line(ROW) == "| swin-t-s2 | fp16 | 3.4 M | 9.7 MB | onnxruntime 0.0072 mm | 6.8 | 1 of 1: 14 s, 19.6 MB |"
    failed = Exported(**{**ROW.__dict__, "plans": {"8.6": "no such operator"}, "refused": ["onnxruntime: far off"]})
    assert "(refused)" in line(failed) and "| 0 of 1 |" in line(failed)
    assert len({row.count("|") for row in table([ROW, failed]).splitlines()}) == 1


def test_a_network_goes_through_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny = {"image_hw": (64, 48), "decoder": {"width": 32, "depth": 1, "heads": 2, "head_width": 8, "mlp_width": 16}}
    monkeypatch.setattr(exports, "NETWORKS", {"tiny": ("swin-t-s2", tiny)})
    monkeypatch.setattr(exports, "ENGINES", ("onnxruntime",))
    results = tmp_path / "results.json"
    command = ["tiny", "--precision", "fp32", "fp16", "int8", "--json", str(results)]
    assert exports.main(command) == 0
    rows = json.loads(results.read_text())
    assert [row["precision"] for row in rows] == ["fp32", "fp16", "int8"]
    assert rows[0]["errors"]["onnxruntime"] < rows[1]["errors"]["onnxruntime"] < rows[2]["errors"]["onnxruntime"]
    assert rows[0]["spread"] > 0 and rows[0]["unit"] == "pve_worst_mm"
    monkeypatch.setattr(exports, "export_all", lambda *_: pytest.fail("what is there is not made again"))
    assert exports.main(command) == 0
    assert capsys.readouterr().out.count("| tiny | int8 |") == 3
    with pytest.raises(SystemExit):
        exports.main(["unheard-of"])


def test_full_size_goes_on_and_tries_what_failed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tried: list[str] = []

    def fake(name: str, parameters: int = 0) -> exports_full_size.FullSize:
        tried.append(name)
        failed = "no memory" if name == "keypoint-fusion" and len(tried) < 3 else ""
        return exports_full_size.FullSize(name, parameters, 1.0, 2.0, 3.0, False, "pve_worst_mm", 0.1, [], True, failed)

    monkeypatch.setattr(exports_full_size, "full_size", fake)
    command = ["--full-size", "keypoint-fusion", "window-smoother", "--json", str(tmp_path / "rows.json")]
    assert exports.main(command) == 1 and tried == ["window-smoother", "keypoint-fusion"]
    assert "failed: no memory" in capsys.readouterr().out
    assert exports.main(command) == 0 and tried[2:] == ["keypoint-fusion"]
    assert "| 3.0 GB | 2 MB | 0.1 mm | parsed |" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        exports.main(["--full-size", "unheard-of"])
