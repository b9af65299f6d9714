"""`python -m evaluation cost-figure --out FILE.png`: accuracy on real people against cost, one circle a network.

As the figure of Tarashima et al. (arXiv 2510.12660, figure 1), with what was measured here: PCK@0.2 of 63 labelled
people and PA-MPJPE of 40 triangulated photographs against CPU time; a circle's area is the number of parameters. The
figures are those of docs/models.md, kept in evaluation/accuracy_cost.json; `--table` takes others of the same form.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bodycast.app.errors import BodycastError, UsageError
from bodycast.app.files.output_file import check_target

TABLE = Path(__file__).with_name("accuracy_cost.json")
AREA_OF_A_MILLION = 25.0


@dataclass(frozen=True)
class Row:
    """One network or preset: time of one person, size, share of joints within 0.2 torso lengths in %, error in mm."""

    name: str
    cpu_ms: float
    parameters_m: float
    pck: float
    pa_mpjpe_mm: float


def read_table(path: Path) -> list[Row]:
    """Raises: UsageError for a file of another form."""
    try:
        rows = [Row(**row) for row in json.loads(path.read_text())]
    except (OSError, ValueError, TypeError) as error:
        raise UsageError(f"{path}: no table of accuracy and cost ({error})") from error
    if not rows:
        raise UsageError(f"{path}: the table is empty")
    return rows


def draw(rows: Sequence[Row], out: Path) -> None:
    """Two panels, written as PNG."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(1, 2, figsize=(11, 4.4), layout="constrained")
    for panel, field, label in (
        (panels[0], "pck", "PCK@0.2 of 63 labelled people, %"),
        (panels[1], "pa_mpjpe_mm", "PA-MPJPE of 40 photographs, mm"),
    ):
        for row in rows:
            value = getattr(row, field)
            panel.scatter(row.cpu_ms, value, s=AREA_OF_A_MILLION * row.parameters_m, alpha=0.6)
            panel.annotate(row.name, (row.cpu_ms, value), textcoords="offset points", xytext=(9, 7), fontsize=8)
        panel.set_xlabel("CPU time of one person, ms (one thread)")
        panel.set_ylabel(label)
        panel.set_xlim(0, 1.35 * max(row.cpu_ms for row in rows))
        panel.grid(alpha=0.3)
    figure.savefig(out, dpi=110)
    plt.close(figure)


def main(argv: Sequence[str]) -> int:
    """Command line. Exit code 2 for bad input."""
    parser = argparse.ArgumentParser(
        prog="python -m evaluation cost-figure",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", type=Path, required=True, help="PNG to write")
    parser.add_argument("--table", type=Path, default=TABLE, help="JSON of the same form")
    parser.add_argument("--overwrite", action="store_true")
    args = parser.parse_args(argv)
    try:
        check_target(args.out, args.overwrite)
        draw(read_table(args.table), args.out)
    except BodycastError as error:
        print(f"evaluation cost-figure: {error}", file=sys.stderr)
        return error.exit_code
    print(args.out)
    return 0
