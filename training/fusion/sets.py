"""The sets of rendered people that `training.fusion.rendered` writes, as tensors for the fusion's training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bodycast.hmr.geometry.camera import cam_crop_to_full
from bodycast.npz import read_npz
from training.fusion.simulate import CocoBody, People, ray_rotation

Arrays = dict[str, NDArray[Any]]
LEAST_SEEN = 0.02


def load_rendered(folder: Path, networks: Sequence[str], limit: int | None = None) -> Arrays:
    """All finished chunks of a set: labels, and the keypoints of a network; of several: alternately one chunk of each.

    Raises: ValueError where there is none.
    """
    files = sorted(folder.glob("*.npz"))[:limit]
    if not files:
        raise ValueError(f"{folder}: no rendered people; python -m training.fusion.rendered makes them")
    wanted = ("pose", "betas", "camera", "joints", "centre_px", "size_px", "focal_px", "image_wh", "score", "seen")
    parts: dict[str, list[NDArray[Any]]] = {name: [] for name in (*wanted, "keypoints")}
    for number, file in enumerate(files):
        names = {name: name for name in wanted} | {"keypoints": f"{networks[number % len(networks)]}_keypoints"}
        arrays = read_npz(file, names.values())
        for name, stored in names.items():
            parts[name].append(arrays[stored])
    return {name: np.concatenate(part) for name, part in parts.items()}


class Rendered:
    """Rendered people as `People`, and whether the crop shows a person."""

    def __init__(self, arrays: Arrays, body: CocoBody) -> None:
        self.score = torch.from_numpy(arrays["score"])
        self.bodies = torch.from_numpy(arrays["bodies"]) if "bodies" in arrays else None
        size, focal = torch.from_numpy(arrays["size_px"]), torch.from_numpy(arrays["focal_px"])
        centre, wh = torch.from_numpy(arrays["centre_px"]), torch.from_numpy(arrays["image_wh"])
        ray = torch.cat([(centre - wh / 2) / focal[:, None], torch.ones(len(size), 1)], dim=1)
        pose, betas = torch.from_numpy(arrays["pose"]), torch.from_numpy(arrays["betas"])
        transl = cam_crop_to_full(
            arrays["camera"], arrays["centre_px"], arrays["size_px"], arrays["image_wh"], arrays["focal_px"]
        )
        joints, points = body.pose(pose, betas)
        pelvis = torch.from_numpy(transl.astype(np.float32)) + body.body.joints(betas)[:, 0]
        placed = (ray_rotation(ray)[:, None] @ points[..., None])[..., 0] + pelvis[:, None]
        pixels = placed[..., :2] / placed[..., 2:].clamp(min=0.08) * focal[:, None, None] + wh[:, None] / 2
        inside = ((pixels >= 0) & (pixels < wh[:, None])).all(-1) & (placed[..., 2] > 0.1)
        points = torch.cat([(pixels - centre[:, None]) / size[:, None, None], inside[..., None].float()], dim=2)
        geometry = torch.cat([ray[:, :2], (size / focal)[:, None]], dim=1)
        keypoints = torch.from_numpy(arrays["keypoints"].astype(np.float32))
        self.people = People(keypoints, geometry, pose, betas, joints, points, pelvis, self.score.clone())

    def __len__(self) -> int:
        return len(self.score)

    def take(self, rows: Tensor) -> tuple[People, Tensor, Tensor | None]:
        """People, score (B,) and the HMR network's body (B, 158) of some rows, where the set has them."""
        bodies = None if self.bodies is None else self.bodies[rows]
        return People(*(array[rows] for array in self.people)), self.score[rows], bodies
