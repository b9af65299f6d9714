"""What every engine promises, run on all of them with a graph of three nodes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx", reason="tiny graphs are made with onnx (requirements/export.txt)")

from bodycast.engines.base import Engine
from bodycast.engines.devices import cuda_gpus
from bodycast.engines.errors import EngineError, EngineUnavailableError, PackageError
from bodycast.engines.package import ModelPackage
from bodycast.engines.registry import ENGINES, check_golden, open_engine
from tests.tiny_packages import affine_model, affine_package, affine_program

CASES = [(name, device) for name, entry in ENGINES.items() for device in entry.devices]


@pytest.fixture(params=CASES, ids=["-".join(case) for case in CASES])
def engine_case(request: pytest.FixtureRequest) -> tuple[str, str]:
    """An engine and a device that work here; others skip by name."""
    name, device = request.param
    if not ENGINES[name].installed():
        pytest.skip(f"{ENGINES[name].library} is not installed")
    if name == "torch":
        pytest.importorskip("torch", reason="needs requirements/export.txt")
    return name, device


def package_for(engine: str, folder: Path, output: str = "y", width: int = 3) -> ModelPackage:
    """The tiny package with whatever else an engine runs: a torch program, or a plan for each GPU that is here."""
    program = affine_program(output, width) if engine == "torch" else None
    further = {"model.pt2": program} if program else None
    package = affine_package(folder, model=affine_model(output, width), further_files=further)
    if engine.startswith("tensorrt"):
        from bodycast.export.tensorrt_plan import BuildOptions, build_plan

        runtime = "rtx" if engine == "tensorrt-rtx" else "tensorrt"
        for gpu in cuda_gpus():
            build_plan(package, BuildOptions(gpu.compute_capability, runtime))
    return package


@pytest.fixture
def engine(engine_case: tuple[str, str], tmp_path: Path) -> Engine:
    name, device = engine_case
    try:
        opened = open_engine(package_for(name, tmp_path / "tiny"), name, device)
    except EngineUnavailableError as error:
        pytest.skip(str(error))
    yield opened
    opened.close()


def tolerance(engine: Engine) -> float:
    return 0.05 if engine.name == "openvino-bf16" else 1e-6


@pytest.mark.parametrize("rows", [1, 2, 3, 5, 16, 17, 40])
def test_any_number_of_rows(engine: Engine, rows: int) -> None:
    x = np.random.default_rng(rows).normal(size=(rows, 3)).astype(np.float32)
    outputs = engine.run({"x": x})
    assert list(outputs) == ["y", "z"]
    np.testing.assert_allclose(outputs["y"], 2 * x + 1, atol=tolerance(engine))
    np.testing.assert_allclose(outputs["z"], (2 * x + 1).sum(axis=1), atol=4 * tolerance(engine))


def test_nobody(engine: Engine) -> None:
    outputs = engine.run({"x": np.zeros((0, 3), np.float32)})
    assert {name: (array.shape, array.dtype.name) for name, array in outputs.items()} == {
        "y": ((0, 3), "float32"),
        "z": ((0,), "float32"),
    }


def test_outputs_are_the_callers_own(engine: Engine) -> None:
    first = engine.run({"x": np.ones((2, 3), np.float32)})
    kept = first["y"].copy()
    engine.run({"x": np.full((2, 3), 7, np.float32)})
    np.testing.assert_array_equal(first["y"], kept)
    first["y"][:] = -1


def test_a_view_runs_like_its_copy(engine: Engine) -> None:
    wide = np.arange(24, dtype=np.float32).reshape(4, 6)
    view = wide[:, ::2]
    np.testing.assert_array_equal(engine.run({"x": view})["y"], engine.run({"x": view.copy()})["y"])


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"x": np.zeros((2, 3), np.float64)}, r"expected x float32 \(N, 3\), got float64 \(2, 3\)"),
        ({"x": np.zeros((2, 4), np.float32)}, r"expected x float32 \(N, 3\), got float32 \(2, 4\)"),
        ({"x": np.zeros(3, np.float32)}, r"got float32 \(3,\)"),
        ({"crops": np.zeros((2, 3), np.float32)}, r"expected the inputs \['x'\], got \['crops'\]"),
        ({}, r"expected the inputs \['x'\]"),
    ],
)
def test_wrong_inputs_are_named(engine: Engine, inputs: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(EngineError, match=message):
        engine.run(inputs)


def test_golden_values(engine: Engine) -> None:
    assert max(check_golden(engine).values()) <= 4 * tolerance(engine)


def test_lifecycle(engine: Engine) -> None:
    with pytest.raises(EngineError, match="already open"):
        engine.open()
    with engine:
        assert engine.is_open
    assert not engine.is_open
    engine.close()
    with pytest.raises(EngineError, match="not open"):
        engine.run({"x": np.zeros((1, 3), np.float32)})
    with engine as again:
        assert len(again.run({"x": np.zeros((1, 3), np.float32)})["y"]) == 1


@pytest.mark.parametrize(
    ("output", "width", "message"),
    [
        ("renamed", 3, r"expected y float32 \(N, 3\), z float32 \(N,\); the graph has renamed float32 "),
        ("y", 4, r"expected x float32 \(N, 3\); the graph has x float32 \(.*, 4\); export"),
    ],
    ids=["renamed output", "other width"],
)
def test_a_graph_that_is_not_what_the_package_says(
    engine_case: tuple[str, str], tmp_path: Path, output: str, width: int, message: str
) -> None:
    name, device = engine_case
    try:
        package = package_for(name, tmp_path / "tiny", output, width)
        with pytest.raises(PackageError, match=message):
            open_engine(package, name, device)
    except EngineUnavailableError as error:
        pytest.skip(str(error))


def test_a_graph_that_the_library_cannot_open(engine_case: tuple[str, str], tmp_path: Path) -> None:
    name, device = engine_case
    try:
        # For the torch engine a file that is no program; for the others a graph with an operator that nobody knows.
        further = {"model.pt2": b"this is no program"} if name == "torch" else None
        strange = affine_model().replace(b"ReduceSum", b"ReduceSun")
        open_engine(affine_package(tmp_path / "tiny", strange, further), name, device)
    except EngineUnavailableError as error:
        pytest.skip(str(error))
    except EngineError as error:
        file = "model.pt2" if name == "torch" else "model.onnx"
        assert file in str(error) and "cannot open" in str(error) and "\n" not in str(error)
    else:
        pytest.fail("opened a graph that nobody can run")
