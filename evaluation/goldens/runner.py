"""`python -m evaluation goldens DIR`: our networks against golden files; exit 1 if any is off.

An output is off where its largest absolute error exceeds 1e-4 *and* 1e-5 of its own largest value: the deepest
maps reach 50 in size, where float32 itself is no better than the second bound. An output that is stored as float16
is granted the half unit that storing it cost.
"""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluation.goldens.families import find_family
from evaluation.goldens.record import ABSOLUTE_BOUND, RELATIVE_BOUND, Answer, Golden, Ours

LONGEST_REASON = 300
Sample = tuple[NDArray[Any], tuple[int, ...]]
"""Flat indices of the elements that a file holds of an output, and the output's whole shape."""


@dataclass(frozen=True)
class Row:
    """The verdict on one output.

    Attributes:
        output: its name.
        absolute, relative: largest absolute error, and that divided by the output's largest value; NaN where
            nothing could be compared.
        status: `ok`, `OFF` or `not counted`.
        note: what to know about it.
    """

    output: str
    absolute: float
    relative: float
    status: str
    note: str = ""


def sampled(answer: NDArray[Any] | Ours, at: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any] | Ours:
    """Our whole answer at the elements that a reduced file holds; as it is where its shape is another one."""
    ours = answer if isinstance(answer, Ours) else Ours(np.asarray(answer))
    value = np.asarray(ours.value)
    if value.shape != shape:
        return ours
    where = None if ours.where is None else np.broadcast_to(ours.where, shape).ravel()[at]
    return replace(ours, value=value.ravel()[at], where=where)


def compare(name: str, expected: NDArray[Any], answer: NDArray[Any] | Ours) -> Row:
    """Judge our answer to one output."""
    ours = answer if isinstance(answer, Ours) else Ours(np.asarray(answer))
    value = np.asarray(ours.value)
    if value.shape != expected.shape:
        return Row(name, np.nan, np.nan, "OFF", f"shape {value.shape}, expected {expected.shape}")
    if not expected.size:
        return Row(name, 0.0, 0.0, "ok", "empty")
    where = np.ones(expected.shape, bool) if ours.where is None else np.broadcast_to(ours.where, expected.shape)
    if not where.any():
        return Row(name, np.nan, np.nan, "OFF", "the adapter compares none of its elements")
    reference = expected.astype(np.float64)[where]
    error = np.abs(value.astype(np.float64)[where] - reference)
    if expected.dtype == np.float16:
        error = np.maximum(0.0, error - np.spacing(np.abs(expected[where])).astype(np.float64) / 2)
    absolute = float(error.max()) if np.isfinite(error).all() else np.inf
    largest = float(np.abs(reference).max())
    relative = absolute / largest if largest > 0.0 else (0.0 if absolute == 0.0 else np.inf)
    if not ours.counted:
        status = "not counted"
    else:
        status = "OFF" if absolute > ABSOLUTE_BOUND and relative > RELATIVE_BOUND else "ok"
    note = ours.note
    if ours.where is not None:
        note = f"{int(where.sum())} of {where.size} elements. {note}".strip()
    return Row(name, absolute, relative, status, note)


def check(golden: Golden, debug: bool = False) -> list[Row]:
    """Run the file's adapter and judge every output; one without an answer, or whose answer fails, is off.

    Raises:
        LookupError: no family reads this file.
        ImportError: the adapter is not there.
        Exception: whatever the adapter raises before it answers.
    """
    import torch

    adapter = find_family(golden.meta).load()
    rows: list[Row] = []
    with torch.no_grad():
        answers = adapter(golden)
        for name, expected in golden.outputs.items():
            if name in answers:
                rows.append(_judge(name, expected, answers[name], golden.samples.get(name), debug))
            else:
                rows.append(Row(name, np.nan, np.nan, "OFF", "the adapter gives no answer"))
    return rows


def _judge(name: str, expected: NDArray[Any], answer: Answer, sample: Sample | None, debug: bool) -> Row:
    try:
        value = answer()
    except Exception as error:  # one output that cannot be computed must not hide the others
        return _failure(name, error, debug)
    found = value if isinstance(value, Ours) else np.asarray(value)
    return compare(name, expected, found if sample is None else sampled(found, *sample))


def check_file(path: Path, debug: bool = False) -> list[Row]:
    """Like `check`, from a path; a file that cannot be read or run gives one row that says why."""
    try:
        return check(Golden.load(path), debug)
    except Exception as error:  # one broken family must not hide the others: named, counted, exit code 1
        return [_failure("(file)", error, debug)]


def _failure(name: str, error: Exception, debug: bool) -> Row:
    if debug:
        traceback.print_exception(error)
    reason = " ".join(str(error).split()) or "no message"
    if len(reason) > LONGEST_REASON:
        reason = f"{reason[:LONGEST_REASON]} ..."
    return Row(name, np.nan, np.nan, "OFF", f"{type(error).__name__}: {reason}")


def print_rows(name: str, rows: Sequence[Row]) -> None:
    """One file's table."""
    print(f"{name}")
    for row in rows:
        errors = f"{row.absolute:10.2e} {row.relative:10.2e}"
        print(f"  {row.output:<32} {errors}  {row.status:<11}  {row.note}".rstrip())


def main(argv: Sequence[str]) -> int:
    """The command. Returns 0 where every counted output agrees, 1 where one does not, 2 for a wrong call."""
    parser = argparse.ArgumentParser(prog="python -m evaluation goldens", description=__doc__.splitlines()[0])
    parser.add_argument("directory", type=Path, help="folder of golden .npz files")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="only files with these names (without .npz)")
    parser.add_argument("--debug", action="store_true", help="print the traceback of a file that fails to run")
    args = parser.parse_args(argv)
    paths = sorted(args.directory.glob("*.npz"))
    if args.only:
        paths = [path for path in paths if path.stem in args.only]
    if not paths:
        print(f"goldens: no matching .npz in {args.directory}; give a folder of golden files", file=sys.stderr)
        return 2
    print(f"{'output':<34} {'max abs':>10} {'max rel':>10}  status")
    counts = {"ok": 0, "OFF": 0, "not counted": 0}
    off_files: list[str] = []
    for path in paths:
        rows = check_file(path, args.debug)
        print_rows(path.stem, rows)
        for row in rows:
            counts[row.status] += 1
        if any(row.status == "OFF" for row in rows):
            off_files.append(path.stem)
    summary = ", ".join(f"{count} {status}" for status, count in counts.items())
    print(f"\n{len(paths)} files; outputs: {summary}")
    if off_files:
        print(f"off: {', '.join(off_files)}")
    return 1 if off_files else 0
