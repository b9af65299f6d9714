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
from bodycast.app.sources.threaded import SourceLog, ThreadedSource
from bodycast.hmr.geometry.camera import Intrinsics

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
STILLS_FPS = 1.0
"""One second each in the overlay, long enough to be looked at."""
Picture = tuple[int, U8, Intrinsics | None]
"""Index in the folder, image, and the lens that it says."""
VIDEO_SUFFIXES = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v")


def natural_key(path: Path) -> list[tuple[int, int, str]]:
    """Sort key under which `frame2` comes before `frame10`."""
    parts = re.split(r"(\d+)", path.name.lower())
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in parts if part]


def open_images(path: Path, fps: float | None = None) -> ThreadedSource:
    """The pictures of a folder, or a single picture: a film of `fps` frames a second (time = index / fps), or where
    that is left out scenes of their own, a second apart.

    A picture that cannot be read is skipped and named in `warnings`; the others keep their index and time. Each has
    the lens that its EXIF says; a film that of its first picture.

    Raises: UsageError where there are no pictures, or none that can be read.
    """
    if fps is not None and fps <= 0:
        raise UsageError(f"the frame rate of a folder of images must be above 0, got {fps:g}")
    paths = [path] if path.is_file() else _list_images(path)
    log = SourceLog()
    pictures = _read_all(paths, log)
    first = next(pictures, None)
    if first is None:
        raise UsageError(f"{path}: none of the {len(paths)} image files can be read; the first is {paths[0].name}")
    height, width = first[1].shape[:2]
    rate, stills = fps or STILLS_FPS, fps is None
    lens_from = "" if first[2] is None else f"EXIF of {'the picture' if stills else 'the first picture'}"
    info = SourceInfo(path.name, False, rate, len(paths), (width, height), stills=stills, lens_from=lens_from)
    return ThreadedSource(info, _frames(chain([first], pictures), rate, info.stills, log), log=log)


def _list_images(folder: Path) -> list[Path]:
    files = [entry for entry in folder.iterdir() if entry.is_file() and not entry.name.startswith(".")]
    images = sorted((file for file in files if file.suffix.lower() in IMAGE_SUFFIXES), key=natural_key)
    if not images:
        wanted = " ".join(IMAGE_SUFFIXES)
        videos = sorted(file.name for file in files if file.suffix.lower() in VIDEO_SUFFIXES)
        hint = f"; it holds the video {videos[0]}: name that file" if videos else "; name a folder that holds some"
        raise UsageError(f"{folder}: no images in this folder ({wanted}){hint}")
    return images


def _read_all(paths: Sequence[Path], log: SourceLog) -> Iterator[Picture]:
    for index, path in enumerate(paths):
        read = _read_image(path)
        if read is None:
            log.warn(f"{path.name}: not a readable image, skipped")
            continue
        image, content = read
        lens = picture_lens(content, (image.shape[1], image.shape[0]))
        if lens.note:
            log.warn(f"{path.name}: {lens.note}")
        yield index, image, lens.intrinsics


def _read_image(path: Path) -> tuple[U8, bytes] | None:
    """(H,W,3) uint8 BGR with the EXIF rotation applied, and the file's bytes; None where the file is no image."""
    import cv2

    try:
        # Not cv2.imread: it fails on paths outside ASCII under Windows.
        content = np.fromfile(path, np.uint8)
    except OSError:
        return None
    if content.size == 0:
        return None
    image = cv2.imdecode(content, cv2.IMREAD_COLOR)
    if image is None:  # pyright: ignore[reportUnnecessaryComparison]
        return None
    return np.asarray(image, np.uint8), content.tobytes()


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
