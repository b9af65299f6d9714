"""A render worker: writes chunks of crops into shared memory when told to. Started by `training.synthetic.stream`.

Reads slot numbers from its input, one a line; answers each with "slot number" once that chunk lies in the slot. Never
loads torch, whose LLVM does not live beside Mesa's.
"""

from __future__ import annotations

import argparse
import mmap
import os
import sys
from pathlib import Path

import cv2
import numpy as np

from training.synthetic.chunk import CHUNKS_PER_CAST, chunk_bytes, chunk_views
from training.synthetic.pack import open_pack


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pack", type=Path)
    parser.add_argument("--split", required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--first", type=int, required=True, help="number of the first cast")
    parser.add_argument("--step", type=int, required=True, help="casts from one to the next of this worker")
    parser.add_argument("--memory", type=int, required=True, help="file descriptor of the shared memory")
    args = parser.parse_args(argv)
    from training.synthetic.studio import Studio

    cv2.setNumThreads(1)
    studio = Studio(open_pack(args.pack, args.split), args.seed)
    size = os.fstat(args.memory).st_size
    memory = memoryview(mmap.mmap(args.memory, size))
    slots = [chunk_views(memory[start : start + chunk_bytes()]) for start in range(0, size, chunk_bytes())]
    cast, within = args.first, 0
    for line in sys.stdin:
        slot, number = int(line), cast * CHUNKS_PER_CAST + within
        for name, array in studio.chunk(number).items():
            np.copyto(slots[slot][name], array)
        print(slot, number, flush=True)
        within += 1
        if within == CHUNKS_PER_CAST:
            cast, within = cast + args.step, 0
    return 0


if __name__ == "__main__":
    # One core a worker: Mesa's renderer and BLAS would each take all of them.
    for variable in ("LP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
        os.environ.setdefault(variable, "1")
    sys.exit(main())
