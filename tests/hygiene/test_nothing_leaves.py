"""Nothing leaves the machine: programs run where every address leads back to it, and whoever is asked is noted.

A library may wait before it calls home (ONNX Runtime 1.31: nine seconds after its import), so every program is kept
alive for longer than that.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from shutil import which

import pytest

from bodycast.no_telemetry import SETTINGS

REPOSITORY = Path(__file__).resolve().parents[2]
WATCH = Path(__file__).with_name("network_watch.py")
LINGER_S = 14
PACKAGES = ("bodycast", "bodycast.app", "bodycast.engines", "bodycast.export", "evaluation", "training")

ENTRY = f"""
import runpy, sys, time
name, sys.argv = sys.argv[1], sys.argv[1:]
code = 0
try:
    run = runpy.run_path if name.endswith(".py") else runpy.run_module
    run(name, run_name="__main__")
except SystemExit as end:
    code = end.code or 0
time.sleep({LINGER_S})
sys.exit(code)
"""

IMPORTS = f"""
import sys, time
from importlib.util import find_spec
import numpy as np
from bodycast.engines.onnxruntime_engine import OnnxRuntimeEngine
from bodycast.engines.openvino_engine import OpenVinoEngine
from bodycast.engines.package import load_package
package = load_package("assets/models/person-detector")
inputs, _ = package.golden()
for kind in (OnnxRuntimeEngine, OpenVinoEngine):
    engine = kind(package, threads=1)
    engine.open()
    engine.run(inputs)
if find_spec("ultralytics") is not None:
    from bodycast.app.detectors.quiet_ultralytics import import_ultralytics
    import_ultralytics().YOLO("yolo11n.yaml").predict(np.zeros((64, 64, 3), np.uint8), imgsz=64, verbose=False)
    import bodycast.export.detector_package
if find_spec("timm") is not None:
    import bodycast.hmr.networks.encoders.swin
time.sleep({LINGER_S})
"""

CALLS_OUT = """
import socket
with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as caller:
    assert caller.connect_ex(("198.51.100.7", 443)) != 0
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as caller:
    caller.sendto(b"x", ("198.51.100.8", 99))
try:
    socket.getaddrinfo("telemetry.example", 443, socket.AF_UNSPEC, 0, 0, socket.AI_ADDRCONFIG)
except OSError:
    pass
"""


@dataclass(frozen=True)
class Watched:
    """What came of one program."""

    exit_code: int
    contacts: list[str]
    errors: str
    left_behind: list[str]


def start(folder: Path, *command: str) -> subprocess.Popen[str]:
    """Start a Python program under the watch, with an empty home and without settings against telemetry."""
    home = folder / "home"
    home.mkdir(parents=True)
    environment = {name: value for name, value in os.environ.items() if name not in SETTINGS and name[:4] != "XDG_"}
    environment |= {"HOME": str(home), "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)}
    return subprocess.Popen(
        ["unshare", "-rnm", sys.executable, str(WATCH), str(folder / "report.json"), sys.executable, *command],
        cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def finish(process: subprocess.Popen[str], folder: Path) -> Watched:
    """Wait for it, and read the report."""
    _, errors = process.communicate(timeout=180)
    assert (folder / "report.json").is_file(), errors[-2000:]
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    names = {path.name for path in folder.joinpath("home").rglob("*")}
    left = sorted(name for name in names if "microsoft" in name.lower() or "telemetry" in name.lower())
    return Watched(report["exit_code"], report["contacts"], errors, left)


def unwatchable() -> str:
    """Why no program can be watched here; empty where it can."""
    if not sys.platform.startswith("linux") or which("unshare") is None:
        return "needs Linux and unshare"
    tried = subprocess.run(["unshare", "-rnm", "true"], capture_output=True, text=True, check=False)
    return "" if tried.returncode == 0 else f"no network namespace is permitted here: {tried.stderr.strip()}"


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Watched]:
    """Every program, watched; at the same time, as most of it is waiting."""
    reason = unwatchable()
    if reason:
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("watched")
    out = str(folder / "out")
    demo = ("run_webcam.py", "demo", "--max-frames", "10", "--no-window", "--output", out)
    commands = {
        "demo": ("-c", ENTRY, *demo),
        "doctor": ("-c", ENTRY, "bodycast", "doctor"),
        "imports": ("-c", IMPORTS),
        "control": ("-c", CALLS_OUT),
    }
    started = {name: start(folder / name, *command) for name, command in commands.items()}
    return {name: finish(process, folder / name) for name, process in started.items()}


def test_the_watch_sees_who_calls_out(watched: dict[str, Watched]) -> None:
    assert watched["control"].exit_code == 0, watched["control"].errors
    assert watched["control"].contacts == ["dns telemetry.example", "tcp 198.51.100.7:443", "udp 198.51.100.8:99"]


@pytest.mark.parametrize("name", ["demo", "doctor", "imports"])
def test_nobody_is_contacted(watched: dict[str, Watched], name: str) -> None:
    done = watched[name]
    assert done.exit_code == 0, done.errors[-2000:]
    assert done.contacts == []
    assert done.left_behind == [], "notes to be sent later"


@pytest.mark.parametrize("package", PACKAGES)
def test_every_way_in_sets_it_before_any_library_and_leaves_the_users_choice(package: str) -> None:
    program = f"""
import os, sys
before = set(sys.modules)
import {package}
print({{name: os.environ.get(name) for name in {list(SETTINGS)!r}}})
print(sorted(name for name in set(sys.modules) - before if name.split(".")[0] in
    ("onnxruntime", "openvino", "openvino_telemetry", "ultralytics", "huggingface_hub", "timm", "torch")))
"""
    environment = {name: value for name, value in os.environ.items() if name not in SETTINGS}
    for own in ({}, {"ORT_DISABLE_TELEMETRY": "0"}):
        done = subprocess.run(
            [sys.executable, "-c", program], cwd=REPOSITORY, env=environment | own, capture_output=True, text=True,
            timeout=120, check=False,
        )  # fmt: skip
        assert done.stdout.splitlines() == [str(SETTINGS | own), "[]"], done.stderr[-1000:]


def test_tests_run_with_the_settings() -> None:
    assert all(name in os.environ for name in SETTINGS)


def test_the_settings_are_those_that_the_installed_libraries_read() -> None:
    """A library that renames its switch would be found by this, also where nothing can be watched."""
    readers = {
        "ORT_DISABLE_TELEMETRY": ("onnxruntime", "capi/onnxruntime_pybind11_state*.so"),
        "YOLO_OFFLINE": ("ultralytics", "utils/__init__.py"),
        "YOLO_AUTOINSTALL": ("ultralytics", "utils/__init__.py"),
        "HF_HUB_DISABLE_TELEMETRY": ("huggingface_hub", "constants.py"),
    }
    missed: list[str] = []
    for name, (library, pattern) in readers.items():
        found = find_spec(library)
        if found is None or not found.submodule_search_locations:
            continue
        files = list(Path(found.submodule_search_locations[0]).glob(pattern))
        sends = library != "onnxruntime" or any(b"events.data.microsoft" in file.read_bytes() for file in files)
        if files and sends and not any(name.encode() in file.read_bytes() for file in files):
            missed.append(name)
    assert missed == []
