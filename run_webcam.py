"""Bodycast: 3D people from a camera or a video, live. `python run_webcam.py --help` says the rest."""

from __future__ import annotations

import sys

from app.cli import main

if __name__ == "__main__":
    sys.exit(main())
