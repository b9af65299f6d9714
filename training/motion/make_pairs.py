"""`python -m training.motion.make_pairs --package PACKAGE`: let an engine watch rendered motion, write the pairs.

Reads motion clips (--mocap), cuts them to a few seconds each, and writes one .npz per piece
into OUT/train and OUT/test (truth and estimate, `training.motion.pairs.PairedMotion`). OUT holds one package's pairs.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from bodycast.engines.errors import EngineError
from bodycast.engines.package import load_package
from bodycast.engines.registry import open_engine
from training.motion.data import MotionClip, load_split, plausible_runs
from training.motion.pairs import Studio

MODELS = Path(__file__).resolve().parents[2] / "assets" / "models"


def pieces(clips: list[MotionClip], seconds: float, total_s: float, seed: int) -> list[MotionClip]:
    """Pieces of 1 to `seconds` s, drawn at random without overlap until they add up to `total_s`."""
    parts: list[MotionClip] = []
    for clip in clips:
        length = round(seconds * clip.fps)
        for run in plausible_runs(clip, round(clip.fps)):
            parts += [run.cut(k, k + length) for k in range(0, len(run), length)]
    parts = [part for part in parts if part.duration_s >= 1]
    order = np.random.default_rng(seed).permutation(len(parts))
    ends = np.cumsum([parts[i].duration_s for i in order])
    return [parts[i] for i in order[: int(np.searchsorted(ends, total_s)) + 1]]


def main(argv: list[str] | None = None) -> int:
    """Command line. Exit code 2 for bad input."""
    parser = argparse.ArgumentParser(prog="python -m training.motion.make_pairs", description=__doc__)
    parser.add_argument("--package", default="hmr-swin-t-s2-lite", help="package folder, or a name in assets/models")
    parser.add_argument(
        "--mocap", type=Path, required=True, metavar="CLIPS", help="folder of motion clips (.bvh, .bvh.gz, AMASS .npz)"
    )
    parser.add_argument("--out", type=Path, default=Path("work/motion-pairs"))
    parser.add_argument("--split", choices=("train", "test"), action="append", help="default: both")
    parser.add_argument("--total", type=float, default=120.0, help="seconds of motion per split")
    parser.add_argument("--seconds", type=float, default=6.0, help="seconds per piece")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args(argv)
    folder = Path(args.package)
    try:
        package = load_package(folder if folder.is_dir() else MODELS / args.package)
        engine = open_engine(package, "onnxruntime", "cpu", threads=args.threads)
        splits = {split: load_split(args.mocap, split) for split in args.split or ("test", "train")}
    except (ValueError, EngineError) as error:
        print(error, file=sys.stderr)
        return 2
    for split, clips in splits.items():
        out = args.out / split
        out.mkdir(parents=True, exist_ok=True)
        for old in out.glob("*.npz"):
            old.unlink()
        studio = Studio(engine, held_out=split == "test")
        for number, piece in enumerate(pieces(clips, args.seconds, args.total, args.seed)):
            paired = studio.act(piece, args.seed + number)
            if paired is not None:
                paired.save(out / f"{number:03d}_{piece.name}.npz")
        studio.close()
        print(f"{split}: {len(list(out.glob('*.npz')))} pieces of {package.info.name} in {out}", flush=True)
    engine.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
