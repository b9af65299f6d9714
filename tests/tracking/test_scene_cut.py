"""Cuts: found between two pictures, not made of movement, lamps or noise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bodycast.app.records import U8
from bodycast.app.tracking.scene_cut import SceneCutDetector, thumbnail


def room(seed: int, hw: tuple[int, int] = (180, 320)) -> U8:
    """A smooth random picture."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(0, 255, (6, 8, 3))
    rows = np.linspace(0, 5, hw[0]).astype(int)
    columns = np.linspace(0, 7, hw[1]).astype(int)
    return coarse[rows[:, None], columns[None]].astype(np.uint8)


def test_another_picture_is_a_cut_once() -> None:
    cuts = SceneCutDetector()
    assert [cuts.is_cut(image) for image in [room(1), room(1), room(2), room(2), room(1)]] == [
        False,
        False,
        True,
        False,
        True,
    ]


def test_a_lamp_is_no_cut() -> None:
    cuts = SceneCutDetector()
    dark = (room(1) * 0.3).astype(np.uint8)
    assert not cuts.is_cut(dark)
    assert not cuts.is_cut(room(1))


@pytest.mark.parametrize("level", [0, 16, 255])
@pytest.mark.parametrize("count", [1, 3])
def test_a_black_picture_or_a_flash_is_no_cut(level: int, count: int) -> None:
    cuts = SceneCutDetector()
    nothing = np.clip(np.random.default_rng(0).normal(level, 2, (180, 320, 3)), 0, 255).astype(np.uint8)
    pictures = [room(1), *[nothing] * count, room(1), room(1)]
    assert not any(cuts.is_cut(image) for image in pictures)


def test_another_shot_after_black_is_a_cut() -> None:
    cuts = SceneCutDetector()
    black = np.zeros((180, 320, 3), np.uint8)
    assert [cuts.is_cut(image) for image in [room(1), black, black, room(2), room(2)]] == [False] * 3 + [True, False]


def test_noise_in_the_dark_is_no_cut() -> None:
    cuts = SceneCutDetector()
    rng = np.random.default_rng(0)
    for _ in range(10):
        assert not cuts.is_cut(rng.integers(0, 25, (180, 320, 3)).astype(np.uint8))


def test_somebody_who_walks_in_is_no_cut() -> None:
    cuts = SceneCutDetector()
    background = room(3)
    for step in range(20):
        image = background.copy()
        image[30:, : step * 8] = 250
        assert not cuts.is_cut(image)


def test_a_thumbnail_is_the_grey_mean_of_its_cells() -> None:
    image = np.zeros((180, 320, 3), np.uint8)
    image[:, 160:] = (30, 60, 90)
    small = thumbnail(image)
    assert small.shape == (18, 32)
    np.testing.assert_allclose(small[:, 17:], 60, atol=1e-4)
    np.testing.assert_allclose(small[:, :15], 0, atol=1e-4)


@pytest.mark.parametrize("clip", ["taiji.mp4", "run.mp4"])
def test_real_films_without_a_cut(shared_dir: Path, clip: str) -> None:
    import cv2

    capture = cv2.VideoCapture(str(shared_dir / "media" / clip))
    cuts = SceneCutDetector()
    frames = 0
    while frames < 120:
        there, image = capture.read()
        if not there:
            break
        assert not cuts.is_cut(np.asarray(image, np.uint8)), f"frame {frames}"
        frames += 1
    assert frames > 100


def test_a_picture_of_another_size_is_a_cut() -> None:
    cuts = SceneCutDetector()
    assert [cuts.is_cut(room(1, hw)) for hw in ((180, 320), (90, 160), (90, 160))] == [False, True, False]
