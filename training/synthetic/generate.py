"""Write a set of synthetic crops: `python -m training.synthetic.generate OUT --pack PACK --count 20000 --split train`.

The set is a folder of .npy arrays (memory-mapped in training) and a `meta.json`. Sample i depends on pack, seed, split
and i alone, so that a set can be made again, longer, or in parts.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

import numpy as np
from rich.progress import Progress

from bodycast.npz import map_npy
from training.synthetic.chunk import CHUNK, CHUNKS_PER_CAST, FIELDS
from training.synthetic.pack import require_pack
from training.synthetic.poses import HELD_OUT_SUBJECTS
from training.synthetic.stream import RenderedStream, RenderError


def _make_files(out: Path, count: int, first: int) -> None:
    out.mkdir(parents=True, exist_ok=True)
    for name, (shape, dtype) in FIELDS.items():
        if first == 0:
            np.lib.format.open_memmap(out / f"{name}.npy", "w+", dtype, (count, *shape)).flush()


def generate(out: Path, pack: Path, *, count: int, split: str, seed: int, workers: int, first: int = 0) -> None:
    """Make samples `first` .. `count` of a set in folder `out`; `first` is rounded down to a whole cast."""
    per_cast = CHUNK * CHUNKS_PER_CAST
    first = first // per_cast * per_cast
    _make_files(out, count, first)
    arrays = {name: map_npy(out / f"{name}.npy", "r+") for name in FIELDS}
    meta = {"version": 2, "split": split, "seed": seed, "count": count, "finished": first,
            "held_out_subjects": HELD_OUT_SUBJECTS}  # fmt: skip
    wanted = set(range(first // CHUNK, -(-count // CHUNK)))
    with (
        Progress(disable=not sys.stderr.isatty()) as progress,
        RenderedStream(pack, split=split, seed=seed, workers=workers, first=first // per_cast) as stream,
    ):
        task = progress.add_task(f"{split} crops", total=len(wanted))
        for number, chunk in stream.chunks():
            start = number * CHUNK
            if number in wanted:
                wanted.remove(number)
                progress.advance(task)
                for name, array in arrays.items():
                    array[start : start + CHUNK] = chunk[name][: count - start]
                # Workers finish casts side by side: all rows before the first missing chunk may be read.
                meta["finished"] = min(min(wanted) * CHUNK, count) if wanted else count
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
    parser.add_argument("--pack", type=Path, required=True, help="folder made by training.synthetic.pack")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--first", type=int, default=0, help="go on from this sample of an existing set")
    parser.add_argument("--overwrite", action="store_true", help="begin anew where a set is")
    args = parser.parse_args(argv)
    shared = {"count": args.count, "split": args.split, "seed": args.seed, "workers": args.workers, "first": args.first}
    try:
        if args.first == 0 and not args.overwrite and (args.out / "meta.json").exists():
            raise ValueError(f"{args.out} holds a set already: go on from it with --first N, or give --overwrite")
        require_pack(args.pack)
        generate(args.out, args.pack, **shared)
    except (ValueError, OSError, RenderError) as error:
        print(f"generate: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
