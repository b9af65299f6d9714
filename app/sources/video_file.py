"""Video files through PyAV: true presentation timestamps, pictures as a player shows them, no frame ever dropped.

Pipes (standard input, a FIFO, a shell's process substitution) are films of unknown length.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from bodycast.app.errors import UsageError
from bodycast.app.records import Frame
from bodycast.app.sources.base import Segment, SourceInfo
from bodycast.app.sources.frame_rate import stated_rate
from bodycast.app.sources.lens_metadata import film_lens
from bodycast.app.sources.picture_tracks import limit_size, picture_track
from bodycast.app.sources.player_view import PlayerView, deinterlaced
from bodycast.app.sources.quicktime import quicktime_tags
from bodycast.app.sources.threaded import SourceLog, ThreadedSource
from bodycast.app.sources.urls import public_url
from bodycast.plain_text import shortened, shown_name

if TYPE_CHECKING:
    from av import VideoFrame
    from av.container import InputContainer
    from av.video.stream import VideoStream

FALLBACK_FPS = 30.0
"""Assumed where a file states neither a rate nor timestamps (raw streams)."""

NETWORK_TIMEOUT_S = 10.0
LONGEST_S = 1e6
"""Durations above this are claims (a live stream that was saved, a damaged header)."""
PAUSE_S = 1.0
MOST_TIMES = 10_000
"""Of so many frames the rate is measured."""


class PresentationClock:
    """Presentation timestamps as strictly increasing seconds from the start of the film.

    A few files carry timestamps that are missing or go back; these become the last time plus one nominal frame.
    """

    def __init__(self, start_s: float | None, step_s: float, log: SourceLog) -> None:
        self._start_s = start_s
        self._step_s = step_s
        self._log = log
        self._last_s: float | None = None

    def stamp(self, presentation_s: float | None) -> float:
        """Seconds since the film's start for a frame that is presented at `presentation_s` of the container."""
        if self._start_s is None:
            self._start_s = presentation_s or 0.0
        time_s = None if presentation_s is None else presentation_s - self._start_s
        if time_s is None or (self._last_s is not None and time_s <= self._last_s):
            if self._last_s is not None:
                self._log.warn("some timestamps are missing or go back: one nominal frame time was assumed there")
            time_s = 0.0 if self._last_s is None else self._last_s + self._step_s
        self._last_s = time_s
        return time_s


@dataclass(frozen=True, slots=True)
class _Film:
    """An open container, its picture track, and how its pictures become BGR."""

    container: InputContainer
    stream: VideoStream
    view: PlayerView
    count: int | None
    first: int = 0


def open_video_file(
    path: str | Path, name: str | None = None, *, as_stored: bool = False, segment: Segment | None = None
) -> ThreadedSource:
    """Every frame of a video file (or of a film at an http URL, or of a pipe), decoded in a thread of its own.

    Frames keep the size that they have in the file, also where it changes on the way. A film that breaks off gives
    what can be read, then a line in `warnings`. path: "-" is standard input. as_stored: what the file says of turns
    and mirroring is ignored. segment: only this stretch, whose frames keep their numbers and times.

    Raises: UsageError, one line, where the file is empty, no video, or holds no picture that can be decoded.
    """
    import av.error

    shown = shown_name(public_url(str(path)))
    name = name or ("standard input" if str(path) == "-" else Path(path).name)
    log = SourceLog()
    container = _open_container(path)
    try:
        stream = picture_track(container, shown)
        limit_size(stream)
        stream.thread_type = "AUTO"
        if len(container.streams.video) > 1:
            width, height = stream.codec_context.width, stream.codec_context.height
            tracks = len(container.streams.video)
            log.warn(f"{name}: {tracks} picture tracks; track {stream.index}, {width}x{height}, is used")
        if segment is not None:
            container.seek(segment.pts, stream=stream)
        decoded = deinterlaced(_decode(container, stream, log), stream)
        if segment is not None:
            decoded = _within(decoded, segment)
        first = next(decoded, None)
        if first is None:
            raise _no_picture(shown, stream, log)
        fps = _nominal_fps(container, stream)
        film = _Film(container, stream, PlayerView(stream, as_stored=as_stored), _frame_count(container, stream, fps))
        if segment is not None:
            film = replace(film, count=segment.count, first=segment.first)
        height, width = film.view.bgr(first).shape[:2]
    except av.error.FFmpegError as error:
        container.close()
        raise UsageError(f"{shown}: not a video that can be read ({error.strerror}); give another file") from error
    except BaseException:
        container.close()
        raise
    tags = _tags(path, container, stream)
    said = film_lens(tags, (width, height))
    if said.note:
        log.warn(f"{name}: {said.note}")
    lens_from = "" if said.intrinsics is None else "metadata of the film"
    recorded = container.metadata.get("creation_time", "")
    info = SourceInfo(
        name,
        False,
        fps,
        film.count,
        (width, height),
        lens_from=lens_from,
        recorded_utc=recorded if re.fullmatch(r"[\d-]{10}T[\d:.]{8,15}Z", recorded) else "",
    )
    return ThreadedSource(info, _frames(film, chain([first], decoded), info, tags if lens_from else {}, log), log=log)


