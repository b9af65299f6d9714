"""Crops from sets and streams: mixing, pools, augmentation, and what is delivered at the end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.training.toy import toy_crops, write_set
from training.augment import AUGMENTATIONS, Augmentation, augment, disturb
from training.crop_set import KNOWN_FILES, Arrays, Crops, as_batch
from training.sources import BatchFeed, Pool, SetSource, StreamSource, crops_from_stream

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def arrays() -> Arrays:
    return toy_crops(12)


def _chunks(arrays: Arrays, size: int = 4, last: Exception | None = None) -> Iterator[Arrays]:
    start = 0
    while last is None or start < 12:
        yield {name: array[start % 12 : start % 12 + size] for name, array in arrays.items()}
        start += size
    raise last


def test_bytes_and_floats_average_alike(arrays: Arrays) -> None:
    batch = as_batch(arrays, (128, 96))
    whole = as_batch(arrays, (256, 192)).images
    averaged = torch.nn.functional.avg_pool2d(whole, 2)
    assert (batch.images - averaged).abs().max() < 0.6 / 255 / 0.22  # bytes round


def test_real_sets_mix_with_synthetic_ones(arrays: Arrays, tmp_path: Path) -> None:
    synthetic = write_set(tmp_path / "a", arrays)
    shapes = {"known_joints": (12, 24), "points_2d": (12, 35, 2), "known_points": (12, 35)}
    known = {name: np.zeros(shapes.get(name, (12,)), np.float32) for name in KNOWN_FILES}
    real = write_set(tmp_path / "b", {**arrays, **known})
    batch = SetSource([synthetic, real], CPU, 0).draw(6, (64, 48))
    assert batch.known is not None and sorted(batch.known.pose.tolist()) == [0.0] * 3 + [1.0] * 3
    assert SetSource([synthetic], CPU, 0).draw(6, (64, 48)).known is None
    with pytest.raises(ValueError, match="cannot hold crops of 2 sets"):
        SetSource([synthetic, real], CPU, 0).draw(1, (64, 48))


def test_a_pool_keeps_the_latest_crops(arrays: Arrays) -> None:
    pool = Pool(8, CPU)
    for chunk, _ in zip(_chunks(arrays), range(3), strict=False):
        pool.add(chunk)
    assert len(pool) == 8 and pool.added == 12
    np.testing.assert_array_equal(pool.fields["betas"][:4].numpy(), arrays["betas"][8:12])
    np.testing.assert_array_equal(pool.fields["betas"][4:].numpy(), arrays["betas"][4:8])


def test_a_stream_feeds_every_size_and_passes_errors_on(arrays: Arrays) -> None:
    stopped = []
    source = StreamSource(_chunks(arrays), CPU, 12, 0, lambda: stopped.append(1), at_least=12)
    feed = BatchFeed(source, CPU, "full", 0)
    batches = feed.next(6, [(64, 48), (96, 72)])
    assert {b.images.shape for b in batches.values()} == {(6, 3, 64, 48), (6, 3, 96, 72)}
    assert batches[64, 48].pose is batches[96, 72].pose and source.seen >= 12
    source.close()
    assert stopped and not source._thread.is_alive()
    broken = StreamSource(_chunks(arrays, last=OSError("the renderer died")), CPU, 64, 0, at_least=60)
    with pytest.raises(OSError, match="the renderer died"):
        broken.draw(6, (64, 48))
    broken.close()


def test_test_crops_come_from_a_stream(arrays: Arrays) -> None:
    crops = crops_from_stream(_chunks(arrays), 10)
    assert isinstance(crops, Crops) and len(crops) == 10
    np.testing.assert_array_equal(crops.stored["pixels"], arrays["pixels"][:10])


def test_augmentation_does_what_it_says(arrays: Arrays) -> None:
    images = as_batch(arrays, (64, 48)).images
    assert disturb(images, AUGMENTATIONS["none"]) is images or torch.equal(
        disturb(images, AUGMENTATIONS["none"]), images
    )
    generator = torch.Generator().manual_seed(0)
    still = replace(AUGMENTATIONS["none"], cutout_share=1.0)
    covered = (disturb(images, still, generator) != images).any(1).flatten(1).float().mean(1)
    assert (covered > 0).float().mean() > 0.7 and (covered <= 0.17).all()
    blurred = disturb(images, replace(AUGMENTATIONS["none"], blur_share=1.0), generator)
    assert blurred.std() < images.std()
    grey = disturb(images, replace(AUGMENTATIONS["none"], grey_share=1.0), generator)
    torch.testing.assert_close(grey[:, 0], grey[:, 2])
    first = augment(as_batch(arrays, (64, 48)), Augmentation(), torch.Generator().manual_seed(1))
    again = augment(as_batch(arrays, (64, 48)), Augmentation(), torch.Generator().manual_seed(1))
    torch.testing.assert_close(first.images, again.images)
    assert (first.images - images).abs().max() > 0.1
    with pytest.raises(ValueError, match=r"there are none, colour.*full"):
        BatchFeed(SetSource.__new__(SetSource), CPU, "much", 0)
