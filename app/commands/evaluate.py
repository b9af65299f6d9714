"""`bodycast evaluate world PRED.npz TRUTH.npz ...`: where people are in the world, against a truth of known floor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

from bodycast.app.command_line import parse
from bodycast.app.errors import UsageError

USAGE = "usage: {prog} WHAT [OPTIONS]\n\n  world   places, floor, feet and bones of motion files, against their truth"
WIDTH = 15


@dataclass(frozen=True)
class EvaluateWorld:
    """Score motion files against truths in the same layout: docs/evaluation.md says what each figure is."""

    files: Annotated[tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="PRED TRUTH")]
    """Pairs of motion files: what a run wrote, then the truth."""

    body: str = "auto"
    """Body file that the betas belong to; auto: the embedded one."""


def main(args: Sequence[str], prog: str) -> int:
    """Command line."""
    if not args or args[0] != "world":
        if args and args[0] not in ("-h", "--help"):
            raise UsageError(f"nothing to evaluate by the name {args[0]!r}; there is: world")
        print(USAGE.format(prog=prog))
        return 0 if args else 2
    from bodycast.app.files.motion_file import read_motion
    from bodycast.app.pipeline.build import load_body
    from bodycast.app.world.scores import score_world

    given = parse(EvaluateWorld, args[1:], f"{prog} world")
    if not given.files or len(given.files) % 2:
        raise UsageError("give pairs of motion files: PRED.npz TRUTH.npz")
    rows: list[dict[str, float]] = []
    for ours, theirs in zip(given.files[::2], given.files[1::2], strict=True):
        predicted, truth = read_motion(ours), read_motion(theirs)
        body = load_body(given.body, predicted.meta.body, False)
        for person, figures in score_world(predicted, truth, body).items():
            if not rows:
                print(f"{'clip':16} id  " + " ".join(f"{name:>{WIDTH}}" for name in figures))
            print(f"{theirs.stem[:16]:16} {person:2}  " + " ".join(f"{value:{WIDTH}.3f}" for value in figures.values()))
            rows.append(figures)
        print(f"{theirs.stem[:16]:16} focal length {predicted.focal_px / truth.focal_px - 1:+.1%}")
    if len(rows) > 1:
        means = [np.array([row[name] for row in rows]) for name in rows[0]]
        known = [values[np.isfinite(values)] for values in means]
        print(
            f"{'mean':16}     " + " ".join(f"{values.mean() if len(values) else np.nan:{WIDTH}.3f}" for values in known)
        )
    return 0