def _no_picture(shown: str, stream: VideoStream, log: SourceLog) -> UsageError:
    reason = f" ({log.warnings[-1]})" if log.warnings else ""
    if stream.codec_context.name == "webp":
        reason = " (an animated WebP is read from a file, not through a pipe)"
    return UsageError(f"{shown}: the video holds no picture that can be read{reason}; give another file")


def _open_container(path: str | Path) -> InputContainer:
    import av
    import av.error

    address = str(path)
    options: dict[str, str] = {}
    if "://" not in address:
        address = _file_address(path)
        # A list or a playlist that calls itself a film must not make this program open other files or addresses.
        options["protocol_whitelist"] = "file,pipe"
    timeout = None if options else NETWORK_TIMEOUT_S
    try:
        return av.open(address, timeout=timeout, options=options, metadata_errors="replace")
    except (av.error.FFmpegError, ValueError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or shortened(str(error))
        raise UsageError(
            f"{shown_name(public_url(str(path)))}: not a video that can be read ({reason}); "
            "if it was being recorded, the recording was cut off before it was finished"
        ) from error


def _file_address(path: str | Path) -> str:
    """What FFmpeg takes for this file and nothing else: a whole path, in which no colon reads as a protocol."""
    if str(path) == "-":
        if sys.stdin is None or sys.stdin.isatty():  # pyright: ignore[reportUnnecessaryComparison]  pythonw has none
            raise UsageError("SOURCE - is standard input, and nothing is piped into it; give a file")
        return "/dev/stdin" if Path("/dev/stdin").exists() else "pipe:0"
    if Path(path).is_file() and Path(path).stat().st_size == 0:
        raise UsageError(f"{shown_name(path)}: the file is empty (0 bytes); give another file")
    return str(Path(path).absolute())


def _tags(path: str | Path, container: InputContainer, stream: VideoStream) -> dict[str, str]:
    """Tags of the film and of its tracks, those that FFmpeg leaves out first: phones write the lens there."""
    own = quicktime_tags(Path(path)) if "://" not in str(path) and Path(path).is_file() else {}
    return {**own, **stream.metadata, **container.metadata}


def _decode(container: InputContainer, stream: VideoStream, log: SourceLog) -> Iterator[VideoFrame]:
    """All pictures that can be decoded; damage is counted and told in `log`, it never ends the run."""
    import av.error

    damaged = 0
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets)
        except StopIteration:
            break
        except IndexError:  # a packet of a track that began in the middle, which PyAV does not know
            packets = container.demux(stream)
            continue
        except av.error.FFmpegError as error:
            log.warn(f"the file breaks off or is damaged ({error.strerror}): what could be read was used")
            break
        try:
            pictures = packet.decode()
        except av.error.FFmpegError:
            damaged += 1
            continue
        damaged += sum(picture.is_corrupt for picture in pictures)
        yield from pictures
    if damaged:
        log.warn(f"{damaged} damaged frames in the file: they were skipped or may look broken")


