"""Cameras through OpenCV: always the newest picture, stamped at the grab."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from bodycast.app.errors import RunError, UsageError
from bodycast.app.records import U8, Frame
from bodycast.app.sources.base import SourceInfo
from bodycast.app.sources.camera_list import camera_line, list_cameras
from bodycast.app.sources.threaded import SourceLog, ThreadedSource, call_bounded

CameraBackend = Literal["auto", "v4l2", "dshow", "msmf", "avfoundation"]

OPEN_TIMEOUT_S = 20.0
"""Media Foundation under Windows has been seen to take this long (opencv #17687)."""

SILENCE_LIMIT_S = 10.0
FAILED_GRABS = 5
"""So many failed grabs in a row mean that the camera is gone, not that one picture was spoilt."""


class Capture(Protocol):
    """What is used of `cv2.VideoCapture`."""

    def isOpened(self) -> bool: ...  # noqa: N802
    def set(self, propId: int, value: float) -> bool: ...
    def get(self, propId: int) -> float: ...
    def grab(self) -> bool: ...
    def retrieve(self) -> tuple[bool, U8]: ...
    def release(self) -> None: ...


def open_camera(
    index: int,
    size_wh: tuple[int, int] | None = None,
    fps: float | None = None,
    backend: CameraBackend = "auto",
    *,
    make_capture: Callable[[int, CameraBackend], Capture] | None = None,
    open_timeout_s: float = OPEN_TIMEOUT_S,
    silence_limit_s: float = SILENCE_LIMIT_S,
) -> ThreadedSource:
    """Camera number `index`; a size or rate that the camera does not offer is told in `warnings`, not refused.

    Raises: UsageError where there is no such camera, it gives no picture, or does not respond in time. While running,
    the iterator raises RunError when the camera is lost.
    """
    name = f"camera {index}"
    if make_capture is None:
        _check_present(index)
    log = SourceLog()
    factory = make_capture or _open_capture

    def open_and_try() -> tuple[Capture, U8, float]:
        capture = factory(index, backend)
        try:
            _configure(capture, size_wh, fps)
            image, grabbed_s = _first_picture(capture, name)
        except BaseException:
            capture.release()
            raise
        return capture, image, grabbed_s

    try:
        capture, first, first_s = call_bounded(open_and_try, open_timeout_s, lambda opened: opened[0].release())
    except TimeoutError as error:
        raise UsageError(
            f"{name} did not respond within {open_timeout_s:.0f} s; "
            "close other programs that use it, or plug it in again"
        ) from error
    image_wh = (first.shape[1], first.shape[0])
    actual_fps = _read_back(capture, size_wh, fps, image_wh, log)
    info = SourceInfo(name, True, actual_fps, None, image_wh)
    frames = _frames(capture, first, first_s, name)
    return ThreadedSource(info, frames, log=log, silence_limit_s=silence_limit_s)


def _check_present(index: int) -> None:
    """On Linux a camera is a device file: without it, say what there is rather than try."""
    if not sys.platform.startswith("linux"):
        return
    device = Path(f"/dev/video{index}")
    if device.exists():
        if not os.access(device, os.R_OK | os.W_OK):
            raise UsageError(f"{device}: no permission to use the camera; add your user to the group of this device")
        return
    cameras = [camera_line(camera) for camera in list_cameras()]
    there = f"this machine has {', '.join(cameras)}" if cameras else "this machine has none"
    raise UsageError(f"camera {index} is not there: {there}; give another index, a video file, or 'demo'")


def _open_capture(index: int, backend: CameraBackend) -> Capture:
    import cv2
    from cv2.utils import logging

    choices = {
        "auto": cv2.CAP_V4L2 if sys.platform.startswith("linux") else cv2.CAP_ANY,
        "v4l2": cv2.CAP_V4L2,
        "dshow": cv2.CAP_DSHOW,
        "msmf": cv2.CAP_MSMF,
        "avfoundation": cv2.CAP_AVFOUNDATION,
    }
    level = logging.getLogLevel()
    logging.setLogLevel(0)  # our own line says it; OpenCV would print several
    try:
        capture = cv2.VideoCapture(index, choices[backend])
    finally:
        logging.setLogLevel(level)
    if not capture.isOpened():
        capture.release()
        raise UsageError(
            f"camera {index} cannot be opened (backend {backend}); close other programs that use it, "
            "and check that you may read the device"
        )
    return capture  # pyright: ignore[reportReturnType]


def _configure(capture: Capture, size_wh: tuple[int, int] | None, fps: float | None) -> None:
    """Ask for MJPG first: over USB, raw 1080p leaves five pictures a second, and the format bounds size and rate."""
    import cv2

    mjpg = float(cv2.VideoWriter.fourcc(*"MJPG"))
    capture.set(cv2.CAP_PROP_FOURCC, mjpg)
    if size_wh is not None:
        capture.set(cv2.CAP_PROP_FRAME_WIDTH, float(size_wh[0]))
        capture.set(cv2.CAP_PROP_FRAME_HEIGHT, float(size_wh[1]))
    if fps is not None:
        capture.set(cv2.CAP_PROP_FPS, fps)
    if capture.get(cv2.CAP_PROP_FOURCC) != mjpg:
        capture.set(cv2.CAP_PROP_FOURCC, mjpg)  # DirectShow forgets the format when the size changes
    capture.set(cv2.CAP_PROP_BUFFERSIZE, 1.0)


def _first_picture(capture: Capture, name: str) -> tuple[U8, float]:
    for _ in range(FAILED_GRABS):
        picture = _grab(capture)
        if picture is not None:
            return picture
    raise UsageError(
        f"{name} opens but gives no picture (it may be a metadata device, or in use); "
        f"try another of: {', '.join(map(camera_line, list_cameras())) or 'none listed on this system'}"
    )


def _grab(capture: Capture) -> tuple[U8, float] | None:
    """One picture and the monotonic time of its grab; None where it failed. Decoding comes after the stamp."""
    if not capture.grab():
        return None
    grabbed_s = time.monotonic()
    ok, image = capture.retrieve()
    if not ok or image.ndim != 3 or image.shape[2] != 3:
        return None
    return np.asarray(image, np.uint8), grabbed_s


def _read_back(
    capture: Capture,
    size_wh: tuple[int, int] | None,
    fps: float | None,
    image_wh: tuple[int, int],
    log: SourceLog,
) -> float | None:
    """The rate that the camera says it runs at; what was asked for and not given goes to the log."""
    import cv2

    if size_wh is not None and size_wh != image_wh:
        log.warn(f"the camera gives {image_wh[0]}x{image_wh[1]}, not the {size_wh[0]}x{size_wh[1]} asked for")
    actual_fps = capture.get(cv2.CAP_PROP_FPS)
    if fps is not None and abs(actual_fps - fps) > 0.5:
        log.warn(f"the camera runs at {actual_fps:g} frames/s, not the {fps:g} asked for")
    return actual_fps if actual_fps > 0 else None


def _frames(capture: Capture, first: U8, first_s: float, name: str) -> Generator[Frame, None, None]:
    index, failures = 0, 0
    try:
        yield Frame(first, index, first_s)
        while failures < FAILED_GRABS:
            picture = _grab(capture)
            if picture is None:
                failures += 1
                time.sleep(0.01)
                continue
            failures = 0
            index += 1
            yield Frame(picture[0], index, picture[1])
        raise RunError(
            f"{name} was lost after {index + 1} frames (unplugged, or taken by another program); "
            "plug it in and start again"
        )
    finally:
        capture.release()
