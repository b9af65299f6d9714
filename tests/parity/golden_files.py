"""Golden files made on the spot from what is installed: timm's and torchvision's Swin at any size."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


def save_golden(
    path: Path, meta: Mapping[str, Any], state: Mapping[str, Tensor], inputs: Mapping[str, Tensor], outputs: Any
) -> Path:
    """Write a golden file."""
    groups = {"sd": state, "in": inputs, "out": outputs}
    arrays = {
        f"{group}/{name}": np.asarray(value) for group, values in groups.items() for name, value in values.items()
    }
    np.savez(path, meta=np.array(json.dumps(meta)), **arrays)
    return path


def randomised(net: nn.Module, seed: int) -> nn.Module:
    """All parameters moved away from their start, in eval mode."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    return net.eval()


def timm_swin(path: Path, image_hw: tuple[int, int], seed: int = 0, **sizes: Any) -> Path:
    """timm's feature network; sizes: embed_dim, depths, num_heads, window_size, mlp_ratio, qkv_bias."""
    import timm

    net = timm.create_model("swin_tiny_patch4_window7_224", features_only=True, img_size=image_hw, **sizes)
    randomised(net, seed)
    images = torch.randn(2, 3, *image_hw, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        outputs = {f"stage{i}": stage for i, stage in enumerate(net(images))}
    meta = {"repo": "huggingface/pytorch-image-models", "cls": "timm Swin", "config": sizes}
    return save_golden(path, meta, net.state_dict(), {"img": images}, outputs)


def torchvision_swin(path: Path, image_hw: tuple[int, int], seed: int = 0, **sizes: Any) -> Path:
    """torchvision's classifier; sizes: embed_dim, depths, num_heads, window_size (a pair)."""
    from torchvision.models.swin_transformer import SwinTransformer

    net = randomised(SwinTransformer([4, 4], num_classes=5, stochastic_depth_prob=0.0, **sizes), seed)
    images = torch.randn(2, 3, *image_hw, generator=torch.Generator().manual_seed(seed))
    outputs: dict[str, Tensor] = {}
    with torch.no_grad():
        x = images
        for i, part in enumerate(net.features):
            x = part(x)
            if i % 2:
                outputs[f"stage{i // 2}"] = x
        outputs |= {"norm": net.norm(x), "logits": net(images)}
    meta = {"repo": "pytorch/vision", "cls": "torchvision.models.swin_transformer", "config": sizes}
    return save_golden(path, meta, net.state_dict(), {"img": images}, outputs)
