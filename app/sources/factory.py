"""From what the user writes as SOURCE to an open source. Drivers are imported only when chosen."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from bodycast.app.address import local_path
from bodycast.app.command_line import LEFT_OUT
from bodycast.app.errors import UsageError
from bodycast.app.sources.base import Segment
from bodycast.app.sources.turning import Turn
from bodycast.plain_text import shortened, shown_name

if TYPE_CHECKING:
    from bodycast.app.sources.threaded import ThreadedSource

DEMO_CLIP = Path(__file__).resolve().parents[2] / "assets" / "demo" / "outdoors.mp4"

FORMS = "a camera index, a video file, a folder of images, an rtsp/rtmp/http URL, - for standard input, or 'demo'"


@dataclass(frozen=True)
class SourceOptions:
    """How to open the source; each field concerns one kind of source and is ignored by the others."""

    rotate: Annotated[Literal[0, 90, 180, 270] | None, LEFT_OUT] = None
    """Turn the source's pictures clockwise by so many degrees, instead of what the file says; where left out, the
    file's word is taken."""

    flip: tyro.conf.FlagCreatePairsOff[bool] = False
    """Mirror the source's pictures left-right, for a source that gives them mirrored."""

    camera_size: Annotated[tuple[int, int] | None, LEFT_OUT] = None
    """Width and height to ask the camera for, in pixels; its own choice where left out."""

    camera_fps: Annotated[float | None, LEFT_OUT] = None
    """Frames a second to ask the camera for; its own choice where left out."""

    camera_backend: Literal["auto", "v4l2", "dshow", "msmf", "avfoundation"] = "auto"
    """Which of the system's camera interfaces to use."""

    folder_fps: Annotated[float | None, LEFT_OUT] = None
    """A folder of images is a film of so many frames a second; where left out, each image is a scene of its own."""

    stream_stall: float = 5.0
    """Seconds of silence after which a network stream is connected to anew."""

    stream_give_up: float = 60.0
    """Seconds without a picture after which a network stream counts as lost."""


def open_source(spec: str, options: SourceOptions | None = None, segment: Segment | None = None) -> ThreadedSource:
    """Open SOURCE: a camera index ("0", "/dev/video0"), a video file, an image or a folder of images, a URL, "-" for
    standard input, "demo". segment: only this stretch of a video file.

    Raises: UsageError, one line, where there is no such thing or it cannot be read.
    """
    chosen = options or SourceOptions()
    if not spec.strip():
        raise UsageError(f"SOURCE is empty; it is {FORMS}")
    source = _open(spec, chosen) if segment is None else _open_segment(Path(spec), chosen, segment)
    if chosen.rotate or chosen.flip:
        source.turn(Turn(chosen.rotate or 0, chosen.flip))
    return source


def _open(spec: str, options: SourceOptions) -> ThreadedSource:
    if spec == "demo":
        return _open_demo()
    camera = _camera_index(spec)
    if camera is not None:
        from bodycast.app.sources.camera import open_camera

        return open_camera(camera, options.camera_size, options.camera_fps, options.camera_backend)
    if spec.lower().startswith("file://"):
        return _open_path(local_path(spec), options)
    if "://" in spec and not os.path.exists(spec):  # which, unlike Path.exists, raises nothing
        return _open_url(spec, options)
    return _open_path(Path(spec), options)


def _open_segment(path: Path, options: SourceOptions, segment: Segment) -> ThreadedSource:
    from bodycast.app.sources.video_file import open_video_file

    return open_video_file(path, as_stored=options.rotate is not None, segment=segment)


def _camera_index(spec: str) -> int | None:
    digits = spec.removeprefix("/dev/video")
    if digits.isascii() and digits.isdigit():
        return int(digits)
    if spec.startswith("-") and spec[1:].isdigit():
        raise UsageError(f"camera {spec} cannot be: camera indices count from 0")
    return None


def _open_demo() -> ThreadedSource:
    from bodycast.app.sources.video_file import open_video_file

    if not DEMO_CLIP.is_file():
        raise UsageError("the demo clip assets/demo/outdoors.mp4 is missing: this copy of the project is not complete")
    return open_video_file(DEMO_CLIP, "demo")


def _open_url(url: str, options: SourceOptions) -> ThreadedSource:
    from bodycast.app.sources.stream import STREAM_SCHEMES, StreamTimeouts, open_stream

    scheme = url.partition("://")[0].lower()
    if scheme not in STREAM_SCHEMES:
        raise UsageError(f"{scheme}:// is not a kind of stream known here; known: {', '.join(STREAM_SCHEMES)}")
    timeouts = StreamTimeouts(stall_s=options.stream_stall, give_up_s=options.stream_give_up)
    return open_stream(url, timeouts, as_stored=options.rotate is not None)


def _is_webp(path: Path) -> bool:
    """Whatever it is called: FFmpeg reads no animated ones."""
    with path.open("rb") as stream:
        start = stream.read(12)
    return start[:4] == b"RIFF" and start[8:] == b"WEBP"


def _open_path(path: Path, options: SourceOptions) -> ThreadedSource:
    from bodycast.app.sources.image_folder import IMAGE_SUFFIXES, open_images
    from bodycast.app.sources.video_file import open_video_file

    as_stored = options.rotate is not None
    try:
        if path.is_dir() or (path.is_file() and (path.suffix.lower() in IMAGE_SUFFIXES or _is_webp(path))):
            return open_images(path, options.folder_fps, as_stored=as_stored)
        if str(path) == "-" or path.is_file() or path.is_fifo():
            return open_video_file(path, as_stored=as_stored)
    except PermissionError as error:
        raise UsageError(f"{shown_name(path)}: no permission to read it") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"{shown_name(path)}: cannot be read ({shortened(reason)})") from error
    what = "neither a file, a pipe nor a folder" if os.path.lexists(path) else "no such file or folder"
    raise UsageError(f"{shown_name(path)}: {what}; SOURCE is {FORMS}")
