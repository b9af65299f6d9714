"""A package is read back as written, and anything missing, unknown or changed is refused by name."""

from __future__ import annotations

import errno
import io
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx", reason="tiny graphs are made with onnx (requirements/export.txt)")

from bodycast.engines.errors import PackageError
from bodycast.engines.package import TensorSpec, load_package, sha256_of
from bodycast.engines.package_writer import check_writable, write_package
from tests.tiny_packages import affine_model, affine_package, info


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return affine_package(tmp_path / "tiny").folder


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = folder / "package.json"
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def test_written_then_read(folder: Path) -> None:
    package = load_package(folder)
    assert package.info == info()
    assert set(package.files) == {"model.onnx", "golden.npz"}
    inputs, outputs = package.golden()
    np.testing.assert_array_equal(outputs["y"], 2 * inputs["x"] + 1)


def test_masks_stand_in_the_file_where_a_package_takes_them(tmp_path: Path) -> None:
    folder = affine_package(tmp_path / "masked", masks="silhouette").folder
    assert json.loads((folder / "package.json").read_text())["masks"] == "silhouette"
    assert load_package(folder).info.masks == "silhouette"
    edit(folder, lambda document: document.update(masks="paint"))
    with pytest.raises(PackageError, match="'masks' is 'paint', expected one of none, silhouette, segmenter"):
        load_package(folder)


KEYS = [
    *["schema_version", "name", "task", "architecture", "inputs", "outputs", "normalisation", "crop_rule"],
    *[
        "focal_convention",
        "orientation_frame",
        "body",
        "joint_set",
        "opset",
        "precision",
        "paper",
        "licence",
        "training_data",
    ],
    *["metrics", "files"],
]


def test_the_keys_are_all_of_them(folder: Path) -> None:
    assert sorted(json.loads((folder / "package.json").read_text())) == sorted(KEYS)


@pytest.mark.parametrize("key", KEYS)
def test_each_key_is_needed(folder: Path, key: str) -> None:
    edit(folder, lambda document: document.pop(key))
    with pytest.raises(PackageError, match=f"'{key}' is missing"):
        load_package(folder)


@pytest.mark.parametrize("key", KEYS)
def test_each_key_has_its_type(folder: Path, key: str) -> None:
    edit(folder, lambda document: document.update({key: None}))
    with pytest.raises(PackageError, match=f"'{key}': expected .*, it is NoneType"):
        load_package(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(speed=3), r"unknown keys \['speed'\]"),
        (lambda d: d["inputs"][0].update(colour="RGB"), r"inputs\[0\]: unknown keys \['colour'\]"),
        (lambda d: d["architecture"].update(depth=3), r"architecture: unknown keys \['depth'\]"),
        (lambda d: d.update(schema_version=2), "schema_version 2, this program reads 1; update the program"),
        (lambda d: d.update(schema_version=0), "schema_version 0, this program reads 1; export the package again"),
        (lambda d: d.update(schema_version=True), "'schema_version': expected int, it is bool"),
        (
            lambda d: d.update(task="dance"),
            "'task' is 'dance', expected one of hmr, pose, fusion, detector, segmenter, smoother",
        ),
        (lambda d: d.update(licence=" "), "'licence' is empty"),
        (lambda d: d["inputs"][0].update(shape=["N", "W"]), "only the first may be 'N'"),
        (lambda d: d["inputs"][0].update(shape=["N", 0]), "sizes are positive"),
        (lambda d: d["inputs"][0].update(shape=["N", 3.0]), "sizes are positive integers"),
        (lambda d: d["inputs"][0].update(dtype="complex64"), "'dtype' is 'complex64'"),
        (lambda d: d.update(outputs=[]), "outputs must be a non-empty list"),
        (lambda d: d["outputs"][1].update(name="y"), "different names"),
        (lambda d: d["metrics"].update(error="low"), "metrics.error: expected a number, it is 'low'"),
        (lambda d: d["metrics"].update(error=float("nan")), "metrics.error: expected a number, it is nan"),
        (lambda d: d["metrics"].update(error=10**400), "metrics.error: expected a number, it is 1000"),
        (lambda d: d["files"].pop("golden.npz"), "files must list golden.npz"),
        (lambda d: d["files"].update({"../x": "0" * 64}), "plain files of its own folder"),
        (
            lambda d: d["files"].update({"more.bin": "0" * 64}),
            "more.bin: the package lists this file, but it is missing",
        ),
        (lambda d: d["files"].update({"model.onnx": "abc"}), "expected a SHA-256"),
    ],
)
def test_what_is_off_is_named(folder: Path, change: Callable[[dict[str, Any]], object], message: str) -> None:
    edit(folder, change)
    with pytest.raises(PackageError, match=message):
        load_package(folder)


@pytest.mark.parametrize("name", ["model.onnx", "golden.npz"])
def test_a_flipped_byte_is_named_with_the_way_out(folder: Path, name: str) -> None:
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(PackageError, match=rf"{name}: changed or damaged .*copy or export the package again"):
        load_package(folder)
    (folder / name).unlink()
    with pytest.raises(PackageError, match=rf"{name}: the package lists this file, but it is missing"):
        load_package(folder)


def rehash(folder: Path, name: str, content: bytes) -> None:
    """What somebody would do who changes a package on purpose."""
    (folder / name).write_bytes(content)
    edit(folder, lambda document: document["files"].update({name: sha256_of(folder / name)}))


class Bomb:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return (open, (str(self.path), "w"))


