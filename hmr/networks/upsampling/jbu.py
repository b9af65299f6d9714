"""Joint bilateral upsampling of feature maps, guided by the image (FeatUp's JBU).

Sources: FeatUp (Fu et al. 2024, arXiv 2403.10516), the joint bilateral upsampler, parameter names of its
released stack; Heo and Hu, "Deformable Transformer with Feature Upsampling for HMR", for x4 (theirs), x8 and
x16.

Each stage doubles the map: a 7x7 kernel per pixel, the product of a learned range kernel (are the neighbours'
guidance features alike?) and a Gaussian, is applied to the bicubically enlarged features, all channels alike.
As released: the correction of the kernel is added after it was normalised and is not normalised again, and
one 1x1 mix follows the last stage.

Neighbours along a row are reached by products with band matrices (a row of keys with the next rows of keys; a
row of kernels, put on the diagonals of a matrix, with a row of features): seven products in place of 49 shifted
sums, which are many times as slow and as long in an exported graph.

The attention downsampler is FeatUp's too, used only to train an upsampler. The released one derives the
number of columns from an integer ratio of width to height, which is zero for portrait crops such as 256x192:
here height and width are two numbers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

RADIUS = 3
SIDE = 2 * RADIUS + 1
GUIDANCE_FEATURES = 32
MIX = 0.1
"""Weight of the kernel's correction and of the final 1x1 mix."""


def _near_diagonals(matrices: Tensor) -> Tensor:
    """Entries (x, x) to (x, x + 6) of matrices (..., W, W + 6): (..., W, 7)."""
    width = matrices.shape[-2]
    # One more column a row: what lay on a diagonal then stands in a column.
    skewed = F.pad(matrices.flatten(-2), (0, width)).unflatten(-1, (width, width + SIDE))
    return skewed[..., :SIDE]


def _on_diagonals(rows: Tensor) -> Tensor:
    """The reverse: (..., W, 7) onto the diagonals of matrices (..., W, W + 6) that are zero elsewhere."""
    width = rows.shape[-2]
    skewed = F.pad(rows, (0, width)).flatten(-2)[..., : width * (width + SIDE - 1)]
    return skewed.unflatten(-1, (width, width + SIDE - 1))


def _reflect(x: Tensor) -> Tensor:
    return F.pad(x, (RADIUS, RADIUS, RADIUS, RADIUS), mode="reflect")


class JointBilateralUpsampler(nn.Module):
    """One stage: features to the size of the guidance image."""

    def __init__(self, guidance_channels: int = 3) -> None:
        super().__init__()
        key = GUIDANCE_FEATURES
        self.range_temp = nn.Parameter(torch.tensor(0.0))
        self.sigma_spatial = nn.Parameter(torch.tensor(1.0))
        self.range_proj = nn.Sequential(
            nn.Conv2d(guidance_channels, key, 1), nn.GELU(), nn.Dropout2d(0.1), nn.Conv2d(key, key, 1)
        )
        self.fixup_proj = nn.Sequential(
            nn.Conv2d(guidance_channels + SIDE**2, SIDE**2, 1),
            nn.GELU(),
            nn.Dropout2d(0.1),
            nn.Conv2d(SIDE**2, SIDE**2, 1),
        )

    def kernel(self, guidance: Tensor) -> Tensor:
        """Normalised range x spatial kernels (B, 49, H, W) of a guidance image (B, 3, H, W)."""
        height = guidance.shape[-2]
        keys = self.range_proj(guidance)
        rows = keys.permute(0, 2, 3, 1)  # (B, H, W, 32)
        around = _reflect(keys).transpose(1, 2)  # (B, H + 6, 32, W + 6)
        alike = [_near_diagonals(rows @ around[:, y : y + height]) for y in range(SIDE)]
        temperature = self.range_temp.exp().clamp(1e-4, 1e4)
        range_kernel = (torch.cat(alike, dim=-1).permute(0, 3, 1, 2) * temperature).softmax(dim=1)
        steps = torch.linspace(-1, 1, SIDE, device=guidance.device, dtype=guidance.dtype)
        square = (steps[:, None] ** 2 + steps**2).reshape(1, SIDE**2, 1, 1)
        kernel = range_kernel * torch.exp(-square / (2 * self.sigma_spatial**2))
        return kernel / kernel.sum(1, keepdim=True).clamp_min(1e-7)

    def forward(self, features: Tensor, guidance: Tensor) -> Tensor:
        """features (B, C, h, w), guidance (B, 3, H, W) to (B, C, H, W)."""
        height, width = guidance.shape[-2:]
        kernel = self.kernel(guidance)
        kernel = kernel + MIX * self.fixup_proj(torch.cat((kernel, guidance), dim=1))
        enlarged = F.interpolate(features, (height, width), mode="bicubic", align_corners=False)
        around = _reflect(enlarged).transpose(1, 2)  # (B, H + 6, C, W + 6)
        by_row = kernel.permute(0, 2, 3, 1).split(SIDE, dim=-1)  # seven of (B, H, W, 7)
        products = [around[:, y : y + height] @ _on_diagonals(by_row[y]).transpose(-2, -1) for y in range(SIDE)]
        return sum(products[1:], products[0]).transpose(1, 2)


