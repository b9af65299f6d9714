"""The program itself on a network camera that is a server on this machine."""

from __future__ import annotations

import http.server
import json
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from bodycast.app.files.motion_file import read_motion
from tests.live.test_whole_program import REPOSITORY, film_frames
from tests.sources.clips import send_jpegs, serve

pytest.importorskip("onnx", reason="tiny packages are written with onnx")
pytest.importorskip("onnxruntime")


class Camera:
    """Sends pictures until it is switched off; then it answers nobody any more."""

    def __init__(self) -> None:
        self.on = True
        self.asked_while_off = threading.Event()

    def __call__(self, handler: http.server.BaseHTTPRequestHandler, number: int) -> None:
        if not self.on:
            self.asked_while_off.set()
            handler.send_error(503)
            return
        send_jpegs(handler, 10_000, interval_s=0.03, while_true=lambda: self.on)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.tiny_packages import hmr_package

    return hmr_package(tmp_path_factory.mktemp("package") / "tiny").folder


def start(url: str, package: Path, out: Path, give_up_s: float) -> subprocess.Popen[str]:
    flags = ["--no-window", "--engine", "onnxruntime", "--renderer", "cpu", "--detector", "hog"]
    limits = ["--stream-stall", "0.5", "--stream-give-up", str(give_up_s)]
    return subprocess.Popen(
        [sys.executable, "run_webcam.py", url, "--model", str(package), "--output", str(out), *flags, *limits],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_frames(process: subprocess.Popen[str], out: Path) -> None:
    deadline_s = time.monotonic() + 90
    while not (out / "motion.parts" / "frames").exists():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline_s
        time.sleep(0.05)
    time.sleep(0.5)


def test_a_camera_that_goes_away_for_good_ends_the_run_with_finished_files(tmp_path: Path, package: Path) -> None:
    camera, out = Camera(), tmp_path / "out"
    with serve(camera) as url:
        address = url.replace("://", "://admin:secret@")
        process = start(address, package, out, give_up_s=1.5)
        wait_for_frames(process, out)
        camera.on = False
        _, err_text = process.communicate(timeout=90)
    assert process.returncode == 1, err_text
    assert "gave up after" in err_text and "Traceback" not in err_text
    text = (out / "run.json").read_text()
    report = json.loads(text)
    assert (report["exit_code"], report["hanging_threads"]) == (1, [])
    assert any("connection lost" in warning for warning in report["warnings"])
    assert "secret" not in text + err_text and report["configuration"]["source"] == url
    assert film_frames(out / "overlay.mp4") == report["frames"]["given"] > 0
    read_motion(out / "motion.npz")


def test_ctrl_c_while_reconnecting_ends_the_run_at_once(tmp_path: Path, package: Path) -> None:
    camera, out = Camera(), tmp_path / "out"
    with serve(camera) as url:
        process = start(url, package, out, give_up_s=600)
        wait_for_frames(process, out)
        camera.on = False
        assert camera.asked_while_off.wait(60)
        process.send_signal(signal.SIGINT)
        _, err_text = process.communicate(timeout=60)
    assert process.returncode == 130, err_text
    report = json.loads((out / "run.json").read_text())
    assert (report["exit_code"], report["hanging_threads"]) == (130, [])
    assert film_frames(out / "overlay.mp4") == report["frames"]["given"] > 0
