"""A YOLO11n weight file with random weights, made without the network."""

from __future__ import annotations

from pathlib import Path


def random_yolo(folder: Path) -> Path:
    """Write `random.pt`. Its layers are rescaled until noise pictures give lively features and spread scores: in a
    fresh network the signal dies out and all scores are alike."""
    import torch
    from torch import Tensor, nn
    from ultralytics import YOLO

    def rescale(layer: nn.Module, _inputs: object, output: Tensor) -> Tensor:
        spread = output.std() if isinstance(layer, nn.BatchNorm2d) else output[:, 0].std() / 1.5
        layer.weight.data.div_(spread)
        return output / spread

    torch.manual_seed(0)
    yolo = YOLO("yolo11n.yaml")
    network = yolo.model.eval()
    network.names = {0: "person", **{index: f"class{index}" for index in range(1, 80)}}
    last = [branch[-1] for branch in network.model[-1].cv3]
    for layer in last:
        layer.bias.data.zero_()
    layers = [layer for layer in network.modules() if isinstance(layer, nn.BatchNorm2d)] + last
    hooks = [layer.register_forward_hook(rescale) for layer in layers]
    with torch.no_grad():
        network(nn.functional.interpolate(torch.rand(2, 3, 20, 32), scale_factor=8))
    for hook in hooks:
        hook.remove()
    for layer in last:
        layer.weight.data[1:] = 0
        layer.bias.data.fill_(-12.0)
        layer.bias.data[0] = -2.5
    path = folder / "random.pt"
    yolo.save(str(path))
    return path
