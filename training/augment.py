"""Disturbances of finished crops, vectorised on whatever device the batch is on.

The renderer already makes light, blur, noise and compression vary; these make a crop that is seen again another one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from bodycast.hmr.networks.hmr_net import IMAGENET_MEAN, IMAGENET_STD
from training.batch import Batch, mirrored_where
from training.reframe import reframed


@dataclass(frozen=True)
class Augmentation:
    """How much. Amounts are standard deviations in units of the normalised picture, or gains; shares are
    probabilities a crop."""

    flip: float = 0.5
    gain: float = 0.15
    channel_gain: float = 0.05
    shift: float = 0.2
    channel_shift: float = 0.08
    grey_share: float = 0.08
    blur_share: float = 0.0
    noise_share: float = 0.0
    noise: float = 0.3
    cutout_share: float = 0.0
    cutout_side: float = 0.4  # of the crop, at most
    reframe_share: float = 0.0
    turn_rad: float = 0.2
    zoom: float = 0.12  # of the logarithm
    move: float = 0.04  # crop heights


AUGMENTATIONS: dict[str, Augmentation] = {
    "none": Augmentation(0.0, 0.0, 0.0, 0.0, 0.0, 0.0),
    "colour": Augmentation(),
    "film": Augmentation(blur_share=0.25),
    "reframed": Augmentation(blur_share=0.2, reframe_share=0.6),
    "full": Augmentation(blur_share=0.2, noise_share=0.3, cutout_share=0.25, reframe_share=0.6),
}
"""By name: nothing; mirror and colours (cheap on a CPU); these and the smear of films; these, and most crops cut anew
by a rolled camera (training/reframe.py); all that, noise and covered parts."""


def augment(batch: Batch, how: Augmentation, generator: torch.Generator | None = None) -> Batch:
    """Mirrored and disturbed copies; `generator` lives on the batch's device (None: its default one)."""
    if how.flip > 0:
        chosen = torch.rand(len(batch), generator=generator, device=batch.images.device) < how.flip
        batch = mirrored_where(batch, chosen)
    if how.reframe_share > 0:
        batch = _reframed(batch, how, generator)
    return replace(batch, images=disturb(batch.images, how, generator))


def _reframed(batch: Batch, how: Augmentation, generator: torch.Generator | None) -> Batch:
    count, device = len(batch), batch.images.device
    chosen = (torch.rand(count, generator=generator, device=device) < how.reframe_share).float()
    turn, zoom, x, y = torch.randn(4, count, generator=generator, device=device) * chosen
    return reframed(batch, how.turn_rad * turn, (how.zoom * zoom).exp(), how.move * torch.stack([x, y], dim=1))


def disturb(images: Tensor, how: Augmentation, generator: torch.Generator | None = None) -> Tensor:
    """Normalised pictures (B,3,h,w) with other colours, blurred, noisy, partly covered."""
    count = len(images)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, device=images.device)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, device=images.device)

    if how.blur_share > 0:
        amount = uniform(count, 1, 1, 1) * (uniform(count, 1, 1, 1) < how.blur_share)
        images = torch.lerp(images, _blurred(images), amount)
    gain = 1 + how.gain * normal(count, 1, 1, 1) + how.channel_gain * normal(count, 3, 1, 1)
    images = images * gain + (how.shift * normal(count, 1, 1, 1) + how.channel_shift * normal(count, 3, 1, 1))
    if how.grey_share > 0:
        grey = (uniform(count, 1, 1, 1) < how.grey_share).float()
        images = torch.lerp(images, images.mean(1, keepdim=True).expand_as(images), grey)
    if how.noise_share > 0:
        amount = how.noise * uniform(count, 1, 1, 1) * (uniform(count, 1, 1, 1) < how.noise_share)
        images = images + amount * normal(*images.shape)
    if how.cutout_share > 0:
        covered = _rectangles(images, uniform, how)
        images = torch.where(covered, normal(count, 3, 1, 1), images)
    return images


def _blurred(images: Tensor) -> Tensor:
    """Twice a 3x3 mean, borders repeated."""
    for _ in range(2):
        images = F.avg_pool2d(F.pad(images, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    return images


def _rectangles(images: Tensor, uniform, how: Augmentation) -> Tensor:
    """(B,1,h,w) bool: one rectangle in a share of the pictures."""
    count, _, height, width = images.shape
    y = (torch.arange(height, device=images.device) + 0.5) / height
    x = (torch.arange(width, device=images.device) + 0.5) / width
    side = uniform(count, 2) * how.cutout_side / 2
    centre = uniform(count, 2)
    inside_y = (y - centre[:, :1]).abs() < side[:, :1]
    inside_x = (x - centre[:, 1:]).abs() < side[:, 1:]
    used = uniform(count, 1, 1) < how.cutout_share
    return (inside_y[:, :, None] & inside_x[:, None, :] & used)[:, None]


def normalise(pixels: Tensor, image_hw: tuple[int, int]) -> Tensor:
    """(B,H,W,3) uint8 RGB -> (B,3,h,w) ImageNet-normalised float32 at the network's size (area average)."""
    images = pixels.permute(0, 3, 1, 2).float()
    if tuple(images.shape[-2:]) != tuple(image_hw):
        images = F.interpolate(images, image_hw, mode="area")
    # Scalars a channel: a tensor of means would be copied to a GPU at every step.
    planes = zip(images.unbind(1), IMAGENET_MEAN, IMAGENET_STD, strict=True)
    return torch.stack([(plane - 255 * mean) / (255 * std) for plane, mean, std in planes], dim=1)


def resized(images: Tensor, image_hw: tuple[int, int]) -> Tensor:
    """Normalised pictures (B,3,H,W) at another size, area averaged."""
    return images if tuple(images.shape[-2:]) == tuple(image_hw) else F.interpolate(images, image_hw, mode="area")
