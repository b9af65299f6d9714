"""The overlay as an H.264 mp4 with the true time stamps, readable at every moment of the run.

The file is fragmented while it grows, a fragment a frame, and synced to the disk every second: a killed run leaves a
film that plays up to its last frames, however slow it was, and memory stays flat. At the end it becomes an ordinary mp4
(app/sinks/finish_film.py).
"""

from __future__ import annotations

import contextlib
import os
import time
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from bodycast.app.errors import RunError, cannot_write, require
from bodycast.app.files.motion_parts import SYNC_S
from bodycast.app.files.output_file import check_target
from bodycast.app.records import U8, FrameResult
from bodycast.app.sources.frame_rate import stated_rate

if TYPE_CHECKING:
    from av import VideoFrame
    from av.container import OutputContainer
    from av.video.stream import VideoStream

TIME_BASE = Fraction(1, 90_000)
"""Fine enough for any frame rate; the usual clock of video streams."""

FALLBACK_FPS = 30.0
KEY_FRAME_S = 2.0
"""Time between key frames: players seek to them."""

_MOST_BETWEEN_KEYS = 600
BT601, SRGB_TRANSFER, LIMITED_RANGE = 6, 1, 1
"""FFmpeg's codes for what OpenCV's conversion to YUV does; players assume otherwise for HD unless told."""

Preset = Literal["ultrafast", "superfast", "veryfast", "medium"]


