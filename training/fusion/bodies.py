"""What an HMR package says of rendered people: `python -m training.fusion.bodies SET PACKAGE`.

Writes SET/bodies-NAME.npy (N, 158), as the fusion takes a body (hmr/networks/keypoint_fusion.py), in the order
of the set's files. The crop is HMR2.0's of an upright box, cut out of the padded one.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from bodycast.engines.package import load_package
from bodycast.engines.registry import open_engine
from bodycast.hmr.geometry.crop import PADDING, CropTransform
from bodycast.hmr.networks.keypoint_fusion import BODY_WIDTH
from bodycast.npz import read_npz


def pictures(file: Path) -> list[NDArray[np.uint8]]:
    """The stored crops of a chunk, RGB."""
    arrays = read_npz(file, ("jpeg", "jpeg_bytes"))
    codes = np.split(arrays["jpeg"], np.cumsum(arrays["jpeg_bytes"])[:-1])
    return [cv2.cvtColor(cv2.imdecode(code, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB) for code in codes]


def inner_crop(picture: NDArray[np.uint8], hw: tuple[int, int]) -> NDArray[np.uint8]:
    """HMR2.0's crop (h, w, 3) of the padded crop's box."""
    side = picture.shape[0]
    transform = CropTransform((side / 2, side / 2), side / PADDING, hw)
    return np.asarray(cv2.warpAffine(picture, transform.image_to_crop, hw[::-1], flags=cv2.INTER_LINEAR), np.uint8)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", type=Path, help="made by training.fusion.rendered")
    parser.add_argument("package", type=Path, help="folder of an hmr package")
    parser.add_argument("--engine", default="openvino")
    args = parser.parse_args()
    package = load_package(args.package)
    height, width = (int(size) for size in package.info.input("crops").shape[1:3])
    engine = open_engine(package, args.engine, "cpu", threads=1)
    rows = []
    for file in sorted(args.set.glob("*.npz")):
        said = engine.run({"crops": np.stack([inner_crop(one, (height, width)) for one in pictures(file)])})
        count = len(said["pose"])
        body = np.ones((count, BODY_WIDTH + 1), np.float32)
        camera = said["camera"] / np.array([PADDING, 1, 1], np.float32)
        body[:, :-1] = np.concatenate([said["pose"][:, :, :2].reshape(count, -1), said["betas"], camera], axis=1)
        rows.append(body)
    engine.close()
    np.save(args.set / f"bodies-{package.info.name}.npy", np.concatenate(rows))


if __name__ == "__main__":
    main()
