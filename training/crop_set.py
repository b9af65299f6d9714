"""Sets of synthetic crops on disk as batches of tensors, with the augmentation that costs nothing to do late."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from hmr.body.joints import MIRROR
from hmr.networks.hmr_net import IMAGENET_MEAN, IMAGENET_STD
from training.crop_camera import ray_rotation
from training.synthetic.generate import FIELDS


@dataclass(frozen=True)
class Batch:
    """B crops. images (B,3,h,w) normalised; parts (B,64,48) long, 0 nobody; pose (B,24,3,3), root in the crop's ray
    frame; betas (B,10); camera (B,3); joints (B,24,3) camera frame, m; centre_px (B,2); size_px, focal_px (B,);
    image_wh (B,2); score (B,)."""

    images: Tensor
    parts: Tensor
    pose: Tensor
    betas: Tensor
    camera: Tensor
    joints: Tensor
    centre_px: Tensor
    size_px: Tensor
    focal_px: Tensor
    image_wh: Tensor
    score: Tensor

    def to(self, device: torch.device) -> Batch:
        """The same batch on a device."""
        return Batch(**{name: value.to(device) for name, value in vars(self).items()})


STORED_HEIGHT = 256
# The part map holds joint + 1: a mirrored picture swaps the sides' numbers.
_PART_MIRROR = torch.from_numpy(np.concatenate([[0], np.asarray(MIRROR) + 1]))
_SIGN = torch.tensor([-1.0, 1.0, 1.0])


def mirrored(batch: Batch) -> Batch:
    """The batch seen in a mirror: pixels, parts, poses, camera and joints alike."""
    mirror = torch.from_numpy(np.asarray(MIRROR))
    pose = batch.pose[:, mirror] * (_SIGN[:, None] * _SIGN)
    joints = batch.joints[:, mirror] * _SIGN
    # Flipping takes pixel u to 191 - u, but a crop's centre lies on pixel 96: the mirrored crop is cut a pixel aside.
    s, tx, ty = batch.camera.unbind(1)
    camera = torch.stack([s, -tx - 2 / (STORED_HEIGHT * s), ty], dim=1)
    x = batch.image_wh[:, 0] - batch.centre_px[:, 0] + batch.size_px / STORED_HEIGHT
    centre = torch.stack([x, batch.centre_px[:, 1]], dim=1)
    root = _SIGN[:, None] * (ray_rotation(batch) @ batch.pose[:, 0]) * _SIGN
    moved = replace(batch, centre_px=centre)
    pose[:, 0] = ray_rotation(moved).transpose(1, 2) @ root
    return Batch(
        batch.images.flip(-1), _PART_MIRROR[batch.parts.flip(-1)], pose, batch.betas, camera, joints, centre,
        batch.size_px, batch.focal_px, batch.image_wh, batch.score,
    )  # fmt: skip


def normalise(pixels: Tensor, image_hw: tuple[int, int]) -> Tensor:
    """(B,H,W,3) uint8 RGB -> (B,3,h,w) ImageNet-normalised float32 at the network's size (area average)."""
    images = pixels.permute(0, 3, 1, 2).float() / 255
    if tuple(images.shape[-2:]) != tuple(image_hw):
        images = F.interpolate(images, image_hw, mode="area")
    mean, std = torch.tensor(IMAGENET_MEAN).view(3, 1, 1), torch.tensor(IMAGENET_STD).view(3, 1, 1)
    return (images - mean) / std


def jitter_colours(images: Tensor, generator: torch.Generator) -> Tensor:
    """Random brightness, contrast, channel gains and grey per picture (B,3,h,w), in normalised units."""
    count = len(images)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    gain = 1 + 0.15 * draw(count, 1, 1, 1) + 0.05 * draw(count, 3, 1, 1)
    out = images * gain + 0.2 * draw(count, 1, 1, 1) + 0.08 * draw(count, 3, 1, 1)
    grey = (torch.rand(count, 1, 1, 1, generator=generator) < 0.08).float()
    return out * (1 - grey) + out.mean(1, keepdim=True) * grey


class CropSet:
    """A folder written by training.synthetic.generate; grows while it is being generated."""

    def __init__(self, folder: Path) -> None:
        if not (folder / "meta.json").is_file():
            raise ValueError(
                f"{folder} holds no crop set (meta.json is missing): python -m training.synthetic.generate"
            )
        self.folder = folder
        self.arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in FIELDS}
        self.refresh()

    def refresh(self) -> None:
        """Look how many samples are finished."""
        self.meta = json.loads((self.folder / "meta.json").read_text())
        self.count = int(self.meta["finished"])
        if self.count == 0:
            raise ValueError(f"{self.folder}: no finished samples yet")

    def __len__(self) -> int:
        return self.count

    def rows(self, index: np.ndarray, image_hw: tuple[int, int]) -> Batch:
        """The samples `index`, undisturbed."""
        index = np.sort(index)
        get = {name: torch.from_numpy(np.ascontiguousarray(array[index])) for name, array in self.arrays.items()}
        pixels = get.pop("pixels")
        get["parts"] = get["parts"].long()
        return Batch(images=normalise(pixels, image_hw), **get)

    def batches(self, size: int, image_hw: tuple[int, int], seed: int, flip: float) -> Iterator[Batch]:
        """Augmented batches without end, each pass in a new order; picks up samples that were added meanwhile."""
        generator = torch.Generator().manual_seed(seed)
        rng = np.random.default_rng(seed)
        while True:
            self.refresh()
            order = rng.permutation(self.count)
            for start in range(0, self.count - size + 1, size):
                batch = self.rows(order[start : start + size], image_hw)
                if rng.random() < flip:
                    batch = mirrored(batch)
                yield Batch(**{**vars(batch), "images": jitter_colours(batch.images, generator)})


def mean_parameters(crops: CropSet, limit: int = 20000) -> dict[str, Tensor]:
    """Mean pose (1,144) in the row 6D layout, betas (1,10) and camera (1,3) of the good samples: where it starts."""
    good = np.flatnonzero(np.asarray(crops.arrays["score"][: min(len(crops), limit)]) > 0.5)
    pose = torch.from_numpy(np.asarray(crops.arrays["pose"])[good])
    rows = torch.cat([pose[..., 0], pose[..., 1]], dim=-1).mean(0)
    return {
        "init_body_pose": rows.reshape(1, 144),
        "init_betas": torch.from_numpy(np.asarray(crops.arrays["betas"])[good]).mean(0, keepdim=True),
        "init_cam": torch.from_numpy(np.asarray(crops.arrays["camera"])[good]).mean(0, keepdim=True),
    }
