"""`python -m bodycast` and the program `bodycast`."""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path

import bodycast


def begin(module: str, prog: str) -> int:
    """Import `module` and call its `main`; gives the exit code. Where even `bodycast.app` cannot be imported, one line
    says so."""
    try:
        from bodycast.app.start import start
    except (ImportError, OSError) as error:
        if "--debug" in sys.argv:
            traceback.print_exc()
        print(f"{prog}: {_unreadable() or f'{type(error).__name__}: {error}'}".replace("\n", " "), file=sys.stderr)
        return 1
    return start(module, prog)


def main() -> int:
    """The program `bodycast`."""
    return begin("bodycast.app.commands.main", "bodycast")


def _unreadable() -> str:
    """What of the way to `bodycast.app.start` this user may not read; empty: it is something else."""
    for folder in map(Path, bodycast.__path__):
        for part in (folder, folder / "app", folder / "app" / "__init__.py", folder / "app" / "start.py"):
            if os.path.lexists(part) and not os.access(part, os.R_OK | (os.X_OK if part.is_dir() else 0)):
                return f"{part}: this user may not read it; its owner can allow it: chmod -R a+rX {part}"
    return ""


if __name__ == "__main__":
    sys.exit(main())
