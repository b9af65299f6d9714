"""`python -m training.motion.measure`: fit the error model to the pairs of work/motion-pairs/train and print it.

Pairs come from `python -m training.motion.make_pairs --package NAME`; run both again when the engine's weights change.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from training.motion.error_model import ERROR_MODEL, TAUS_S, ErrorModel, fit
from training.motion.pairs import PairedMotion


def describe(model: ErrorModel) -> str:
    """The model in words and numbers."""
    shares = model.variances.sum(0) / model.variances.sum()
    times = ["constant" if t == np.inf else "white" if t == 0 else f"{t:g} s" for t in TAUS_S]
    spread = np.sqrt((model.basis**2 * model.variances.sum(1)[:, None]).sum(0) + model.rest_std**2)
    degrees = np.rad2deg(np.linalg.norm(spread[:72].reshape(24, 3), axis=1))
    return "\n".join(
        [
            f"errors of {model.package}, beyond what follows from the pose:",
            "  share of the variance by time constant: "
            + ", ".join(f"{name} {share:.0%}" for name, share in zip(times, shares, strict=True)),
            f"  root {degrees[0]:.1f} degrees, other joints {degrees[1:].mean():.1f} on average",
            f"  direction {spread[72:74].mean() * 100:.1f} %, depth {spread[74] * 100:.1f} %",
            f"  amplitude varies by a factor of {np.exp(float(model.log_amplitude_std)):.2f}",
            f"  turns {float(model.turns_per_s):.2f} a second of {float(model.turn_s):.2f} s, "
            f"flips {float(model.flips_per_s):.2f} a second of {float(model.flip_s):.2f} s, "
            f"blanks {float(model.blanks_per_s):.2f} a second of {float(model.blank_s):.2f} s",
        ]
    )


def main(argv: list[str] | None = None) -> int:
    """Command line. Exit code 2 for bad input."""
    parser = argparse.ArgumentParser(prog="python -m training.motion.measure", description=__doc__)
    parser.add_argument("--pairs", type=Path, default=Path("work/motion-pairs/train"))
    parser.add_argument("--package", default="hmr-swin-t-s2-lite", help="name of the engine, for the record")
    parser.add_argument("--out", type=Path, default=ERROR_MODEL)
    args = parser.parse_args(argv)
    try:
        model = fit([PairedMotion.load(path) for path in sorted(args.pairs.glob("*.npz"))], args.package)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    model.save(args.out)
    print(describe(model))
    return 0


if __name__ == "__main__":
    sys.exit(main())
