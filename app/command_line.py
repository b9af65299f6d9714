"""Command lines to dataclasses with tyro, its errors cut down to one line each."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import io
import re
import sys
from collections.abc import Sequence
from typing import Any, TypeVar, cast

import tyro

from bodycast.app.errors import UsageError

T = TypeVar("T")

LEFT_OUT = tyro.conf.arg(help_behavior_hint="")
"""For `X | None` fields: their help says what holds where the flag is left out, and not "default: None"."""

_WIDE = 10_000  # columns: tyro then breaks no line of its messages


def parse(kind: type[T], args: Sequence[str], prog: str, default: T | None = None) -> T:
    """`args` as an instance of the dataclass `kind`; `--help` prints and exits.

    Nested dataclasses are groups in the help; their flags carry no prefix. Raises: UsageError, one line.
    """
    message = io.StringIO()
    try:
        with contextlib.redirect_stderr(message):
            parsed, unknown = tyro.cli(
                kind,
                prog=prog,
                args=list(args),
                default=default,
                return_unknown_args=True,
                config=(tyro.conf.OmitArgPrefixes, tyro.conf.DisallowNone),
            )
    except SystemExit as end:
        if end.code in (0, None):
            raise
        raise UsageError(f"{_first_paragraph(message.getvalue())} (see {prog} --help)") from None
    if unknown:
        raise UsageError(f"{_about_unknown(unknown[0], kind)} (see {prog} --help)")
    sys.stderr.write(message.getvalue())
    return cast(T, parsed)


def flags_of(kind: type[Any]) -> list[str]:
    """All flags of a configuration dataclass, those of its nested groups included."""
    flags: list[str] = []
    for field in dataclasses.fields(kind):
        made = field.default_factory() if callable(field.default_factory) else None
        if dataclasses.is_dataclass(made):
            flags += flags_of(type(made))
        else:
            flags.append("--" + field.name.replace("_", "-"))
    return flags


def _about_unknown(argument: str, kind: type[Any]) -> str:
    if not argument.startswith("-"):
        return f"one argument too many: {argument!r}"
    name = argument.partition("=")[0].replace("_", "-")
    close = difflib.get_close_matches(name, flags_of(kind), n=2, cutoff=0.6)
    return f"unknown flag {name}" + (f"; did you mean {' or '.join(close)}?" if close else "")


def _first_paragraph(box: str) -> str:
    """The first paragraph of tyro's framed message, on one line; its frame is ASCII where the output has no other."""
    lines: list[str] = []
    for line in box.splitlines()[1:]:
        text = line.strip("│╭╮╰╯|+ \t")
        if text.strip("─-"):
            lines.append(text)
        elif lines:
            break
    joined = " ".join(lines).rstrip(".")
    joined = re.sub(r"^Missing from .*?: (?=[A-Z])", "missing ", joined).replace(" (required)", "").rstrip(".")
    return re.sub(r"^Error parsing ", "", joined) or "the command line cannot be understood"
