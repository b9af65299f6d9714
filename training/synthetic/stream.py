"""Synthetic crops without end, rendered by worker processes while a network trains on them.

    with RenderedStream(Path("work/pack"), split="train", seed=0, workers=14) as stream:
        for arrays in stream.arrays(256): ...                       # numpy, uint8 pixels: for a GPU
        for batch in stream.batches(64, (192, 144), 0, 0.5): ...    # as CropSet.batches gives them

Each worker is a process of its own (`training.synthetic.worker`, which never loads torch) with a GL context of its own.
It writes chunks of 32 crops into memory that both sides see, so that no picture is copied through a pipe. Chunks are
taken from the workers in turn: the stream depends on pack, split, seed and the number of workers alone.
"""

from __future__ import annotations

import mmap
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from training.synthetic.chunk import CHUNK, CHUNKS_PER_CAST, FIELDS, chunk_bytes, chunk_views

if TYPE_CHECKING:
    from training.crop_set import Batch

Arrays = dict[str, NDArray[np.generic]]
SLOTS = 3
REPOSITORY = Path(__file__).resolve().parents[2]


class RenderError(RuntimeError):
    """A worker that renders has stopped; the message ends with what it said last."""


@dataclass
class _Worker:
    process: subprocess.Popen[str]
    views: list[Arrays]  # one per slot
    log: IO[bytes]

    def order(self, slot: int) -> None:
        """Ask for the next chunk, into a slot."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(f"{slot}\n")
            self.process.stdin.flush()
        except BrokenPipeError as error:
            raise self.failure() from error

    def receive(self) -> tuple[int, int]:
        """Wait for the oldest ordered chunk; its slot and its number in the set."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise self.failure()
        slot, number = line.split()
        return int(slot), int(number)

    def failure(self) -> RenderError:
        code = self.process.wait()
        self.log.seek(0)
        said = self.log.read().decode(errors="replace").strip().splitlines()
        return RenderError(f"a render worker ended with code {code}: {said[-1] if said else 'it said nothing'}")


class RenderedStream:
    """Crops of one split from a pack (`python -m training.synthetic.pack`), rendered in `workers` processes.

    first: number of the cast (CHUNK * CHUNKS_PER_CAST crops) to begin with, to go on where a set or a run ended.
    Raises RenderError where a worker fails (no pack, no OpenGL).
    """

    def __init__(self, pack: Path, *, split: str = "train", seed: int = 0, workers: int = 1, first: int = 0) -> None:
        if workers < 1:
            raise ValueError(f"workers: expected 1 or more, got {workers}")
        self._workers = [self._start(pack, split, seed, first + rank, workers) for rank in range(workers)]
        for slot in range(SLOTS):
            for worker in self._workers:
                worker.order(slot)

    @staticmethod
    def _start(pack: Path, split: str, seed: int, first: int, step: int) -> _Worker:
        size = chunk_bytes()
        # An anonymous file: /dev/shm is often too small in containers.
        shared = os.memfd_create("bodycast-crops")
        os.ftruncate(shared, SLOTS * size)
        memory = memoryview(mmap.mmap(shared, SLOTS * size))
        log = tempfile.TemporaryFile()  # noqa: SIM115 closed by close()
        process = subprocess.Popen(
            [sys.executable, "-m", "training.synthetic.worker", str(pack.resolve()), "--split", split,
             "--seed", str(seed), "--first", str(first), "--step", str(step), "--memory", str(shared)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, cwd=REPOSITORY, pass_fds=(shared,),
        )  # fmt: skip
        os.close(shared)
        return _Worker(process, [chunk_views(memory[i * size : (i + 1) * size]) for i in range(SLOTS)], log)

    def chunks(self) -> Iterator[tuple[int, Arrays]]:
        """(number, arrays) of 32 crops each, worker by worker; chunk n of a set holds its rows 32 n to 32 n + 31.

        The arrays are the worker's own memory: copy what is needed beyond the next step.
        """
        while True:
            for worker in self._workers:
                slot, number = worker.receive()
                yield number, worker.views[slot]
                worker.order(slot)

    def arrays(self, size: int) -> Iterator[Arrays]:
        """Batches of `size` crops by the names of FIELDS: pixels (size,256,192,3) uint8 RGB, parts (size,64,48) uint8,
        the rest float32; copies that the caller may keep."""
        batch, filled = _empty(size), 0
        for _, chunk in self.chunks():
            taken = 0
            while taken < CHUNK:
                count = min(CHUNK - taken, size - filled)
                for name, array in batch.items():
                    array[filled : filled + count] = chunk[name][taken : taken + count]
                taken, filled = taken + count, filled + count
                if filled == size:
                    yield batch
                    batch, filled = _empty(size), 0

    def batches(self, size: int, image_hw: tuple[int, int], seed: int, flip: float) -> Iterator[Batch]:
        """Normalised, augmented tensors on the CPU, as `training.crop_set.CropSet.batches` gives them."""
        import torch

        from training.crop_set import as_batch, jitter_colours, mirrored

        generator = torch.Generator().manual_seed(seed)
        rng = np.random.default_rng(seed)
        for arrays in self.arrays(size):
            batch = as_batch(arrays, image_hw)
            if rng.random() < flip:
                batch = mirrored(batch)
            yield replace(batch, images=jitter_colours(batch.images, generator))

    def close(self) -> None:
        """Stop the workers."""
        for worker in self._workers:
            worker.process.kill()
        for worker in self._workers:
            worker.process.communicate()
            worker.log.close()

    def __enter__(self) -> RenderedStream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _empty(size: int) -> Arrays:
    return {name: np.empty((size, *shape), dtype) for name, (shape, dtype) in FIELDS.items()}


__all__ = ["CHUNK", "CHUNKS_PER_CAST", "FIELDS", "RenderError", "RenderedStream"]