class VideoSink:
    """Writes `FrameResult.overlay`. Presentation times are those of the frames, so any frame rate stays right.

    The film's size is that of the first frame (or `image_wh`), plus one row or column where it is odd, as H.264
    wants; frames of another size are fitted in with black borders, which `warnings` tells once.
    """

    def __init__(
        self,
        path: Path,
        fps: float | None = None,
        image_wh: tuple[int, int] | None = None,
        *,
        overwrite: bool = False,
        preset: Preset = "ultrafast",
        crf: int = 22,
        sound_of: Path | None = None,
    ) -> None:
        """`fps`: nominal rate, a hint to the encoder only. `crf`: quality, 18 (large) to 28 (small). `preset`: the
        slower ones make smaller files; at 1280x720, superfast takes twice the CPU time of ultrafast, veryfast three
        times, and all that time is taken from the network where it runs on the same cores. `sound_of`: the film whose
        sound is put in at the end.

        Raises: UsageError where `path` exists and `overwrite` is not set, its folder does not exist, or PyAV is not
        installed.
        """
        check_target(path, overwrite)
        require("av", "live.txt")
        self._path = path
        self._fps = stated_rate(fps) or FALLBACK_FPS
        self._image_wh = image_wh
        # Without latency, as frames that the encoder holds are lost when a run is killed.
        self._options = {"preset": preset, "crf": str(crf), "tune": "zerolatency"}
        self._output: tuple[OutputContainer, VideoStream] | None = None
        self._first_time_s = 0.0
        self._last_pts = -1
        self._next_key_pts = 0
        self._frame_count = 0
        self._next_sync_s = 0.0
        self._failed = False
        self._sound_of = sound_of
        self.warnings: list[str] = []
        """What was not as expected, one line each."""

    @property
    def name(self) -> str:
        """For messages."""
        return "video"

    @property
    def path(self) -> Path:
        """The file that is written."""
        return self._path

    def write(self, result: FrameResult) -> None:
        """Encode one frame. Raises RunError where the file cannot be written; what is there then still plays."""
        import av
        import av.error
        import cv2
        from av.video.frame import PictureType

        if self._failed:
            return
        try:
            if self._output is None:
                self._first_time_s = result.frame.time_s
                self._image_wh = self._image_wh or (result.overlay.shape[1], result.overlay.shape[0])
                self._output = self._open(self._image_wh)
            stream = self._output[1]
            # OpenCV converts in a fraction of the time that FFmpeg's scaler takes.
            yuv = cv2.cvtColor(self._fit(result.overlay, stream.width, stream.height), cv2.COLOR_BGR2YUV_I420)
            picture = av.VideoFrame.from_ndarray(np.asarray(yuv, np.uint8), format="yuv420p")
            picture.pts = self._next_pts(result.frame.time_s)
            picture.time_base = TIME_BASE
            if picture.pts >= self._next_key_pts:  # by time: a wrong rate would make them years apart
                picture.pict_type = PictureType.I
                self._next_key_pts = picture.pts + round(KEY_FRAME_S / TIME_BASE)
            _encode(self._output, picture)
            self._sync()
        except (OSError, av.error.FFmpegError) as error:
            raise self._failure(error) from error
        self._frame_count += 1

    def _sync(self) -> None:
        """Have the film on the disk, every SYNC_S: FFmpeg only hands it to the system."""
        if time.monotonic() < self._next_sync_s:
            return
        with contextlib.suppress(OSError):  # a system that does not let a file be opened twice, or sync it
            handle = os.open(self._path, os.O_RDWR)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
        self._next_sync_s = time.monotonic() + SYNC_S

    def close(self) -> None:
        """Finish the film. May be called twice. Raises RunError where the disk does not take the rest."""
        import av.error

        output, self._output = self._output, None
        if output is None:
            return
        try:
            if not self._failed:
                _encode(output, None)
            output[0].close()
        except (OSError, av.error.FFmpegError) as error:
            if not self._failed:
                raise self._failure(error) from error
        if not self._failed:
            self._finish()

    def _finish(self) -> None:
        """A film in fragments, or without its sound, is better than none: `warnings` says what could not be had."""
        import av.error

        from bodycast.app.sinks.finish_film import finish_film

        if self._sound_of is not None:
            try:
                self._say(finish_film(self._path, self._sound_of))
                return
            except (OSError, ValueError, av.error.FFmpegError) as error:
                self.warnings.append(f"{self._path.name}: the source's sound could not be kept ({error})")
        try:
            self._say(finish_film(self._path))
        except (OSError, av.error.FFmpegError) as error:
            self._say(f"{self._path.name}: stays in fragments, which play, but are slow to seek in ({error})")

    def _say(self, line: str) -> None:
        if line:
            self.warnings.append(line)

    def _open(self, image_wh: tuple[int, int]) -> tuple[OutputContainer, VideoStream]:
        import av

        self._path.unlink(missing_ok=True)  # FFmpeg would write through a link
        container = av.open(
            str(self._path.absolute()),  # a colon in a relative name reads as a protocol
            "w",
            format="mp4",
            # No index at the end of the fragments: it would be kept in memory until then.
            options={"movflags": "empty_moov+frag_every_frame+default_base_moof+skip_trailer", "flush_packets": "1"},
        )
        rate = Fraction(self._fps).limit_denominator(1001)
        stream = container.add_stream(  # pyright: ignore[reportUnknownMemberType]  PyAV's stubs leave **kwargs open
            "libx264", rate=rate, options=self._options
        )
        stream.width, stream.height = (side + side % 2 for side in image_wh)
        stream.pix_fmt = "yuv420p"
        codec = stream.codec_context
        codec.time_base = TIME_BASE
        codec.gop_size = _MOST_BETWEEN_KEYS
        codec.colorspace, codec.color_trc, codec.color_range = BT601, SRGB_TRANSFER, LIMITED_RANGE
        return container, stream

    def _fit(self, image: U8, width: int, height: int) -> U8:
        """The image at the film's size: as it is, with one edge line repeated, or scaled within black borders."""
        import cv2

        image_height, image_width = image.shape[:2]
        if (image_width, image_height) == (width, height):
            return image
        if (image_width, image_height) == self._image_wh:
            padded = np.pad(image, ((0, height - image_height), (0, width - image_width), (0, 0)), mode="edge")
            return np.asarray(padded, np.uint8)
        warning = f"{self._path.name}: frames change size; they are fitted into {width}x{height} with black borders"
        if warning not in self.warnings:
            self.warnings.append(warning)
        scale = min(width / image_width, height / image_height)
        inner_wh = (max(1, round(image_width * scale)), max(1, round(image_height * scale)))
        left, top = (width - inner_wh[0]) // 2, (height - inner_wh[1]) // 2
        canvas = np.zeros((height, width, 3), np.uint8)
        interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        inner = cv2.resize(image, inner_wh, interpolation=interpolation)
        canvas[top : top + inner_wh[1], left : left + inner_wh[0]] = inner
        return canvas

    def _next_pts(self, time_s: float) -> int:
        """Ticks of TIME_BASE since the first frame, strictly increasing as the format demands."""
        pts = max(self._last_pts + 1, round((time_s - self._first_time_s) / TIME_BASE))
        self._last_pts = pts
        return pts

    def _failure(self, error: Exception) -> RunError:
        self._failed = True
        kept = f"all but the last of {self._frame_count} frames are kept"
        return cannot_write(self._path, error, kept if self._frame_count else "")


def _encode(output: tuple[OutputContainer, VideoStream], picture: VideoFrame | None) -> None:
    """Encode and write one picture, or with None all that the encoder still holds. Raises FFmpegError, OSError."""
    container, stream = output
    # PyAV's stubs leave the packet's type parameter open.
    container.mux(stream.encode(picture))  # pyright: ignore[reportUnknownMemberType]
