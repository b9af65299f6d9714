"""A trained network that another one learns from, crop by crop: its fused map is what the learner's map should be.

Feature distillation (Romero et al. 2015, "FitNets", arXiv 1412.6550). Labels say a few dozen numbers about a crop, the
map some ten thousand: on few crops that teaches a plain ViT what it would otherwise need millions of them for. A
learner whose decoder has the teacher's sizes can begin with the teacher's decoder (`--init`).
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bodycast.hmr.networks.decoders.joint_queries import JointQueryDecoder
from bodycast.hmr.networks.hmr_net import HmrNet
from training.network import finished_network


class Teacher(nn.Module):
    """A frozen network with a `JointQueryDecoder`."""

    def __init__(self, net: HmrNet) -> None:
        super().__init__()
        self.net = net.eval().requires_grad_(False)

    def train(self, mode: bool = True) -> Teacher:
        """A teacher stays as it is."""
        del mode
        return self

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Normalised images (B,3,h,w) of any size -> the fused map (B,C,rows,columns)."""
        if tuple(images.shape[-2:]) != tuple(self.net.image_hw):
            images = F.interpolate(images, self.net.image_hw, mode="bilinear", antialias=True)
        return self.net.smpl_head.read(self.net.context(images))[1].finest


def load_teacher(path: Path) -> Teacher:
    """From a checkpoint of this trainer. Raises ValueError where its decoder has no fused map."""
    state = torch.load(path, map_location="cpu", weights_only=True)
    if "trainees" in state:
        raise ValueError(f"{path}: expected the result of a run, not its last.pt")
    net = finished_network(state)
    if not isinstance(net, HmrNet) or not isinstance(net.smpl_head, JointQueryDecoder):
        raise ValueError(f"{path}: a teacher needs a decoder with a query a joint, {state['model']} has another")
    return Teacher(net)


@torch.no_grad()
def begin_like(teacher: Teacher, net: nn.Module, images: Tensor) -> None:
    """Give the learner's map the mean and spread, channel by channel, that the teacher's has on these crops, in place.
    Means are learned slowly, and the decoder that both share expects them. Needs a decoder that narrows its map."""
    assert isinstance(net, HmrNet)
    narrow = getattr(net.smpl_head, "narrow", None)
    if narrow is None:
        return
    found = net.smpl_head.read(net.context(images))[1].finest
    (have, spread), (mean, std) = _by_channel(found), _by_channel(teacher(images))
    ratio = std / spread.clamp_min(1e-6)
    narrow.weight *= ratio[:, None]
    narrow.bias.copy_(narrow.bias * ratio + mean - have * ratio)


def feature_loss(found: Tensor, wanted: Tensor) -> Tensor:
    """Mean squared difference of two maps (B,C,h,w), each channel in units of its spread in the teacher's map, which is
    brought to the learner's grid."""
    wanted = wanted.float()
    if wanted.shape[-2:] != found.shape[-2:]:
        wanted = F.interpolate(wanted, found.shape[-2:], mode="bilinear")
    _, std = _by_channel(wanted)
    return ((found.float() - wanted) / std.clamp_min(1e-3)[:, None, None]).square().mean()


def _by_channel(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (C,) of a map (B,C,h,w)."""
    features = features.float()
    return features.mean((0, 2, 3)), features.std((0, 2, 3))
