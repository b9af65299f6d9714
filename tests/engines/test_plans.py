"""Plans on disk: keys, records, and what is refused."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("onnx", reason="tiny graphs are made with onnx (requirements/export.txt)")

from bodycast.engines.errors import PlanError
from bodycast.engines.package import ModelPackage, load_package
from bodycast.engines.plans import (
    ANY_GPU,
    PlanKey,
    find_plan,
    installed_plans,
    list_in_package,
    plan_folders,
    read_record,
    save_plan,
)
from tests.tiny_packages import affine_package

KEY = PlanKey(
    library="tensorrt_rtx",
    version="1.7.1.116",
    gpu=ANY_GPU,
    compute_capability="8.6",
    platform="linux-x86_64",
    graph="ab" * 32,
    precision="fp16",
    shapes={"x": ((1, 3), (4, 3), (16, 3))},
)


@pytest.fixture
def package(tmp_path: Path) -> ModelPackage:
    return affine_package(tmp_path / "tiny")


def test_what_is_saved_is_read_back(tmp_path: Path) -> None:
    plan = save_plan(tmp_path / "new" / "folder", KEY, b"content")
    again = read_record(plan.path.with_suffix(".json"))
    assert again == plan and again.read() == b"content" and again.key == KEY
    assert sorted(path.suffix for path in plan.path.parent.iterdir()) == [".json", ".plan"]


@pytest.mark.parametrize(
    "change",
    [
        {"library": "tensorrt"},
        {"version": "2.0"},
        {"gpu": "NVIDIA L4"},
        {"compute_capability": "8.9"},
        {"platform": "win32-amd64"},
        {"graph": "cd" * 32},
        {"precision": "fp32"},
        {"shapes": {"x": ((1, 3), (4, 3), (8, 3))}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_whatever_differs_gives_another_file(change: dict[str, object]) -> None:
    other = replace(KEY, **change)
    assert other.stem != KEY.stem and replace(other, **{name: getattr(KEY, name) for name in change}).stem == KEY.stem


def test_the_name_says_what_it_is_and_suits_every_file_system() -> None:
    stem = replace(KEY, gpu='NVIDIA "RTX" 4090/Ti:').stem
    assert "sm86" in stem and "1.7.1.116" in stem and "nvidia-rtx-4090-ti" in stem and "fp16" in stem
    assert not set(stem) & set('/\\:*?"<>| ')


def test_plans_beside_the_package_and_in_the_cache_are_found(package: ModelPackage, user_cache: Path) -> None:
    key = replace(KEY, graph=package.sha256)
    beside, cached = plan_folders(package)
    assert beside.parent == package.folder and cached.is_relative_to(user_cache)
    assert list(installed_plans(package)) == []
    save_plan(beside, key, b"small")
    save_plan(cached, replace(key, shapes={"x": ((1, 3), (4, 3), (32, 3))}), b"large")
    assert len(list(installed_plans(package))) == 2
    assert find_plan(package, key, "rtx").read() == b"large"
    with pytest.raises(PlanError) as caught:
        find_plan(package, replace(key, compute_capability="12.0"), "rtx")
    assert str(caught.value).count("compute capability: built for 8.6, here is 12.0") == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not a plan's record"),
        ("[]", "expected an object, it is list"),
        ('{"key": {}}', r"expected \['key', 'sha256', 'size_bytes'\], it has \['key'\]"),
    ],
)
def test_records_that_are_none(package: ModelPackage, text: str, message: str) -> None:
    folder = plan_folders(package)[1]
    folder.mkdir(parents=True)
    (folder / "odd.json").write_text(text)
    (found,) = installed_plans(package)
    assert isinstance(found, PlanError)
    with pytest.raises(PlanError, match=message):
        raise found
    with pytest.raises(PlanError, match=r"odd\.json"):
        find_plan(package, KEY, "rtx")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 2}, "'version': expected str, it is int"),
        ({"extra": "x"}, "expected"),
        ({"shapes": {"x": [[1, 3], [4, 3]]}}, "expected three lists of sizes"),
        ({"shapes": {"x": [[1, 3], [4, "3"], [4, 3]]}}, "expected three lists of sizes"),
    ],
)
def test_records_with_odd_keys(tmp_path: Path, change: dict[str, object], message: str) -> None:
    record = save_plan(tmp_path, KEY, b"content").path.with_suffix(".json")
    document = json.loads(record.read_text())
    document["key"] |= change
    record.write_text(json.dumps(document))
    with pytest.raises(PlanError, match=message):
        read_record(record)


def test_a_missing_or_changed_plan_is_refused(tmp_path: Path) -> None:
    plan = save_plan(tmp_path, KEY, b"content")
    plan.path.write_bytes(b"contend")
    with pytest.raises(PlanError, match="changed or damaged"):
        plan.read()
    plan.path.unlink()
    with pytest.raises(PlanError, match="missing"):
        plan.read()


def test_a_plan_in_a_package_runs_only_if_the_package_lists_it(package: ModelPackage) -> None:
    plan = save_plan(package.folder / "plans", KEY, b"content")
    with pytest.raises(PlanError, match=r"not listed in package\.json"):
        plan.read()
    list_in_package(package.folder, plan)
    assert plan.read() == b"content"
    assert load_package(package.folder).sha256 == package.sha256
    other = save_plan(package.folder / "plans", KEY, b"other machine code")
    with pytest.raises(PlanError, match="not listed"):
        other.read()


@pytest.mark.skipif(os.name != "posix", reason="owners and modes")
def test_a_plan_that_others_may_change_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = save_plan(tmp_path / "cache", KEY, b"content")
    for path in (plan.path, plan.path.with_suffix(".json"), plan.path.parent):
        mode = path.stat().st_mode
        path.chmod(mode | 0o022)
        with pytest.raises(PlanError, match="other users may change it"):
            plan.read()
        path.chmod(mode & ~0o022)
    assert plan.read() == b"content"
    if os.getuid() == 0:
        os.chown(plan.path, 12345, -1)
    else:
        monkeypatch.setattr(os, "getuid", lambda: 12345)
    with pytest.raises(PlanError, match="belongs to another user"):
        plan.read()
