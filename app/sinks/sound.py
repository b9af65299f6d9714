"""The sound of the source, put into a finished overlay: packets are copied, nothing is encoded that need not be."""

from __future__ import annotations

import contextlib
import tempfile
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.container import InputContainer

# PyAV's stubs leave the streams' and packets' type parameters open: what is written is Any here.
COPIED = ("aac", "mp3", "ac3", "eac3", "opus", "flac", "alac")
"""Codecs that an mp4 holds as they are; others become AAC."""
TO_AAC = "aac"


def add_sound(film: Path, source: Path) -> bool:
    """Put the first sound track of `source` into the mp4 `film`, as long as the film; whether there was one.

    The film's first picture is the source's, so both begin together. Raises: FFmpegError, OSError; the film is then as
    it was.
    """
    import av

    with av.open(str(source)) as sounds:
        if not sounds.streams.audio:
            return False
        handle, name = tempfile.mkstemp(prefix=f".{film.name[:40]}.", suffix=".part.mp4", dir=film.parent)
        Path(name).chmod(film.stat().st_mode)
        try:
            with open(handle, "wb"), av.open(str(film)) as pictures, av.open(name, "w", format="mp4") as out:
                _mux(pictures, sounds, out)
            Path(name).replace(film)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                Path(name).unlink()
            raise
    return True


def _mux(pictures: InputContainer, sounds: InputContainer, out: Any) -> None:
    shown, heard = pictures.streams.video[0], sounds.streams.audio[0]
    video: Any = out.add_stream_from_template(shown)
    copied = heard.codec_context.name in COPIED
    audio: Any = (
        out.add_stream_from_template(heard)
        if copied
        else out.add_stream(TO_AAC, rate=heard.codec_context.sample_rate, layout=heard.codec_context.layout.name)
    )
    first_s = _first_picture_s(sounds)
    last_s = 0.0
    for packet in pictures.demux(shown):
        if packet.dts is None or packet.pts is None:
            continue
        last_s = max(last_s, float((packet.pts + (packet.duration or 0)) * Fraction(packet.time_base)))
        packet.stream = video
        out.mux(packet)
    if copied:
        _copy(sounds, heard, out, audio, first_s, last_s)
    else:
        _encode(sounds, heard, out, audio, first_s, last_s)


def _first_picture_s(sounds: InputContainer) -> float:
    """When the source's first picture is shown, on the clock of its sound."""
    if not sounds.streams.video:
        return 0.0
    start = sounds.streams.video[0].start_time
    base = sounds.streams.video[0].time_base
    return 0.0 if start is None or base is None else float(start * base)


def _copy(sounds: InputContainer, heard: AudioStream, out: Any, audio: Any, first_s: float, last_s: float) -> None:
    for packet in sounds.demux(heard):
        if packet.dts is None or packet.pts is None:
            continue
        base = Fraction(packet.time_base)
        at_s = float(packet.pts * base) - first_s
        if at_s < 0 or at_s > last_s:
            continue
        packet.pts = packet.dts = round(at_s / base)
        packet.stream = audio
        out.mux(packet)


def _encode(sounds: InputContainer, heard: AudioStream, out: Any, audio: Any, first_s: float, last_s: float) -> None:
    for frame in sounds.decode(heard):
        at_s = (frame.time or 0.0) - first_s
        if at_s < 0 or at_s > last_s:
            continue
        frame.pts = round(np.float64(at_s) * frame.sample_rate)
        frame.time_base = Fraction(1, frame.sample_rate)
        out.mux(audio.encode(frame))
    out.mux(audio.encode(None))
