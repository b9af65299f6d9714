"""Heat maps read inside a graph give what `udp_decoding` gives."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bodycast.hmr.networks.heads.udp_decoding import refine_peaks
from bodycast.hmr.networks.heads.udp_keypoints import FARTHEST, UdpKeypoints, window_table

IMAGE_HW, MAP_HW = (256, 192), (64, 48)


def blobs(rng: np.random.Generator, rows: int = 4, keypoints: int = 17) -> np.ndarray:
    """(rows, keypoints, H, W) Gaussians of sigma 2 with some noise, their centres anywhere, borders included."""
    height, width = MAP_HW
    y, x = np.mgrid[:height, :width]
    centre = rng.uniform(0, 1, (rows, keypoints, 2, 1, 1)) * np.array([width - 1, height - 1])[:, None, None]
    maps = np.exp(-((x - centre[:, :, 0]) ** 2 + (y - centre[:, :, 1]) ** 2) / 8)
    return (maps + 0.02 * rng.random(maps.shape)).astype(np.float32)


def cells_of(keypoints: np.ndarray) -> np.ndarray:
    """Crop heights from the centre -> heat-map cells, under UDP."""
    pixels = keypoints[..., :2] * IMAGE_HW[0] + [IMAGE_HW[1] / 2, IMAGE_HW[0] / 2]
    return pixels * [(MAP_HW[1] - 1) / (IMAGE_HW[1] - 1), (MAP_HW[0] - 1) / (IMAGE_HW[0] - 1)]


def test_it_reads_what_numpy_reads() -> None:
    maps = blobs(np.random.default_rng(0))
    expected, scores = refine_peaks(maps)
    found = UdpKeypoints(MAP_HW, IMAGE_HW)(torch.from_numpy(maps)).numpy()
    np.testing.assert_allclose(cells_of(found), expected, atol=1e-4)
    np.testing.assert_allclose(found[..., 2], np.clip(scores, 0, 1), atol=1e-6)


def test_a_map_without_a_peak_has_no_confidence_and_no_step_leads_far() -> None:
    maps = np.random.default_rng(1).random((3, 5, *MAP_HW)).astype(np.float32)
    maps[0, 0] = -1
    found = UdpKeypoints(MAP_HW, IMAGE_HW)(torch.from_numpy(maps)).numpy()
    assert found[0, 0, 2] == 0 and np.isfinite(found).all()
    peaks = maps.reshape(3, 5, -1).argmax(axis=2)
    cells = np.stack([peaks % MAP_HW[1], peaks // MAP_HW[1]], axis=2)
    assert np.abs(cells_of(found) - cells).max() <= FARTHEST + 1e-3


def test_maps_that_are_too_small_to_blur_are_refused() -> None:
    with pytest.raises(ValueError, match="more than 5 cells"):
        window_table(5, 0)
