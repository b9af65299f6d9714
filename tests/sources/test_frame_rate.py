"""What a container states about its rate is a claim: what cannot be is measured."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from bodycast.app.sources.frame_rate import measured_rate, stated_rate
from bodycast.app.sources.video_file import open_video_file


@pytest.mark.parametrize(
    ("rates", "expected"),
    [
        ((Fraction(30000, 1001),), 30000 / 1001),
        ((Fraction(90000, 1), Fraction(25, 1)), 25.0),
        ((90000,), None),
        ((0.2, None), None),
        ((None, "x", float("nan"), float("inf"), 60), 60.0),
        ((Fraction(0, 1),), None),
    ],
)
def test_only_rates_that_a_camera_can_have_count(rates: tuple[object, ...], expected: float | None) -> None:
    assert stated_rate(*rates) == expected


def test_a_pause_is_no_slow_film_and_a_wrong_rate_is_corrected() -> None:
    steps = [1 / 30] * 60 + [8.0] + [1 / 30] * 60
    assert measured_rate(steps, 6.3, 30.0) == pytest.approx(30)
    assert measured_rate([1 / 29.97] * 9, 30000 / 1001, 25.0) == 30000 / 1001
    assert measured_rate([], None, 25.0) == 25.0
    assert measured_rate([1e-9] * 5, None, 30.0) == 240.0


def test_a_transport_stream_of_variable_rate_has_a_rate_that_can_be(tmp_path: Path) -> None:
    path = tmp_path / "variable.ts"
    with av.open(str(path), "w", format="mpegts") as container:
        stream = container.add_stream("libx264", rate=Fraction(90000, 1))
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 90000)
        ticks = 0
        for step in np.random.default_rng(0).integers(2700, 3300, 40):
            picture = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 90, np.uint8), format="rgb24")
            picture.pts, picture.time_base = ticks, Fraction(1, 90000)
            ticks += int(step)
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    source = open_video_file(path)
    fps = source.info.fps
    frames = list(source)
    assert fps is None or 1 <= fps <= 240
    assert len(frames) == 40 and frames[-1].time_s == pytest.approx(39 / 30, abs=0.2)
