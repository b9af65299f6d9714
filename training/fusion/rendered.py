"""Rendered people seen by real keypoint networks: `python -m training.fusion.rendered OUT --pack PACK --count 20000`.

Every crop is drawn by the studio of the synthetic people (docs/synthetic_people.md), cut as the program cuts crops for
keypoints (`bodycast.hmr.geometry.crop.padded_transforms`) and looked at by MoveNet. Kept are the networks'
keypoints, the exact body, and the picture as JPEG for networks that come later. The set is a folder of .npz files of 32
crops; it may be made in parts (`--first`) and by several processes.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import cv2
import numpy as np
import openvino
import torch
from numpy.typing import NDArray

from bodycast.hmr.checkpoints.movenet_onnx import read_movenet
from bodycast.hmr.geometry.crop import PADDING, CropTransform, blackened, seen_part
from bodycast.hmr.networks.move_net import ExportedMoveNet
from training.synthetic.chunk import CHUNK
from training.synthetic.pack import open_pack
from training.synthetic.scene import Rng
from training.synthetic.studio import Shot, Studio

F32 = NDArray[np.float32]
LABELS = ("pose", "betas", "camera", "joints", "centre_px", "size_px", "focal_px", "image_wh", "score", "seen")


class PaddedStudio(Studio):
    """Square crops with room around the person, as keypoint networks take them."""

    hw = (256, 256)

    def square(self, rng: Rng, shot: Shot, bad: bool) -> tuple[F32, float]:
        """Centre and side in px: the jitter of a followed box, then the padding."""
        centre, side = super().square(rng, shot, bad)
        width, height = shot.box[2:] - shot.box[:2]
        longer = max(width, height)
        self._shapes.append(None if bad else (width / longer, height / longer))
        return centre, side * longer / max(height, width * 4 / 3) * PADDING

    def chunk(self, number: int) -> dict[str, NDArray[np.generic]]:
        """As `Studio.chunk`; black outside the surroundings of each box."""
        self._shapes: list[tuple[float, float] | None] = []
        chunk = super().chunk(number)
        transform = CropTransform((0.0, 0.0), PADDING, self.hw)
        for pixels, shape in zip(chunk["pixels"], self._shapes, strict=True):
            if shape is not None:
                half = np.array(shape) / 2
                blackened(pixels, seen_part(transform, np.concatenate([-half, half])))
        return chunk


class Looker:
    """A keypoint network on OpenVINO, one thread: four times as fast there as in torch."""

    def __init__(self, weights: Path) -> None:
        net = ExportedMoveNet(read_movenet(weights)).eval()
        self.hw = net.net.image_hw
        example = torch.zeros(CHUNK, *self.hw, 3, dtype=torch.uint8)
        model = openvino.convert_model(net, example_input=example)
        settings = {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32"}
        self._run = openvino.compile_model(model, "CPU", settings)

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Keypoints (B, 17, 3) of pictures (B, 256, 256, 3)."""
        if pixels.shape[1:3] != self.hw:
            pixels = np.stack([cv2.resize(one, self.hw[::-1], interpolation=cv2.INTER_AREA) for one in pixels])
        return np.array(self._run(np.ascontiguousarray(pixels))[0], np.float32)


def encoded(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """JPEG bytes of an RGB picture."""
    good, code = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 92])
    assert good, "OpenCV encodes every picture of this size"
    return np.asarray(code, np.uint8).reshape(-1)


def make(out: Path, pack: Path, split: str, seed: int, first: int, count: int, weights: dict[str, Path]) -> None:
    """Write chunks `first` to `first + count` (32 crops each); those that are there already are left."""
    out.mkdir(parents=True, exist_ok=True)
    studio = PaddedStudio(open_pack(pack, split), seed)
    nets = {name: Looker(path) for name, path in weights.items()}
    began = time.monotonic()
    for number in range(first, first + count):
        path = out / f"{number:05d}.npz"
        if path.is_file():
            continue
        chunk = studio.chunk(number)
        chunk["seen"] = (np.asarray(chunk["parts"]) > 0).mean((1, 2)).astype(np.float32)
        kept = {name: chunk[name] for name in LABELS}
        for name, net in nets.items():
            kept[f"{name}_keypoints"] = net(np.asarray(chunk["pixels"], np.uint8))
        coded = [encoded(picture) for picture in chunk["pixels"]]
        kept |= {"jpeg": np.concatenate(coded), "jpeg_bytes": np.array([len(code) for code in coded])}
        partial = path.with_suffix(".part")
        with partial.open("wb") as file:
            np.savez(file, **kept)
        partial.rename(path)
        rate = (number - first + 1) * CHUNK / (time.monotonic() - began)
        print(f"chunk {number}: {rate:.1f} crops/s", flush=True)
    (out / "meta.json").write_text(json.dumps({"split": split, "seed": seed, "pack": pack.name}))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--pack", type=Path, required=True, help="folder made by training.synthetic.pack")
    parser.add_argument("--split", choices=("train", "test"), default="train")
    parser.add_argument("--seed", type=int, default=18)
    parser.add_argument("--first", type=int, default=0, help="number of the first chunk of 32 crops")
    parser.add_argument("--chunks", type=int, default=600)
    parser.add_argument("--weights", nargs="+", metavar="NAME=FILE.onnx", required=True)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    cv2.setNumThreads(1)
    weights = {name: Path(path) for name, path in (item.split("=", 1) for item in args.weights)}
    make(args.out, args.pack, args.split, args.seed, args.first, args.chunks, weights)


if __name__ == "__main__":
    main()