class JbuStack(nn.Module):
    """Features enlarged by 2, 4, 8 or 16 in as many doublings as that takes, any aspect ratio.

    channels: of the features (they stay as they are). factor: 2, 4, 8 or 16. final_mix: end with x + 0.1
    mix(x), mix being a 1x1 convolution (FeatUp has it; it is nearly all of the parameters).
    A released x16 stack has the stages `up1` to `up4`; smaller factors take the first of them.
    """

    def __init__(self, channels: int, factor: int = 4, final_mix: bool = True) -> None:
        super().__init__()
        if factor not in (2, 4, 8, 16):
            raise ValueError(f"factor must be 2, 4, 8 or 16, got {factor}")
        self.factor = factor
        self.stages = round(math.log2(factor))
        for i in range(1, self.stages + 1):
            self.add_module(f"up{i}", JointBilateralUpsampler())
        self.fixup_proj = nn.Sequential(nn.Dropout2d(0.2), nn.Conv2d(channels, channels, 1)) if final_mix else None

    def forward(self, features: Tensor, image: Tensor) -> Tensor:
        """features (B, C, h, w), image (B, 3, H, W), normalised as for the encoder; to (B, C, factor*h,
        factor*w).

        The image is averaged down to each stage's size; it should be at least as large as the result.
        """
        for i in range(1, self.stages + 1):
            size = (features.shape[-2] * 2, features.shape[-1] * 2)
            features = self.get_submodule(f"up{i}")(features, _average_to(image, size))
        if self.fixup_proj is None:
            return features
        return features + MIX * self.fixup_proj(features)


class MapUpsampler(nn.Module):
    """One upsampler per tapped map of an encoder, as the deformable-decoder paper has one per tap of its ViT.

    channels: of each map. factor: 2, 4 (the paper's choice), 8 or 16. final_mix: see JbuStack; off, since the
    paper's parameter count leaves no room for one mix per tap.
    """

    def __init__(self, channels: Sequence[int], factor: int = 4, final_mix: bool = False) -> None:
        super().__init__()
        self.factor = factor
        self.stacks = nn.ModuleList(JbuStack(c, factor, final_mix) for c in channels)

    def forward(self, maps: Sequence[Tensor], images: Tensor) -> list[Tensor]:
        """Maps (B, C_i, h_i, w_i) and normalised images (B, 3, H, W) to maps (B, C_i, factor*h_i,
        factor*w_i).
        """
        return [stack(m, images) for stack, m in zip(self.stacks, maps, strict=True)]


