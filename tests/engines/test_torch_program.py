"""The torch engine's program: what belongs into the archive, and that nothing else is opened."""

from __future__ import annotations

import io
import json
import pickle
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs requirements/export.txt")
pytest.importorskip("onnx", reason="needs requirements/export.txt")

from bodycast.engines.errors import EngineUnavailableError, PackageError
from bodycast.engines.registry import open_engine
from bodycast.engines.torch_program import _check_string, check_program
from tests.tiny_packages import affine_package, affine_program


@pytest.fixture(scope="module")
def program() -> bytes:
    return affine_program()


def changed(program: bytes, change: Callable[[dict[str, bytes]], None]) -> bytes:
    """The archive with its entries changed."""
    with zipfile.ZipFile(io.BytesIO(program)) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    change(entries)
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_STORED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return written.getvalue()


def full_name(entries: dict[str, bytes], end: str) -> str:
    return next(name for name in entries if name.endswith(end))


class Bomb:
    """Unpickling it leaves a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return (open, (str(self.path), "w"))


def replace_in_graph(old: str, new: str) -> Callable[[dict[str, bytes]], None]:
    def change(entries: dict[str, bytes]) -> None:
        name = full_name(entries, "models/model.json")
        assert old.encode() in entries[name]
        entries[name] = entries[name].replace(old.encode(), new.encode())

    return change


def add_pickled_constant(entries: dict[str, bytes]) -> None:
    name = full_name(entries, "model_constants_config.json")
    config = json.loads(entries[name])
    config["config"]["evil"] = {"path_name": "tensor_9", "is_param": False, "use_pickle": True, "tensor_meta": None}
    entries[name] = json.dumps(config).encode()


def add_library(entries: dict[str, bytes]) -> None:
    entries["model/data/aotinductor/model/evil.so"] = b"\x7fELF"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (replace_in_graph("torch.ops.aten.mul.Tensor", "torch.hub.load"), "'torch.hub.load' is nothing that a network"),
        (replace_in_graph("Symbol('s", "__import__('os').system('s"), "expr_str .* is nothing that a network needs"),
        (add_pickled_constant, "'evil' is pickled"),
        (add_library, r"has 'data/aotinductor/model/evil.so', which no program of ours has"),
    ],
)
def test_what_could_run_code_is_not_opened(
    tmp_path: Path, program: bytes, change: Callable[[dict[str, bytes]], None], message: str
) -> None:
    package = affine_package(tmp_path / "p", further_files={"model.pt2": changed(program, change)})
    with pytest.raises(PackageError, match=message):
        open_engine(package, "torch", "cpu")


def test_pickled_example_inputs_are_left_out(tmp_path: Path, program: bytes) -> None:
    left = tmp_path / "left-behind"

    def change(entries: dict[str, bytes]) -> None:
        entries[full_name(entries, "sample_inputs/model.pt")] = pickle.dumps(Bomb(left))

    package = affine_package(tmp_path / "p", further_files={"model.pt2": changed(program, change)})
    with open_engine(package.folder, "torch", "cpu") as engine:
        assert engine.run({"x": np.ones((2, 3), np.float32)})["y"].shape[0] == 2
    assert not left.exists()


def with_a_second_entry(program: bytes, name: str, folder: str = "") -> bytes:
    """The archive with a bomb under a name that is there already, behind (or, in another folder, beside) the first."""
    with zipfile.ZipFile(io.BytesIO(program)) as archive:
        full = next(entry for entry in archive.namelist() if entry.endswith(name))
        kept = [(entry, archive.read(entry)) for entry in archive.namelist()]
    second = full if not folder else f"{folder}/{full.partition('/')[2]}"
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_STORED) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        for entry, content in [(second, pickle.dumps(Bomb(Path("left-behind")))), *kept]:
            archive.writestr(entry, content)
    return written.getvalue()


@pytest.mark.parametrize("folder", ["", "another"])
@pytest.mark.parametrize("name", ["sample_inputs/model.pt", "models/model.json", "weights/model_weights_config.json"])
def test_two_entries_of_one_name_are_not_opened(
    tmp_path: Path, program: bytes, name: str, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two readers of an archive need not agree which of them counts."""
    monkeypatch.chdir(tmp_path)
    package = affine_package(tmp_path / "p", further_files={"model.pt2": with_a_second_entry(program, name, folder)})
    with pytest.raises(PackageError, match="not opened"):
        open_engine(package.folder, "torch", "cpu")
    assert not (tmp_path / "left-behind").exists()


def test_compressed_parts_are_not_unpacked(tmp_path: Path, program: bytes) -> None:
    written = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(program)) as archive, zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as packed:
        for name in archive.namelist():
            packed.writestr(name, archive.read(name))
    path = tmp_path / "model.pt2"
    path.write_bytes(written.getvalue())
    with pytest.raises(PackageError, match="compressed"):
        check_program(path)


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("target", "_operator.call"),
        ("target", "_operator.attrgetter"),
        ("target", "_operator.methodcaller"),
        ("target", "torch.ops.aten.from_file.default"),
        ("target", "torch.ops.aten.__init__.__globals__"),
        ("target", "torch.ops.higher_order.triton_kernel_wrapper_mutation"),
        ("target", "torch.ops.load_library"),
        ("expr_str", "9**9**9**9"),
        ("expr_str", "Pow(Integer(999999999), Integer(999999999))"),
        ("expr_str", "Pow(9, Pow(9, Pow(9, 9)))"),
        ("expr_str", "open('x', 'w')"),
        ("in_spec", '[1, {"__enum__": true, "fqn": "antigravity:x"}]'),
        ("key", "as_custom_obj"),
    ],
)
def test_texts_that_torch_would_evaluate_or_import_are_refused(key: str, text: str, tmp_path: Path) -> None:
    with pytest.raises(PackageError, match="nothing that a network needs"):
        _check_string(key, text, tmp_path)


def test_a_program_of_ours_is_let_through_and_names_its_tensors(tmp_path: Path, program: bytes) -> None:
    path = tmp_path / "model.pt2"
    path.write_bytes(program)
    checked = check_program(path)
    assert (checked.inputs, checked.outputs) == (("x",), ("y", "z"))
    path.write_bytes(changed(program, lambda entries: entries.pop(full_name(entries, "signature.json")) and None))
    with pytest.raises(PackageError, match=r"signature\.json is missing"):
        check_program(path)


def test_a_package_without_a_program_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(EngineUnavailableError, match=r"no model\.pt2.*--torch-program"):
        open_engine(affine_package(tmp_path / "p"), "torch", "cpu")


def test_threads_of_other_torch_users_are_left_alone(tmp_path: Path, program: bytes) -> None:
    import torch

    before = torch.get_num_threads()
    package = affine_package(tmp_path / "p", further_files={"model.pt2": program})
    with open_engine(package, "torch", "cpu", threads=before + 1) as engine:
        np.testing.assert_allclose(engine.run({"x": np.ones((3, 3), np.float32)})["y"], 3.0)
    assert torch.get_num_threads() == before
