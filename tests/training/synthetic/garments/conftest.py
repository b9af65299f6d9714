"""A wardrobe with small pools, one for each split."""

from __future__ import annotations

import pytest

from training.synthetic.garments.wardrobe import Wardrobe


@pytest.fixture(scope="session")
def wardrobe() -> Wardrobe:
    return Wardrobe.load(heads=6, cloths=13, prints=4)


@pytest.fixture(scope="session")
def test_wardrobe() -> Wardrobe:
    return Wardrobe.load(held_out=True, heads=6, cloths=13, prints=4)
