"""The overlay as it is at the end: an ordinary mp4, with the source's sound."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from bodycast.app.sinks.finish_film import finish_film
from bodycast.app.sinks.video import VideoSink
from tests.sinks.results import result_of

RATE = 44_100


def film_with_tone(path: Path, seconds: float, codec: str) -> Path:
    """Grey pictures and a tone of 440 Hz."""
    with av.open(str(path), "w") as out:
        video = out.add_stream("libx264", rate=30)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        audio = out.add_stream(codec, rate=RATE, layout="mono")
        for index in range(round(seconds * 30)):
            picture = av.VideoFrame.from_ndarray(np.full((72, 64), 128, np.uint8), format="yuv420p")
            picture.pts, picture.time_base = index, Fraction(1, 30)
            out.mux(video.encode(picture))
        out.mux(video.encode(None))
        times = np.arange(round(seconds * RATE)) / RATE
        tone = (0.5 * np.sin(2 * np.pi * 440 * times)).astype(np.float32)
        for start in range(0, len(tone), 1024):
            frame = av.AudioFrame.from_ndarray(tone[None, start : start + 1024], format="fltp", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = RATE, start, Fraction(1, RATE)
            out.mux(audio.encode(frame))
        out.mux(audio.encode(None))
    return path


def record(path: Path, source: Path, frames: int) -> VideoSink:
    sink = VideoSink(path, 30.0, sound_of=source)
    for index in range(frames):
        sink.write(result_of(index, index / 30))
    sink.close()
    return sink


@pytest.mark.parametrize(("name", "codec"), [("film.mp4", "aac"), ("film.mkv", "mp2")])
def test_the_overlay_keeps_the_sound_for_as_long_as_it_lasts(tmp_path: Path, name: str, codec: str) -> None:
    source = film_with_tone(tmp_path / name, 3.0, codec)
    sink = record(tmp_path / "overlay.mp4", source, 45)
    assert sink.warnings == []
    with av.open(str(sink.path)) as film:
        assert sum(1 for _ in film.decode(video=0)) == 45
    with av.open(str(sink.path)) as film:
        samples = np.concatenate([frame.to_ndarray().reshape(-1) for frame in film.decode(audio=0)])
    assert len(samples) / RATE == pytest.approx(1.5, abs=0.12)
    spectrum = np.abs(np.fft.rfft(samples[RATE // 4 : RATE]))
    assert np.argmax(spectrum) * RATE / (RATE - RATE // 4) == pytest.approx(440, abs=5)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([name, "overlay.mp4"])


def test_a_silent_or_broken_source_leaves_the_overlay_as_it_is(tmp_path: Path) -> None:
    silent = tmp_path / "silent.mp4"
    record(silent, tmp_path / "nowhere.mp4", 5)
    finish_film(silent, silent)
    with av.open(str(silent)) as film:
        assert sum(1 for _ in film.decode(video=0)) == 5 and not film.streams.audio
    sink = record(tmp_path / "overlay.mp4", tmp_path / "nowhere.mp4", 5)
    assert len(sink.warnings) == 1
    assert "sound could not be kept" in sink.warnings[0]
    with av.open(str(sink.path)) as film:
        assert sum(1 for _ in film.decode(video=0)) == 5


def test_a_film_that_is_too_large_to_copy_plays_as_it_is_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bodycast.app.sinks.finish_film.MOST_COPIED_BYTES", 100)
    sink = record(tmp_path / "overlay.mp4", film_with_tone(tmp_path / "film.mp4", 1.0, "aac"), 15)
    assert sink.warnings == [
        "overlay.mp4: larger than 0 MB, it is left as it was written and without the source's sound"
    ]
    with av.open(str(sink.path)) as film:
        assert sum(1 for _ in film.decode(video=0)) == 15 and not film.streams.audio
    assert finish_film(sink.path) == "overlay.mp4: larger than 0 MB, it is left as it was written"
