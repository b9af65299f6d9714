"""Which hues garments may have: those of the test split are never drawn in training."""

from __future__ import annotations

import numpy as np

# Training never draws these, so that colours of the test split are new to a trained network.
HELD_OUT_HUES = (0.46, 0.56)


def garment_hue(rng: np.random.Generator, held_out: bool) -> float:
    """0..1: uniform over the held-out hues, or over all others."""
    low, high = HELD_OUT_HUES
    if held_out:
        return float(rng.uniform(low, high))
    hue = rng.uniform(0, 1 - (high - low))
    return float(hue if hue < low else hue + (high - low))
