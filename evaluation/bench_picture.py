"""Time against error, one disc for each package and engine, its area by the number of parameters. Needs matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from evaluation.bench_engines import EngineTime

_AREA_PER_MILLION = 40.0
_LABEL_HEIGHTS = (14, -20, 28, -34)
"""Points above or below a disc."""


def draw(rows: Sequence[EngineTime], path: Path) -> str:
    """Draw the smallest batch of every package and engine whose error is known; gives a line about the file.

    Raises: ValueError where no row has an error.
    """
    smallest = min((row.batch for row in rows), default=0)
    shown = [row for row in rows if row.batch == smallest and row.error is not None]
    if not shown:
        raise ValueError("no picture: none of the packages has a parity report for these engines; export them again")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    engines = sorted({row.engine for row in shown})
    for index, engine in enumerate(engines):
        mine = [row for row in shown if row.engine == engine]
        areas = [_AREA_PER_MILLION * row.parameters / 1e6 for row in mine]
        errors = [_shown_error(row) for row in mine]
        axes.scatter([row.least_ms for row in mine], errors, s=areas, alpha=0.6, label=engine, color=f"C{index}")
    # From left to right, labels in turns above and below: neighbours would cover each other.
    for turn, row in enumerate(sorted(shown, key=lambda row: row.least_ms)):
        height = _LABEL_HEIGHTS[turn % len(_LABEL_HEIGHTS)]
        text = row.package if row.package.endswith(row.precision) else f"{row.package} {row.precision}"
        axes.annotate(
            text,
            (row.least_ms, _shown_error(row)),
            xytext=(0, height),
            textcoords="offset points",
            ha="center",
            fontsize=7,
            arrowprops={"arrowstyle": "-", "lw": 0.4},
        )
    axes.margins(x=0.1, y=0.2)
    axes.set_yscale("log")
    axes.set_xlim(left=0)
    axes.set_xlabel(f"least milliseconds a crop at batch {smallest}")
    axes.set_ylabel(f"difference from fp32 torch: {shown[0].error_name.replace('_', ' ')}")
    axes.legend(title="engine; area: parameters")
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)
    return f"{path}: {len(shown)} packages on engines"


def _shown_error(row: EngineTime) -> float:
    """An error of zero has no place on a logarithmic axis."""
    return max(row.error or 0.0, 1e-6)
