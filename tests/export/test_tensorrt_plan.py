"""The build command on graphs of a few nodes: keys, what is refused, what is named, what a stop leaves behind."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from bodycast.engines.devices import cuda_devices
from bodycast.engines.errors import PlanError
from bodycast.engines.package import ModelPackage
from bodycast.engines.plans import installed_plans
from bodycast.export import __main__ as export_main
from bodycast.export.tensorrt_plan import BuildOptions, build_plan, supported_capabilities
from bodycast.export.tensorrt_turing import products_to_fp16
from tests.tiny_packages import affine_package, model_bytes

pytestmark = pytest.mark.trt

NO_GPU = pytest.mark.skipif(cuda_devices()[0] > 0, reason="this machine has a CUDA device")


@pytest.fixture(autouse=True)
def needs_rtx() -> None:
    pytest.importorskip("tensorrt_rtx", reason="needs requirements/gpu.txt")


@pytest.fixture
def package(tmp_path: Path) -> ModelPackage:
    return affine_package(tmp_path / "tiny")


def graph(nodes: list[onnx.NodeProto], weights: dict[str, np.ndarray] | None = None) -> bytes:
    """x (N, 3) -> y (N, 3), z (N,)."""
    value = helper.make_tensor_value_info
    outputs = [value("y", TensorProto.FLOAT, ["N", 3]), value("z", TensorProto.FLOAT, ["N"])]
    return model_bytes(nodes, [value("x", TensorProto.FLOAT, ["N", 3])], outputs, weights)


def product_graph(scale: float = 2.0) -> bytes:
    """y = x * scale (a matrix product) + 1, z = sum(y): the tiny package's graph where scale is 2."""
    return graph(
        [
            helper.make_node("MatMul", ["x", "matrix"], ["product"]),
            helper.make_node("Add", ["product", "one"], ["y"]),
            helper.make_node("ReduceSum", ["y", "axis"], ["z"], keepdims=0),
        ],
        {
            "matrix": (scale * np.eye(3)).astype(np.float32),
            "one": np.array(1, np.float32),
            "axis": np.array([1], np.int64),
        },
    )


def test_the_capabilities_asked_for_are_among_those_that_it_builds_for() -> None:
    assert {"7.5", "8.6", "8.9", "12.0"} <= set(supported_capabilities("rtx"))


def test_a_plan_is_built_once_and_where_it_was_asked_for(package: ModelPackage, user_cache: Path) -> None:
    phases: set[str] = set()
    plan = build_plan(package, BuildOptions("8.9"), lambda phase, part: phases.add(phase))
    assert phases and plan.path.is_relative_to(user_cache) and plan.read()
    assert (plan.key.graph, plan.key.precision, plan.key.gpu) == (package.sha256, "fp32", "any")
    assert plan.key.shapes == {"x": ((1, 3), (4, 3), (16, 3))}
    before = plan.path.stat().st_mtime_ns
    assert build_plan(package, BuildOptions("8.9")) == plan and plan.path.stat().st_mtime_ns == before
    build_plan(package, BuildOptions("8.9", rebuild=True))
    assert plan.path.stat().st_mtime_ns > before
    beside = build_plan(package, BuildOptions("8.9", batches=(1, 1, 2), beside=True))
    assert beside.path.parent == package.folder / "plans"
    assert list((user_cache / "timing").glob("tensorrt_rtx-*.cache"))
    assert len(list(installed_plans(package))) == 2


def test_each_node_that_is_not_supported_is_named(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Det", ["square"], ["odd"], name="the_determinant"),
        helper.make_node("Reshape", ["x", "shape"], ["square"], name="reshape"),
        helper.make_node("ReduceSum", ["x", "axis"], ["z"], keepdims=0),
        helper.make_node("Add", ["x", "odd"], ["y"]),
    ]
    weights = {"shape": np.array([-1, 1, 1], np.int64), "axis": np.array([1], np.int64)}
    model = graph([nodes[1], nodes[0], *nodes[2:]], weights)
    with pytest.raises(PlanError, match="Det 'the_determinant'"):
        build_plan(affine_package(tmp_path / "p", model=model), BuildOptions("8.6"))


