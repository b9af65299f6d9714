"""Video files through PyAV: true presentation timestamps, rotation metadata honoured, no frame ever dropped."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from bodycast.app.errors import UsageError
from bodycast.app.records import U8, Frame
from bodycast.app.sources.base import SourceInfo
from bodycast.app.sources.frame_rate import stated_rate
from bodycast.app.sources.lens_metadata import film_lens
from bodycast.app.sources.quicktime import quicktime_tags
from bodycast.app.sources.threaded import SourceLog, ThreadedSource
from bodycast.app.sources.urls import public_url

if TYPE_CHECKING:
    from av import VideoFrame
    from av.container import InputContainer
    from av.video.stream import VideoStream

FALLBACK_FPS = 30.0
"""Assumed where a file states neither a rate nor timestamps (raw streams)."""

NETWORK_TIMEOUT_S = 10.0


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


def open_video_file(path: str | Path, name: str | None = None) -> ThreadedSource:
    """Every frame of a video file (or of a film at an http URL), decoded in a thread of its own.

    Frames keep the size that they have in the file, also where it changes on the way. A film that breaks off gives
    what can be read, then a line in `warnings`.

    Raises: UsageError, one line, where the file is empty, no video, or holds no picture that can be decoded.
    """
    import av.error

    shown = public_url(str(path))
    name = name or Path(path).name
    log = SourceLog()
    container = _open_container(path)
    try:
        if not container.streams.video:
            raise UsageError(f"{shown}: the file has no video track; give a video")
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        decoded = _decode(container, stream, log)
        first = next(decoded, None)
        if first is None:
            reason = f" ({log.warnings[-1]})" if log.warnings else ""
            raise UsageError(f"{shown}: the video holds no picture that can be read{reason}; give another file")
        fps = _nominal_fps(stream)
        height, width = _to_bgr(first, stream).shape[:2]
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
    count = _frame_count(container, stream, fps)
    info = SourceInfo(name, False, fps, count, (width, height), lens_from=lens_from)
    tags = tags if lens_from else {}
    return ThreadedSource(info, _frames(container, stream, chain([first], decoded), info, tags, log), log=log)


def _open_container(path: str | Path) -> InputContainer:
    import av
    import av.error

    remote = "://" in str(path)
    if not remote and Path(path).stat().st_size == 0:
        raise UsageError(f"{path}: the file is empty (0 bytes); give another file")
    try:
        return av.open(str(path), timeout=NETWORK_TIMEOUT_S if remote else None)
    except av.error.FFmpegError as error:
        raise UsageError(
            f"{public_url(str(path))}: not a video that can be read ({error.strerror}); "
            "if it was being recorded, the recording was cut off before it was finished"
        ) from error


def _tags(path: str | Path, container: InputContainer, stream: VideoStream) -> dict[str, str]:
    """Tags of the film and of its tracks, those that FFmpeg leaves out first: phones write the lens there."""
    own = {} if "://" in str(path) else quicktime_tags(Path(path))
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
    container: InputContainer,
    stream: VideoStream,
    pictures: Iterator[VideoFrame],
    info: SourceInfo,
    tags: dict[str, str],
    log: SourceLog,
) -> Generator[Frame, None, None]:
    start = cast("int | None", container.start_time)  # the stubs leave out that it may be unknown
    clock = PresentationClock(None if start is None else start / 1e6, 1.0 / (info.fps or FALLBACK_FPS), log)
    index = -1
    sizes = {info.image_wh}
    try:
        for index, picture in enumerate(pictures):
            frame = Frame(_to_bgr(picture, stream), index, clock.stamp(picture.time))
            if tags:
                frame = replace(frame, intrinsics=film_lens(tags, frame.image_wh).intrinsics)
            if frame.image_wh not in sizes:
                sizes.add(frame.image_wh)
                log.warn(f"the picture size changes to {frame.image_wh[0]}x{frame.image_wh[1]} at frame {index}")
            yield frame
        # The header's count includes frames that an edit list hides, so a small difference means nothing.
        if stream.frames and index + 1 < 0.98 * stream.frames - 1:
            log.warn(f"the file announces {stream.frames} frames, {index + 1} could be read: it may be cut off")
    finally:
        container.close()


def _to_bgr(picture: VideoFrame, stream: VideoStream) -> U8:
    """(H,W,3) uint8 BGR as a player would show it: turned by the file's rotation, pixels square."""
    import cv2

    image: U8 = np.asarray(picture.to_ndarray(format="bgr24"), np.uint8)
    aspect = stream.codec_context.sample_aspect_ratio
    if aspect and aspect != 1:
        image = np.asarray(cv2.resize(image, (round(image.shape[1] * float(aspect)), image.shape[0])), np.uint8)
    quarter_turns = round(picture.rotation / 90) % 4  # counter-clockwise, as numpy counts them
    return np.ascontiguousarray(np.rot90(image, quarter_turns)) if quarter_turns else image


def _nominal_fps(stream: VideoStream) -> float | None:
    return stated_rate(stream.average_rate, stream.guessed_rate)


def _frame_count(container: InputContainer, stream: VideoStream, fps: float | None) -> int | None:
    """The header's count, else duration times rate (an estimate, good for a progress bar), else None.

    The header of a film in fragments counts the first fragment only, far less than its duration holds.
    """
    estimate = max(1, round(container.duration / 1e6 * fps)) if fps and container.duration else 0
    return (stream.frames if stream.frames > 0.5 * estimate else estimate) or None
