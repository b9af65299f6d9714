"""The embedded networks on a synthetic clip whose truth is known, and on the demo clip, which is a real one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bodycast.app.files.motion_file import Motion, read_motion
from bodycast.app.presets import PRESETS

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGE = REPOSITORY / "assets" / "models" / PRESETS["fast"].keypoints
DEMO = REPOSITORY / "assets" / "demo"

pytestmark = pytest.mark.skipif(
    not (PACKAGE / "package.json").is_file() or not (DEMO / "demo.mp4").is_file(),
    reason="the embedded model or the demo clip is not in this copy",
)


@pytest.fixture(scope="module")
def motion(tmp_path_factory: pytest.TempPathFactory) -> Motion:
    """One run over the synthetic clip; no overlay, which has tests of its own."""
    out = tmp_path_factory.mktemp("demo") / "out"
    clip = str(DEMO / "demo.mp4")
    command = [sys.executable, "run_webcam.py", clip, "--no-window", "--renderer", "none", "--output", str(out)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return read_motion(out / "motion.npz")


def test_both_people_are_followed_under_one_id_each(motion: Motion) -> None:
    truth = read_motion(DEMO / "demo.npz")
    frames_of = {person: set(motion.frame[motion.person_id == person].tolist()) for person in (1, 2)}
    for person in (1, 2):
        there = set(truth.frame[truth.person_id == person].tolist())
        assert len(frames_of[person] & there) > 0.97 * len(there)
    strangers = int((motion.person_id > 2).sum())
    assert strangers < 0.01 * len(motion.person_id)


def test_the_meshes_lie_on_the_people(motion: Motion) -> None:
    truth = read_motion(DEMO / "demo.npz")
    row_of = {key: row for row, key in enumerate(zip(truth.frame.tolist(), truth.person_id.tolist(), strict=True))}
    apart: list[float] = []
    for row, key in enumerate(zip(motion.frame.tolist(), motion.person_id.tolist(), strict=True)):
        if key in row_of:
            truth_row = row_of[key]
            height = float(truth.bbox_xyxy[truth_row, 3] - truth.bbox_xyxy[truth_row, 1])
            distance = np.linalg.norm(motion.joints_2d[row] - truth.joints_2d[truth_row], axis=1).mean()
            apart.append(float(distance) / height)
    assert len(apart) > 300
    assert np.median(apart) < 0.05, "the median joint is a twentieth of the person's height away"


def test_the_demo_film_shows_two_people_under_one_id_each(tmp_path: Path) -> None:
    """A man on a roof who turns a somersault, in which nothing sees them, and a woman who walks by from frame 36 on."""
    command = [sys.executable, "run_webcam.py", "demo", "--no-window", "--renderer", "none", "--output", str(tmp_path)]
    done = subprocess.run([*command, "--overwrite"], cwd=REPOSITORY, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    seen = read_motion(tmp_path / "motion.npz")
    frames_of = {int(person): set(seen.frame[seen.person_id == person].tolist()) for person in set(seen.person_id)}
    before, walk = set(range(0, 160)), set(range(40, 200))
    man = max(frames_of, key=lambda person: len(frames_of[person] & set(range(0, 30))))
    woman = max((person for person in frames_of if person != man), key=lambda person: len(frames_of[person] & walk))
    assert len(frames_of[man] & before) > 0.95 * len(before)
    assert len(frames_of[woman] & walk) > 0.95 * len(walk)
    assert len(frames_of[man] & set(range(200, 230))) > 15, "landed, under the same id"
    assert sum(len(frames) for person, frames in frames_of.items() if person not in (man, woman)) < 12