def test_int8_is_refused_with_what_to_take_instead(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match=r"int8 packages are made for CPUs.*MatMulInteger.*--precision fp16"):
        build_plan(affine_package(tmp_path / "p", precision="int8"), BuildOptions("8.6"))


def test_turing_gets_fp16_products_that_still_give_the_golden_values(tmp_path: Path) -> None:
    package = affine_package(tmp_path / "p", model=product_graph())
    turned = products_to_fp16(package.model_path.read_bytes(), package)
    assert turned.count == 1 and max(turned.differences.values()) < 1e-2
    plan = build_plan(package, BuildOptions("7.5"))
    assert plan.key.precision == "fp32+fp16-products" and "fp16-products" in plan.path.name
    assert build_plan(package, BuildOptions("8.6")).key.precision == "fp32"
    with pytest.raises(PlanError, match=r"output 'y' is no number any more"):
        build_plan(affine_package(tmp_path / "q", model=product_graph(1e9)), BuildOptions("7.5"))


INTERRUPTED = """
import signal, sys
from pathlib import Path
from bodycast.engines.package import load_package
from bodycast.export.tensorrt_plan import BuildOptions, build_plan
before = signal.getsignal(signal.SIGINT)
try:
    build_plan(load_package(Path(sys.argv[1])), BuildOptions("8.6"), lambda *_: signal.raise_signal(signal.SIGINT))
except KeyboardInterrupt:
    print("interrupted", signal.getsignal(signal.SIGINT) is before)
"""


def test_ctrl_c_ends_a_build_and_leaves_nothing(package: ModelPackage) -> None:
    """In a process of its own: broken off beside the other libraries of a whole test run, a build has crashed."""
    command = [sys.executable, "-c", INTERRUPTED, str(package.folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=Path(__file__).resolve().parents[2])
    assert done.stdout.split() == ["interrupted", "True"], done.stderr
    assert list(installed_plans(package)) == []


def test_a_full_disk_leaves_nothing(package: ModelPackage, monkeypatch: pytest.MonkeyPatch, user_cache: Path) -> None:
    from bodycast.engines import plans

    def full(path: Path, content: bytes, **_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(plans, "write_whole", full)
    with pytest.raises(OSError, match="No space"):
        build_plan(package, BuildOptions("8.6"))
    assert not list(user_cache.rglob("*.plan")) and list(installed_plans(package)) == []


@pytest.mark.parametrize("batches", [(0, 1, 2), (2, 1, 4), (1, 8, 4)])
def test_batches_must_be_in_order(batches: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="1 <= min <= opt <= max"):
        BuildOptions("8.6", batches=batches)


def test_a_workspace_has_a_size() -> None:
    with pytest.raises(ValueError, match="at least 1 MiB, got -5"):
        BuildOptions("8.6", workspace_mib=-5)


@NO_GPU
def test_the_full_library_needs_its_gpu(package: ModelPackage) -> None:
    with pytest.raises(PlanError, match=r"built on the GPU that runs it, and here is none .*--runtime rtx"):
        build_plan(package, BuildOptions("8.6", runtime="tensorrt"))


def test_the_command(package: ModelPackage, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["tensorrt", str(package.folder), "--compute-capability", "8.6", "5.0", "12.0", "--max-batch", "8"]
    assert export_main.main(command) == 1
    shown = capsys.readouterr()
    assert shown.out.count("batch 1/4/8") == 2 and "compute capability 12.0, fp32" in shown.out
    assert "no plan for compute capability '5.0' here; it can for 7.5, " in shown.err and "Traceback" not in shown.err
    assert export_main.main(["tensorrt", str(package.folder / "absent"), "--compute-capability", "8.6"]) == 2
    assert capsys.readouterr().err.startswith("error: ")


@NO_GPU
def test_without_a_gpu_the_command_asks_which(package: ModelPackage, capsys: pytest.CaptureFixture[str]) -> None:
    assert export_main.main(["tensorrt", str(package.folder)]) == 2
    assert "--compute-capability, one or more of 7.5, 8.0" in capsys.readouterr().err
    assert export_main.main(["tensorrt", str(package.folder), "--runtime", "tensorrt"]) == 2
    assert "here is none" in capsys.readouterr().err
