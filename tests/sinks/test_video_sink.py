"""The overlay film: true times, any size, and a readable file whatever happens."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from bodycast.app.errors import RunError, UsageError
from bodycast.app.sinks.video import VideoSink
from bodycast.app.sources.video_file import open_video_file
from tests.sinks.results import disk_of, result_of
from tests.sources.clips import grey, level_of

NOISE = np.random.default_rng(0).integers(0, 255, (240, 320, 3)).astype(np.uint8)


def write_noise(sink: VideoSink, frames: range) -> None:
    for index in frames:
        sink.write(result_of(index, overlay=np.roll(NOISE, 5 * index, axis=1)))


def test_times_of_a_variable_rate_are_kept(tmp_path: Path) -> None:
    times = [5.0, 5.02, 5.1, 5.1003, 6.0, 6.9]
    sink = VideoSink(tmp_path / "out.mp4", fps=None)
    for index, time_s in enumerate(times):
        sink.write(result_of(index, time_s, overlay=grey(16 + 8 * index)))
    sink.close()
    frames = list(open_video_file(sink.path))
    np.testing.assert_allclose([frame.time_s for frame in frames], np.array(times) - 5.0, atol=2e-5)
    assert [level_of(frame.image) for frame in frames] == [16 + 8 * index for index in range(len(times))]


@pytest.mark.parametrize("fps", [24000 / 1001, 29.97, 30.0, 59.94, 240.0])
def test_the_rate_is_what_players_see(tmp_path: Path, fps: float) -> None:
    sink = VideoSink(tmp_path / "out.mp4", fps)
    for index in range(60):
        sink.write(result_of(index, index / fps))
    sink.close()
    capture = cv2.VideoCapture(str(sink.path))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 60
    assert capture.get(cv2.CAP_PROP_FPS) == pytest.approx(fps, rel=1e-3)


def test_the_film_is_synced_to_the_disk_as_it_grows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bodycast.app.sinks.video.SYNC_S", 0.0)
    path, synced = tmp_path / "out.mp4", []
    monkeypatch.setattr(os, "fsync", lambda handle: synced.append((os.fstat(handle).st_ino, path.stat().st_size)))
    sink = VideoSink(path, 30.0)
    for index in range(3):
        sink.write(result_of(index, index / 30))
    assert [inode for inode, _ in synced] == [path.stat().st_ino] * 3
    assert 0 < synced[0][1] < synced[1][1] < synced[2][1]
    sink.close()


def test_times_that_stand_still_do_not_break_the_film(tmp_path: Path) -> None:
    sink = VideoSink(tmp_path / "out.mp4", 30.0)
    for index in range(5):
        sink.write(result_of(index, 1.0))
    sink.close()
    assert len(list(open_video_file(sink.path))) == 5


def test_colours_survive_and_are_labelled(tmp_path: Path) -> None:
    image = np.zeros((120, 160, 3), np.uint8)
    for column, colour in enumerate([(200, 40, 40), (40, 200, 40), (40, 40, 200), (128, 128, 128)]):
        image[:, 40 * column : 40 * (column + 1)] = colour
    sink = VideoSink(tmp_path / "out.mp4", 30.0)
    for index in range(3):
        sink.write(result_of(index, overlay=image))
    sink.close()
    got = next(iter(open_video_file(sink.path))).image
    for column in range(4):
        centre = got[60, 40 * column + 20].astype(int)
        assert np.abs(centre - image[60, 40 * column + 20]).max() <= 6
    with av.open(str(sink.path)) as container:
        codec = container.streams.video[0].codec_context
        assert (codec.colorspace, codec.color_range, codec.pix_fmt) == (6, 1, "yuv420p")


@pytest.mark.parametrize(("wh", "film_wh"), [((63, 47), (64, 48)), ((64, 47), (64, 48)), ((1, 1), (2, 2))])
def test_odd_sizes_gain_one_line(tmp_path: Path, wh: tuple[int, int], film_wh: tuple[int, int]) -> None:
    sink = VideoSink(tmp_path / "out.mp4", 30.0)
    for index in range(3):
        sink.write(result_of(index, overlay=grey(200, wh)))
    sink.close()
    frame = next(iter(open_video_file(sink.path)))
    assert frame.image_wh == film_wh
    assert frame.image.min() > 190
    assert sink.warnings == []


def test_another_size_is_fitted_in_and_told_once(tmp_path: Path) -> None:
    sink = VideoSink(tmp_path / "out.mp4", 30.0)
    for index, wh in enumerate([(64, 48), (64, 48), (48, 96), (48, 96), (128, 96)]):
        sink.write(result_of(index, overlay=grey(200, wh)))
    sink.close()
    frames = list(open_video_file(sink.path))
    assert [frame.image_wh for frame in frames] == [(64, 48)] * 5
    upright = frames[3].image[24].mean(axis=1)
    assert upright[:16].max() < 60  # black at the sides
    assert upright[28:36].min() > 180
    assert frames[4].image.min() > 180  # same proportions: no border
    assert len(sink.warnings) == 1


def test_a_killed_run_leaves_a_film_that_plays(tmp_path: Path) -> None:
    sink = VideoSink(tmp_path / "out.mp4", 30.0)
    write_noise(sink, range(150))
    copy = tmp_path / "as_it_was.mp4"
    shutil.copy(sink.path, copy)
    sink.close()
    assert 145 <= len(list(open_video_file(copy))) <= 150
    assert len(list(open_video_file(sink.path))) == 150


@pytest.mark.parametrize("size", [600_000, 1_500_000])
def test_a_full_disk_is_a_run_error_and_the_film_plays_up_to_there(tmp_path: Path, size: int) -> None:
    sink = VideoSink(tmp_path / "out.mp4", 30.0)
    with disk_of(size):
        with pytest.raises(RunError, match=r"out\.mp4: cannot be written .*kept"):
            write_noise(sink, range(300))
        sink.write(result_of(300, overlay=NOISE))  # the queue may hold more; nothing more happens
        sink.close()
    assert len(list(open_video_file(sink.path))) >= 10


def test_a_disk_that_fills_while_finishing_keeps_what_was_written(tmp_path: Path) -> None:
    sink = VideoSink(tmp_path / "out.mp4", 30.0)
    write_noise(sink, range(100))
    with disk_of(sink.path.stat().st_size + 100), pytest.raises(RunError, match="kept"):
        sink.close()
    sink.close()
    assert len(list(open_video_file(sink.path))) >= 98
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]


def test_where_there_is_no_space_for_a_copy_the_fragments_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object, **kwargs: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    sink = VideoSink(tmp_path / "out.mp4", 30.0)
    write_noise(sink, range(10))
    monkeypatch.setattr(tempfile, "mkstemp", full)
    sink.close()
    assert [line.split(" (")[0] for line in sink.warnings] == [
        "out.mp4: stays in fragments, which play, but are slow to seek in"
    ]
    assert len(list(open_video_file(sink.path))) == 10


def test_a_film_that_is_finished_is_an_ordinary_mp4(tmp_path: Path) -> None:
    sink = VideoSink(tmp_path / "out.mp4", 30.0)
    write_noise(sink, range(30))
    assert b"moof" in sink.path.read_bytes()
    sink.close()
    assert b"moof" not in sink.path.read_bytes()
    with av.open(str(sink.path)) as film:
        assert film.streams.video[0].frames == 30


def test_it_replaces_nothing_unasked(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    path.write_text("precious")
    with pytest.raises(UsageError, match="exists"):
        VideoSink(path)
    assert path.read_text() == "precious"
    sink = VideoSink(path, overwrite=True)
    sink.write(result_of())
    sink.close()
    assert len(list(open_video_file(path))) == 1
    with pytest.raises(UsageError, match="no such folder"):
        VideoSink(tmp_path / "missing" / "out.mp4")


def test_key_frames_are_two_seconds_apart_whatever_rate_is_stated(tmp_path: Path) -> None:
    """They are counted by time: with the stated 90,000 frames/s there would be one alone."""
    path = tmp_path / "overlay.mp4"
    sink = VideoSink(path, fps=90_000.0)
    for index in range(100):
        sink.write(result_of(index, index / 20))
    sink.close()
    with av.open(str(path)) as film:
        keys = [float(packet.pts * packet.time_base) for packet in film.demux(video=0) if packet.is_keyframe]
    assert keys == pytest.approx([0.0, 2.0, 4.0], abs=0.051)
