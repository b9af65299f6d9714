"""The picture of `python -m evaluation smooth`: error against lag, and error against shaking."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from bodycast.app.smoothers.diffusion.decoder import OFFLINE_LAG_S

WIDTH, HEIGHT, MARGIN = 560, 420, 62
_INK, _GRID = (60, 60, 60), (225, 225, 225)
_COLOURS = {"raw": (150, 150, 150), "one-euro": (60, 130, 230), "diffusion": (180, 110, 30)}


def draw(path: Path, figures: dict[str, dict[str, float]]) -> None:
    """Write two charts side by side. figures: smoother -> figures of all clips. Raises OSError."""
    lag = {name: _lag_s(name) for name in figures}
    mpjpe = {name: row["mpjpe_mm"] for name, row in figures.items()}
    jitter = {name: row["accel_mm_frame2"] for name, row in figures.items()}
    left = _chart("lag, s", "MPJPE, mm", lag, mpjpe)
    right = _chart("acceleration error, mm per frame^2 (log)", "MPJPE, mm", jitter, mpjpe, log_x=True)
    if not cv2.imwrite(str(path), np.hstack([left, right])):
        raise OSError(f"{path}: cannot be written")


def _lag_s(name: str) -> float:
    words = name.partition(",")[0].split()
    return float(words[1]) if len(words) > 2 else OFFLINE_LAG_S if words[-1] == "offline" else 0.0


def _chart(x_title: str, y_title: str, x: dict[str, float], y: dict[str, float], log_x: bool = False) -> np.ndarray:
    canvas = np.full((HEIGHT, WIDTH, 3), 255, np.uint8)
    across = {name: float(np.log10(max(value, 1e-3))) if log_x else value for name, value in x.items()}
    low_x, high_x = _range(list(across.values()))
    low_y, high_y = _range(list(y.values()))

    def at(px: float, py: float) -> tuple[int, int]:
        u = MARGIN + (px - low_x) / (high_x - low_x) * (WIDTH - 2 * MARGIN)
        v = HEIGHT - MARGIN - (py - low_y) / (high_y - low_y) * (HEIGHT - 2 * MARGIN)
        return round(u), round(v)

    for part in np.linspace(0, 1, 5):
        px, py = low_x + part * (high_x - low_x), low_y + part * (high_y - low_y)
        cv2.line(canvas, at(px, low_y), at(px, high_y), _GRID, 1)
        cv2.line(canvas, at(low_x, py), at(high_x, py), _GRID, 1)
        shown = 10**px if log_x else px
        _text(canvas, f"{shown:.3g}", (at(px, low_y)[0] - 14, HEIGHT - MARGIN + 18))
        _text(canvas, f"{py:.0f}", (MARGIN - 36, at(low_x, py)[1] + 4))
    for name, value in across.items():
        point = at(value, y[name])
        cv2.circle(canvas, point, 5, _COLOURS[name.split()[0]], -1, cv2.LINE_AA)
        _text(canvas, name, (min(point[0] + 8, WIDTH - 130), point[1] - 6))
    _text(canvas, x_title, (WIDTH // 2 - 4 * len(x_title), HEIGHT - 14))
    _text(canvas, y_title, (10, 22))
    return canvas


def _range(values: list[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    spare = max(0.08 * (high - low), 1e-3)
    return low - spare, high + spare


def _text(canvas: np.ndarray, text: str, at: tuple[int, int]) -> None:
    cv2.putText(canvas, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.42, _INK, 1, cv2.LINE_AA)
