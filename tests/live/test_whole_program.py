"""The program itself, in a process of its own, on a film made here and a network of a few nodes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from bodycast.app.files.motion_file import read_motion
from bodycast.engines.devices import cuda_devices
from tests.sources.clips import encode, grey

pytest.importorskip("onnx", reason="tiny packages are written with onnx")
pytest.importorskip("onnxruntime")

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package whose camera puts everybody in the middle of his crop."""
    from tests.tiny_packages import hmr_package

    return hmr_package(tmp_path_factory.mktemp("package") / "tiny", camera=(0.9, 0.0, 0.0)).folder


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A detector package that sees two people in every picture, surely: the network here knows nobody, so its
    boxes soon lie anywhere and a second look would not confirm them."""
    from tests.tiny_packages import detector_package

    folder = tmp_path_factory.mktemp("detector") / "tiny"
    return detector_package(folder, [[10, 5, 30, 60], [60, 8, 80, 58], [0, 0, 1, 1]], [1.0, 1.0, 0.0]).folder


@pytest.fixture(scope="module")
def figure() -> np.ndarray:
    """A light picture with two dark figures."""
    image = np.full((240, 360, 3), 200, np.uint8)
    image[20:225, 40:110] = 60
    image[30:215, 230:300] = 90
    return image


def folder_of(path: Path, image: np.ndarray, frames: int) -> Path:
    """A folder of `frames` pictures: one file and links to it."""
    path.mkdir()
    first = path / "00000.png"
    cv2.imwrite(str(first), image)
    for index in range(1, frames):
        os.link(first, path / f"{index:05d}.png")
    return path


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "run_webcam.py", *map(str, arguments), "--no-window", "--engine", "onnxruntime"]


def start(*arguments: str | Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command(*arguments), cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*arguments), cwd=REPOSITORY, capture_output=True, text=True, timeout=120)


def run_command(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """One of the other commands."""
    words = [sys.executable, "-m", "bodycast", *map(str, arguments)]
    return subprocess.run(words, cwd=REPOSITORY, capture_output=True, text=True, timeout=120)


def film_frames(path: Path) -> int:
    capture = cv2.VideoCapture(str(path))
    count = 0
    while capture.grab():
        count += 1
    return count


PAGES = ("replay.html", "report.html")


def test_a_run_leaves_whole_files(tmp_path: Path, package: Path, detector: Path, figure: np.ndarray) -> None:
    source, out = folder_of(tmp_path / "pictures", figure, 20), tmp_path / "out"
    done = run(source, "--model", package, "--output", out, "--renderer", "cpu", "--detector", detector)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in out.iterdir()) == ["motion.npz", "overlay.mp4", *PAGES, "run.json"]
    assert film_frames(out / "overlay.mp4") == 20
    report = json.loads((out / "run.json").read_text())
    assert (report["exit_code"], report["exit_reason"]) == (0, "end of source")
    assert report["frames"] == {
        "taken": 20,
        "given": 20,
        "dropped": {"source": 0, "drawing": 0, "motion": 0, "video": 0},
    }
    assert {"detect", "crop", "estimate", "body", "draw", "video", "motion"} <= set(report["stage_ms"])
    assert read_motion(out / "motion.npz").meta.frame_count == 20
    assert str(out / "motion.npz") in done.stdout
    assert "p95" in done.stdout


def test_the_same_film_gives_the_same_motion(tmp_path: Path, package: Path, detector: Path, figure: np.ndarray) -> None:
    source = folder_of(tmp_path / "pictures", figure, 25)
    motions = []
    for name in ("one", "two"):
        done = run(
            source,
            "--model",
            package,
            "--output",
            tmp_path / name,
            "--renderer",
            "none",
            "--detector",
            detector,
            "--detect-every",
            "0.05",
        )
        assert done.returncode == 0, done.stderr
        motions.append(read_motion(tmp_path / name / "motion.npz"))
    assert len(motions[0].frame) > 1.5 * 25
    assert {1, 2} <= set(motions[0].person_id.tolist())
    for key in ("frame", "person_id", "bbox_xyxy", "poses", "trans", "joints_2d"):
        np.testing.assert_array_equal(getattr(motions[0], key), getattr(motions[1], key))


SIGNALS = [(signal.SIGINT, 130), (signal.SIGTERM, 143)]
if sys.platform != "win32":
    SIGNALS.append((signal.SIGHUP, 129))


@pytest.mark.parametrize(("number", "code"), SIGNALS)
def test_a_signal_ends_the_run_with_finished_files(
    tmp_path: Path, package: Path, detector: Path, figure: np.ndarray, number: signal.Signals, code: int
) -> None:
    source, out = folder_of(tmp_path / "pictures", figure, 3000), tmp_path / "out"
    process = start(source, "--model", package, "--output", out, "--renderer", "cpu", "--detector", detector)
    deadline_s = time.monotonic() + 60
    while not (out / "motion.parts" / "frames").exists():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline_s
        time.sleep(0.02)
    time.sleep(0.3)
    process.send_signal(number)
    out_text, err_text = process.communicate(timeout=60)
    assert process.returncode == code, err_text
    assert "Traceback" not in err_text
    report = json.loads((out / "run.json").read_text())
    assert (report["exit_code"], report["hanging_threads"]) == (code, [])
    given = report["frames"]["given"]
    assert 0 < given < 3000
    assert film_frames(out / "overlay.mp4") == given
    assert read_motion(out / "motion.npz").meta.frame_count == given
    assert str(out / "overlay.mp4") in out_text


def test_an_output_folder_that_is_renamed_ends_the_run_and_keeps_what_there_is(
    tmp_path: Path, package: Path, detector: Path, figure: np.ndarray
) -> None:
    source, out, moved = folder_of(tmp_path / "pictures", figure, 3000), tmp_path / "out", tmp_path / "moved"
    process = start(source, "--model", package, "--output", out, "--renderer", "cpu", "--detector", detector)
    deadline_s = time.monotonic() + 60
    grows = (out / "motion.parts" / "rows", out / "overlay.mp4")
    while not all(path.exists() and path.stat().st_size > 3000 for path in grows):
        assert process.poll() is None and time.monotonic() < deadline_s
        time.sleep(0.02)
    out.rename(moved)
    _, err_text = process.communicate(timeout=60)
    assert process.returncode == 1
    said = [line for line in err_text.splitlines() if line.startswith("run_webcam.py:")]
    assert len(said) == 1 and "removed or renamed" in said[0] and "Traceback" not in err_text
    kept = Path(said[0].rpartition(" kept as ")[2])
    report = json.loads(kept.read_text())
    kept.unlink()
    assert report["exit_code"] == 1 and report["frames"]["given"] < 3000
    assert not out.exists()
    assert run_command("recover", moved).returncode == 0
    assert 0 < read_motion(moved / "motion.npz").meta.frame_count <= report["frames"]["given"]
    assert film_frames(moved / "overlay.mp4") > 0


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="limits of processes are POSIX")
def test_a_limit_of_file_sizes_ends_the_run_in_one_line(
    tmp_path: Path, package: Path, detector: Path, figure: np.ndarray
) -> None:
    import resource

    noise = figure // 2 + np.random.default_rng(0).integers(0, 120, figure.shape, np.uint8)
    source, out = folder_of(tmp_path / "pictures", noise, 300), tmp_path / "out"
    done = subprocess.run(
        command(source, "--model", package, "--output", out, "--renderer", "cpu", "--detector", detector),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000)),
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=120,
    )
    said = [line for line in done.stderr.splitlines() if line.startswith("run_webcam.py:")]
    assert done.returncode == 1 and len(said) == 1 and "ulimit -f" in said[0], done.stderr
    assert json.loads((out / "run.json").read_text())["exit_code"] == 1
    assert film_frames(out / "overlay.mp4") > 0 and read_motion(out / "motion.npz").meta.frame_count > 0


def test_nothing_is_overwritten_unasked(tmp_path: Path, package: Path, detector: Path, figure: np.ndarray) -> None:
    source, out = folder_of(tmp_path / "pictures", figure, 2), tmp_path / "out"
    out.mkdir()
    (out / "run.json").write_text("old")
    done = run(source, "--model", package, "--output", out, "--renderer", "none", "--detector", detector)
    assert done.returncode == 2
    assert "--overwrite" in done.stderr
    assert (out / "run.json").read_text() == "old"
    flags = ("--renderer", "none", "--detector", detector, "--overwrite")
    assert run(source, "--model", package, "--output", out, *flags).returncode == 0
    assert sorted(path.name for path in out.iterdir()) == ["motion.npz", *PAGES, "run.json"]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"source": "nowhere.mp4"}, "nowhere.mp4"),
        ({"--model": "no-such-model"}, "no-such-model"),
        ({"--body": "no-such-body.npz"}, "no-such-body.npz"),
        ({"--smoother": "difusion"}, "one-euro"),
        ({"--detector": "no-such-detector"}, "no-such-detector"),
    ],
)
def test_what_cannot_run_is_found_before_anything_is_written(
    tmp_path: Path, package: Path, detector: Path, figure: np.ndarray, changes: dict[str, str], says: str
) -> None:
    flags = {
        "source": str(folder_of(tmp_path / "pictures", figure, 2)),
        "--model": str(package),
        "--detector": str(detector),
        "--output": str(tmp_path / "out"),
        **changes,
    }
    source = flags.pop("source")
    done = run(source, *[word for pair in flags.items() for word in pair])
    assert done.returncode == 2, done.stderr
    assert says in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_run_never_loads_torch(tmp_path: Path, package: Path, detector: Path, figure: np.ndarray) -> None:
    source = folder_of(tmp_path / "pictures", figure, 5)
    program = f"""
