"""Heat-map decoding: a Gaussian's centre is found, and found again through crop and flip."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from bodycast.hmr.networks.heads.udp_decoding import (
    COCO_FLIP_PAIRS,
    crop_matrix,
    decode_heatmaps,
    find_peaks,
    flip_heatmaps,
    gaussian_blur,
    refine_peaks,
)


def blobs(centres: NDArray[np.float64], hw: tuple[int, int] = (64, 48)) -> NDArray[np.float64]:
    """Heat maps (N, K, H, W), sigma 2, around centres (N, K, 2)."""
    y, x = np.mgrid[: hw[0], : hw[1]]
    square = (x - centres[..., 0, None, None]) ** 2 + (y - centres[..., 1, None, None]) ** 2
    return np.exp(-square / 8)


def centres(seed: int = 0) -> NDArray[np.float64]:
    return np.random.default_rng(seed).uniform([6, 6], [41, 57], (3, 17, 2))


@pytest.mark.parametrize(("method", "cells"), [("udp", 0.02), ("dark", 0.06), ("default", 0.36), ("argmax", 0.71)])
def test_peaks_are_found_to_a_fraction_of_a_cell(method: str, cells: float) -> None:
    true = centres()
    found, scores = refine_peaks(blobs(true), method)
    assert np.linalg.norm(found - true, axis=-1).max() < cells
    assert scores.min() > 0.9


def test_decoding_inverts_the_crop() -> None:
    """A point goes through the crop's matrix to the heat map and comes back to the picture."""
    center, size = np.array([[100.0, 200.0]]), np.array([[150.0, 200.0]])
    true = np.random.default_rng(1).uniform([40, 120], [160, 280], (1, 17, 2))
    matrix = crop_matrix(center, size, (192, 256))
    crop_px = true @ matrix[0, :, :2].T + matrix[0, :, 2]
    cells = crop_px * np.array([47 / 191, 63 / 255])
    xy, _ = decode_heatmaps(blobs(cells), center, size)
    assert np.linalg.norm(xy - true, axis=-1).max() < 0.1


def test_udp_is_unbiased_under_mirroring_and_argmax_is_not_better() -> None:
    true = centres(2)
    maps = blobs(true)
    mirrored = maps[..., ::-1][:, np.argsort(np.arange(17))]
    back = flip_heatmaps(flip_heatmaps(maps))
    np.testing.assert_array_equal(back, maps)
    found, _ = refine_peaks(mirrored)
    np.testing.assert_allclose(47 - found[..., 0], true[..., 0], atol=0.02)


def test_flip_exchanges_left_and_right() -> None:
    maps = np.zeros((1, 17, 4, 4))
    maps[0, 1, 2, 0] = 1.0
    flipped = flip_heatmaps(maps, COCO_FLIP_PAIRS)
    assert np.argwhere(flipped).tolist() == [[0, 2, 2, 3]]


def test_a_map_without_a_peak_says_so() -> None:
    maps = -np.ones((1, 2, 8, 6))
    maps[0, 1, 3, 3] = 0.5
    cells, scores = find_peaks(maps)
    assert cells[0].tolist() == [[-1.0, -1.0], [3.0, 3.0]] and scores[0].tolist() == [-1.0, 0.5]
    for method in ("udp", "dark", "default", "argmax"):
        refined, _ = refine_peaks(maps, method)
        assert refined[0, 0].tolist() == [-1.0, -1.0]


def test_nobody_in_nobody_out() -> None:
    xy, scores = decode_heatmaps(np.zeros((0, 17, 64, 48)), np.zeros((0, 2)), np.zeros((0, 2)))
    assert xy.shape == (0, 17, 2) and scores.shape == (0, 17)


def test_blur_keeps_sums_in_the_middle_and_needs_an_odd_width() -> None:
    maps = np.zeros((1, 1, 31, 31))
    maps[0, 0, 15, 15] = 1.0
    blurred = gaussian_blur(maps, 11)
    assert blurred.sum() == pytest.approx(1.0)
    assert blurred.max() == pytest.approx(1 / (2 * np.pi * 4), rel=0.02)  # sigma 2
    with pytest.raises(ValueError, match="odd"):
        gaussian_blur(maps, 10)


def test_wrong_inputs_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(N, K, H, W\)"):
        decode_heatmaps(np.zeros((17, 64, 48)), np.zeros((1, 2)), np.zeros((1, 2)))
    with pytest.raises(ValueError, match="udp"):
        decode_heatmaps(np.zeros((1, 1, 8, 6)), np.zeros((1, 2)), np.ones((1, 2)), "soft")
