"""Files: every frame, true times, true orientation, and damage survived."""

from __future__ import annotations

import wave
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from bodycast.app.errors import UsageError
from bodycast.app.sources.threaded import SourceLog
from bodycast.app.sources.video_file import PresentationClock, open_video_file
from tests.sources.clips import encode, grey, level_of, turn_in_header

LEVELS = [16 + 8 * index for index in range(20)]


@pytest.fixture()
def clip(tmp_path: Path) -> Path:
    return encode(tmp_path / "clip.mp4", [grey(level) for level in LEVELS])


def test_every_frame_comes_in_order_with_its_time(clip: Path) -> None:
    source = open_video_file(clip)
    frames = list(source)
    assert [level_of(frame.image) for frame in frames] == LEVELS
    assert [frame.index for frame in frames] == list(range(20))
    np.testing.assert_allclose([frame.time_s for frame in frames], np.arange(20) / 25, atol=1e-4)
    assert (source.info.live, source.info.frame_count, source.info.image_wh) == (False, 20, (64, 48))
    assert source.info.fps == pytest.approx(25, rel=0.01)
    assert (source.dropped, source.warnings) == (0, ())


def test_variable_frame_rate_keeps_its_times(tmp_path: Path) -> None:
    times = [0.0, 0.02, 0.1, 0.11, 0.5, 0.9, 0.95]
    path = encode(tmp_path / "vfr.mp4", [grey(level) for level in LEVELS[: len(times)]], times)
    np.testing.assert_allclose([frame.time_s for frame in open_video_file(path)], times, atol=2e-4)


def test_times_count_from_the_start_of_the_film(tmp_path: Path) -> None:
    times = [100.0 + index / 25 for index in range(5)]
    path = encode(tmp_path / "late.ts", [grey(level) for level in LEVELS[:5]], times)
    np.testing.assert_allclose([frame.time_s for frame in open_video_file(path)], np.arange(5) / 25, atol=1e-3)


@pytest.mark.parametrize("matrix", [(0, 1, -1, 0), (-1, 0, 0, -1), (0, -1, 1, 0)])
def test_rotation_in_the_header_is_honoured(tmp_path: Path, matrix: tuple[int, int, int, int]) -> None:
    image = grey(40, (96, 48))
    image[:16, :24] = 220  # one bright corner tells all orientations apart
    path = encode(tmp_path / "turned.mp4", [image] * 3)
    turn_in_header(path, matrix)
    ours = next(iter(open_video_file(path)))
    _, reference = cv2.VideoCapture(str(path)).read()
    assert ours.image.shape == reference.shape
    assert np.abs(ours.image.astype(int) - reference).max() <= 2
    assert open_video_file(path).info.image_wh == ours.image_wh


def test_wide_pixels_are_made_square(tmp_path: Path) -> None:
    path = encode(tmp_path / "wide.mp4", [grey(64)] * 3, aspect=Fraction(4, 3))
    source = open_video_file(path)
    assert source.info.image_wh == (85, 48)
    assert next(iter(source)).image_wh == (85, 48)


def test_a_size_that_changes_is_delivered_as_it_is_and_told(tmp_path: Path) -> None:
    first = encode(tmp_path / "a.ts", [grey(64)] * 4)
    second = encode(tmp_path / "b.ts", [grey(64, (96, 80))] * 4, [1 + index / 25 for index in range(4)])
    joined = tmp_path / "joined.ts"
    joined.write_bytes(first.read_bytes() + second.read_bytes())
    source = open_video_file(joined)
    assert [frame.image_wh for frame in source] == [(64, 48)] * 4 + [(96, 80)] * 4
    assert any("96x80 at frame 4" in warning for warning in source.warnings)


def test_a_truncated_film_gives_what_can_be_read_and_a_warning(tmp_path: Path) -> None:
    noise = np.random.default_rng(0)
    images = [noise.integers(0, 255, (48, 64, 3)).astype(np.uint8) for _ in range(40)]
    whole = encode(tmp_path / "whole.mp4", images, options={"movflags": "faststart"})
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    source = open_video_file(cut)
    count = len(list(source))
    assert 10 < count < 30
    assert any("40 frames" in warning or "breaks off" in warning for warning in source.warnings)


def test_damage_in_the_middle_does_not_end_the_film(tmp_path: Path) -> None:
    noise = np.random.default_rng(0)
    images = [noise.integers(0, 255, (48, 64, 3)).astype(np.uint8) for _ in range(40)]
    path = encode(tmp_path / "whole.ts", images)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 3000] = bytes(3000)
    path.write_bytes(content)
    source = open_video_file(path)
    frames = list(source)
    assert len(frames) > 30
    assert frames[-1].time_s == pytest.approx(39 / 25, abs=1e-3)
    assert source.warnings


def test_what_is_no_video_is_refused_in_one_line(tmp_path: Path) -> None:
    text = tmp_path / "text.mp4"
    text.write_text("this is not a film\n" * 100)
    empty = tmp_path / "empty.mp4"
    empty.touch()
    sound = tmp_path / "sound.wav"
    with wave.open(str(sound), "wb") as stream:
        stream.setnchannels(1)
        stream.setsampwidth(2)
        stream.setframerate(8000)
        stream.writeframes(bytes(16000))
    for path, reason in ((text, "not a video"), (empty, "0 bytes"), (sound, "no video track")):
        with pytest.raises(UsageError, match=reason) as caught:
            open_video_file(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_film_cut_off_before_its_header_says_so(tmp_path: Path) -> None:
    whole = encode(tmp_path / "whole.mp4", [grey(level) for level in LEVELS])  # the header comes last
    whole.write_bytes(whole.read_bytes()[:-400])
    with pytest.raises(UsageError, match="cut off"):
        open_video_file(whole)


def test_timestamps_that_are_missing_or_go_back_are_repaired() -> None:
    log = SourceLog()
    clock = PresentationClock(10.0, 0.04, log)
    times = [clock.stamp(stamp) for stamp in (10.0, None, 10.02, 10.2)]
    np.testing.assert_allclose(times, [0.0, 0.04, 0.08, 0.2], atol=1e-9)
    assert len(log.warnings) == 1


def test_real_clips_match_opencv(shared_dir: Path) -> None:
    source = open_video_file(shared_dir / "media" / "run.mp4")
    capture = cv2.VideoCapture(str(shared_dir / "media" / "run.mp4"))
    for frame, _ in zip(source, range(5), strict=False):
        _, reference = capture.read()
        assert np.abs(frame.image.astype(int) - reference).max() <= 2
    assert source.info.frame_count == 180
    source.close()
