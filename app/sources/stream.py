"""Network streams (rtsp, rtmp, http, srt, udp) through PyAV: newest picture only, reconnects by itself.

Everything that arrives is decoded and dropped only afterwards: decoding less than what comes in would let the delay
grow without end. Every network call has a time limit, so a silent server is noticed and connected to anew.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bodycast.app.errors import RunError, UsageError
from bodycast.app.records import U8, Frame
from bodycast.app.sources.base import SourceInfo
from bodycast.app.sources.frame_rate import stated_rate
from bodycast.app.sources.picture_tracks import limit_size, picture_track
from bodycast.app.sources.player_view import PlayerView, deinterlaced
from bodycast.app.sources.threaded import SourceLog, ThreadedSource
from bodycast.app.sources.urls import public_url
from bodycast.app.sources.video_file import open_video_file
from bodycast.plain_text import shortened

if TYPE_CHECKING:
    from av import VideoFrame
    from av.container import InputContainer
    from av.video.stream import VideoStream

STREAM_SCHEMES = ("rtsp", "rtsps", "rtmp", "rtmps", "http", "https", "srt", "udp", "tcp")

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 8.0


@dataclass(frozen=True, slots=True)
class StreamTimeouts:
    """Seconds. `open_s` to connect; `stall_s` of silence before connecting anew; `give_up_s` without any picture
    before the run ends."""

    open_s: float = 10.0
    stall_s: float = 5.0
    give_up_s: float = 60.0


def open_stream(url: str, timeouts: StreamTimeouts | None = None, *, as_stored: bool = False) -> ThreadedSource:
    """A live network stream; a finished film at an http address is read like a file instead, without drops.

    url: its scheme in any case. RTSP is asked for over TCP, then over UDP. as_stored: see `open_video_file`.

    Raises: UsageError where nothing responds in time or it is no video. While running, lost connections are tried
    again with growing pauses and told in `warnings`; RunError once `give_up_s` have passed without a picture.
    """
    limits = timeouts or StreamTimeouts()
    scheme, mark, rest = url.partition("://")
    url = scheme.lower() + mark + rest
    name = public_url(url)
    stop = threading.Event()
    log = SourceLog()
    connection = _connect(url, limits, as_stored)
    try:
        if connection.is_recorded:
            connection.close()
            return open_video_file(url, name, as_stored=as_stored)
        images = connection.images()
        first = next(images, None)
        if first is None:
            raise UsageError(f"{name}: the stream ended before its first picture")
    except BaseException:
        connection.close()
        raise
    info = SourceInfo(name, True, connection.fps, None, (first.shape[1], first.shape[0]))
    frames = _frames(connection, first, images, _Address(url, limits, as_stored), stop, log)
    # The grab thread gives up by itself; this watchdog is for a driver that hangs in spite of its time limits.
    return ThreadedSource(info, frames, log=log, stop=stop, silence_limit_s=limits.give_up_s + 2 * limits.open_s)


@dataclass(frozen=True, slots=True)
class _Address:
    """What it takes to connect again."""

    url: str
    limits: StreamTimeouts
    as_stored: bool


class _Connection:
    """One open connection and its decoder."""

    def __init__(self, container: InputContainer, stream: VideoStream, as_stored: bool) -> None:
        self._container = container
        self._stream = stream
        self._view = PlayerView(stream, as_stored=as_stored)
        limit_size(stream)
        stream.thread_type = "SLICE"  # frame threads would hold back one picture per thread

    @property
    def fps(self) -> float | None:
        return stated_rate(self._stream.average_rate, self._stream.guessed_rate)

    @property
    def is_recorded(self) -> bool:
        """A film with an end, as opposed to a live stream. Servers of rtsp pace their films themselves."""
        return bool(self._container.duration) and self._container.format.name.split(",")[0] not in ("rtsp", "flv")

    def images(self) -> Iterator[U8]:
        """Pictures until the stream ends. Raises FFmpegError when it breaks or stays silent."""
        import av.error

        for picture in deinterlaced(self._pictures(), self._stream):
            try:
                image = self._view.bgr(picture)
            except (av.error.FFmpegError, ValueError):
                continue  # a damaged header of its colours
            yield image

    def _pictures(self) -> Iterator[VideoFrame]:
        import av.error

        for packet in self._container.demux(self._stream):
            try:
                pictures = packet.decode()
            except av.error.InvalidDataError:
                continue  # joined in mid-stream, or a damaged packet: the next key frame repairs it
            yield from pictures

    def close(self) -> None:
        self._container.close()


def _reason(error: Exception, limit_s: float) -> str:
    """What went wrong; FFmpeg calls a time limit of ours an "immediate exit"."""
    import av.error

    if isinstance(error, av.error.ExitError):
        return f"silent for {limit_s:g} s"
    return shortened(getattr(error, "strerror", None) or error)


def _connect(url: str, limits: StreamTimeouts, as_stored: bool) -> _Connection:
    """Raises UsageError: what the server, or the missing server, said."""
    import av
    import av.error

    # Not "nobuffer": it throws away what is read while the stream is examined, and with it the first key frame.
    options = {"flags": "low_delay", "analyzeduration": "2000000"}
    timeout = (limits.open_s, limits.stall_s)
    # Over UDP, lost packets smear the picture; but some cameras know nothing else.
    transports = ("tcp", "udp") if url.startswith("rtsp://") else ("tcp",) if url.startswith("rtsps") else ("",)
    failures: list[str] = []
    for transport in transports:
        chosen = {**options, "rtsp_transport": transport} if transport else options
        try:
            container = av.open(url, options=chosen, timeout=timeout, metadata_errors="replace")
        except (av.error.FFmpegError, ValueError, UnicodeError) as error:
            over = f"over {transport.upper()}: " if len(transports) > 1 else ""
            failures.append(over + _reason(error, limits.open_s))
            if isinstance(error, (av.error.HTTPUnauthorizedError, av.error.HTTPNotFoundError, ConnectionRefusedError)):
                break  # another transport changes nothing
            continue
        try:
            return _Connection(container, picture_track(container, public_url(url)), as_stored)
        except BaseException:
            container.close()
            raise
    raise UsageError(
        f"{public_url(url)}: no stream there ({'; '.join(failures)}); check the address, the password and the network"
    )


def _frames(
    connection: _Connection,
    first: U8,
    images: Iterator[U8],
    address: _Address,
    stop: threading.Event,
    log: SourceLog,
) -> Generator[Frame, None, None]:
    import av.error

    index = 0
    last_s = time.monotonic()
    active: _Connection | None = connection
    try:
        yield Frame(first, index, last_s)
        while active is not None:
            reason = "the stream ended"
            try:
                for image in images:
                    index += 1
                    last_s = time.monotonic()
                    yield Frame(image, index, last_s)
            except av.error.FFmpegError as error:
                reason = _reason(error, address.limits.stall_s)
            active.close()
            log.warn(f"connection lost after frame {index} ({reason}); connecting again")
            active = _reconnect(address, last_s, stop, log)
            if active is not None:
                images = active.images()
    finally:
        if active is not None:
            active.close()


def _reconnect(address: _Address, last_s: float, stop: threading.Event, log: SourceLog) -> _Connection | None:
    """Try again with growing pauses; None when the source is being closed. Raises RunError after `give_up_s`."""
    limits = address.limits
    pause_s = FIRST_PAUSE_S
    attempt = 0
    while not stop.wait(min(pause_s, max(0.0, last_s + limits.give_up_s - time.monotonic()))):
        attempt += 1
        log.status = f"reconnecting (attempt {attempt})"
        try:
            connection = _connect(address.url, limits, address.as_stored)
        except UsageError as error:
            silent_s = time.monotonic() - last_s
            if silent_s > limits.give_up_s:
                raise RunError(f"no picture for {silent_s:.0f} s, gave up after {attempt} attempts: {error}") from error
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
            continue
        log.status = "running"
        return connection
    return None
