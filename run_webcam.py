"""Bodycast: 3D people from a camera or a video, live. `bodycast run --help` says the rest."""

from __future__ import annotations

import sys

from bodycast.__main__ import begin

if __name__ == "__main__":
    sys.exit(begin("bodycast.app.commands.run", "run_webcam.py"))
