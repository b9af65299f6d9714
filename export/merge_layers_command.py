"""`bodycast export merge-layers CHECKPOINT --frames DIR|SET --out FILE.json`: which layers merge (ECLM), by frames."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from bodycast.engines.user_cache import write_whole
from bodycast.export.command_line import Parser


def main(argv: Sequence[str]) -> int:
    """Search, and write the recipe, its report and the CKA figure."""
    given = _parser().parse_args(argv)
    report, figure = given.out.with_suffix(".md"), given.out.with_name(f"{given.out.stem}-cka.png")
    there = [str(path) for path in (given.out, report, figure) if path.exists()]
    if there and not given.overwrite:
        raise ValueError(f"{', '.join(there)} exists; pass --overwrite to replace it")
    if given.tolerance is not None and not given.tolerance > 0:
        raise ValueError(f"--tolerance: expected more than 0, got {given.tolerance:g}")
    if given.batch < 1:
        raise ValueError(f"--batch: expected 1 or more, got {given.batch}")
    from bodycast.export.layer_similarity import draw_similarity
    from bodycast.export.merge_layers import find_layers, report_text
    from bodycast.export.source import read_arguments

    found = find_layers(
        given.checkpoint,
        given.frames,
        model=given.model,
        layout=given.layout,
        arguments=read_arguments(given.set),
        keep=given.keep,
        tolerance_mm=given.tolerance,
        limit=given.limit,
        batch=given.batch,
        body=given.body,
        say=print,
    )
    given.out.parent.mkdir(parents=True, exist_ok=True)
    draw_similarity(found.similarity, found.recipe.windows, figure)
    write_whole(report, report_text(found, figure.name).encode())
    write_whole(given.out, (json.dumps(found.recipe.to_json(), indent=2) + "\n").encode())
    recipe = found.recipe
    merged = ", ".join(f"{low}-{high}" for low, high in recipe.windows) or "none"
    print(
        f"{recipe.blocks} -> {recipe.blocks_left} layers (merged: {merged}); {found.base_mm:.2f} -> {found.mm:.2f} mm"
    )
    print(f"{given.out}: for --merge-recipe of bodycast export package, and --recipe of bodycast import")
    print(f"{report}, {figure}")
    return 0


def _parser() -> argparse.ArgumentParser:
    make = Parser(prog="bodycast export merge-layers", description=__doc__)
    make.add_argument(
        "checkpoint", type=Path, metavar="CHECKPOINT", help="published (HMR2.0, CameraHMR), or of the training here"
    )
    make.add_argument(
        "--frames", type=Path, required=True, metavar="DIR|SET",
        help="pictures of one person each, or a crop set (training.datasets.as_crops), by its labels where it has them",
    )  # fmt: skip
    make.add_argument(
        "--out", type=Path, required=True, metavar="FILE.json", help="the recipe; its report lies beside it"
    )
    make.add_argument(
        "--keep", type=int, metavar="N", help="merge pairs until N layers are left (FastHMR: 28 for hmr2-h)"
    )
    make.add_argument(
        "--tolerance", type=float, metavar="MM",
        help="without --keep: FastHMR's search, windows grow while the error stays within it "
        "(default 0.1 by labels, 1 by the difference from the unmerged network)",
    )  # fmt: skip
    make.add_argument("--limit", type=int, default=64, help="frames, spread over the folder (default 64)")
    make.add_argument("--batch", type=int, default=8, help="crops at once (default 8)")
    make.add_argument("--body", type=Path, metavar="FILE", help="body that labels are compared through, e.g. smpl.npz")
    make.add_argument("--model", help="registered network, where the file does not say it")
    make.add_argument("--layout", help="layout of a published file; by the network where left out")
    make.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="changes to the registered network")
    make.add_argument("--overwrite", action="store_true", help="replace the files if they are there")
    return make
