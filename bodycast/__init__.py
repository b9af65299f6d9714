"""Live human mesh recovery: a camera, a video or a stream goes in, animatable 3D people come out.

In a checkout the sub-packages are the folders beside this one (`app/` is `bodycast.app`); an installed wheel has them
inside. Importing this package loads nothing else and sends nothing: its names are imported when they are used.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from bodycast.no_telemetry import switch_off

_ROOT = Path(__file__).resolve().parent.parent
if (_ROOT / "run_webcam.py").is_file() and (_ROOT / "engines").is_dir():
    __path__.append(str(_ROOT))

switch_off()

__version__ = "0.2.0"

if TYPE_CHECKING:
    from bodycast.app.api import FrameStream, Overlay, Person, TrackedFrame, Tracker, recover, track
    from bodycast.app.errors import BodycastError
    from bodycast.app.files.motion_file import Motion, read_motion

_HOMES = {
    **dict.fromkeys(
        ("FrameStream", "Overlay", "Person", "TrackedFrame", "Tracker", "recover", "track"), "bodycast.app.api"
    ),
    "BodycastError": "bodycast.app.errors",
    **dict.fromkeys(("Motion", "read_motion"), "bodycast.app.files.motion_file"),
}

__all__ = [
    "BodycastError",
    "FrameStream",
    "Motion",
    "Overlay",
    "Person",
    "TrackedFrame",
    "Tracker",
    "__version__",
    "read_motion",
    "recover",
    "track",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'bodycast' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