import sys
from bodycast.app.commands.run import main
code = main({[str(source), "--model", str(package), "--output", str(tmp_path / "out"), "--no-window"]!r})
print("LOADED", [name for name in ("torch", "timm", "ultralytics", "smplx", "pyrender", "onnx") if name in sys.modules])
sys.exit(code)
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "LOADED []" in done.stdout


@pytest.mark.skipif(cuda_devices()[0] > 0, reason="this machine has a CUDA device")
@pytest.mark.parametrize("engine", ["auto", "onnxruntime"])
def test_a_gpu_that_is_not_there_is_one_line_and_no_file(tmp_path: Path, package: Path, engine: str) -> None:
    arguments = ["demo", "--model", str(package), "--output", str(tmp_path / "out"), "--device", "cuda"]
    done = subprocess.run(
        [sys.executable, "run_webcam.py", *arguments, "--no-window", "--engine", engine],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert "NVIDIA driver" in done.stderr and done.stdout == ""
    assert not (tmp_path / "out").exists()


def test_a_film_of_nobody_is_said(tmp_path: Path, package: Path) -> None:
    """A note with a hint on stdout, and how many people there were in run.json."""
    from tests.tiny_packages import detector_package

    blind = detector_package(tmp_path / "blind", [[10, 5, 30, 60]], [0.0]).folder
    film = encode(tmp_path / "nobody.mp4", [grey(90)] * 4)
    flags = ["--model", str(package), "--keypoints", "none", "--detector", str(blind), "--renderer", "none"]
    command = [sys.executable, "-m", "bodycast", "run", str(film), "--no-window", "--output", str(tmp_path / "out")]
    done = subprocess.run([*command, *flags], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "note: nobody was found: people smaller than a tenth" in done.stdout
    assert json.loads((tmp_path / "out" / "run.json").read_text())["people"] == 0
