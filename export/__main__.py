"""`python -m export COMMAND ...`: weights to model packages, packages to plans, and how exact they are."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module

from engines.errors import EngineError

# command -> (module with `main(argv) -> int`, one line of help)
COMMANDS: dict[str, tuple[str, str]] = {
    "package": ("export.package_command", "a checkpoint, a registered network or a detector to a model package"),
    "parity": ("export.parity_command", "how far a package is from torch, in millimetres, and how fast it is"),
    "tensorrt": ("export.tensorrt_command", "a package to TensorRT plans, for this GPU or ahead of time for others"),
}


def usage() -> str:
    """The text of `--help`."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {help_line}" for name, (_, help_line) in COMMANDS.items()]
    return "usage: python -m export COMMAND [options]\n\ncommands (each has its own --help):\n" + "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; gives the exit code. Errors are one line."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(usage())
        return 0 if arguments else 2
    if arguments[0] not in COMMANDS:
        print(
            f"export: no command {arguments[0]!r}; there are {', '.join(COMMANDS)}. See --help.",
            file=sys.stderr,
        )
        return 2
    try:
        return int(import_module(COMMANDS[arguments[0]][0]).main(arguments[1:]))
    except ModuleNotFoundError as error:
        print(
            f"error: the package {error.name!r} is not installed: pip install -r requirements/export.txt",
            file=sys.stderr,
        )
    except (ValueError, OSError, EngineError) as error:
        print(f"error: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        print("error: stopped; nothing was written", file=sys.stderr)
        return 130
    return 1


if __name__ == "__main__":
    sys.exit(main())
