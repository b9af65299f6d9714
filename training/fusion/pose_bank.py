"""Poses for the fusion: `python -m training.fusion.pose_bank OUT.npz --pack PACK --count 120000`.

Drawn from the pool of the synthetic people (motion capture, gestures, MakeHuman's poses) for cameras in rooms and
before webcams, and from DeepMimic's clips, as half-float rotation vectors. Most are frames as they were captured,
mirrored half of the time and turned a little: what limbs do together is what tells near from far in keypoints. The rest
is mixed and perturbed as for pictures.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np

from bodycast.hmr.body.body_model import mirror_pose
from bodycast.hmr.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from training.mocap.deepmimic import load_deepmimic
from training.synthetic.pack import open_pack
from training.synthetic.pose_pool import F32, Rng, unusual_root

WEBCAMS = 0.25
CHUNK = 500
ACROBATS = 0.12
"""Share of DeepMimic's frames, outside webcams."""
TURN_RAD = 0.06
"""One standard deviation of the turn of every joint, about each axis."""


def captured(pose: F32, rng: Rng, webcam: bool) -> F32:
    """A frame (24, 3, 3), mirrored half of the time, lying or leaning sometimes, every joint turned a little."""
    pose = pose.copy()
    if rng.random() < 0.5:
        pose = mirror_pose(pose)
    if not webcam:
        pose[0] = unusual_root(rng) @ pose[0]
    turns = rng.normal(0, TURN_RAD, (24, 3)).astype(np.float32)
    turns[0] = 0
    return (pose @ axis_angle_to_matrix(turns)).astype(np.float32)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--pack", type=Path, required=True)
    parser.add_argument("--split", choices=("train", "test"), default="train")
    parser.add_argument("--count", type=int, default=120_000)
    parser.add_argument("--deepmimic", type=Path, help="folder of humanoid3d_*.txt (pybullet's data/motions)")
    parser.add_argument("--captured", type=float, default=0.7, help="share of the poses that are frames as captured")
    parser.add_argument("--seed", type=int, default=7)
    args = parser.parse_args()
    acrobats = np.zeros((0, 24, 3, 3), np.float32)
    if args.deepmimic is not None:
        acrobats = np.concatenate([load_deepmimic(path) for path in sorted(args.deepmimic.glob("humanoid3d_*.txt"))])
    pack = open_pack(args.pack, args.split)
    rng = np.random.default_rng(args.seed)
    pool = replace(pack.poses, own_limbs=0.2, lively=0.2)
    rest = np.repeat(pack.body.joints(np.zeros((1, 10), np.float32)), CHUNK, axis=0)
    parts, webcams = [], []
    for _ in range(-(-args.count // CHUNK)):
        webcam = [bool(x) for x in rng.random(CHUNK) < WEBCAMS]
        poses, _, _ = pool.sample_clear(rng, webcam, rest)
        for row in np.flatnonzero(rng.random(CHUNK) < args.captured):
            poses[row] = captured(pool.take(rng, webcam[row]), rng, webcam[row])
        for row in np.flatnonzero((rng.random(CHUNK) < ACROBATS) & ~np.array(webcam)) if len(acrobats) else ():
            poses[row] = captured(acrobats[rng.integers(len(acrobats))], rng, webcam[row])
        parts.append(matrix_to_axis_angle(poses).astype(np.float16))
        webcams.append(np.array(webcam))
    np.savez(args.out, axis_angle=np.concatenate(parts), webcam=np.concatenate(webcams))


if __name__ == "__main__":
    main()
