"""Live human mesh recovery: a camera, a video or a stream goes in, animatable 3D people come out.

In a checkout the sub-packages are the folders beside this one (`app/` is `bodycast.app`); an installed wheel has them
inside. Importing this package loads nothing else and sends nothing: its names are imported when they are used.
"""

from __future__ import annotations

from pathlib import Path

_ROOT = Path(__file__).resolve().parent.parent
if (_ROOT / "run_webcam.py").is_file() and (_ROOT / "engines" / "__init__.py").is_file():
    __path__.append(str(_ROOT))

from bodycast.engines.no_telemetry import switch_off  # noqa: E402  (found through the line above)

switch_off()

__version__ = "0.2.0"
