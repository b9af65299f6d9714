"""`python -m evaluation tune-one-euro --pairs DIR`: the constants with which the one-euro filter does best on clips.

Coordinate search over a grid: each constant in turn takes the value of the grid with the least cost, until a round
changes nothing. Cost: MPJPE over that of the raw estimates plus `--steadiness` times the same ratio of acceleration
errors (for the translation: position and acceleration of the root). So a small steadiness gives the closest filter,
a large one the calmest. Tune on training subjects, compare on held-out ones.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from bodycast.app.smoothers.no_smoother import NoSmoother
from bodycast.app.smoothers.one_euro import Cutoff, OneEuroOptions, OneEuroSmoother
from bodycast.hmr.body.body_model import BodyModel
from evaluation.smooth_cases import Case, case_of
from evaluation.smooth_scores import measure, run_smoother
from training.motion.pairs import PairedMotion

MIN_HZ = (0.15, 0.3, 0.6, 1.0, 1.7, 3.0)
RESPONSE = {
    "root": (0.0, 0.1, 0.3, 0.8, 1.5),
    "joints": (0.0, 0.1, 0.3, 0.8, 1.5),
    "direction": (0.0, 2.0, 8.0, 20.0),
    "depth": (0.0, 0.7, 2.0),
}
SPEED_HZ = (0.5, 1.0, 3.0)


def cost(options: OneEuroOptions, cases: Sequence[Case], raw: dict[str, float], steadiness: float) -> float:
    """See the module."""
    body, smoother = BodyModel.load(), OneEuroSmoother(options)
    rows = [measure(case, run_smoother(smoother, case.paired), body) for case in cases]
    found = {name: float(np.nanmean([row[name] for row in rows])) for name in raw}
    ratio = {name: found[name] / raw[name] for name in raw}
    return (
        ratio["mpjpe_mm"]
        + steadiness * ratio["accel_mm_frame2"]
        + ratio["place_mm"]
        + steadiness * ratio["place_accel_mm_frame2"]
    )


def tune(cases: Sequence[Case], steadiness: float, rounds: int = 2) -> OneEuroOptions:
    """The best constants found."""
    body = BodyModel.load()
    names = ("mpjpe_mm", "accel_mm_frame2", "place_mm", "place_accel_mm_frame2")
    rows = [measure(case, run_smoother(NoSmoother(), case.paired), body) for case in cases]
    raw = {name: float(np.nanmean([row[name] for row in rows])) for name in names}
    best = OneEuroOptions()
    least = cost(best, cases, raw, steadiness)
    for _ in range(rounds):
        before = best
        for quantity, responses in RESPONSE.items():
            for field, values in (("min_hz", MIN_HZ), ("response", responses), ("speed_hz", SPEED_HZ)):
                for value in values:
                    cutoff: Cutoff = replace(getattr(best, quantity), **{field: value})
                    tried = replace(best, **{quantity: cutoff})
                    if tried == best:
                        continue
                    now = cost(tried, cases, raw, steadiness)
                    if now < least:
                        best, least = tried, now
        print(f"cost {least:.4f}: {best}", flush=True)
        if best == before:
            break
    return best


def main(argv: Sequence[str]) -> int:
    """Command line. Exit code 2 for bad input."""
    parser = argparse.ArgumentParser(prog="python -m evaluation tune-one-euro", description=__doc__)
    parser.add_argument("--pairs", type=Path, required=True, help="folder of pairs (training.motion.make_pairs)")
    parser.add_argument("--steadiness", type=float, default=0.3)
    parser.add_argument("--every", type=int, default=1, help="take every so many clips")
    args = parser.parse_args(argv)
    files = sorted(args.pairs.glob("*.npz"))[:: args.every]
    if not files:
        print(f"evaluation tune-one-euro: no pairs in {args.pairs}", file=sys.stderr)
        return 2
    body = BodyModel.load()
    print(tune([case_of(path.stem, PairedMotion.load(path), body) for path in files], args.steadiness))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
