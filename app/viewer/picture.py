"""The overlay as a small film that fits into a page."""

from __future__ import annotations

import io
import time
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from bodycast.app.errors import require

if TYPE_CHECKING:
    from av import VideoFrame
    from av.container import InputContainer, OutputContainer
    from av.video.stream import VideoStream

LONGEST_SIDE = 512
MOST_BITS_PER_S = 650_000
CALM_S = 40.0
"""Longer films show half as many pictures a second: their bits are few."""
FAST_FPS, CALM_FPS = 30.0, 15.0
TIME_BASE = Fraction(1, 90_000)
KEY_FRAMES = 15
"""Pictures from key frame to key frame: a page jumps to any of them at once."""


@dataclass(frozen=True)
class SmallFilm:
    """`content`: an MP4 (H.264), without sound. `end_s`: the time of its last picture, its first is at 0."""

    content: bytes
    end_s: float


def small_film(path: Path, most_bytes: int, most_s: float, work_s: float) -> SmallFilm | None:
    """The film at `path`, small. It ends after `most_s` of its time, after `most_bytes`, or after `work_s` of work.

    None where it holds no picture. Raises: UsageError without PyAV; OSError and its kind for a film that does not open.
    """
    require("av", "live.txt")
    import av

    began_s = time.monotonic()
    buffer = io.BytesIO()
    end_s, taken_s = -1.0, -1.0
    first_s: float | None = None
    with av.open(str(path)) as film:
        seconds = min(most_s, _seconds(film) or most_s)
        gap_s = 0.95 / (FAST_FPS if seconds <= CALM_S else CALM_FPS)
        with av.open(buffer, "w", format="mp4") as small:
            stream: VideoStream | None = None
            written = 0
            for frame in film.decode(video=0):
                frame_s = float(frame.time or 0.0)
                first_s = frame_s if first_s is None else first_s
                at_s = frame_s - first_s
                if at_s > most_s or written > most_bytes or time.monotonic() - began_s > work_s:
                    break
                if end_s >= 0 and at_s - taken_s < gap_s:
                    continue
                if stream is None:
                    stream = _stream(small, frame, min(MOST_BITS_PER_S, int(0.9 * 8 * most_bytes / max(seconds, 1.0))))
                taken_s = end_s = at_s
                written += _put(small, stream, frame, at_s)
            if stream is not None:
                small.mux(stream.encode(None))  # pyright: ignore[reportUnknownMemberType]  PyAV's stubs leave it open
    return SmallFilm(buffer.getvalue(), end_s) if end_s >= 0 else None


def _seconds(film: InputContainer) -> float | None:
    import av

    return None if film.duration is None else film.duration / av.time_base


def _stream(small: OutputContainer, frame: VideoFrame, bits_per_s: int) -> VideoStream:
    scale = min(1.0, LONGEST_SIDE / max(frame.width, frame.height))
    stream = small.add_stream(  # pyright: ignore[reportUnknownMemberType]  PyAV's stubs leave **kwargs open
        "libx264", rate=30, options={"preset": "veryfast", "threads": "1"}
    )
    stream.width, stream.height = (max(2, round(side * scale / 2) * 2) for side in (frame.width, frame.height))
    stream.pix_fmt = "yuv420p"
    codec = stream.codec_context
    codec.time_base, codec.gop_size, codec.bit_rate = TIME_BASE, KEY_FRAMES, bits_per_s
    return stream


def _put(small: OutputContainer, stream: VideoStream, frame: VideoFrame, at_s: float) -> int:
    """Encode one picture; gives the bytes that came out."""
    picture = frame.reformat(width=stream.width, height=stream.height, format="yuv420p")
    picture.pts, picture.time_base = round(at_s / TIME_BASE), TIME_BASE
    written = 0
    for packet in stream.encode(picture):  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        small.mux(packet)  # pyright: ignore[reportUnknownMemberType]
        written += packet.size
    return written