def _average_to(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Average-pool an image to `size`; written as plain pooling where that is exact, since it exports."""
    height, width = image.shape[-2:]
    if height == size[0] and width == size[1]:
        return image
    if height % size[0] == 0 and width % size[1] == 0:
        return F.avg_pool2d(image, (height // size[0], width // size[1]))
    return F.adaptive_avg_pool2d(image, size)


class AttentionDownsampler(nn.Module):
    """FeatUp's learned downsampler, for training: a large map back to the encoder's grid.

    Each output cell is the softmax-weighted mean of one patch of the blurred map. A patch's weights come from
    a linear map of the features, times w plus b, both learned per place in the patch.

    channels: of the map. patch: side of a patch in pixels. grid_hw: rows and columns of the result; the
    patches' stride along each axis follows from it.
    """

    def __init__(self, channels: int, grid_hw: tuple[int, int], patch: int = 16, blur: bool = True) -> None:
        super().__init__()
        self.grid_hw = grid_hw
        self.patch = patch
        self.blur = blur
        self.attention = nn.Conv2d(channels, 1, 1)
        self.dropout = nn.Dropout2d(0.2)
        self.w = nn.Parameter(torch.ones(patch * patch))
        self.b = nn.Parameter(torch.zeros(patch * patch))

    def _stride(self, side: int, cells: int) -> int:
        stride = 1 if cells == 1 else (side - self.patch) // (cells - 1)
        if side < self.patch or stride < 1:
            raise ValueError(f"{cells} patches of {self.patch} do not fit along {side} pixels")
        return stride

    def forward(self, features: Tensor, logits: Tensor | None = None) -> Tensor:
        """(B, C, H, W) to (B, C, *grid_hw). logits: (B, 1, H, W), what `attention` would say of all features, where
        these are some of them only."""
        rows, columns = self.grid_hw
        if self.blur:
            features = _blur5(features)
            logits = None if logits is None else _blur5(logits)
        logits = self.attention(self.dropout(features)) if logits is None else logits
        stride = (self._stride(features.shape[-2], rows), self._stride(features.shape[-1], columns))
        if stride == (self.patch, self.patch):
            return self._side_by_side(features, logits)
        windows = features.unfold(2, self.patch, stride[0]).unfold(3, self.patch, stride[1])
        windows = windows[:, :, :rows, :columns].flatten(4)  # (B, C, rows, columns, patch^2)
        logits = logits.unfold(2, self.patch, stride[0]).unfold(3, self.patch, stride[1])
        logits = logits[:, :, :rows, :columns].flatten(4)
        weights = (logits * self.w + self.b).softmax(dim=-1)
        return (windows * weights).sum(-1)

    def _side_by_side(self, features: Tensor, logits: Tensor) -> Tensor:
        """`forward` of a blurred map where no patches overlap: a product and a mean, without the patches' copies."""
        side, rows, columns = self.patch, *self.grid_hw
        features = features[..., : rows * side, : columns * side]
        logits = logits[..., : rows * side, : columns * side]
        logits = logits.unflatten(3, (columns, side)).unflatten(2, (rows, side))
        logits = logits.transpose(3, 4).flatten(4)  # (B, 1, rows, columns, patch^2)
        weights = (logits * self.w + self.b).softmax(dim=-1).unflatten(4, (side, side))
        weights = weights.transpose(3, 4).flatten(4, 5).flatten(2, 3)  # (B, 1, H, W)
        return F.avg_pool2d(features * weights, side) * side**2


def _blur5(x: Tensor) -> Tensor:
    """5x5 Gaussian blur with sigma 1, borders reflected."""
    steps = torch.arange(-2, 3, device=x.device, dtype=x.dtype)
    taps = torch.exp(-(steps**2) / 2)
    taps = taps / taps.sum()
    height, width = x.shape[-2:]
    x = F.pad(x, (2, 2, 2, 2), mode="reflect")
    # Sums of shifted maps: on a CPU several times faster than a convolution with a group a channel.
    x = sum((x[:, :, i : i + height] * taps[i] for i in range(1, 5)), x[:, :, :height] * taps[0])
    return sum((x[..., i : i + width] * taps[i] for i in range(1, 5)), x[..., :width] * taps[0])
