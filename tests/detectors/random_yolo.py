"""A YOLO11n weight file with random weights, made without the network."""

from __future__ import annotations

from pathlib import Path


def random_yolo(folder: Path) -> Path:
    """Write `random.pt`. Its scores are spread by hand: a fresh network's would all lie below any threshold."""
    import torch
    from ultralytics import YOLO

    torch.manual_seed(0)
    yolo = YOLO("yolo11n.yaml")
    yolo.model.names = {0: "person", **{index: f"class{index}" for index in range(1, 80)}}
    for branch in yolo.model.model[-1].cv3:
        branch[-1].weight.data.mul_(20)
        branch[-1].bias.data.fill_(-6.0)
    path = folder / "random.pt"
    yolo.save(str(path))
    return path
