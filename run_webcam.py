"""Bodycast: 3D people from a camera or a video, live. `bodycast run --help` says the rest."""

from __future__ import annotations

import sys

from bodycast.app.start import start

if __name__ == "__main__":
    sys.exit(start("bodycast.app.commands.run", "run_webcam.py"))
