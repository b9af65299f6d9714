"""Swin transformer, sizes T, S, B and L, cut after any stage.

Sources: Swin (Liu et al. 2021, arXiv 2103.14030) for the network, built from timm's blocks (Apache-2.0);
"truncated hierarchical encoders" for the cut: the first two or three stages suffice for mesh recovery, so nothing
behind the last kept stage is built, not even its patch merging.

256x192 is no multiple of the 7x7 window. We follow timm: shifted blocks first roll the map by 3, then pad it at the
right and bottom; where the grid is smaller than the window, the window shrinks (7x6 on the 8x6 grid of stage 4).
torchvision pads first and rolls then, so the same weights give other values there; at 224x224 all agree.
"""

from __future__ import annotations

from dataclasses import dataclass

from timm.models.swin_transformer import SwinTransformer
from torch import Tensor, nn

from bodycast.hmr.networks.encoders.common import MapNorm, check_cut, check_images, map_norms
from bodycast.hmr.networks.encoders.window_block import WindowBlock

PATCH_SIZE = 4
LAYER_NORM_EPS = 1e-5


@dataclass(frozen=True)
class SwinSize:
    """Width of the first stage (it doubles each stage), blocks and heads per stage, drop-path rate."""

    dim: int
    depths: tuple[int, ...]
    heads: tuple[int, ...]
    drop_path: float


SIZES: dict[str, SwinSize] = {
    "t": SwinSize(96, (2, 2, 6, 2), (3, 6, 12, 24), 0.2),
    "s": SwinSize(96, (2, 2, 18, 2), (3, 6, 12, 24), 0.3),
    "b": SwinSize(128, (2, 2, 18, 2), (4, 8, 16, 32), 0.5),
    "l": SwinSize(192, (2, 2, 18, 2), (6, 12, 24, 48), 0.2),
}


class Swin(nn.Module):
    """The first `stages` stages of a Swin transformer.

    Args:
        dim: channels of the first stage.
        depths, heads: blocks and attention heads per stage; entries behind the cut are ignored.
        stages: how many stages to keep; their strides are 4, 8, 16, 32.
        image_hw: input height and width in pixels, fixed at construction (windows and masks depend on it).
        window_size: side of the attention window in tokens.
        mlp_ratio: hidden width of the MLPs as a multiple of the stage's width.
        drop_path: rate of the last kept block.
        norm: which maps get a LayerNorm over their channels (`none`, `last`, `all`); the official one has it after
            stage 4.

    Attributes:
        feature_info: (channels, stride) per kept stage.
        grids_hw: map rows and columns per kept stage.
        window_hw: the attention window, where the grid is not smaller.
    """

    def __init__(
        self,
        dim: int,
        depths: tuple[int, ...],
        heads: tuple[int, ...],
        stages: int = 4,
        image_hw: tuple[int, int] = (256, 192),
        window_size: int = 7,
        mlp_ratio: float = 4.0,
        drop_path: float = 0.0,
        norm: MapNorm = "last",
    ) -> None:
        super().__init__()
        check_cut(stages, len(depths))
        if any(side % PATCH_SIZE for side in image_hw):
            raise ValueError(f"image size {image_hw} (h, w) must be a multiple of {PATCH_SIZE} px")
        whole = SwinTransformer(
            img_size=image_hw,
            patch_size=PATCH_SIZE,
            num_classes=0,
            embed_dim=dim,
            depths=depths[:stages],
            num_heads=heads[:stages],
            window_size=window_size,
            mlp_ratio=mlp_ratio,
            drop_path_rate=drop_path,
        )
        self.image_hw = image_hw
        self.window_hw = (window_size, window_size)
        self.feature_info = [(dim * 2**i, PATCH_SIZE * 2**i) for i in range(stages)]
        self.patch_embed = whole.patch_embed
        self.layers = whole.layers
        self.grids_hw = [tuple(layer.output_resolution) for layer in self.layers]
        self.norms = map_norms(self.feature_info, norm, LAYER_NORM_EPS)
        for layer in self.layers:
            layer.blocks = nn.Sequential(*(WindowBlock(block) for block in layer.blocks))

    def forward_raw(self, images: Tensor) -> list[Tensor]:
        """Normalised images (B, 3, H, W) -> one map (B, C, rows, columns) per kept stage, none normed."""
        check_images(images, self.image_hw)
        x = self.patch_embed(images)  # (B, rows, columns, C)
        maps = []
        for layer in self.layers:
            x = layer(x)
            maps.append(x.permute(0, 3, 1, 2))
        return maps

    def forward(self, images: Tensor) -> list[Tensor]:
        """Like `forward_raw`, the maps chosen by `norm` normed."""
        return [norm(m) for norm, m in zip(self.norms, self.forward_raw(images), strict=True)]


def swin(
    size: str,
    stages: int = 4,
    image_hw: tuple[int, int] = (256, 192),
    drop_path: float | None = None,
    norm: MapNorm = "last",
) -> Swin:
    """A published size by name: t, s, b or l. `drop_path` None takes the published training rate."""
    if size not in SIZES:
        raise ValueError(f"no Swin size {size!r}; there are {', '.join(SIZES)}")
    s = SIZES[size]
    rate = s.drop_path if drop_path is None else drop_path
    return Swin(s.dim, s.depths, s.heads, stages, image_hw, drop_path=rate, norm=norm)
