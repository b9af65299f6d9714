"""The torch engine's program: what belongs into the archive, and that nothing else is opened."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs requirements/export.txt")
pytest.importorskip("onnx", reason="needs requirements/export.txt")

from bodycast.engines.errors import EngineUnavailableError, PackageError
from bodycast.engines.registry import open_engine
from bodycast.engines.torch_program import check_program
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


def test_pickled_example_inputs_are_not_executed(tmp_path: Path, program: bytes) -> None:
    left = tmp_path / "left-behind"

    def change(entries: dict[str, bytes]) -> None:
        entries[full_name(entries, "sample_inputs/model.pt")] = pickle.dumps(Bomb(left))

    package = affine_package(tmp_path / "p", further_files={"model.pt2": changed(program, change)})
    with pytest.raises(PackageError, match="cannot open it"):
        open_engine(package, "torch", "cpu")
    assert not left.exists()


def test_a_program_of_ours_is_let_through_and_names_its_tensors(tmp_path: Path, program: bytes) -> None:
    path = tmp_path / "model.pt2"
    path.write_bytes(program)
    assert check_program(path) == {"inputs": ["x"], "outputs": ["y", "z"]}
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
