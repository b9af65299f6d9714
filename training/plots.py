"""Curves of a training run as one PNG."""

from __future__ import annotations

from pathlib import Path


def plot_history(history: list[dict[str, float | str]], path: Path) -> None:
    """Loss and test errors over minutes; `history` as written to log.jsonl."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 3, figsize=(13, 4))
    for recipe in sorted({str(entry["recipe"]) for entry in history}):
        rows = [entry for entry in history if entry["recipe"] == recipe]
        minutes = [float(entry["minutes"]) for entry in rows]
        for axis, key in zip(axes, ("total", "mpjpe_mm", "error_2d_percent"), strict=True):
            axis.plot(minutes, [float(entry[key]) for entry in rows], marker=".", label=recipe)
            axis.set_title(key)
            axis.set_xlabel("minutes")
            axis.grid(alpha=0.3)
        axes[1].plot(minutes, [float(entry["pa_mpjpe_mm"]) for entry in rows], ls=":", label=f"{recipe} PA")
    for axis in axes:
        axis.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=90)
    plt.close(figure)
