"""Crops of nobody for the fusion's score: `python -m training.fusion.nobody SET --photographs FOLDER --weights ...`.

Boxes anywhere in photographs without people, cut and looked at like everybody else's, with score 0; written beside the
chunks of training.fusion.rendered, in the same layout.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from bodycast.hmr.geometry.crop import blackened, padded_transforms, seen_part
from training.detector.sets import NOBODY_ONE_IN
from training.fusion.rendered import LABELS, Looker, encoded
from training.synthetic.chunk import CHUNK, FIELDS
from training.synthetic.scene import Rng

FIRST = 90_000
"""Number of the first chunk: behind all that are rendered."""
BOXES = 4
"""In each photograph."""
HW = (256, 256)


def crop_of(rng: Rng, picture: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], dict[str, NDArray[np.generic]]]:
    """A padded crop, RGB, of a box as somebody's might be, and its labels."""
    height, width = picture.shape[:2]
    tall = rng.uniform(0.25, 1.0) * height
    wide = min(tall * rng.uniform(0.25, 1.1), width)
    x, y = rng.uniform(0, width - wide), rng.uniform(0, height - tall)
    box = np.array([x, y, x + wide, y + tall])
    transform = padded_transforms(box[None], HW)[0]
    crop = cv2.warpAffine(picture, transform.image_to_crop, HW, flags=cv2.INTER_LINEAR)
    crop = np.asarray(cv2.cvtColor(crop, cv2.COLOR_BGR2RGB), np.uint8)
    blackened(crop, seen_part(transform, box))
    label = {name: np.zeros(FIELDS[name][0], np.float32) for name in LABELS if name != "seen"}
    label |= {"pose": np.tile(np.eye(3, dtype=np.float32), (24, 1, 1)), "camera": np.array([0.9, 0, 0], np.float32)}
    label |= {"centre_px": np.array(transform.centre_px, np.float32), "size_px": np.float32(transform.size_px)}
    label |= {"focal_px": np.float32(np.hypot(width, height)), "image_wh": np.array([width, height], np.float32)}
    return crop, label | {"seen": np.float32(0)}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", type=Path)
    parser.add_argument("--photographs", type=Path, required=True, help="folder of pictures without people")
    parser.add_argument("--weights", nargs="+", metavar="NAME=FILE.onnx", required=True)
    args = parser.parse_args()
    rng = np.random.default_rng(4)
    nets = {name: Looker(Path(path)) for name, path in (item.split("=", 1) for item in args.weights)}
    pictures = [p for n, p in enumerate(sorted(args.photographs.glob("*.jpg"))) if n % NOBODY_ONE_IN]
    rows = [crop_of(rng, cv2.imread(str(path))) for path in pictures for _ in range(BOXES)]
    rng.shuffle(rows)  # type: ignore[arg-type]
    for number in range(len(rows) // CHUNK):
        crops, labels = zip(*rows[number * CHUNK : (number + 1) * CHUNK], strict=True)
        kept = {name: np.stack([label[name] for label in labels]) for name in LABELS}
        kept |= {f"{name}_keypoints": net(np.stack(crops)) for name, net in nets.items()}
        coded = [encoded(crop) for crop in crops]
        kept |= {"jpeg": np.concatenate(coded), "jpeg_bytes": np.array([len(code) for code in coded])}
        np.savez(args.set / f"{FIRST + number}.npz", **kept)


if __name__ == "__main__":
    main()
