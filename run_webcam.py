"""Bodycast: 3D people from a camera or a video, live. `bodycast run --help` says the rest."""

from __future__ import annotations

import sys

from bodycast.app.commands.run import main

if __name__ == "__main__":
    sys.exit(main())
