"""Heat-map heads for 2D keypoints, on any encoder and any cut.

Source: ViTPose (Xu et al. 2022, arXiv 2204.12484), classic and simple decoders and their parameter names;
used by the truncated-encoder paper (arXiv 2510.12660) for its pose experiments, where ViTPose's settings are
kept: 64x48 heat maps for 256x192 crops. ViT maps have stride 16 and take two deconvolutions. The paper does
not print the head for stride-8 maps: one deconvolution gives the same 64x48, at a sixth of the cost of
keeping two.
"""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor, nn

COCO_KEYPOINTS = 17
HEATMAP_STRIDE = 4


def _doublings(stride: int) -> int:
    if stride < HEATMAP_STRIDE or stride & (stride - 1):
        raise ValueError(f"the encoder's stride must be a power of two of at least {HEATMAP_STRIDE}, got {stride}")
    return round(math.log2(stride // HEATMAP_STRIDE))


class ClassicHeatmapHead(nn.Module):
    """Deconvolutions (4x4, stride 2, batch norm, ReLU) until the stride is 4, then a 1x1 convolution.

    channels, stride: of the encoder's map (`feature_info`). filters: of the deconvolutions.
    """

    def __init__(self, channels: int, stride: int = 16, keypoints: int = COCO_KEYPOINTS, filters: int = 256) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for _ in range(_doublings(stride)):
            layers += [
                nn.ConvTranspose2d(channels, filters, 4, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(filters),
                nn.ReLU(inplace=True),
            ]
            channels = filters
        self.deconv_layers = nn.Sequential(*layers)
        self.final_layer = nn.Conv2d(channels, keypoints, 1)
        _init_heatmap_head(self)

    def forward(self, features: Tensor) -> Tensor:
        """(B, channels, H, W) to heat maps (B, keypoints, H * stride/4, W * stride/4)."""
        return self.final_layer(self.deconv_layers(features))


class SimpleHeatmapHead(nn.Module):
    """ReLU, bilinear enlargement to stride 4, one 3x3 convolution."""

    def __init__(self, channels: int, stride: int = 16, keypoints: int = COCO_KEYPOINTS) -> None:
        super().__init__()
        self.enlarge = 2 ** _doublings(stride)
        self.final_layer = nn.Conv2d(channels, keypoints, 3, padding=1)
        _init_heatmap_head(self)

    def forward(self, features: Tensor) -> Tensor:
        """(B, channels, H, W) to heat maps (B, keypoints, H * stride/4, W * stride/4)."""
        size = (features.shape[-2] * self.enlarge, features.shape[-1] * self.enlarge)
        features = F.interpolate(F.relu(features), size, mode="bilinear", align_corners=False)
        return self.final_layer(features)


def _init_heatmap_head(head: nn.Module) -> None:
    """Small normal weights (std 0.001), as heat-map heads are trained from."""
    for module in head.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(module.weight, std=0.001)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
