"""`python -m bodycast`: the program `bodycast`."""

from __future__ import annotations

import sys

from bodycast.app.start import main

if __name__ == "__main__":
    sys.exit(main())
