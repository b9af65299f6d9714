"""Pictures in a folder, in natural order, or one picture."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np

from bodycast.app.errors import UsageError
from bodycast.app.records import U8, Frame
from bodycast.app.sources.base import SourceInfo
from bodycast.app.sources.lens_metadata import picture_lens
from bodycast.app.sources.picture_header import picture_header
from bodycast.app.sources.threaded import SourceLog, ThreadedSource
from bodycast.hmr.geometry.camera import Intrinsics
from bodycast.plain_text import shortened, shown_name

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
STILLS_FPS = 1.0
"""One second each in the overlay, long enough to be looked at."""
MOST_PIXELS = 1 << 26
"""Larger pictures are read at a half, a quarter, ... of their size."""
MOST_DECODED_BYTES, MOST_FILE_BYTES = 3 << 27, 1 << 29
"""OpenCV takes the decoded picture's size twice."""
Picture = tuple[int, U8, Intrinsics | None]
"""Index in the folder, image, and the lens that it says."""
VIDEO_SUFFIXES = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v")


def natural_key(path: Path) -> list[tuple[int, int, str]]:
    """Sort key under which `frame2` comes before `frame10`."""
    parts = re.split(r"(\d+)", path.name.lower())
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in parts if part]


def open_images(path: Path, fps: float | None = None, *, as_stored: bool = False) -> ThreadedSource:
    """The pictures of a folder, or a single picture: a film of `fps` frames a second (time = index / fps), or where
    that is left out scenes of their own, a second apart. An animation that is not in a folder is a film.

    A picture that cannot be read is skipped and named in `warnings`; the others keep their index and time. Each has
    the lens that its EXIF says; a film that of its first picture. as_stored: EXIF's rotation is ignored.

    Raises: UsageError where there are no pictures, or none that can be read.
    """
    if fps is not None and fps <= 0:
        raise UsageError(f"the frame rate of a folder of images must be above 0, got {fps:g}")
    if path.is_file() and (film := _animation(path, as_stored)) is not None:
        return film
    paths = [path] if path.is_file() else _list_images(path)
    log = SourceLog()
    pictures = _read_all(paths, log, as_stored)
    first = next(pictures, None)
    if first is None:
        reason = log.warnings[0] if log.warnings else paths[0].name
        if path.is_file():
            raise UsageError(f"{shown_name(path)}: {reason.partition(': ')[2].replace(', skipped', '')}")
        raise UsageError(f"{shown_name(path)}: none of the {len(paths)} image files can be read; the first is {reason}")
    height, width = first[1].shape[:2]
    rate, stills = fps or STILLS_FPS, fps is None
    lens_from = "" if first[2] is None else f"EXIF of {'the picture' if stills else 'the first picture'}"
    info = SourceInfo(path.name, False, rate, len(paths), (width, height), stills=stills, lens_from=lens_from)
    return ThreadedSource(info, _frames(chain([first], pictures), rate, info.stills, log), log=log)


def _animation(path: Path, as_stored: bool) -> ThreadedSource | None:
    """The file as a film, if it is an animated WebP or PNG."""
    content = _content(path)
    header = picture_header(content)
    if header is None or header.frames < 2 or header.pixels > MOST_PIXELS:
        return None
    if header.kind == "webp":
        from bodycast.app.sources.animated_webp import open_animated_webp

        return open_animated_webp(path, content, header.wh)
    from bodycast.app.sources.video_file import open_video_file

    return open_video_file(path, as_stored=as_stored)


def _list_images(folder: Path) -> list[Path]:
    files = [entry for entry in folder.iterdir() if entry.is_file() and not entry.name.startswith(".")]
    images = sorted((file for file in files if file.suffix.lower() in IMAGE_SUFFIXES), key=natural_key)
    if not images:
        wanted = " ".join(IMAGE_SUFFIXES)
        videos = sorted(file.name for file in files if file.suffix.lower() in VIDEO_SUFFIXES)
        hint = f"; it holds the video {videos[0]}: name that file" if videos else "; name a folder that holds some"
        raise UsageError(f"{shown_name(folder)}: no images in this folder ({wanted}){hint}")
    return images


