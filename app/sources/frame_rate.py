"""Frame rates that can be: what a container states is a claim."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

SLOWEST_FPS, FASTEST_FPS = 1.0, 240.0
_LIKE_STATED = 0.1
"""Frames that come faster than stated by less than this share confirm the stated rate."""


def stated_rate(*rates: object) -> float | None:
    """The first of these (numbers, fractions, None) that a camera can have; None where there is none: it is unknown,
    and measured. A variable-rate transport stream states the 90,000 ticks of its clock."""
    for rate in rates:
        try:
            fps = float(rate)  # pyright: ignore[reportArgumentType]  what is no number is no rate
        except (TypeError, ValueError, ZeroDivisionError, OverflowError):
            continue
        if math.isfinite(fps) and SLOWEST_FPS <= fps <= FASTEST_FPS:
            return fps
    return None


def measured_rate(steps_s: Iterable[float], stated: float | None, fallback: float) -> float:
    """Frames per second from the seconds between frames: their median, so that a pause counts for nothing. The stated
    rate where frames do not come clearly faster (slower: some were dropped); `fallback` where nothing is known."""
    steps: Sequence[float] = [step for step in steps_s if step > 0]
    if not steps:
        return stated_rate(stated) or fallback
    fps = float(np.clip(1.0 / float(np.median(steps)), SLOWEST_FPS, FASTEST_FPS))
    if stated is not None and fps < (1 + _LIKE_STATED) * stated:
        return stated
    return fps
