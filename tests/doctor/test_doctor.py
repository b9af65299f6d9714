"""The doctor: it finds what is there, says what mends the rest, and never falls over."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import ClassVar

import numpy as np
import pytest

from bodycast.app.doctor import checks as doctor_checks
from bodycast.app.doctor import engines as doctor_engines
from bodycast.app.doctor import extras as doctor_extras
from bodycast.app.doctor import packages as doctor_packages
from bodycast.app.doctor import report as doctor
from bodycast.app.doctor.checks import CHECKS, ONE_NODE_GRAPH, Finding, run_check, try_provider


def findings_of(name: str) -> list[Finding]:
    return run_check(getattr(doctor_checks, f"check_{name}"))


def test_every_check_runs_here_and_every_problem_comes_with_its_mending() -> None:
    findings = [finding for check in CHECKS for finding in run_check(check)]
    names = {finding.name for finding in findings}
    assert {"Python", "processor", "OpenCV", "video files", "OpenGL", "body"} <= names
    for finding in findings:
        assert "the check itself failed" not in finding.detail, finding
        assert finding.detail and "\n" not in finding.detail
        assert bool(finding.mend) == (finding.state != "ok"), finding


def test_extras_are_listed_with_versions_or_with_what_brings_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_extras, "installed_version", lambda name: "" if name == "viser" else "9.1")
    monkeypatch.setitem(sys.modules, "websockets", ModuleType("websockets"))
    monkeypatch.setitem(sys.modules, "ezc3d", None)  # installed, and does not load
    monkeypatch.setattr(doctor_extras.shutil, "which", lambda _: None)
    found = {finding.name: finding for finding in run_check(doctor_extras.check_extras)}
    assert set(found) == {"VMC, VRChat", "viewer", "WebSocket, OBS", "virtual camera", "C3D files", "Blender"}
    assert found["viewer"].state == "note" and "view" in found["viewer"].mend
    assert found["WebSocket, OBS"].state == "ok" and "websockets 9.1" in found["WebSocket, OBS"].detail
    assert found["C3D files"].state == "problem" and "ezc3d 9.1" in found["C3D files"].detail
    assert found["Blender"].state == "note" and "--blender" in found["Blender"].mend


def test_the_one_node_graph_is_what_its_comment_says() -> None:
    onnx = pytest.importorskip("onnx")
    model = onnx.load_from_string(ONE_NODE_GRAPH)
    onnx.checker.check_model(model)
    assert [node.op_type for node in model.graph.node] == ["Neg"]
    assert model.opset_import[0].version == 17


def test_the_cpu_provider_computes_and_an_unknown_one_says_why_not() -> None:
    assert try_provider("CPUExecutionProvider") == ""
    assert "without NonsenseExecutionProvider" in try_provider("NonsenseExecutionProvider")


def test_a_provider_that_falls_back_quietly_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime

    class Fallen:
        def __init__(self, *_: object, **__: object) -> None: ...

        def run(self, *_: object) -> list[np.ndarray]:
            return [np.array([-2.0], np.float32)]

        def get_providers(self) -> list[str]:
            return ["CPUExecutionProvider"]

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["DmlExecutionProvider"])
    monkeypatch.setattr(onnxruntime, "InferenceSession", Fallen)
    assert "did not load" in try_provider("DmlExecutionProvider")


def test_software_opengl_beside_a_gpu_is_not_well(monkeypatch: pytest.MonkeyPatch) -> None:
    from bodycast.app.renderers import moderngl_renderer
    from bodycast.engines import devices

    class Context:
        info: ClassVar[dict[str, str]] = {"GL_VENDOR": "Mesa", "GL_RENDERER": "llvmpipe", "GL_VERSION": "4.5"}

        def release(self) -> None: ...

    monkeypatch.setattr(moderngl_renderer, "create_context", Context)
    for count, state in ((0, "ok"), (1, "note")):
        monkeypatch.setattr(devices, "cuda_devices", lambda count=count: (count, "as told"))
        (finding,) = findings_of("opengl")
        assert finding.state == state and "llvmpipe, Mesa" in finding.detail and "in software" in finding.detail
        assert ("NVIDIA_DRIVER_CAPABILITIES" in finding.mend) == (count == 1)


def test_a_missing_display_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    from bodycast.app.sinks import window

    for problem in (window.DisplayProblem("there is no display"), window.DisplayProblem("no windows", "install them")):
        monkeypatch.setattr(window, "display_problem", lambda problem=problem: problem)
        (finding,) = findings_of("display")
        assert (finding.state, finding.detail, finding.mend) == ("note", problem.what, problem.way_out)


def test_cameras_are_listed_by_name_with_what_mends_them(monkeypatch: pytest.MonkeyPatch) -> None:
    from bodycast.app.sources.camera_list import CameraDevice

    cameras = "bodycast.app.sources.camera_list.list_cameras"
    monkeypatch.setattr(cameras, lambda: [CameraDevice(0, "Desk Camera", "/dev/video0")])
    monkeypatch.setattr("os.access", lambda *_: True)
    (finding,) = findings_of("cameras")
    assert finding.state == "ok" and finding.detail == "0  Desk Camera (/dev/video0)"
    monkeypatch.setattr("os.access", lambda *_: False)
    (finding,) = findings_of("cameras")
    assert finding.state == "problem" and "usermod -aG video" in finding.mend
    monkeypatch.setattr(cameras, lambda: [])
    (finding,) = findings_of("cameras")
    assert finding.state == "note" and "bodycast run FILE" in finding.mend


def test_both_onnxruntime_packages_are_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_checks, "_version", lambda package: "1.31.1" if "onnxruntime" in package else "")
    clash = findings_of("onnxruntime")[0]
    assert clash.state == "problem" and "overwrite" in clash.detail and "uninstall" in clash.mend


def test_no_onnxruntime_at_all_is_essential(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_checks, "_version", lambda package: "")
    (finding,) = findings_of("onnxruntime")
    assert finding.essential and finding.state == "problem" and "live.txt" in finding.mend


def test_opencv_without_hog_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    import cv2

    monkeypatch.delattr(cv2, "HOGDescriptor")
    (finding,) = findings_of("opencv")
    assert finding.essential and "opencv-python<5" in finding.mend


def test_a_damaged_model_package_is_named_and_the_others_are_still_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "package.json").write_text("{")
    monkeypatch.setattr("bodycast.app.model_packages.model_folders", lambda: (tmp_path,))
    findings = findings_of("models")
    assert [finding.state for finding in findings] == ["problem", "problem"]
    assert "broken" in findings[0].mend and findings[1].essential


def test_a_package_that_answers_otherwise_on_this_cpu_is_a_problem(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("onnx", reason="tiny graphs are made with onnx")
    from bodycast.engines.package_writer import write_package
    from tests.tiny_packages import affine_model, hmr_package, info

    monkeypatch.setattr("bodycast.app.model_packages.model_folders", lambda: (tmp_path,))
    hmr_package(tmp_path / "good", input_hw=(64, 48))
    x = np.ones((1, 3), np.float32)
    golden = {"y": 2 * x + 1, "z": np.full(1, 12, np.float32)}
    write_package(tmp_path / "other", info(), affine_model(), {"x": x}, golden)
    good, other = findings_of("models")
    assert good.state == "ok" and "answers as recorded" in good.detail
    assert other.state == "problem" and "another z on this CPU (0.25 off)" in other.detail and other.mend


def test_engines_are_tried_and_what_breaks_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> str:
        raise RuntimeError("no such instruction\nmore")

    for check, attempt in (("openvino", "_openvino_computes"), ("torch", "_torch_computes")):
        pytest.importorskip(check)
        assert [finding.state for finding in findings_of(check)] == ["ok"]
        monkeypatch.setattr(doctor_engines, attempt, broken)
        (finding,) = findings_of(check)
        assert finding.state == "problem" and finding.detail == "no such instruction" and finding.mend


@pytest.mark.trt
def test_tensorrt_is_tried_without_a_gpu_too() -> None:
    pytest.importorskip("tensorrt_rtx", reason="needs requirements/gpu.txt")
    assert doctor_engines._tensorrt_builds("tensorrt_rtx", False) == ""
    (finding, *_) = findings_of("tensorrt")
    assert finding.state == "ok" and finding.name == "TensorRT for RTX"


def test_an_old_driver_is_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    from bodycast.engines import devices

    monkeypatch.setattr(devices, "cuda_devices", lambda: (1, "1 CUDA device"))
    for driver, state in (("12.8", "note"), ("13.0", "ok")):
        gpu = devices.CudaGpu("NVIDIA Fake 4090", "8.9", 24 << 30, driver)
        monkeypatch.setattr(devices, "cuda_gpus", lambda gpu=gpu: (gpu,))
        (finding,) = findings_of("gpu")
        assert finding.state == state and bool(finding.mend) == (state == "note")
        assert "8.9" in finding.detail and "24 GiB" in finding.detail


def test_plans_are_listed_with_whether_they_run_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("onnx", reason="tiny graphs are made with onnx")
    from bodycast.engines import devices
    from bodycast.engines.plans import ANY_GPU, expected_key, plan_folders, save_plan
    from tests.tiny_packages import hmr_package

    monkeypatch.setattr("bodycast.app.model_packages.model_folders", lambda: (tmp_path,))
    package = hmr_package(tmp_path / "tiny", input_hw=(64, 48))
    gpu = devices.CudaGpu("NVIDIA Fake 4090", "8.9", 24 << 30, "13.0")
    monkeypatch.setattr(doctor_packages, "installed_version", lambda name: "1.7.1")
    keys = [replace(expected_key(package, "tensorrt_rtx", version, gpu), gpu=ANY_GPU) for version in ("1.7.1", "1.6.0")]
    plans = [save_plan(plan_folders(package)[1], key, b"a plan") for key in keys]

    def found() -> dict[str, Finding]:
        return {name: f for f in findings_of("models") for name in [p.path.name for p in plans] if name in f.detail}

    assert [finding.state for finding in found().values()] == ["ok", "ok"]
    assert all("NVIDIA GPU" in finding.detail for finding in found().values())
    monkeypatch.setattr(devices, "cuda_gpus", lambda: (gpu,))
    fits, other = (found()[plan.path.name] for plan in plans)
    assert fits.state == "ok" and "runs here" in fits.detail
    assert (
        other.state == "note" and "built for 1.6.0, here is 1.7.1" in other.detail and "export tensorrt" in other.mend
    )
    plans[0].path.write_bytes(b"changed")
    assert found()[plans[0].path.name].state == "problem"


def test_terms_in_force_are_summed_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "bodycast.app.doctor.terms.package_rows", lambda: [("hmr", "mine", "CC-BY-NC-4.0; trained on: x")]
    )
    (finding,) = findings_of("licences")
    assert "CC-BY-NC-4.0: mine" in finding.detail and "Apache-2.0: Bodycast" in finding.detail


def test_a_missing_body_is_essential(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("bodycast.hmr.body.body_model.EMBEDDED_BODY", tmp_path / "none.npz")
    (finding,) = findings_of("body")
    assert finding.state == "problem" and finding.essential and "none.npz" in finding.detail


def test_a_check_that_breaks_is_a_finding() -> None:
    def check_weather() -> Iterator[Finding]:
        yield Finding("sky", "ok", "blue")
        raise RuntimeError("hail\nand thunder")

    sky, weather = run_check(check_weather)
    assert sky.state == "ok"
    assert weather.name == "weather" and weather.state == "problem" and weather.detail.endswith("hail")


@pytest.mark.parametrize(
    ("state", "essential", "code"), [("problem", True, 1), ("problem", False, 0), ("note", True, 0)]
)
def test_the_exit_code_tells_whether_anything_can_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], state: str, essential: bool, code: int
) -> None:
    def check_one() -> Iterator[Finding]:
        yield Finding("engine", state, "it is what it is", "turn it", essential)  # type: ignore[arg-type]

    monkeypatch.setattr(doctor_checks, "CHECKS", (check_one,))
    assert doctor.main([]) == code
    out = capsys.readouterr().out
    assert "it is what it is" in out and "-> turn it" in out
    assert ("cannot run here: engine" in out) == bool(code)


def test_json_is_a_list_of_findings() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bodycast", "doctor", "--json"],
        cwd=Path(__file__).resolve().parents[2],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    found = json.loads(done.stdout)
    assert {"name", "state", "detail", "mend", "essential"} == set(found[0])
    fatal = any(entry["essential"] and entry["state"] == "problem" for entry in found)
    assert done.returncode == int(fatal)
