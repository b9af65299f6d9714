"""Write a set of synthetic crops: `python -m training.synthetic.generate OUT --pack PACK --count 20000 --split train`.

The set is a folder of .npy arrays (memory-mapped in training) and a `meta.json`. Sample i depends on pack, seed, split
and i alone, so that a set can be made again, longer, or in parts. Without --pack the first version's painted people are
drawn (`crops.py`, from --mocap and --photographs), so that sets that models were scored on can be made again.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from pathlib import Path

import cv2
import numpy as np
from rich.progress import Progress

from hmr.body.body_model import BodyModel
from training.synthetic.backgrounds import Backgrounds
from training.synthetic.chunk import CHUNK as STREAM_CHUNK
from training.synthetic.chunk import CHUNKS_PER_CAST, FIELDS, SPLIT_SALT
from training.synthetic.crops import CropStudio
from training.synthetic.pack import require_pack
from training.synthetic.people_renderer import PeopleRenderer
from training.synthetic.poses import HELD_OUT_SUBJECTS, PoseLibrary, split_files
from training.synthetic.stream import RenderedStream, RenderError

ASSETS = Path(__file__).resolve().parents[2] / "assets"
DEFAULT_BODY = ASSETS / "body" / "bodycast-adult.npz"
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
        for name, value in _studio.sample(sample_rng(seed, split, index)).as_row().items():
            arrays[name][index] = value
    return stop - start


def generate(
    out: Path, *, count: int, split: str, seed: int, mocap: Path, photographs: Path | None, workers: int, first: int = 0
) -> None:
    """Make samples `first` .. `count` of a set in folder `out`; earlier ones are kept when first > 0."""
    _make_files(out, count, first)
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


def _make_files(out: Path, count: int, first: int) -> None:
    out.mkdir(parents=True, exist_ok=True)
    for name, (shape, dtype) in FIELDS.items():
        if first == 0:
            np.lib.format.open_memmap(out / f"{name}.npy", "w+", dtype, (count, *shape)).flush()


def generate_from_pack(
    out: Path, pack: Path, *, count: int, split: str, seed: int, workers: int, first: int = 0
) -> None:
    """Make samples `first` .. `count` of a set in folder `out`; `first` is rounded down to a whole cast."""
    per_cast = STREAM_CHUNK * CHUNKS_PER_CAST
    first = first // per_cast * per_cast
    _make_files(out, count, first)
    arrays = {name: np.load(out / f"{name}.npy", mmap_mode="r+") for name in FIELDS}
    meta = {"version": 2, "split": split, "seed": seed, "count": count, "finished": first,
            "held_out_subjects": HELD_OUT_SUBJECTS}  # fmt: skip
    wanted = set(range(first // STREAM_CHUNK, -(-count // STREAM_CHUNK)))
    with (
        Progress(disable=not sys.stderr.isatty()) as progress,
        RenderedStream(pack, split=split, seed=seed, workers=workers, first=first // per_cast) as stream,
    ):
        task = progress.add_task(f"{split} crops", total=len(wanted))
        for number, chunk in stream.chunks():
            start = number * STREAM_CHUNK
            if number in wanted:
                wanted.remove(number)
                progress.advance(task)
                for name, array in arrays.items():
                    array[start : start + STREAM_CHUNK] = chunk[name][: count - start]
                # Workers finish casts side by side: all rows before the first missing chunk may be read.
                meta["finished"] = min(min(wanted) * STREAM_CHUNK, count) if wanted else count
                (out / "meta.json").write_text(json.dumps(meta, indent=1))
            if not wanted:
                return


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--count", type=int, default=20000)
    parser.add_argument("--split", choices=("train", "test"), default="train")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pack", type=Path, default=None, help="folder made by training.synthetic.pack")
    parser.add_argument("--mocap", type=Path, default=Path("../shared/data/mocap_cmu"), help="folder of .bvh.gz clips")
    parser.add_argument("--photographs", type=Path, default=None, help="folder of pictures without people")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--first", type=int, default=0, help="go on from this sample of an existing set")
    parser.add_argument("--overwrite", action="store_true", help="begin anew where a set is")
    args = parser.parse_args(argv)
    shared = {"count": args.count, "split": args.split, "seed": args.seed, "workers": args.workers, "first": args.first}
    try:
        if args.first == 0 and not args.overwrite and (args.out / "meta.json").exists():
            raise ValueError(f"{args.out} holds a set already: go on from it with --first N, or give --overwrite")
        if args.pack is not None:
            require_pack(args.pack)
            generate_from_pack(args.out, args.pack, **shared)
        else:
            split_files(args.mocap, args.split)  # workers that find none break without a word
            generate(args.out, mocap=args.mocap, photographs=args.photographs, **shared)
    except (ValueError, OSError, RenderError, BrokenExecutor) as error:
        print(f"generate: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
