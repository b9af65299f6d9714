"""Where packages are found, and how little of them is read to find one."""

from __future__ import annotations

from pathlib import Path

import pytest

from bodycast.app.errors import UsageError
from bodycast.app.model_packages import first_package, installed_packages, package_folders, unreadable_packages
from bodycast.engines import package as packages
from tests.tiny_packages import detector_package, fusion_package

pytest.importorskip("onnx", reason="tiny graphs are made with onnx (requirements/export.txt)")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's models folder, and nothing else installed."""
    monkeypatch.setattr("bodycast.app.model_packages.model_folders", lambda: (tmp_path,))
    return tmp_path


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Files that are hashed from now on."""
    seen: list[Path] = []
    sha256_of = packages.sha256_of
    monkeypatch.setattr(packages, "sha256_of", lambda path: (seen.append(path), sha256_of(path))[1])
    return seen


def test_only_the_package_that_is_opened_is_hashed(home: Path, hashed: list[Path]) -> None:
    for name in ("b-detector", "a-detector"):
        detector_package(home / name, [[0, 0, 9, 9]] * 3, [0.9] * 3)
    fusion_package(home / "a-fusion")
    hashed.clear()
    assert [folder.name for folder in package_folders("detector")] == ["a-detector", "b-detector"]
    assert hashed == []
    package = first_package("detector")
    assert package is not None and package.folder == home / "a-detector"
    assert {path.parent.name for path in hashed} == {"a-detector"}
    assert len(installed_packages("detector")) == 2 and first_package("smoother") is None


def test_a_damaged_package_of_the_task_is_an_error_and_not_passed_over(home: Path) -> None:
    detector_package(home / "a-detector", [[0, 0, 9, 9]] * 3, [0.9] * 3)
    detector_package(home / "b-detector", [[0, 0, 9, 9]] * 3, [0.9] * 3)
    with (home / "a-detector" / "model.onnx").open("ab") as file:
        file.write(b"x")
    with pytest.raises(UsageError, match="changed or damaged"):
        first_package("detector")


def test_a_half_written_folder_stops_nobody_and_is_told(home: Path) -> None:
    from bodycast.app.doctor.packages import check_models

    detector_package(home / "b-detector", [[0, 0, 9, 9]] * 3, [0.9] * 3)
    for name, content in (("a-torn", "{"), ("c-empty", None), (".staged", None)):
        (home / name).mkdir()
        if content is not None:
            (home / name / "package.json").write_text(content)
    assert [folder.name for folder in package_folders("detector")] == ["b-detector"]
    told = unreadable_packages()
    assert len(told) == 2 and "a-torn" in told[0] and "c-empty" in told[1]
    problems = [finding.detail for finding in check_models() if finding.state == "problem"]
    assert any("a-torn" in line for line in problems) and any("c-empty" in line for line in problems)
