"""Score networks on held-out photographs: `python -m training.photos.score CHECKPOINT ... --photos held.npz`.

The labels are the teachers (`training.photos.label`), so this compares and does not judge; it is for choosing runs,
for which pictures with people's own labels must not be used. Shares of the twelve joints of the limbs within 0.2 torso
lengths of the labels, of the body and of the heat maps' peaks; distance to BlazePose's joints in space after alignment.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bodycast.hmr.body.joints import NUM_JOINTS, Joint
from bodycast.hmr.body.torch_body import TorchBody
from bodycast.hmr.geometry.metrics import pa_mpjpe_mm
from training.network import finished_network
from training.network_inputs import run_network
from training.photos.photo_source import PhotoCrops
from training.validate import placed_joints

BATCH = 32
LIMBS = [
    joint for joint in Joint
    if joint.name.endswith(("SHOULDER", "ELBOW", "WRIST", "HIP", "KNEE", "ANKLE"))
]  # fmt: skip
SHARE = 0.2


@torch.no_grad()
def score_photos(net: nn.Module, photos: PhotoCrops, image_hw: tuple[int, int]) -> dict[str, float]:
    """Figures by name, of all people of `photos` as they are."""
    body = TorchBody.load()
    hits: dict[str, list[NDArray[np.bool_]]] = {}
    aligned: list[NDArray[np.floating]] = []
    for first in range(0, len(photos), BATCH):
        batch = photos.rows(torch.arange(first, min(first + BATCH, len(photos))), image_hw)
        assert batch.known is not None
        prediction = run_network(net, batch)
        placed, flat = placed_joints(body, prediction.rotmat, prediction.betas, prediction.camera, batch)
        wanted, weight = batch.known.points_2d[:, :NUM_JOINTS], batch.known.points[:, :NUM_JOINTS]
        reach = SHARE * _torso(wanted)
        found = {"body": flat}
        if prediction.keypoints is not None:
            found["peaks"] = prediction.keypoints[..., :2]
        for name, places in found.items():
            near = (places - wanted).norm(dim=-1) < reach[:, None]
            hits.setdefault(name, []).append(near[:, LIMBS][weight[:, LIMBS] > 0].numpy())
        whole = (batch.known.joints[:, LIMBS] > 0).all(1)
        if whole.any():
            aligned.append(pa_mpjpe_mm(placed[whole][:, LIMBS].numpy(), batch.joints[whole][:, LIMBS].numpy()))
    result = {f"{name}_pck_torso@{SHARE:g}": 100 * float(np.concatenate(rows).mean()) for name, rows in hits.items()}
    if aligned:
        result["pa_mm_to_blazepose"] = float(np.concatenate(aligned).mean())
    return result | {"people": len(photos)}


def _torso(points: Tensor) -> Tensor:
    """(B,) middle of the shoulders to middle of the hips of joints (B,24,2), at least 0.15 crop heights."""
    shoulders = points[:, [Joint.LEFT_SHOULDER, Joint.RIGHT_SHOULDER]].mean(1)
    hips = points[:, [Joint.LEFT_HIP, Joint.RIGHT_HIP]].mean(1)
    return (shoulders - hips).norm(dim=-1).clamp_min(0.15)


def main(argv: list[str] | None = None) -> int:
    """Command line. Exit code 2 for bad input."""
    parser = argparse.ArgumentParser(prog="python -m training.photos.score", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("checkpoints", type=Path, nargs="+", help="results of runs, or of `bodycast export weights`")
    parser.add_argument("--photos", type=Path, required=True, help="people of pictures that were held out")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    try:
        for path in args.checkpoints:
            state = torch.load(path, map_location="cpu", weights_only=True)
            net = finished_network(state)
            image_hw = tuple(state["arguments"]["image_hw"])
            photos = PhotoCrops(args.photos, torch.device("cpu"), 0, image_hw[0])
            scores = score_photos(net, photos, image_hw)
            print(path.name, {name: round(value, 1) for name, value in scores.items()})
    except (OSError, KeyError, ValueError) as error:
        print(f"training.photos.score: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
