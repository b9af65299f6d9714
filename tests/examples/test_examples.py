"""Every example runs, as a program of its own, outside the checkout's folder, on a few frames and without a window."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
EXAMPLES = REPOSITORY / "examples"
NOTEBOOK = EXAMPLES / "bodycast.ipynb"
SNIPPET = re.compile(r"```python\n(.*?)```", re.DOTALL)


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Start Python with `words` in `folder`; the checkout is found by PYTHONPATH."""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    return subprocess.run(
        [sys.executable, *words],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


def cells(kind: str) -> list[str]:
    """The sources of the notebook's cells of a kind, in order."""
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    assert notebook["nbformat"] == 4
    return ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == kind]


def test_a_photo_is_drawn_and_its_people_are_printed(tmp_path: Path) -> None:
    done = run(tmp_path, str(EXAMPLES / "photo.py"), "demo", "drawn.png", "--preset", "lite")
    assert done.returncode == 0, done.stderr
    assert "person 1: score" in done.stdout
    assert cv2.imread(str(tmp_path / "drawn.png")) is not None


def test_the_camera_example_draws_without_a_window(tmp_path: Path) -> None:
    words = ("demo", "--no-window", "--max-frames", "8", "--preset", "lite")
    done = run(tmp_path, str(EXAMPLES / "webcam.py"), *words)
    assert done.returncode == 0, done.stderr
    assert "ids [1" in done.stdout


def test_a_film_becomes_bvh(tmp_path: Path) -> None:
    done = run(tmp_path, str(EXAMPLES / "video_to_bvh.py"), "demo", "dance.bvh", "--max-frames", "20")
    assert done.returncode == 0, done.stderr
    written = [tmp_path / line for line in done.stdout.splitlines() if line.endswith(".bvh")]
    assert written and all(path.read_text(encoding="ascii").startswith("HIERARCHY") for path in written)


def test_a_keypoint_network_and_an_engine_of_ones_own(tmp_path: Path) -> None:
    words = ("demo", "pose-lightning", "--engine", "onnxruntime", "--device", "cpu", "--max-frames", "8")
    done = run(tmp_path, str(EXAMPLES / "own_keypoints.py"), *words)
    assert done.returncode == 0, done.stderr
    assert "preset fast: people in" in done.stdout and "pose-lightning: people in" in done.stdout


def test_an_onnx_file_becomes_a_keypoint_package(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from tests.export.pose_files import movenet_file

    movenet_file(tmp_path / "mine.onnx")
    words = ("demo", "mine.onnx", "--kind", "movenet", "--engine", "onnxruntime", "--max-frames", "4")
    done = run(tmp_path, str(EXAMPLES / "own_keypoints.py"), *words)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "mine-package" / "package.json").is_file() and "mine-package: people in" in done.stdout


@pytest.mark.parametrize("name", ["photo.py", "webcam.py", "video_to_bvh.py", "own_keypoints.py"])
def test_a_film_that_is_not_there_is_one_line(name: str, tmp_path: Path) -> None:
    words = {
        "photo.py": ("x.jpg", "y.png"), "video_to_bvh.py": ("x.mp4", "y.bvh"),
        "own_keypoints.py": ("x.mp4", "pose-lightning"),
    }.get(name, ("x.mp4",))  # fmt: skip
    done = run(tmp_path, str(EXAMPLES / name), *words)
    assert done.returncode != 0
    assert "no such file" in done.stderr and "Traceback" not in done.stderr


def test_the_notebook_is_stored_without_results() -> None:
    for cell in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == [] and cell["execution_count"] is None


def test_the_notebook_runs(tmp_path: Path) -> None:
    """Its cells in order in one process, as Jupyter would, on fewer frames."""
    first, *others = cells("code")
    program = "\n".join([first, "FRAMES = 12", *others])
    done = run(tmp_path, "-c", program)
    assert done.returncode == 0, done.stderr
    assert "12 frames, people: [1" in done.stdout


def test_every_example_is_listed() -> None:
    listed = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    for path in (*EXAMPLES.glob("*.py"), *EXAMPLES.glob("*.ipynb")):
        assert f"`{path.name}`" in listed


@pytest.mark.parametrize("page", ["api.md", "motion_file.md"])
def test_the_snippets_of_the_documents_run(page: str, tmp_path: Path) -> None:
    """In a folder that holds the film and the motion that they name. The README's: tests/app/test_api.py."""
    film = cv2.VideoCapture(str(REPOSITORY / "assets" / "demo" / "outdoors.mp4"))
    writer = cv2.VideoWriter(str(tmp_path / "film.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 30, (1280, 720))
    for _ in range(8):
        writer.write(film.read()[1])
    writer.release()
    made = run(tmp_path, "-m", "bodycast", "run", "film.mp4", "--renderer", "none", "--no-window", "--output", "out")
    assert made.returncode == 0, made.stderr
    snippets = SNIPPET.findall((REPOSITORY / "docs" / page).read_text(encoding="utf-8"))
    assert snippets
    for snippet in snippets:
        done = run(tmp_path, "-c", snippet)
        assert done.returncode == 0, f"{snippet}\n{done.stderr}"
        assert done.stdout, "a snippet shows something"
