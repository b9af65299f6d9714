"""`python -m training.synthetic.contact_sheet SET OUT.jpg`: 100 crops of a set on one sheet, to look at."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import cv2
import numpy as np

from bodycast.npz import map_npy

COLUMNS = 20


def contact_sheet(pixels: np.ndarray, columns: int = COLUMNS, scale: float = 0.5) -> np.ndarray:
    """(N, h, w, 3) RGB crops -> one BGR picture, row by row; N must fill its rows."""
    count = len(pixels) // columns * columns
    if count == 0:
        raise ValueError(f"a sheet needs at least {columns} crops, got {len(pixels)}")
    small = [cv2.resize(p, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) for p in pixels[:count]]
    rows = [np.hstack(small[i : i + columns]) for i in range(0, count, columns)]
    return np.ascontiguousarray(np.vstack(rows)[..., ::-1])


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("crops", type=Path, help="folder written by training.synthetic.generate")
    parser.add_argument("out", type=Path)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, default=100)
    args = parser.parse_args(argv)
    try:
        pixels = map_npy(args.crops / "pixels.npy")[args.first : args.first + args.count]
        sheet = contact_sheet(np.asarray(pixels))
        args.out.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(args.out), sheet, [cv2.IMWRITE_JPEG_QUALITY, 82])
    except (OSError, ValueError, cv2.error) as error:
        print(f"contact_sheet: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
