"""Crops cut anew by a rolled camera: labels follow the picture."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.training.test_losses import _projected
from tests.training.toy import toy_crops
from training.augment import AUGMENTATIONS, augment
from training.batch import Batch, everything_known
from training.crop_camera import in_crop
from training.crop_set import Crops
from training.reframe import reframed


@pytest.fixture(scope="module")
def batch() -> Batch:
    return Crops(toy_crops(12)).rows(np.arange(12), (256, 192))


def turned(batch: Batch, turn: float, zoom: float, shift: tuple[float, float]) -> Batch:
    count = len(batch)
    return reframed(batch, torch.full((count,), turn), torch.full((count,), zoom), torch.tensor([shift] * count))


def test_nothing_done_changes_nothing(batch: Batch) -> None:
    same = turned(batch, 0.0, 1.0, (0.0, 0.0))
    for name in ("pose", "camera", "joints", "centre_px", "size_px", "parts"):
        torch.testing.assert_close(getattr(same, name), getattr(batch, name), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(same.images, batch.images, rtol=0, atol=1e-3)


def test_labels_agree_and_the_picture_follows(batch: Batch) -> None:
    other = turned(batch, 0.5, 1.2, (0.03, -0.05))
    ours, truth = _projected(other)
    assert (ours - truth).abs().max() < 2e-3
    # Places move as the definition says.
    cos, sin = np.cos(0.5), np.sin(0.5)
    before = in_crop(batch.joints, batch) - torch.tensor([0.03, -0.05])
    wanted = 1.2 * before @ torch.tensor([[cos, sin], [-sin, cos]], dtype=torch.float32)
    torch.testing.assert_close(truth, wanted, rtol=1e-4, atol=1e-4)
    seen = 0
    for row in range(len(batch)):  # the part map's dots of the left elbow
        rows, columns = torch.nonzero(other.parts[row] == 18 + 1, as_tuple=True)
        if len(rows):
            place = torch.stack([(columns.float().mean() + 0.5) / 64 - 0.375, (rows.float().mean() + 0.5) / 64 - 0.5])
            assert (place - truth[row, 18]).abs().max() < 2 / 64
            seen += 1
    assert seen > 3


def test_turned_back_it_is_the_same(batch: Batch) -> None:
    known = replace(batch, known=everything_known(batch))
    there = turned(known, 0.4, 1.25, (0.0, 0.0))
    back = turned(there, -0.4, 0.8, (0.0, 0.0))
    assert back.known is not None and known.known is not None
    for name in ("pose", "camera", "joints", "centre_px", "size_px"):
        torch.testing.assert_close(getattr(back, name), getattr(batch, name), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(back.known.points_2d, known.known.points_2d, rtol=1e-4, atol=1e-4)


def test_a_camera_without_a_label_stays_without(batch: Batch) -> None:
    blank = replace(batch, camera=torch.zeros_like(batch.camera))
    assert torch.equal(turned(blank, 0.4, 1.1, (0.0, 0.0)).camera, blank.camera)


def test_the_augmentation_turns_most_of_the_crops_and_repeats_itself(batch: Batch) -> None:
    def seen() -> Batch:
        return augment(batch, AUGMENTATIONS["reframed"], torch.Generator().manual_seed(4))

    other = seen()
    turned_share = ((other.size_px - batch.size_px).abs() > 1e-3).float().mean()
    assert 0.3 < turned_share < 1.0
    torch.testing.assert_close(other.images, seen().images)
