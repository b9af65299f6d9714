"""From the fragments that a run wrote to an ordinary mp4, with the sound of the source: packets are copied, nothing is
encoded that need not be."""

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
MOST_COPIED_BYTES = 2 << 30
"""A larger film stays in fragments, which play, but players are slow to seek in: to copy it takes long, and its space
once more."""


def finish_film(film: Path, source: Path | None = None) -> str:
    """Make an ordinary mp4 of the fragmented one at `film`, which players find their way in, with the first sound track
    of `source`, if it has one, for as long as the film lasts.

    The film's first picture is the source's, so both begin together. Gives why a large film was left as it was; "" for
    others. Raises: FFmpegError, OSError; the film is then as it was, and plays.
    """
    import av

    if film.stat().st_size > MOST_COPIED_BYTES:
        silent = "" if source is None else " and without the source's sound"
        return f"{film.name}: larger than {MOST_COPIED_BYTES >> 20} MB, it is left as it was written{silent}"
    with contextlib.ExitStack() as opened:
        sounds = None if source is None else opened.enter_context(av.open(str(source.absolute())))
        if sounds is not None and not sounds.streams.audio:
            sounds = None
        handle, name = tempfile.mkstemp(prefix=f".{film.name[:40]}.", suffix=".part.mp4", dir=film.parent)
        Path(name).chmod(film.stat().st_mode)
        try:
            with (
                open(handle, "wb"),
                av.open(str(film.absolute())) as pictures,
                av.open(name, "w", format="mp4") as out,
            ):
                _mux(pictures, sounds, out)
            Path(name).replace(film)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                Path(name).unlink()
            raise
    return ""


def _mux(pictures: InputContainer, sounds: InputContainer | None, out: Any) -> None:
    shown = pictures.streams.video[0]
    video: Any = out.add_stream_from_template(shown)
    # All tracks are told before the first packet.
    heard = None if sounds is None else sounds.streams.audio[0]
    audio = None if heard is None else _sound_track(heard, out)
    last_s = 0.0
    for packet in pictures.demux(shown):
        if packet.dts is None or packet.pts is None:
            continue
        last_s = max(last_s, float((packet.pts + (packet.duration or 0)) * Fraction(packet.time_base)))
        packet.stream = video
        out.mux(packet)
    if sounds is None or heard is None:
        return
    first_s = _first_picture_s(sounds)
    if heard.codec_context.name in COPIED:
        _copy(sounds, heard, out, audio, first_s, last_s)
    else:
        _encode(sounds, heard, out, audio, first_s, last_s)


def _sound_track(heard: AudioStream, out: Any) -> Any:
    codec = heard.codec_context
    if codec.name in COPIED:
        return out.add_stream_from_template(heard)
    return out.add_stream(TO_AAC, rate=codec.sample_rate, layout=codec.layout.name)


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
