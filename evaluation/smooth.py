"""`python -m evaluation smooth CLIPS...`: how much steadier smoothers make motion, and what that costs.

CLIPS are motion capture (.bvh, .bvh.gz, AMASS .npz). What an engine would see of them is drawn from the error model
that was measured on it (training/motion/error_model.py), or, with --package, comes from the engine itself, watching the
rendered clips. --pairs takes such pairs from a folder, as training.motion.make_pairs writes them.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from bodycast.app.errors import BodycastError
from bodycast.app.smoothers import open_smoother
from bodycast.app.smoothers.base import Smoother
from bodycast.app.smoothers.diffusion.decoder import DecodedSmoother
from bodycast.app.smoothers.diffusion.live import PACKAGE, DiffusionSmoother
from bodycast.app.smoothers.one_euro import Cutoff, OneEuroOptions, OneEuroSmoother
from bodycast.engines.errors import EngineError
from bodycast.hmr.body.body_model import BodyModel
from evaluation.smooth_cases import GAP_PLACES, Case, case_of, motion_pieces, simulated, with_gap, without_errors
from evaluation.smooth_scores import measure, run_smoother
from training.motion.error_model import ERROR_MODEL, ErrorModel
from training.motion.pairs import PairedMotion

COLUMNS: dict[str, str] = {
    "mpjpe_mm": "MPJPE mm",
    "pa_mpjpe_mm": "PA mm",
    "accel_mm_frame2": "accel mm/f2",
    "accel_mm_s2": "accel mm/s2",
    "jitter_m_s3": "jitter m/s3",
    "place_mm": "place mm",
    "place_accel_mm_frame2": "place accel",
    "foot_slide_mm_s": "foot mm/s",
    "bone_change_mm": "bones mm",
    "delay_ms": "delay ms",
    "wrist_speed_ratio": "peak wrist",
    "ms": "ms",
}
TUNED = OneEuroOptions(
    root=Cutoff(0.6, 0.3, speed_hz=0.5),
    joints=Cutoff(1.0, 0.1, speed_hz=0.5),
    direction=Cutoff(1.7, 20.0, speed_hz=0.5),
    depth=Cutoff(0.3, 2.0, speed_hz=1.0),
)
"""What `python -m evaluation tune-one-euro --every 9` found on the training subjects, watched by hmr-swin-t-s2."""

Figures = dict[str, dict[str, float]]


def parser() -> argparse.ArgumentParser:
    """The command line."""
    make = argparse.ArgumentParser(prog="python -m evaluation smooth", description=__doc__)
    make.add_argument("clips", nargs="*", type=Path, help="motion files")
    make.add_argument("--package", help="render the clips and let this HMR package watch")
    make.add_argument("--pairs", type=Path, help="folder of pairs instead of clips")
    make.add_argument("--errors", type=Path, default=ERROR_MODEL, help="error model to simulate with")
    make.add_argument("--strength", type=float, default=1.0, help="of the simulated errors; 1 is the measured engine")
    make.add_argument("--smoother-package", default=PACKAGE, help="package of the diffusion smoother")
    make.add_argument("--fps", type=float, default=30.0)
    make.add_argument("--seconds", type=float, default=6.0, help="longest piece of a clip")
    make.add_argument("--lags", type=float, nargs="+", default=[0.0, 0.1, 0.3], help="of the diffusion smoother")
    make.add_argument("--gap", type=float, default=0.0, help="hide everybody for so many seconds, and score only those")
    make.add_argument("--clean", action="store_true", help="the truth goes in: what smoothers do to motion itself")
    make.add_argument("--live-alone", action="store_true", help="also the diffusion smoother without its decoder")
    make.add_argument("--seed", type=int, default=0)
    make.add_argument("--json", type=Path, help="also write the figures here")
    make.add_argument("--picture", type=Path, help="draw error against lag and against jitter")
    return make


def main(argv: Sequence[str]) -> int:
    """Command line. Exit code 2 for bad input."""
    args = parser().parse_args(argv)
    try:
        if not args.clips and args.pairs is None:
            raise ValueError("give motion clips, or --pairs with a folder of them")
        cases = list(read_cases(args))
        if not cases:
            raise ValueError("no clip of a second or more that could be shown")
        cases = [replace(case, paired=without_errors(case.paired)) for case in cases] if args.clean else cases
        smoothers = smoothers_of(args.smoother_package, args.lags, args.live_alone)
        results = {name: score(make, cases, args.gap) for name, make in smoothers.items()}
    except (BodycastError, EngineError, ValueError) as error:
        print(f"evaluation smooth: {error}", file=sys.stderr)
        return 2
    report(results, cases, args.gap)
    if args.json:
        args.json.write_text(json.dumps(results, indent=1))
    if args.picture:
        from evaluation.smooth_picture import draw

        draw(args.picture, {name: groups["all"] for name, groups in results.items()})
    return 0


def read_cases(args: argparse.Namespace) -> Iterator[Case]:
    """The clips with what is seen of them. Raises ValueError, EngineError."""
    body = BodyModel.load()
    if args.pairs is not None:
        for path in sorted(args.pairs.glob("*.npz")):
            yield case_of(path.stem, PairedMotion.load(path), body)
    pieces = enumerate(motion_pieces(args.clips, args.fps, args.seconds))
    if args.package is None:
        errors = ErrorModel.load(args.errors) if args.clips else None
        for number, piece in pieces:
            seen = None if errors is None else simulated(piece, errors, body, args.seed + number, args.strength)
            if seen is not None:
                yield case_of(piece.name, seen, body)
        return
    from bodycast.app.model_packages import find_package
    from bodycast.engines.registry import open_engine
    from training.motion.pairs import Studio

    with open_engine(find_package(args.package, "hmr"), "onnxruntime", "cpu") as engine:
        studio = Studio(engine)
        for number, piece in pieces:
            seen = studio.act(piece, args.seed + number, held_out=True)
            if seen is not None:
                yield case_of(piece.name, seen, body)
        studio.close()


def smoothers_of(package: str, lags: Sequence[float], alone: bool = False) -> dict[str, Callable[[], Smoother]]:
    """What is compared, by the name in the table. alone: also without the decoder."""
    made: dict[str, Callable[[], Smoother]] = {
        "raw": lambda: open_smoother("none"),
        "one-euro": lambda: open_smoother("one-euro"),
        "one-euro tuned": lambda: OneEuroSmoother(TUNED),
    }

    def decoded(lag_s: float) -> Callable[[], Smoother]:
        return lambda: DecodedSmoother(lag_s, live_package=package)

    for lag in lags:
        if alone:
            made[f"diffusion {lag:g} s, live network alone"] = lambda lag=lag: DiffusionSmoother(package, lag)
        made[f"diffusion {lag:g} s"] = decoded(lag)
    made["diffusion offline"] = lambda: DecodedSmoother(offline=True, live_package=package)
    return made


def score(make: Callable[[], Smoother], cases: Sequence[Case], gap_s: float) -> Figures:
    """Mean figures over all clips, over the fast ones and over the others."""
    body, smoother = BodyModel.load(), make()
    rows: list[tuple[bool, dict[str, float]]] = []
    for case in cases:
        for place in GAP_PLACES if gap_s > 0 else (0.5,):
            paired, hidden = with_gap(case.paired, gap_s, place) if gap_s > 0 else (case.paired, None)
            rows.append((case.fast, measure(case, run_smoother(smoother, paired), body, hidden)))
    groups = {
        "all": [row for _, row in rows],
        "fast": [row for fast, row in rows if fast],
        "calm": [row for fast, row in rows if not fast],
    }
    return {group: mean_of(found) for group, found in groups.items() if found}


def mean_of(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    """Mean of every figure, clips without one left out."""
    return {
        name: float(np.nanmean(values)) if np.isfinite(values := [row[name] for row in rows]).any() else float("nan")
        for name in rows[0]
    }


def report(results: dict[str, Figures], cases: Sequence[Case], gap_s: float) -> None:
    """The tables."""
    console = Console()
    console = Console(width=max(console.width, 168))
    fast = sum(case.fast for case in cases)
    seconds = sum(len(case.paired) / float(case.paired.fps) for case in cases)
    note = f", hidden for {gap_s:g} s: positions are those of the hidden frames" if gap_s > 0 else ""
    for group in ("all", "fast", "calm"):
        if not any(group in groups for groups in results.values()):
            continue
        count = {"all": len(cases), "fast": fast, "calm": len(cases) - fast}[group]
        table = Table(title=f"{group}: {count} clips of {len(cases)}, {seconds:.0f} s in all{note}")
        table.add_column("smoother")
        for title in COLUMNS.values():
            table.add_column(title, justify="right")
        for name, groups in results.items():
            if group in groups:
                table.add_row(name, *(_number(groups[group][column]) for column in COLUMNS))
        console.print(table)


def _number(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
