"""Where batches come from: sets on disk, or the renderer; and how they reach the networks' device.

One stream serves every network that is being trained: each step's crops are brought to the device once, disturbed
once, and averaged down to the size that each network takes.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from training.augment import AUGMENTATIONS, Augmentation, augment, resized
from training.batch import Batch, joined
from training.crop_set import Arrays, Crops, CropSet, as_batch

__all__ = ["BatchFeed", "Pool", "SetSource", "Source", "StreamSource", "crops_from_stream"]


class Source(Protocol):
    """Crops without end."""

    def draw(self, size: int, image_hw: tuple[int, int]) -> Batch:
        """The next `size` crops at that size or larger, undisturbed, on the device."""
        ...

    @property
    def seen(self) -> int:
        """How many different crops there have been so far."""
        ...

    def close(self) -> None: ...


class SetSource:
    """One or more sets on disk, mixed by their sizes."""

    def __init__(self, folders: Sequence[Path], device: torch.device, seed: int) -> None:
        self.sets = [CropSet(folder) for folder in folders]
        self.device = device
        self.seed = seed
        self._iterators: dict[int, list[Iterator[Arrays]]] = {}

    @property
    def seen(self) -> int:
        return sum(len(crops) for crops in self.sets)

    def _shares(self, size: int) -> list[int]:
        """Rows of each set in a batch: by size, at least one each, `size` together."""
        counts = np.array([len(crops) for crops in self.sets], np.float64)
        shares = np.maximum(1, np.floor(size * counts / counts.sum())).astype(int)
        shares[int(shares.argmax())] += size - shares.sum()
        if shares.min() < 1:
            raise ValueError(f"a batch of {size} cannot hold crops of {len(self.sets)} sets: enlarge it")
        return [int(share) for share in shares]

    def draw(self, size: int, image_hw: tuple[int, int]) -> Batch:
        """Rows of all sets."""
        if size not in self._iterators:
            self._iterators[size] = [
                crops.arrays(share, self.seed + i)
                for i, (crops, share) in enumerate(zip(self.sets, self._shares(size), strict=True))
            ]
        parts = [as_batch(next(arrays), image_hw, self.device) for arrays in self._iterators[size]]
        return parts[0] if len(parts) == 1 else joined(parts)

    def close(self) -> None:
        """Nothing to stop."""


class Pool:
    """The latest `capacity` crops as bytes on the device, drawn at random: a trainer that is faster than the renderer
    sees each of them several times, never twice in a row."""

    def __init__(self, capacity: int, device: torch.device) -> None:
        self.capacity = capacity
        self.device = device
        self.added = 0
        self.fields: dict[str, Tensor] = {}

    def __len__(self) -> int:
        return min(self.added, self.capacity)

    def add(self, arrays: Arrays) -> None:
        """Crops take the place of the oldest ones."""
        count = len(arrays["score"])
        rows = (torch.arange(count, device=self.device) + self.added) % self.capacity
        for name, array in arrays.items():
            tensor = torch.from_numpy(np.ascontiguousarray(array))
            if name not in self.fields:
                self.fields[name] = torch.empty(
                    self.capacity, *tensor.shape[1:], dtype=tensor.dtype, device=self.device
                )
            if self.device.type == "cuda":
                tensor = tensor.pin_memory().to(self.device, non_blocking=True)
            self.fields[name][rows] = tensor
        self.added += count

    def draw(self, size: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Random rows of what is there."""
        rows = torch.randint(len(self), (size,), generator=generator, device=self.device)
        return {name: values[rows] for name, values in self.fields.items()}


class StreamSource:
    """Crops from the renderer, through a pool.

    chunks: arrays without end (`RenderedStream.arrays`). A thread fetches them; its error is raised at the next draw.
    """

    def __init__(
        self,
        chunks: Iterator[Arrays],
        device: torch.device,
        capacity: int,
        seed: int,
        stop: Callable[[], None] = lambda: None,
        at_least: int = 256,
    ) -> None:
        self.pool = Pool(capacity, device)
        self.device = device
        self.at_least = max(1, min(at_least, capacity))
        self.generator = torch.Generator(device=device).manual_seed(seed)
        self._stop = stop
        self._stopping = threading.Event()
        self._queue: queue.Queue[Arrays | BaseException] = queue.Queue(maxsize=64)
        self._thread = threading.Thread(target=self._fetch, args=(chunks,), name="crops", daemon=True)
        self._thread.start()

    def _fetch(self, chunks: Iterator[Arrays]) -> None:
        try:
            for arrays in chunks:
                self._put(arrays)
                if self._stopping.is_set():
                    return
            raise RuntimeError("the stream of crops has ended")
        except BaseException as error:  # raised again by the thread that trains
            self._put(error)

    def _put(self, item: Arrays | BaseException) -> None:
        while not self._stopping.is_set():
            try:
                self._queue.put(item, timeout=0.2)
            except queue.Full:
                continue
            return

    @property
    def seen(self) -> int:
        return self.pool.added

    def draw(self, size: int, image_hw: tuple[int, int]) -> Batch:
        """A random batch; waits only until `at_least` crops are there."""
        from training.augment import normalise

        # What has come by now and no more: a renderer that is faster than this would never let go.
        for _ in range(self._queue.qsize()):
            self._add(self._queue.get())
        while len(self.pool) < self.at_least:
            try:
                self._add(self._queue.get(timeout=600))
            except queue.Empty:
                raise RuntimeError("no crops came in ten minutes") from None
        fields = self.pool.draw(size, self.generator)
        pixels = fields.pop("pixels")
        fields["parts"] = fields["parts"].long()
        return Batch(images=normalise(pixels, image_hw), **fields)

    def _add(self, item: Arrays | BaseException) -> None:
        if isinstance(item, BaseException):
            raise item
        self.pool.add(item)

    def close(self) -> None:
        """Stop the renderer and the thread."""
        self._stopping.set()
        self._stop()
        self._thread.join(timeout=5)


class BatchFeed:
    """Each step's batch at every size that is asked for, disturbed alike."""

    def __init__(self, source: Source, device: torch.device, augmentation: str, seed: int, flip: float = 0.5) -> None:
        if augmentation not in AUGMENTATIONS:
            raise ValueError(f"no augmentation {augmentation!r}; there are {', '.join(AUGMENTATIONS)}")
        how = AUGMENTATIONS[augmentation]
        self.how: Augmentation = Augmentation(**{**vars(how), "flip": min(flip, how.flip)})
        self.source = source
        self.generator = torch.Generator(device=device).manual_seed(seed)

    def next(self, size: int, sizes: Sequence[tuple[int, int]]) -> dict[tuple[int, int], Batch]:
        """The next `size` crops at each of `sizes` (height, width); labels are shared."""
        largest = max(sizes)
        batch = augment(self.source.draw(size, largest), self.how, self.generator)
        shared = {name: value for name, value in vars(batch).items() if name != "images"}
        return {hw: Batch(images=resized(batch.images, hw), **shared) for hw in set(sizes)}


def crops_from_stream(chunks: Iterator[Arrays], count: int) -> Crops:
    """The first `count` crops of a stream, kept in memory: a test set where there is no folder."""
    found: list[Arrays] = []
    have = 0
    for arrays in chunks:
        found.append({name: np.array(array) for name, array in arrays.items()})
        have += len(arrays["score"])
        if have >= count:
            break
    return Crops({name: np.concatenate([part[name] for part in found])[:count] for name in found[0]})
