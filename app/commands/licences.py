"""`bodycast licences`: under which terms the parts stand that a run on this machine would use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bodycast.app.command_line import parse
from bodycast.app.doctor.terms import FIXED, library_rows, package_rows


@dataclass(frozen=True)
class Licences:
    """List the licences of what a run would use: code, embedded body, installed model packages, detectors."""


def main(args: Sequence[str], prog: str) -> int:
    """Print the list; gives the exit code. Raises: UsageError for a damaged package."""
    parse(Licences, args, prog)
    for row in (*FIXED, *package_rows(), *library_rows()):
        print("{:<10} {:<40} {}".format(*row))
    print("\nA body file or a package of your own stands under its own terms. docs/licences.md says more.")
    return 0