def test_golden_values_that_are_none_or_would_run_code_are_refused(folder: Path, tmp_path: Path) -> None:
    inputs, outputs = load_package(folder).golden()
    arrays = {"in/x": inputs["x"], "out/y": np.full_like(outputs["y"], np.nan), "out/z": outputs["z"]}
    content = io.BytesIO()
    np.savez(content, **arrays)
    rehash(folder, "golden.npz", content.getvalue())
    with pytest.raises(PackageError, match="out/y has values that are not finite"):
        load_package(folder)
    content = io.BytesIO()
    np.savez(content, **{**arrays, "out/y": np.array([Bomb(tmp_path / "left-behind")], object)})
    for bad in (content.getvalue(), b"", b"no archive", pickle.dumps(Bomb(tmp_path / "left-behind"))):
        rehash(folder, "golden.npz", bad)
        with pytest.raises(PackageError, match="not an archive of plain arrays"):
            load_package(folder)
    assert not (tmp_path / "left-behind").exists()


def test_what_is_no_package(tmp_path: Path) -> None:
    with pytest.raises(PackageError, match="no such model package"):
        load_package(tmp_path / "absent")
    with pytest.raises(PackageError, match=r"package\.json is missing"):
        load_package(tmp_path)
    (tmp_path / "model.onnx").write_bytes(affine_model())
    with pytest.raises(PackageError, match=r"model\.onnx: a file; a model package is a folder.*bodycast export"):
        load_package(tmp_path / "model.onnx")
    (tmp_path / "package.json").write_text("{")
    with pytest.raises(PackageError, match="not valid JSON"):
        load_package(tmp_path)
    (tmp_path / "package.json").write_text("[]")
    with pytest.raises(PackageError, match="expected a JSON object, it is list"):
        load_package(tmp_path)


def test_golden_of_other_shape_is_refused(tmp_path: Path) -> None:
    golden = {"y": np.zeros((2, 3), np.float32), "z": np.zeros((2, 1), np.float32)}
    with pytest.raises(PackageError, match=r"expected out/z float32 \(N,\), it is float32 \(2, 1\)"):
        write_package(tmp_path / "p", info(), affine_model(), {"x": np.zeros((2, 3), np.float32)}, golden)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten_unasked(folder: Path) -> None:
    with pytest.raises(PackageError, match="exists"):
        affine_package(folder)
    x = np.ones((1, 3), np.float32)
    golden = {"y": 2 * x + 1, "z": np.full(1, 9, np.float32)}
    written = write_package(folder, info(name="again"), affine_model(), {"x": x}, golden, overwrite=True)
    assert written.info.name == "again"
    assert sorted(path.name for path in folder.iterdir()) == ["golden.npz", "model.onnx", "package.json"]


def test_what_is_no_package_is_never_replaced(tmp_path: Path) -> None:
    """Somebody's folder named by mistake would be deleted."""
    mine = tmp_path / "pictures"
    mine.mkdir()
    (mine / "one.jpg").write_bytes(b"x")
    x = np.ones((1, 3), np.float32)
    golden = {"y": 2 * x + 1, "z": np.full(1, 9, np.float32)}
    for out in (mine, mine / "one.jpg"):
        with pytest.raises(PackageError, match="is no model package, so it is not replaced"):
            write_package(out, info(), affine_model(), {"x": x}, golden, overwrite=True)
    assert (mine / "one.jpg").read_bytes() == b"x" and [path.name for path in tmp_path.iterdir()] == ["pictures"]


def test_a_place_that_cannot_hold_a_folder_is_found_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    check_writable(tmp_path / "new" / "deeper")
    with pytest.raises(PackageError, match="file is a file, expected a folder"):
        check_writable(tmp_path / "file" / "deeper")


@pytest.mark.parametrize("text", ["[" * 100_000, '{"schema_version": ' + "9" * 5000 + "}"])
def test_json_that_python_cannot_hold_is_one_line(folder: Path, text: str) -> None:
    (folder / "package.json").write_text(text)
    with pytest.raises(PackageError, match="not valid JSON"):
        load_package(folder)


@pytest.mark.parametrize("fault", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()], ids=repr)
@pytest.mark.parametrize("where", ["savez", "replace"])
def test_a_full_disk_or_ctrl_c_leaves_what_was_there(
    folder: Path, monkeypatch: pytest.MonkeyPatch, fault: BaseException, where: str
) -> None:
    """Both while the files are written, and between the two renames that put them in place."""
    before = load_package(folder)

    def fail(*_: object, **__: object) -> None:
        raise fault

    if where == "savez":
        monkeypatch.setattr(np, "savez_compressed", fail)
    else:
        rename = Path.replace
        monkeypatch.setattr(
            Path,
            "replace",
            lambda self, to: fail() if to == folder and "-replaced" not in self.name else rename(self, to),
        )
    x = np.ones((1, 3), np.float32)
    golden = {"y": 2 * x + 1, "z": np.full(1, 9, np.float32)}
    for out in (folder, folder.with_name("new")):
        if where == "replace" and out != folder:
            continue
        with pytest.raises(type(fault)):
            write_package(out, info(name="again"), affine_model(), {"x": x}, golden, overwrite=True)
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]
    assert load_package(folder).info == before.info


def test_metadata_that_would_not_be_read_back_is_not_written(tmp_path: Path) -> None:
    wrong = info(inputs=(TensorSpec("x", "float32", ("B", 3), "1", "numbers"),))
    with pytest.raises(PackageError, match="only the first may be 'N'"):
        write_package(tmp_path / "p", wrong, affine_model(), {}, {})
