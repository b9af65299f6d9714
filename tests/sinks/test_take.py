"""Takes: files of their own for what lies between two keys."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bodycast.app.files.motion_file import read_motion
from bodycast.app.sinks.base import Sink
from bodycast.app.sinks.motion import MotionSink
from bodycast.app.sinks.take import TakeSink
from bodycast.app.sinks.video import VideoSink
from bodycast.app.sources.video_file import open_video_file
from tests.sinks.results import META, disk_of, result_of


def files_in(folder: Path) -> list[Sink]:
    return [MotionSink(folder / "motion.npz", META, 30.0), VideoSink(folder / "overlay.mp4", 30.0)]


def test_each_take_has_its_own_film_and_motion(tmp_path: Path) -> None:
    takes = TakeSink(tmp_path / "takes", files_in)
    for index in range(20):
        if index in (3, 8, 12, 15):
            takes.toggle()
        takes.write(result_of(index, people=[1]))
        assert bool(takes.recording) is (3 <= index < 8 or 12 <= index < 15)
    takes.close()
    assert sorted(path.name for path in (tmp_path / "takes").iterdir()) == ["take-001", "take-002"]
    for name, count in (("take-001", 5), ("take-002", 3)):
        motion = read_motion(tmp_path / "takes" / name / "motion.npz")
        assert (motion.meta.frame_count, motion.frame.tolist()) == (count, list(range(count)))
        assert len(list(open_video_file(tmp_path / "takes" / name / "overlay.mp4"))) == count
    assert takes.warnings == []


def test_a_take_that_runs_when_the_run_ends_is_finished(tmp_path: Path) -> None:
    takes = TakeSink(tmp_path, files_in)
    takes.toggle()
    takes.write(result_of(0, people=[1, 2]))
    assert takes.recording == "take-001"
    takes.close()
    takes.close()
    assert read_motion(tmp_path / "take-001" / "motion.npz").meta.frame_count == 1


def test_earlier_takes_are_left_alone(tmp_path: Path) -> None:
    for _ in range(2):
        takes = TakeSink(tmp_path, files_in)
        takes.toggle()
        takes.write(result_of(0, people=[1]))
        takes.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["take-001", "take-002"]


def test_without_the_key_nothing_is_made(tmp_path: Path) -> None:
    takes = TakeSink(tmp_path / "takes", files_in)
    takes.write(result_of(0, people=[1]))
    takes.close()
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_ends_the_take_and_not_the_run(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (240, 320, 3)).astype(np.uint8)
    takes = TakeSink(tmp_path, files_in)
    takes.toggle()
    with disk_of(60_000):
        for index in range(150):
            takes.write(result_of(index, people=[1], overlay=np.roll(noise, index, axis=0)))
    takes.close()
    assert len(takes.warnings) == 1 and "the take ends" in takes.warnings[0]
    assert takes.recording == ""


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "takes").write_text("a file")
    takes = TakeSink(tmp_path / "takes", files_in)
    takes.toggle()
    takes.write(result_of(0, people=[1]))
    assert "takes" in takes.warnings[0]
    takes.close()
