"""The cameras of this machine, by number and name; none is started, its lamp stays dark."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from bodycast.app.errors import require

_BACKENDS = {"linux": "CAP_V4L2", "win32": "CAP_MSMF", "darwin": "CAP_AVFOUNDATION"}


@dataclass(frozen=True, slots=True)
class CameraDevice:
    """`index`: what `bodycast run INDEX` takes. `path`: the device file, empty where the system has none."""

    index: int
    name: str
    path: str


def list_cameras() -> list[CameraDevice]:
    """All cameras that the system lists, by index; empty where there are none.

    Raises: BodycastError where the package that lists them is not installed.
    """
    backend = _BACKENDS.get(sys.platform)
    if backend is None:
        return []
    import cv2

    library = require("cv2_enumerate_cameras", "live.txt")
    found = library.enumerate_cameras(getattr(cv2, backend))
    devices = {int(one.index): CameraDevice(int(one.index), str(one.name or ""), str(one.path or "")) for one in found}
    return [devices[index] for index in sorted(devices)]


def camera_line(device: CameraDevice) -> str:
    """Number, name and device file for people."""
    path = f" ({device.path})" if device.path.startswith("/dev/") else ""
    return f"{device.index}  {device.name or 'without a name'}{path}"
