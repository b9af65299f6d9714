"""`python -m evaluation models`: every registered network with its size and cost, the paper's figure beside ours.

Parameters include position tables, which FastHMR's counter leaves out. Multiply-accumulates are those of linear layers
and convolutions, as the papers count them (for Swin with the padded tokens, on which ours spends nothing); products of
activations (attention, selective scans) stand in a column of their own. Everything is counted on torch's `meta` device,
so that even ViT-H needs no memory.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bodycast.hmr.networks.registry import ModelSpec


@dataclass(frozen=True)
class ModelRow:
    """One line of the table.

    Attributes:
        parameters_m: millions. gmacs: 1e9 multiply-accumulates with a weight, for one item. product_gmacs: the same
        among activations. paper_parameters_m, paper_gmacs: as printed. paper: source and accuracy, in words.
    """

    name: str
    kind: str
    parameters_m: float
    gmacs: float
    product_gmacs: float
    paper_parameters_m: float | None
    paper_gmacs: float | None
    paper: str


def measure(spec: ModelSpec) -> ModelRow:
    """Build a network without memory and count it."""
    import torch

    from bodycast.hmr.networks.flops import count_cost
    from bodycast.hmr.networks.registry import example_inputs

    with torch.device("meta"):
        model = spec.build().eval()
        cost = count_cost(model, *example_inputs(model))
    return ModelRow(
        name=spec.name,
        kind=spec.kind,
        parameters_m=cost.parameters / 1e6,
        gmacs=cost.published_macs / 1e9,
        product_gmacs=(cost.product_macs + cost.scan_macs) / 1e9,
        paper_parameters_m=spec.paper.parameters_m,
        paper_gmacs=spec.paper.gmacs,
        paper="; ".join(text for text in (spec.paper.source, spec.paper.accuracy) if text),
    )


def select(patterns: Sequence[str], kind: str | None) -> list[ModelSpec]:
    """Registered networks of a kind whose name fits one of the patterns (`swin-*`); all without patterns.

    Raises LookupError where none fits.
    """
    from bodycast.hmr.networks.registry import registry

    specs = [
        spec
        for spec in registry().values()
        if (kind is None or spec.kind == kind)
        and (not patterns or any(fnmatch.fnmatchcase(spec.name, pattern) for pattern in patterns))
    ]
    if not specs:
        wanted = " ".join(patterns) or "(any name)"
        raise LookupError(f"no {kind or 'registered'} network fits {wanted}; `python -m evaluation models` lists all")
    return specs


def _cell(value: float | None, digits: int = 2) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def format_rows(rows: Iterable[ModelRow]) -> str:
    """The table as text."""
    head = ("network", "params M", "MACs G", "attn G", "paper M", "paper G", "paper")
    lines = [f"{head[0]:<24}" + "".join(f"{h:>10}" for h in head[1:6]) + f"  {head[6]}"]
    for row in rows:
        cells = (
            _cell(row.parameters_m),
            _cell(row.gmacs),
            _cell(row.product_gmacs),
            _cell(row.paper_parameters_m, 1),
            _cell(row.paper_gmacs, 1),
        )
        lines.append(f"{row.name:<24}" + "".join(f"{cell:>10}" for cell in cells) + f"  {row.paper}".rstrip())
    return "\n".join(line.rstrip() for line in lines)


def main(argv: Sequence[str]) -> int:
    """Print the table. Returns the exit code: 2 where no network fits."""
    parser = argparse.ArgumentParser(prog="python -m evaluation models", description=__doc__)
    parser.add_argument("patterns", nargs="*", metavar="NAME", help="networks to show, with wildcards (default: all)")
    parser.add_argument("--kind", choices=("hmr", "pose", "temporal", "detector"), help="only networks of this kind")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args(argv)
    try:
        specs = select(options.patterns, options.kind)
    except LookupError as error:
        print(f"models: {error}", file=sys.stderr)
        return 2
    rows = [measure(spec) for spec in specs]
    print(json.dumps([asdict(row) for row in rows], indent=1) if options.json else format_rows(rows))
    return 0