def _frames(
    film: _Film, pictures: Iterator[VideoFrame], info: SourceInfo, tags: dict[str, str], log: SourceLog
) -> Generator[Frame, None, None]:
    import av.error

    start = cast("int | None", film.container.start_time)  # the stubs leave out that it may be unknown
    clock = PresentationClock(None if start is None else start / 1e6, 1.0 / (info.fps or FALLBACK_FPS), log)
    index, time_s = film.first - 1, 0.0
    sizes = {info.image_wh}
    try:
        for index, picture in enumerate(pictures, film.first):
            before_s, time_s = time_s, clock.stamp(picture.time)
            if index > film.first and time_s - before_s > max(PAUSE_S, 3 / (info.fps or FALLBACK_FPS)):
                log.warn(f"the film pauses for {time_s - before_s:.1f} s before frame {index}; poses are held there")
            try:
                frame = Frame(film.view.bgr(picture), index, time_s)
            except (av.error.FFmpegError, ValueError) as error:  # a damaged header of its colours
                log.warn(f"frames that cannot be shown were skipped ({shortened(error)})")
                continue
            if tags:
                frame = replace(frame, intrinsics=film_lens(tags, frame.image_wh).intrinsics)
            if frame.image_wh not in sizes:
                sizes.add(frame.image_wh)
                log.warn(f"the picture size changes to {frame.image_wh[0]}x{frame.image_wh[1]} at frame {index}")
            yield frame
        whole = not film.first and film.count is not None and film.stream.frames
        if whole and film.count and index + 1 < 0.98 * film.count - 1:
            log.warn(f"the file announces {film.count} frames, {index + 1} could be read: it may be cut off")
    finally:
        film.container.close()


def _within(pictures: Iterator[VideoFrame], segment: Segment) -> Iterator[VideoFrame]:
    """From the segment's first picture on: a film can be entered at key frames only."""
    early = (picture for picture in pictures if picture.pts is None or picture.pts >= segment.pts)
    return islice(early, segment.count)


def picture_times(path: Path) -> list[int]:
    """Time stamps of all pictures that a player shows, in ticks of the picture track, ascending; nothing is decoded.
    Empty where the film does not give each picture its own. Raises: UsageError."""
    import av.error

    with _open_container(path) as container:
        try:
            stream = picture_track(container, shown_name(path))
            packets = [packet for packet in container.demux(stream) if packet.size and not packet.is_discard]
        except av.error.FFmpegError as error:
            raise UsageError(f"{shown_name(path)}: not a video that can be read ({error.strerror})") from error
    times = [packet.pts for packet in packets]
    known = sorted(pts for pts in times if pts is not None)
    return known if len(set(known)) == len(times) else []


def _nominal_fps(container: InputContainer, stream: VideoStream) -> float | None:
    """Of a QuickTime file from the median of its frames' times: a pause, or a rate that varies, spoils the mean."""
    if container.format.name.startswith("mov") and len(stream.index_entries) > 2:
        times = [stream.index_entries[i].timestamp for i in range(min(len(stream.index_entries), MOST_TIMES))]
        steps = np.diff(np.sort(np.array(times, np.int64)))
        base = stream.time_base
        if len(steps[steps > 0]) and base:
            middle = stated_rate(1.0 / (float(np.median(steps[steps > 0])) * float(base)))
            stated = stated_rate(stream.average_rate, stream.guessed_rate)
            # Rounding to the clock's ticks makes 29.97 of a median a little off: the stated rate is the exact one.
            return stated if middle and stated and abs(middle - stated) < 0.05 * stated else middle or stated
    return stated_rate(stream.average_rate, stream.guessed_rate)


def _length_s(container: InputContainer, stream: VideoStream) -> float:
    """Seconds of the film as its container says them, 0 where it does not; of the picture track alone where Matroska's
    tag says so, for its sound may be longer, and it counts from 0 though the film begins later."""
    length_s = container.duration / 1e6 if container.duration else 0.0
    if not container.format.name.startswith("matroska"):
        return length_s
    said = re.match(r"(\d+):(\d\d):(\d\d(?:\.\d{1,9})?)", stream.metadata.get("DURATION", ""))
    if said is not None:
        length_s = 3600 * int(said[1][:9]) + 60 * int(said[2]) + float(said[3])
    start_s = float(stream.start_time * stream.time_base) if stream.start_time and stream.time_base else 0.0
    return length_s - start_s if 0 < start_s < length_s else length_s


def _frame_count(container: InputContainer, stream: VideoStream, fps: float | None) -> int | None:
    """The header's count, else duration times rate (an estimate, good for a progress bar), else None.

    The header of a film in fragments counts the first fragment only, far less than its duration holds; that of a film
    that was trimmed without coding it anew counts frames that its edit list hides, more than its duration holds.
    """
    rate = stated_rate(stream.average_rate, fps)
    length_s = _length_s(container, stream)
    if stream.duration and stream.time_base:
        length_s = float(stream.duration * stream.time_base)
    estimate = max(1, round(length_s * rate)) if rate and 0 < length_s < LONGEST_S else 0
    if not estimate or 0.5 * estimate < stream.frames <= 1.02 * estimate + 1:
        return stream.frames or None
    return estimate
