"""Sets of crops, on disk or in memory, as arrays and as batches of tensors."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bodycast.npz import map_npy
from training.augment import Augmentation, augment, disturb, normalise
from training.batch import Batch, Known, mirrored
from training.synthetic.chunk import FIELDS

__all__ = ["Batch", "CropSet", "Crops", "as_batch", "jitter_colours", "mean_parameters", "mirrored", "normalise"]

Arrays = dict[str, NDArray[np.generic]]
# A set of real pictures says with these what it knows (`training.batch.Known`); all of them or none.
KNOWN_FILES = {
    "known_pose": "pose",
    "known_betas": "betas",
    "known_camera": "camera",
    "known_parts": "parts",
    "known_joints": "joints",
    "points_2d": "points_2d",
    "known_points": "points",
}


def as_batch(
    arrays: Mapping[str, NDArray[np.generic]], image_hw: tuple[int, int], device: torch.device | None = None
) -> Batch:
    """A batch from arrays by the names of FIELDS (and of KNOWN_FILES): pixels (B,256,192,3) uint8 RGB, the rest labels.

    Pictures are averaged down to `image_hw`: on a CPU as bytes, which is several times cheaper than as floats.
    """
    device = torch.device("cpu") if device is None else device
    pixels = arrays["pixels"]
    if device.type == "cpu" and pixels.shape[1:3] != tuple(image_hw):
        size = (image_hw[1], image_hw[0])
        pixels = np.stack([cv2.resize(picture, size, interpolation=cv2.INTER_AREA) for picture in pixels])
    tensors = {name: _on(device, array) for name, array in arrays.items() if name != "pixels"}
    known = {ours: tensors.pop(name) for name, ours in KNOWN_FILES.items() if name in tensors}
    tensors["parts"] = tensors["parts"].long()
    images = normalise(_on(device, pixels), image_hw)
    return Batch(images=images, **tensors, known=Known(**known) if known else None)


def _on(device: torch.device, array: NDArray[np.generic]) -> Tensor:
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    # Pinned memory is copied while the GPU computes.
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor


def jitter_colours(images: Tensor, generator: torch.Generator) -> Tensor:
    """Random brightness, contrast, channel gains and grey per picture (B,3,h,w), in normalised units."""
    return disturb(images, Augmentation(), generator)


class Crops:
    """Crops in memory: arrays by the names of FIELDS, each with one row a crop."""

    def __init__(self, arrays: Arrays) -> None:
        self.stored = arrays
        self.count = len(arrays["score"])

    def __len__(self) -> int:
        return self.count

    def refresh(self) -> None:
        """Look how many crops there are by now."""

    def take(self, index: NDArray[np.integer]) -> Arrays:
        """Rows `index`, in rising order: a set on disk is read front to back."""
        index = np.sort(index)
        return {name: np.ascontiguousarray(array[index]) for name, array in self.stored.items()}

    def rows(self, index: NDArray[np.integer], image_hw: tuple[int, int]) -> Batch:
        """The samples `index`, undisturbed."""
        return as_batch(self.take(index), image_hw)

    def arrays(self, size: int, seed: int = 0) -> Iterator[Arrays]:
        """Batches of `size` crops without end, each pass in a new order."""
        rng = np.random.default_rng(seed)
        if self.count < size:
            raise ValueError(f"the set has {self.count} crops, a batch takes {size}")
        while True:
            self.refresh()
            order = rng.permutation(self.count)
            for start in range(0, self.count - size + 1, size):
                yield self.take(order[start : start + size])

    def batches(self, size: int, image_hw: tuple[int, int], seed: int, flip: float) -> Iterator[Batch]:
        """Batches without end with mirrored pictures and other colours."""
        generator = torch.Generator().manual_seed(seed)
        for arrays in self.arrays(size, seed):
            yield augment(as_batch(arrays, image_hw), Augmentation(flip=flip), generator)


class CropSet(Crops):
    """A folder written by training.synthetic.generate or by training.datasets; grows while it is being generated.

    Raises ValueError for a folder that is none, has no finished crops, or only some of KNOWN_FILES.
    """

    def __init__(self, folder: Path) -> None:
        if not (folder / "meta.json").is_file():
            raise ValueError(
                f"{folder} holds no crop set (meta.json is missing); make one: "
                f"python -m training.synthetic.generate {folder} --split train --count 20000 --pack PACK "
                "(test: to score on; docs/training.md says how a pack is made), or render while training: --stream PACK"
            )
        self.folder = folder
        present = [name for name in KNOWN_FILES if (folder / f"{name}.npy").is_file()]
        if present and len(present) < len(KNOWN_FILES):
            missing = ", ".join(sorted(set(KNOWN_FILES) - set(present)))
            raise ValueError(f"{folder}: has {', '.join(present)} but not {missing}; it needs all of them or none")
        super().__init__({name: map_npy(folder / f"{name}.npy") for name in [*FIELDS, *present]})
        self.refresh()

    def refresh(self) -> None:
        """Look how many samples are finished."""
        self.meta = json.loads((self.folder / "meta.json").read_text())
        self.count = int(self.meta["finished"])
        if self.count == 0:
            raise ValueError(f"{self.folder}: no finished samples yet")


def mean_parameters(crops: Sequence[Crops], limit: int = 20000) -> dict[str, Tensor]:
    """Mean pose (1,144) in the row 6D layout, betas (1,10) and camera (1,3) of the good samples: where it starts."""
    found: dict[str, list[Tensor]] = {"pose": [], "betas": [], "camera": []}
    for source in crops:
        stored = source.stored
        count = min(len(source), limit)
        for name, values in found.items():
            known = stored[f"known_{name}"][:count] if f"known_{name}" in stored else np.ones(count)
            rows = np.flatnonzero((np.asarray(stored["score"][:count]) > 0.5) & (known > 0))
            values.append(torch.from_numpy(np.ascontiguousarray(stored[name][:count][rows])).float())
    pose = torch.cat(found["pose"])
    if not len(pose):
        return {}
    rows = torch.cat([pose[..., 0], pose[..., 1]], dim=-1).mean(0)
    return {
        "init_body_pose": rows.reshape(1, 144),
        "init_betas": torch.cat(found["betas"]).mean(0, keepdim=True),
        "init_cam": torch.cat(found["camera"]).mean(0, keepdim=True),
    }
