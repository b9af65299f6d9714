"""Poses for the fusion: `python -m training.fusion.pose_bank OUT.npz --pack PACK --count 120000`.

Drawn from the pool of the synthetic people (motion capture, gestures, MakeHuman's poses, mixed and perturbed), for
cameras in rooms and before webcams, with limbs out of the body; half-float rotation vectors.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from hmr.geometry.rotations import matrix_to_axis_angle
from training.synthetic.pack import open_pack

WEBCAMS = 0.3
CHUNK = 500


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--pack", type=Path, required=True)
    parser.add_argument("--split", choices=("train", "test"), default="train")
    parser.add_argument("--count", type=int, default=120_000)
    parser.add_argument("--seed", type=int, default=7)
    args = parser.parse_args()
    pack = open_pack(args.pack, args.split)
    rng = np.random.default_rng(args.seed)
    rest = np.repeat(pack.body.joints(np.zeros((1, 10), np.float32)), CHUNK, axis=0)
    parts, webcams = [], []
    for _ in range(-(-args.count // CHUNK)):
        webcam = [bool(x) for x in rng.random(CHUNK) < WEBCAMS]
        poses, _, _ = pack.poses.sample_clear(rng, webcam, rest)
        parts.append(matrix_to_axis_angle(poses).astype(np.float16))
        webcams.append(np.array(webcam))
    np.savez(args.out, axis_angle=np.concatenate(parts), webcam=np.concatenate(webcams))


if __name__ == "__main__":
    main()
