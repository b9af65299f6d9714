"""`bodycast doctor`: what can run on this machine, why the rest cannot, and the line that mends it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import tyro

from bodycast.app.command_line import parse

MARKS = {"ok": "ok     ", "note": "note   ", "problem": "PROBLEM"}


@dataclass(frozen=True)
class Doctor:
    """Say what can run on this machine, and why the rest cannot. Exit code 1 only if nothing could run."""

    json: tyro.conf.FlagCreatePairsOff[bool] = False
    """Print one JSON list instead of lines."""


def main(args: Sequence[str] | None = None, prog: str = "bodycast doctor") -> int:
    """Run all checks and print what they found; gives the exit code."""
    options = parse(Doctor, list(args or []), prog)
    from bodycast.app.doctor.checks import CHECKS, Finding, run_check

    findings: list[Finding] = []
    for check in CHECKS:
        found = run_check(check)
        findings.extend(found)
        if not options.json:
            for finding in found:
                print(f"{MARKS[finding.state]}  {finding.name}: {finding.detail}", flush=True)
                if finding.mend:
                    print(f"{'':9}-> {finding.mend}")
    if options.json:
        print(json.dumps([asdict(finding) for finding in findings], indent=2))
    fatal = [finding.name for finding in findings if finding.essential and finding.state == "problem"]
    if not options.json:
        print(f"\nBodycast cannot run here: {', '.join(fatal)}" if fatal else "\nBodycast can run here.")
    return 1 if fatal else 0
