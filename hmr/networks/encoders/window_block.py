"""A Swin block that pads and cuts windows after the products, not before.

Source: Swin (Liu et al. 2021, arXiv 2103.14030); parameters and values are those of timm's block (Apache-2.0), from
which it is made. 256x192 is no multiple of the 7x7 window: padded, stages 1 and 2 have 12 and 28 % more tokens. All
padded tokens are zero, so one of them goes through the product for query, key and value. Rolling, padding and cutting
windows are then one gather of rows, and putting them back is another.
"""

from __future__ import annotations

import torch
from timm.models.swin_transformer import SwinTransformerBlock
from torch import Tensor, nn


class WindowBlock(nn.Module):
    """(B, rows, columns, C) -> the same shape. Takes the parts of a timm block, under their names."""

    to_windows: Tensor
    from_windows: Tensor
    attn_mask: Tensor | None

    def __init__(self, block: SwinTransformerBlock) -> None:
        super().__init__()
        self.norm1, self.attn, self.drop_path1 = block.norm1, block.attn, block.drop_path1
        self.norm2, self.mlp, self.drop_path2 = block.norm2, block.mlp, block.drop_path2
        window_hw, shift_hw = tuple(block.window_size), tuple(block.shift_size)
        self.area = window_hw[0] * window_hw[1]
        self.register_buffer("attn_mask", block.attn_mask, persistent=False)
        to_windows, from_windows = window_indices(tuple(block.input_resolution), window_hw, shift_hw)
        self.register_buffer("to_windows", to_windows, persistent=False)
        self.register_buffer("from_windows", from_windows, persistent=False)
        # Query, key, value of the one zero token below are spent here too.
        spent = 3 * self.attn.qkv.in_features**2 if len(to_windows) > len(from_windows) else 0
        self.padding_macs = padding_macs(block.input_resolution, max(window_hw), self.attn.qkv.in_features) - spent

    def forward(self, x: Tensor) -> Tensor:
        """Attention within windows, then the MLP, each added to its input."""
        batch, rows, columns, channels = x.shape
        tokens = x.reshape(batch, rows * columns, channels)
        tokens = tokens + self.drop_path1(self._attend(self.norm1(tokens)))
        tokens = tokens + self.drop_path2(_on_rows(self.mlp, self.norm2(tokens)))
        return tokens.reshape(batch, rows, columns, channels)

    def _attend(self, tokens: Tensor) -> Tensor:
        """tokens (B, L, C), normed -> (B, L, C)."""
        attn = self.attn
        batch, length, channels = tokens.shape
        if len(self.to_windows) > length:
            # One zero token stands for every padded place.
            tokens = nn.functional.pad(tokens, (0, 0, 0, 1))
        windows = _on_rows(attn.qkv, tokens).index_select(1, self.to_windows)
        windows = windows.reshape(-1, self.area, 3, attn.num_heads, channels // attn.num_heads)
        q, k, v = windows.permute(2, 0, 3, 1, 4).unbind(0)  # (B * windows, heads, area, d)
        logits = (q * attn.scale) @ k.transpose(-2, -1) + attn._get_rel_pos_bias()
        if self.attn_mask is not None:
            by_window = logits.reshape(batch, -1, attn.num_heads, self.area, self.area) + self.attn_mask[:, None]
            logits = by_window.flatten(0, 1)
        out = attn.attn_drop(logits.softmax(dim=-1)) @ v
        out = out.transpose(1, 2).reshape(batch, -1, channels).index_select(1, self.from_windows)
        return attn.proj_drop(_on_rows(attn.proj, out))


def padding_macs(grid_hw: tuple[int, int], window: int, channels: int) -> int:
    """Multiply-accumulates on padded tokens, where a block pads before its products and keeps its window square.

    Query, key, value and output: 4 C^2 a token. The published costs of Swin count them.
    """
    rows, columns = grid_hw
    padded = (rows + -rows % window) * (columns + -columns % window)
    return 4 * channels**2 * (padded - rows * columns)


def _on_rows(layers: nn.Module, tokens: Tensor) -> Tensor:
    """Layers over the last axis of (B, L, C), given one matrix: ONNX Runtime then adds the bias within the product."""
    return layers(tokens.flatten(0, 1)).unflatten(0, (-1, tokens.shape[1]))


def window_indices(
    grid_hw: tuple[int, int], window_hw: tuple[int, int], shift_hw: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Where windows take their tokens from, and where tokens find themselves in the windows.

    The map is rolled by the shift, padded at the right and bottom, and cut into windows, row by row; `rows * columns`
    stands for a padded place.

    Returns: (windows * area,) and (rows * columns,), int64.
    """
    rows, columns = grid_hw
    places = torch.arange(rows * columns).reshape(rows, columns)
    rolled = places.roll((-shift_hw[0], -shift_hw[1]), dims=(0, 1))
    pad_h, pad_w = -rows % window_hw[0], -columns % window_hw[1]
    padded = nn.functional.pad(rolled, (0, pad_w, 0, pad_h), value=rows * columns)
    cut = padded.reshape(padded.shape[0] // window_hw[0], window_hw[0], -1, window_hw[1])
    to_windows = cut.permute(0, 2, 1, 3).flatten()
    return to_windows.clone(), to_windows.argsort()[: rows * columns].clone()
