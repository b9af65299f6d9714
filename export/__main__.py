"""`bodycast export COMMAND ...`: weights to model packages, packages to plans, and how exact they are."""

from __future__ import annotations

import errno
import sys
from collections.abc import Sequence
from importlib import import_module

from bodycast.engines.errors import EngineError, EngineUnavailableError, PackageError
from bodycast.engines.optional import install_command
from bodycast.export.errors import WorkError

# command -> (module of this package with `main(argv) -> int`, one line of help)
COMMANDS: dict[str, tuple[str, str]] = {
    "package": (
        "package_command",
        "a checkpoint, a registered network or a detector to a model package",
    ),
    "keypoints": (
        "keypoints_command",
        "a 2D-pose file (RTMPose, ViTPose, MoveNet, YOLO) to a model package",
    ),
    "segmenter": (
        "segmenter_command",
        "YOLO-seg or another network that cuts people out, to a model package",
    ),
    "parity": ("parity_command", "how far a package is from torch, in millimetres, and how fast it is"),
    "merge-layers": ("merge_layers_command", "which layers of a network can be merged (ECLM), by frames of people"),
    "weights": ("weights_command", "a package's weights back to a checkpoint, to train further from"),
    "tensorrt": (
        "tensorrt_command",
        "a package to TensorRT plans, for this GPU or ahead of time for others",
    ),
}


_NAMED_FILES = (FileNotFoundError, FileExistsError, IsADirectoryError, NotADirectoryError, PermissionError)
"""Errors of the system that are about a path which the command line names."""


def usage(prog: str) -> str:
    """The text of `--help`."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {help_line}" for name, (_, help_line) in COMMANDS.items()]
    return f"usage: {prog} COMMAND [options]\n\ncommands (each has its own --help):\n" + "\n".join(lines)


def main(argv: Sequence[str] | None = None, prog: str = "bodycast export") -> int:
    """Run a command; gives the exit code. Errors are one line.

    2: the command line or a file that it names is at fault, nothing was done. 1: the work failed. 130: Ctrl-C.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(usage(prog))
        return 0 if arguments else 2
    if arguments[0] not in COMMANDS:
        print(
            f"export: no command {arguments[0]!r}; there are {', '.join(COMMANDS)}. See --help.",
            file=sys.stderr,
        )
        return 2
    try:
        return int(import_module(f"bodycast.export.{COMMANDS[arguments[0]][0]}").main(arguments[1:]))
    except ModuleNotFoundError as error:
        return _failed(f"the package {error.name!r} is not installed: {install_command('export.txt')}", 1)
    except WorkError as error:
        return _failed(str(error), 1)
    except OSError as error:
        text = f"{error.filename}: {error.strerror}" if error.filename is not None else str(error)
        if error.errno == errno.ENOSPC:
            text = "the disk is full: make room, or give a folder elsewhere (TMPDIR for the trial); nothing was written"
        return _failed(text, 2 if isinstance(error, _NAMED_FILES) else 1)
    except (ValueError, PackageError, EngineUnavailableError) as error:
        return _failed(str(error), 2)
    except EngineError as error:
        return _failed(str(error), 1)
    except KeyboardInterrupt:
        return _failed("stopped; nothing was written", 130)


def _failed(text: str, code: int) -> int:
    """Say it in one line, whatever the library's text looks like."""
    print(f"error: {' '.join(text.split())}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