def _read_all(paths: Sequence[Path], log: SourceLog, as_stored: bool) -> Iterator[Picture]:
    for index, path in enumerate(paths):
        name = shown_name(path.name)
        try:
            content = _content(path)
            image, note = _read_image(content, as_stored)
        except (OSError, ValueError, MemoryError) as error:
            log.warn(f"{name}: not a readable image, skipped ({shortened(error)})")
            continue
        if note:
            log.warn(f"{name}: {note}")
        lens = picture_lens(content, (image.shape[1], image.shape[0]))
        if lens.note:
            log.warn(f"{name}: {lens.note}")
        yield index, image, lens.intrinsics


def _content(path: Path) -> bytes:
    # Not cv2.imread: it fails on paths outside ASCII under Windows.
    if path.stat().st_size > MOST_FILE_BYTES:
        raise ValueError(f"larger than {MOST_FILE_BYTES >> 20} MB")
    return path.read_bytes()


def _read_image(content: bytes, as_stored: bool) -> tuple[U8, str]:
    """(H,W,3) uint8 BGR with the EXIF rotation applied, at most MOST_PIXELS large, and what is to be said of it.

    Raises: ValueError for what is no image, or too large to be decoded.
    """
    import cv2

    header = picture_header(content)
    if header is None or not header.pixels:
        raise ValueError("damaged, or no JPEG, PNG, WebP or BMP")
    width, height = header.wh
    if header.pixels * (1 if header.grey else 3) > MOST_DECODED_BYTES:
        raise ValueError(f"{width}x{height} pixels are too many; make it smaller")
    if header.least_bytes > len(content):
        raise ValueError(f"damaged: {width}x{height} pixels are not in {len(content)} bytes")
    factor = next(factor for factor in (1, 2, 4, 8, 16, 32) if header.pixels <= MOST_PIXELS * factor**2)
    reduced = {2: cv2.IMREAD_REDUCED_COLOR_2, 4: cv2.IMREAD_REDUCED_COLOR_4, 8: cv2.IMREAD_REDUCED_COLOR_8}
    flags = cv2.IMREAD_COLOR
    if factor > 1:  # a JPEG is decoded at a fraction of its size; others whole, grey ones with a byte a pixel
        is_jpeg = header.kind == "jpeg" and factor in reduced
        flags = reduced[factor] if is_jpeg else cv2.IMREAD_GRAYSCALE if header.grey else cv2.IMREAD_COLOR
    if as_stored:
        flags |= cv2.IMREAD_IGNORE_ORIENTATION
    try:
        image = cv2.imdecode(np.frombuffer(content, np.uint8), flags)
    except cv2.error as error:
        raise ValueError(f"OpenCV: {error.err}") from error
    if image is None:  # pyright: ignore[reportUnnecessaryComparison]
        raise ValueError("damaged")
    while image.shape[0] * image.shape[1] > MOST_PIXELS:
        image = cv2.resize(
            image, (max(1, image.shape[1] // 2), max(1, image.shape[0] // 2)), interpolation=cv2.INTER_AREA
        )
    if image.ndim == 2:
        image = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
    notes = [f"{width}x{height} pixels, read at 1/{factor} of its size"] if factor > 1 else []
    notes += ["animated: its first picture is taken"] if header.frames > 1 else []
    return np.asarray(image, np.uint8), "; ".join(notes)


def _frames(pictures: Iterator[Picture], fps: float, stills: bool, log: SourceLog) -> Generator[Frame, None, None]:
    first_wh: tuple[int, int] | None = None
    of_film: Intrinsics | None = None
    told = False
    for index, image, lens in pictures:
        frame = Frame(image, index, index / fps, lens)
        if first_wh is None:
            first_wh, of_film = frame.image_wh, lens
        if not stills:
            frame = replace(frame, intrinsics=of_film if frame.image_wh == first_wh else None)
        if frame.image_wh != first_wh and not told and not stills:
            told = True
            log.warn("pictures of several sizes: people are followed only from one to the next of the same size")
        yield frame
