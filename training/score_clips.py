"""`python -m training.score_clips CHECKPOINT.pt CLIP.mp4 ...`: a network alone on clips with their truth (.npz) beside.

Crops are cut around the true boxes, every second frame, without tracking or smoothing; the mean pose is scored beside.
"""

from __future__ import annotations

import argparse
import json
import pickle
import sys
from collections.abc import Iterator
from pathlib import Path

import av
import cv2
import numpy as np
import torch

from hmr.geometry.camera import cam_full_to_crop
from hmr.geometry.crop import crop_transforms, stack_crops
from hmr.geometry.crop_ray import crop_ray_rotation
from hmr.geometry.rotations import axis_angle_to_matrix
from hmr.networks import registry
from training.crop_set import Batch, normalise
from training.validate import score_batches


def clip_batches(clip: Path, image_hw: tuple[int, int], every: int = 2) -> Iterator[Batch]:
    """One batch per frame that shows somebody: crops around the true boxes, with their labels."""
    with np.load(clip.with_suffix(".npz"), allow_pickle=False) as data:
        truth = {name: data[name] for name in data.files}
    wh, focal = truth["image_wh"].astype(np.float32), np.float32(truth["focal_px"])
    with av.open(str(clip)) as container:
        for index, frame in enumerate(container.decode(video=0)):
            rows = np.flatnonzero(truth["frame"] == index)
            if index % every or not len(rows):
                continue
            picture = frame.to_ndarray(format="rgb24")
            transforms = crop_transforms(truth["bbox_xyxy"][rows])
            pixels = [cv2.warpAffine(picture, t.image_to_crop, t.crop_hw[::-1]) for t in transforms]
            centre, size = (a.astype(np.float32) for a in stack_crops(transforms))
            pose = axis_angle_to_matrix(truth["poses"][rows].reshape(-1, 24, 3))
            pose[:, 0] = crop_ray_rotation(centre, focal, wh / 2).swapaxes(-1, -2) @ pose[:, 0]
            count = len(rows)
            fields = {
                "pose": pose, "betas": truth["betas"][rows], "joints": truth["joints_3d"][rows],
                "camera": cam_full_to_crop(truth["trans"][rows], centre, size, wh, focal),
                "centre_px": centre, "size_px": size, "focal_px": np.full(count, focal),
                "image_wh": np.tile(wh, (count, 1)), "score": np.ones(count),
            }  # fmt: skip
            tensors = {name: torch.from_numpy(np.asarray(value, np.float32)) for name, value in fields.items()}
            images = normalise(torch.from_numpy(np.stack(pixels)), image_hw)
            yield Batch(images=images, parts=torch.zeros(count, 64, 48, dtype=torch.long), **tensors)


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m training.score_clips", description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("clips", type=Path, nargs="+")
    args = parser.parse_args(argv)
    try:
        state = torch.load(args.checkpoint, map_location="cpu", weights_only=True)
        image_hw = tuple(state["arguments"]["image_hw"])
        net = registry.build(state["model"], **{**state["arguments"], "image_hw": image_hw})
        net.load_state_dict(state["state_dict"])
        for clip in args.clips:
            scores = score_batches(net, clip_batches(clip, image_hw))
            print(clip.name, json.dumps({name: round(value, 1) for name, value in scores.items()}), flush=True)
    except KeyError as error:
        print(f"score_clips: {args.checkpoint}: not a finished network: {error} is missing", file=sys.stderr)
        return 2
    except (OSError, ValueError, RuntimeError, pickle.UnpicklingError) as error:
        print(f"score_clips: {str(error).splitlines()[0]}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
