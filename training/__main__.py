"""`python -m training --recipe swin-t-s2 --minutes 60`: learn from crops, on disk or rendered on the way; resumable.

Crops come from the sets of --train, or are rendered from the pack of --stream. Where neither is given: from
work/crops-train, else rendered from work/pack, else from a starter pack that is made of the repository alone.

Several recipes learn from one stream of crops:
`python -m training --recipe swin-t-s2 swin-t-s3 --stream PACK --minutes 9 --device cuda --out OUT`.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from training.loop import RunOptions

TEST = Path("work/crops-test")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = argparse.ArgumentParser(
        prog="python -m training", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument(
        "--recipe", nargs="+", action="extend", required=True, help="names in training/recipes, or .toml files"
    )
    data = p.add_argument_group("crops")
    data.add_argument("--train", type=Path, nargs="+", default=None, help="crop sets to learn from")
    data.add_argument("--test", type=Path, default=None, help=f"crop set to score on (default {TEST}, or rendered)")
    data.add_argument(
        "--photos", type=Path, default=None, help="people of `python -m training.photos.label` beside them"
    )
    data.add_argument("--photo-share", type=float, default=0.5, help="of every batch (default 0.5)")
    data.add_argument(
        "--stream", type=Path, default=None, metavar="PACK", help="render crops from a pack while training"
    )
    data.add_argument("--workers", type=int, default=None, help="processes that render (default: the cores but two)")
    data.add_argument("--pool", type=int, default=None, help="rendered crops to keep and draw from (150 kB each)")
    data.add_argument("--body", type=Path, default=None, help="body that the sets are labelled with, e.g. smpl.npz")
    data.add_argument("--test-crops", type=int, default=512, help="crops to score on where the pack gives them")
    data.add_argument("--augment", default=None, help="none, colour (default on a CPU), film or full (on a GPU)")
    run = p.add_argument_group("run")
    run.add_argument("--out", type=Path, default=None, help="checkpoints, log and curves (default work/RECIPE)")
    run.add_argument("--minutes", type=float, default=60.0, help="time budget, resumed runs counted in")
    run.add_argument("--steps", type=int, default=None, help="stop after so many steps, if the time allows")
    run.add_argument("--epochs", type=float, default=None, help="stop after so many passes over the sets on disk")
    run.add_argument("--device", default="cpu", help="cpu or cuda")
    run.add_argument("--threads", type=int, default=None, help="CPU threads")
    run.add_argument("--batch", type=int, default=None, help="crops of a step (default: each recipe's own)")
    run.add_argument(
        "--validate-every", type=float, default=None,
        help="seconds of training between checks and checkpoints (default 300, and at least eight of them in a run)",
    )  # fmt: skip
    run.add_argument("--fresh", action="store_true", help="ignore an earlier checkpoint in --out")
    run.add_argument("--compile", action="store_true", help="torch.compile: minutes first, then faster steps")
    run.add_argument("--no-tensorboard", action="store_true", help="write no TensorBoard log")
    run.add_argument(
        "--init", nargs="+", action="extend", default=[], metavar="[RECIPE=]CHECKPOINT",
        help="weights to start from, for all recipes or for one",
    )  # fmt: skip
    run.add_argument("--teacher", type=Path, default=None, help="checkpoint that recipes with needs_teacher learn from")
    return p


def read_init(values: Sequence[str], recipes: Sequence[str]) -> dict[str, Path]:
    """`RECIPE=CHECKPOINT` or `CHECKPOINT` for all (under the name ""). Raises ValueError for a recipe not trained."""
    found: dict[str, Path] = {}
    for value in values:
        name, equals, path = value.rpartition("=")
        if equals and name not in recipes:
            raise ValueError(f"--init {value}: no recipe {name!r} in this run; there are {', '.join(recipes)}")
        found[name] = Path(path)
    return found


def _options(args: argparse.Namespace, names: list[str]) -> RunOptions:
    """Where and how long, from the command line. Raises ValueError for what does not go together."""
    from training.loop import RunOptions
    from training.starter import find_crops

    cuda = args.device.startswith("cuda")
    if args.stream is not None and args.train:
        raise ValueError("give crop sets (--train) or a pack (--stream), not both")
    if args.epochs is not None and not args.epochs > 0:
        raise ValueError(f"--epochs: expected more than 0, got {args.epochs:g}")
    if not args.minutes > 0:
        raise ValueError(f"--minutes: expected more than 0, got {args.minutes:g}")
    train, stream = args.train, args.stream
    if not train and stream is None:
        train, stream = find_crops(Path("work"))
    rendered = stream is not None
    return RunOptions(
        train=None if train is None else tuple(train),
        test=args.test or (None if rendered else TEST),
        out=args.out or Path("work") / "+".join(names),
        minutes=args.minutes,
        device=args.device,
        threads=args.threads,
        validate_every_s=args.validate_every or min(300.0, max(15.0, args.minutes * 60 / 8)),
        resume=not args.fresh,
        stream=stream,
        workers=args.workers or max(1, (os.cpu_count() or 1) - 2),
        pool=args.pool or (100_000 if cuda else 4096),
        batch=args.batch,
        augmentation=args.augment or ("full" if cuda else "colour"),
        compiled=args.compile,
        tensorboard=not args.no_tensorboard,
        init=read_init(args.init, names),
        teacher=args.teacher,
        test_crops=args.test_crops,
        photos=args.photos,
        photo_share=args.photo_share,
        steps=args.steps,
        epochs=args.epochs,
        body=args.body,
    )


def main(argv: list[str] | None = None) -> int:
    """Command line. Exit code 2 for bad input, 1 where a network failed or the renderer did."""
    args = parser().parse_args(argv)
    from training import distributed
    from training.config import load_recipe
    from training.loop import Training

    try:
        recipes = [load_recipe(name) for name in args.recipe]
        training = Training(recipes, _options(args, [recipe.name for recipe in recipes]))
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    except RuntimeError as error:  # the renderer, or a device that is not there
        print(error, file=sys.stderr)
        return 1
    try:
        for name, scores in training.run().items():
            print(name, {key: round(value, 2) for key, value in scores.items()})
    except (FloatingPointError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; the same command goes on from the last check", file=sys.stderr)
        return 130
    finally:
        distributed.stop()
    for name, reason in training.failures.items():
        print(f"{name} failed: {reason}", file=sys.stderr)
    return 1 if training.failures else 0


if __name__ == "__main__":
    sys.exit(main())
