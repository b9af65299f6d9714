"""Write a set of synthetic crops: `python -m training.synthetic.generate OUT --count 20000 --split train`.

The set is a folder of .npy arrays (memory-mapped in training) and a `meta.json`. Sample i depends on seed, split and i
alone, so that a set can be made again, longer, or in parts.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import cv2
import numpy as np
from rich.progress import Progress

from hmr.body.body_model import BodyModel
from training.synthetic.backgrounds import Backgrounds
from training.synthetic.crops import CropSample, CropStudio
from training.synthetic.people_renderer import PeopleRenderer
from training.synthetic.poses import HELD_OUT_SUBJECTS, PoseLibrary

ASSETS = Path(__file__).resolve().parents[2] / "assets"
DEFAULT_BODY = ASSETS / "body" / "bodycast-adult.npz"
FIELDS: dict[str, tuple[tuple[int, ...], str]] = {
    "pixels": ((256, 192, 3), "u1"),
    "parts": ((64, 48), "u1"),
    "pose": ((24, 3, 3), "f4"),
    "betas": ((10,), "f4"),
    "camera": ((3,), "f4"),
    "joints": ((24, 3), "f4"),
    "centre_px": ((2,), "f4"),
    "size_px": ((), "f4"),
    "focal_px": ((), "f4"),
    "image_wh": ((2,), "f4"),
    "score": ((), "f4"),
}
SPLIT_SALT = {"train": 1, "test": 2}
CHUNK = 64


def open_studio(split: str, mocap: Path, photographs: Path | None, body: Path = DEFAULT_BODY) -> CropStudio:
    """A studio for one split; test takes other subjects, other garment hues and other photographs."""
    model = BodyModel.load(body)
    return CropStudio(
        model,
        PoseLibrary.load(mocap, split),
        Backgrounds.load(photographs, split),
        held_out=split == "test",
        renderer=PeopleRenderer(model),
    )


def sample_rng(seed: int, split: str, index: int) -> np.random.Generator:
    """The random stream of one sample."""
    return np.random.default_rng([seed, SPLIT_SALT[split], index])


def as_row(sample: CropSample) -> dict[str, np.ndarray]:
    """A sample as the arrays of FIELDS."""
    label = sample.label
    return {
        "pixels": sample.pixels,
        "parts": sample.parts,
        "pose": label.pose,
        "betas": label.betas,
        "camera": label.camera,
        "joints": label.joints,
        "centre_px": label.centre_px,
        "size_px": np.float32(label.size_px),
        "focal_px": np.float32(label.focal_px),
        "image_wh": np.asarray(label.image_wh, np.float32),
        "score": np.float32(sample.score),
    }


_studio: CropStudio | None = None


def _start_worker(args: tuple) -> None:
    global _studio  # one studio (and GL context) per worker process
    cv2.setNumThreads(1)
    os.environ.setdefault("LP_NUM_THREADS", "1")
    _studio = open_studio(*args)


def _make_chunk(out: Path, split: str, seed: int, start: int, stop: int) -> int:
    assert _studio is not None
    arrays = {name: np.load(out / f"{name}.npy", mmap_mode="r+") for name in FIELDS}
    for index in range(start, stop):
        for name, value in as_row(_studio.sample(sample_rng(seed, split, index))).items():
            arrays[name][index] = value
    return stop - start


def generate(
    out: Path, *, count: int, split: str, seed: int, mocap: Path, photographs: Path | None, workers: int, first: int = 0
) -> None:
    """Make samples `first` .. `count` of a set in folder `out`; earlier ones are kept when first > 0."""
    out.mkdir(parents=True, exist_ok=True)
    for name, (shape, dtype) in FIELDS.items():
        if first == 0:
            np.lib.format.open_memmap(out / f"{name}.npy", "w+", dtype, (count, *shape)).flush()
    meta = {
        "split": split, "seed": seed, "count": count, "finished": first,
        "held_out_subjects": HELD_OUT_SUBJECTS, "photographs": photographs is not None,
    }  # fmt: skip
    jobs = [(i, min(i + CHUNK, count)) for i in range(first, count, CHUNK)]
    with (
        Progress(disable=not sys.stderr.isatty()) as progress,
        ProcessPoolExecutor(workers, initializer=_start_worker, initargs=((split, mocap, photographs),)) as pool,
    ):
        task = progress.add_task(f"{split} crops", total=count - first)
        futures = [pool.submit(_make_chunk, out, split, seed, *job) for job in jobs]
        for future, job in zip(futures, jobs, strict=True):
            progress.advance(task, future.result())
            # Chunks finish in order of their futures here, so `finished` samples from 0 on are safe to read.
            meta["finished"] = job[1]
            (out / "meta.json").write_text(json.dumps(meta, indent=1))


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--count", type=int, default=20000)
    parser.add_argument("--split", choices=("train", "test"), default="train")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--mocap", type=Path, default=Path("../shared/data/mocap_cmu"), help="folder of .bvh.gz clips")
    parser.add_argument("--photographs", type=Path, default=None, help="folder of pictures without people")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--first", type=int, default=0, help="go on from this sample of an existing set")
    args = parser.parse_args(argv)
    generate(
        args.out, count=args.count, split=args.split, seed=args.seed, mocap=args.mocap,
        photographs=args.photographs, workers=args.workers, first=args.first,
    )  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
