"""`python -m training --recipe swin-t-s2 --minutes 60`: learn from sets of synthetic crops; resumable."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def main(argv: list[str] | None = None) -> int:
    """Command line. Exit code 2 for bad input."""
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    parser.add_argument(
        "--recipe", action="append", required=True, help="name in training/recipes, or a .toml file; repeatable"
    )
    parser.add_argument("--train", type=Path, default=Path("work/crops-train"), help="crop set to learn from")
    parser.add_argument("--test", type=Path, default=Path("work/crops-test"), help="crop set to score on")
    parser.add_argument("--out", type=Path, default=None, help="checkpoints, log and curves (default work/RECIPE)")
    parser.add_argument("--minutes", type=float, default=60.0, help="time budget, resumed runs counted in")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=int, default=None, help="CPU threads")
    parser.add_argument("--validate-every", type=float, default=300.0, help="seconds of training between checks")
    parser.add_argument("--fresh", action="store_true", help="ignore an earlier checkpoint in --out")
    args = parser.parse_args(argv)
    from training import distributed
    from training.config import load_recipe
    from training.loop import RunOptions, Training

    try:
        recipes = [load_recipe(name) for name in args.recipe]
        out = args.out or Path("work") / "+".join(r.name for r in recipes)
        options = RunOptions(
            args.train,
            args.test,
            out,
            args.minutes,
            args.device,
            args.threads,
            args.validate_every,
            resume=not args.fresh,
        )
        training = Training(recipes, options)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    try:
        for name, scores in training.run().items():
            print(name, {key: round(value, 2) for key, value in scores.items()})
    finally:
        distributed.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
