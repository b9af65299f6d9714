"""The Python API: what the README promises, on the film that is in the repository."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest

import bodycast

REPOSITORY = Path(__file__).resolve().parents[2]
FILM = REPOSITORY / "assets" / "demo" / "outdoors.mp4"
SNIPPET = re.compile(r"```python\n(.*?)```", re.DOTALL)


@pytest.fixture(scope="module")
def pictures() -> list[np.ndarray]:
    """The first second of the film, (30, H, W, 3) uint8 BGR."""
    capture = cv2.VideoCapture(str(FILM))
    return [capture.read()[1] for _ in range(30)]


def test_track_gives_every_frame_of_a_file_in_order_and_ends_its_thread() -> None:
    before = threading.active_count()
    frames = list(bodycast.track(FILM, preset="lite", max_frames=20))
    assert [frame.index for frame in frames] == list(range(20))
    assert all(np.diff([frame.time_s for frame in frames]) > 0)
    person = frames[-1].people[0]
    assert person.pose.shape == (24, 3, 3) and person.joints_px.shape == (24, 2) and person.vertices_m.shape[1] == 3
    assert frames[0].people[0].id == 1, "they are confirmed later, and shown from the frame on in which they were seen"
    assert threading.active_count() == before


def test_leaving_early_closes_the_source() -> None:
    before = threading.active_count()
    with bodycast.track(FILM, preset="lite") as frames:
        next(frames)
    assert threading.active_count() == before
    assert list(frames) == []


def test_a_tracker_keeps_ids_and_starts_no_thread(pictures: list[np.ndarray]) -> None:
    before = threading.active_count()
    with bodycast.Tracker(preset="lite", detect_every=0.1) as tracker:
        seen = [tuple(one.id for one in tracker(picture, row / 30)) for row, picture in enumerate(pictures)]
        assert threading.active_count() == before
        assert 1 in seen[-1] and all(set(ids) <= set(seen[-1]) for ids in seen)
        tracker.reset()
        again = [tracker(picture, 2 + row / 30) for row, picture in enumerate(pictures[:12])]
        assert again[-1] and {one.id for one in again[-1]}.isdisjoint(seen[-1]), "an id is never given twice"


def test_one_picture_by_path_and_by_array(pictures: list[np.ndarray], tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    cv2.imwrite(str(path), pictures[0])
    by_path, by_array = bodycast.recover(path, preset="lite"), bodycast.recover(pictures[0], preset="lite")
    assert len(by_path) == len(by_array) >= 1
    for one, other in zip(by_path, by_array, strict=True):
        assert np.allclose(one.joints_m, other.joints_m, atol=1e-4)
    with bodycast.Overlay("cpu") as overlay:
        drawn = overlay(pictures[0], by_array)
        assert drawn.shape == pictures[0].shape and (drawn != pictures[0]).any()
        assert (overlay(pictures[0], ()) == pictures[0]).all()


def test_pictures_of_a_folder_are_scenes_of_their_own_unless_they_are_a_film(
    pictures: list[np.ndarray], tmp_path: Path
) -> None:
    """Photographs of one place look like a film's frames, whose detector would look at the first one only."""
    for row in (0, 15, 29):
        cv2.imwrite(str(tmp_path / f"{row}.png"), pictures[row])
    frames = list(bodycast.track(tmp_path, preset="lite"))
    ids = [one.id for frame in frames for one in frame.people]
    assert len(frames) == 3 and all(frame.people for frame in frames) and len(set(ids)) == len(ids)
    film = list(bodycast.track(tmp_path, preset="lite", folder_fps=4.0))
    assert [frame.time_s for frame in film] == [0.0, 0.25, 0.5]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: bodycast.track("nothing.mp4"), "no such file"),
        (lambda: bodycast.recover("nothing.jpg"), "no such file"),
        (lambda: bodycast.Tracker(colour=1), "no option 'colour'"),
        (lambda: bodycast.Tracker(preset="best"), "no preset 'best'"),
        (lambda: bodycast.Tracker(max_people=0), "max-people 0"),
        (lambda: bodycast.Tracker(smoother="diffusion", lag=0.1), "no latency"),
        (lambda: bodycast.Tracker(engine="abacus"), "abacus"),
    ],
)
def test_what_cannot_be_is_one_line(call: object, message: str) -> None:
    with pytest.raises(bodycast.BodycastError, match=message) as caught:
        call()  # type: ignore[operator]
    assert "\n" not in str(caught.value)


def test_warnings_go_to_the_log_and_nothing_is_printed(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture, pictures: list[np.ndarray]
) -> None:
    with caplog.at_level(logging.WARNING, "bodycast"):
        bodycast.recover(pictures[0], preset="lite")
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_importing_is_light() -> None:
    program = "import sys, bodycast; print([n for n in ('numpy', 'cv2', 'onnxruntime', 'torch') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
    with pytest.raises(AttributeError, match="no attribute 'people'"):
        _ = bodycast.people


def test_every_public_name_is_there_and_documented() -> None:
    for name in bodycast.__all__:
        assert getattr(bodycast, name) is not None
        assert name == "__version__" or getattr(bodycast, name).__doc__, name


def test_the_snippets_of_the_readme_run(tmp_path: Path, pictures: list[np.ndarray]) -> None:
    """In a folder that holds the files that they name."""
    snippets = SNIPPET.findall((REPOSITORY / "README.md").read_text(encoding="utf-8"))
    assert len(snippets) >= 3
    cv2.imwrite(str(tmp_path / "photo.jpg"), pictures[0])
    writer = cv2.VideoWriter(str(tmp_path / "film.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 30, pictures[0].shape[1::-1])
    for picture in pictures[:8]:
        writer.write(picture)
    writer.release()
    made = [sys.executable, "-m", "bodycast", "run", str(tmp_path / "film.mp4"), "--preset", "lite"]
    made += ["--no-window", "--renderer", "none", "--output", str(tmp_path / "out")]
    subprocess.run(made, cwd=REPOSITORY, check=True, capture_output=True)
    for snippet in snippets:
        done = subprocess.run(
            [sys.executable, "-c", snippet],
            cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{snippet}\n{done.stderr[-2000:]}"
