"""The layout of a chunk of crops: what a render worker writes and what sets on disk are made of."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

CHUNK = 32
# One cast of people (bodies, clothes, textures) acts in this many chunks: making it is what costs most.
CHUNKS_PER_CAST = 8
# name -> shape of one crop's entry, dtype. See training.crop_set.Batch for the meaning.
FIELDS: dict[str, tuple[tuple[int, ...], str]] = {
    "pixels": ((256, 192, 3), "u1"),
    "parts": ((64, 48), "u1"),
    "pose": ((24, 3, 3), "f4"),
    "betas": ((10,), "f4"),
    "camera": ((3,), "f4"),
    "joints": ((24, 3), "f4"),
    "centre_px": ((2,), "f4"),
    "size_px": ((), "f4"),
    "focal_px": ((), "f4"),
    "image_wh": ((2,), "f4"),
    "score": ((), "f4"),
}
SPLIT_SALT = {"train": 1, "test": 2}


def _sizes() -> list[int]:
    return [CHUNK * int(np.prod(shape, dtype=int)) * np.dtype(dtype).itemsize for shape, dtype in FIELDS.values()]


def chunk_bytes() -> int:
    """Bytes of one chunk, all fields one after the other."""
    return sum(_sizes())


def chunk_views(memory: memoryview | bytearray) -> dict[str, NDArray[np.generic]]:
    """The fields of a chunk as arrays (CHUNK, ...) on `memory`, which they share."""
    memory = memoryview(memory)
    views: dict[str, NDArray[np.generic]] = {}
    start = 0
    for (name, (shape, dtype)), size in zip(FIELDS.items(), _sizes(), strict=True):
        views[name] = np.frombuffer(memory[start : start + size], dtype).reshape(CHUNK, *shape)
        start += size
    return views
