"""Curves of a training run as one PNG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

# What is shown beside the loss, in this order; a task has some of them.
SCORES = ("mpjpe_mm", "pa_mpjpe_mm", "error_2d_percent", "pck20_percent", "consistency")


def plot_history(history: Sequence[dict[str, float | str]], path: Path) -> None:
    """Loss (of training) and the scores on the test crops over minutes; `history` as written to log.jsonl."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    rows = [entry for entry in history if "failed" not in entry]
    shown = ["total", *(score for score in SCORES if any(score in entry for entry in rows))]
    figure, axes = plt.subplots(1, len(shown), figsize=(4.4 * len(shown), 4), squeeze=False)
    for key, axis in zip(shown, axes[0], strict=True):
        for recipe in sorted({str(entry["recipe"]) for entry in rows}):
            own = [entry for entry in rows if entry["recipe"] == recipe and key in entry]
            minutes = [float(entry["minutes"]) for entry in own]
            marker = "" if key == "total" and len(own) > 1 else "."
            axis.plot(minutes, [float(entry[key]) for entry in own], marker=marker, label=recipe)
        axis.set_title("training loss" if key == "total" else f"test {key}")
        axis.set_xlabel("minutes")
        axis.grid(alpha=0.3)
        axis.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=90)
    plt.close(figure)
