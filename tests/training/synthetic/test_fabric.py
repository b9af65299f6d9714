"""Fabrics repeat without a seam and come from their seed."""

from __future__ import annotations

import numpy as np
import pytest

from training.synthetic.fabric import PATTERNS, cloth_pool, print_pool, tile_noise, weave


@pytest.mark.parametrize("pattern", ["plain", "melange", "gingham", "blots", "flowers", "tartan", "denim"])
def test_tiles_have_no_seam(pattern: str) -> None:
    """Across the border neighbours differ no more than the worst neighbours within the tile do."""
    tile = weave(np.random.default_rng(3), pattern).astype(float)
    for axis in (0, 1):
        inside = np.abs(np.diff(tile, axis=axis)).mean(axis=(1 - axis, 2))
        border = np.abs(np.take(tile, 0, axis) - np.take(tile, -1, axis)).mean()
        assert border <= inside.max() + 2.0


def test_noise_repeats() -> None:
    noise = tile_noise(np.random.default_rng(0), 6)
    assert noise.shape == (256, 256)
    step = np.abs(np.diff(noise, axis=1)).max()
    assert np.abs(noise[:, 0] - noise[:, -1]).max() <= 1.5 * step
    assert noise.std() > 0.1


def test_pool_has_every_pattern_and_comes_from_the_seed() -> None:
    tiles, names = cloth_pool(5, 20)
    assert set(names) == set(PATTERNS) and tiles.shape == (20, 256, 256, 3)
    again, _ = cloth_pool(5, 20)
    np.testing.assert_array_equal(tiles, again)
    assert (cloth_pool(6, 20)[0] != tiles).any()
    with pytest.raises(ValueError, match="at least one of each"):
        cloth_pool(5, 3)


def test_prints_are_photographs_first_then_emblems() -> None:
    photograph = np.zeros((80, 120, 3), np.uint8)
    photograph[..., 0] = 200
    prints = print_pool(1, 4, [photograph])
    assert prints.shape == (4, 256, 256, 4)
    assert (prints[:2, ..., 0] == 200).all() and (prints[:2, ..., 3] == 255).all()
    for emblem in prints[2:]:
        assert 0.01 < (emblem[..., 3] > 0).mean() < 0.95
    assert (print_pool(1, 4)[0, ..., 3] == 0).any()
