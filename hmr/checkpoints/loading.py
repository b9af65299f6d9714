"""Fit an official checkpoint to one of our networks, strictly."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from bodycast.hmr.checkpoints.layouts import LAYOUTS, Layout
from bodycast.hmr.checkpoints.reading import State, read_state
from bodycast.hmr.networks.hmr_net import HmrNet
from bodycast.hmr.networks.merging.error_constrained_layer_merging import LayerMergeRecipe, apply_recipe

_LISTED = 8


class CheckpointMismatch(ValueError):  # noqa: N818 - reads as what happened
    """Keys are missing, unexpected or of another shape; the text lists them."""


@dataclass(frozen=True)
class LoadReport:
    """What a load did.

    Attributes:
        layout: name in `LAYOUTS`.
        loaded: number of our tensors that were filled.
        ignored: official keys left out on purpose, and why.
        kept: our keys that the layout does not have; they kept their initial values.
    """

    layout: str
    loaded: int
    ignored: Mapping[str, str]
    kept: tuple[str, ...]

    def summary(self) -> str:
        """One line for the terminal."""
        reasons = ", ".join(f"{count} {reason}" for reason, count in Counter(self.ignored.values()).items())
        text = f"{self.loaded} tensors loaded ({self.layout})"
        text += f"; left out: {reasons}" if reasons else ""
        return text + (f"; not in the checkpoint: {_listed(self.kept)}" if self.kept else "")


def load_checkpoint(
    net: nn.Module,
    checkpoint: str | Path | State,
    layout: str,
    recipe: LayerMergeRecipe | None = None,
) -> LoadReport:
    """Fill `net` from an official checkpoint.

    Args:
        net: an HmrNet, a PoseNet or a bare encoder. Layouts of encoders fill the encoder within a network.
        checkpoint: path, or a state dict that `read_state` gave.
        layout: a name in `LAYOUTS`.
        recipe: with a layer-merged network, how its blocks come from the checkpoint's.

    Raises:
        KeyError: unknown layout. FileNotFoundError, UnsafeCheckpoint: see `read_state`.
        CheckpointMismatch: not every key has a home, or the other way round. `net` is then untouched.
    """
    if layout not in LAYOUTS:
        raise KeyError(f"no checkpoint layout {layout!r}; there are {', '.join(LAYOUTS)}")
    rules = LAYOUTS[layout]
    name = "the state dict" if isinstance(checkpoint, dict) else Path(checkpoint).name
    official = checkpoint if isinstance(checkpoint, dict) else read_state(checkpoint)
    if recipe is not None:
        official = apply_recipe(official, recipe, "backbone.blocks.")
    target = _target(net, rules)
    ours = rules.rename(official, target)
    unused = _unused(official, ours, rules, target)
    reasons = {key: rules.ignores(key, target) for key in unused}
    ignored = {key: reason for key, reason in reasons.items() if reason is not None}
    wanted = target.state_dict()
    fitting = {key: value for key, value in ours.items() if key in wanted}
    missing = [key for key in wanted if key not in ours]
    kept = tuple(key for key in missing if any(re.search(pattern, key) for pattern in rules.may_lack))
    problems = {
        "missing": [key for key in missing if key not in kept],
        "unexpected": [key for key, reason in reasons.items() if reason is None],
        "of another shape": [
            f"{key} {tuple(value.shape)} instead of {tuple(wanted[key].shape)}"
            for key, value in fitting.items()
            if value.shape != wanted[key].shape
        ],
    }
    if any(problems.values()):
        found = "; ".join(f"{len(keys)} {what}: {_listed(keys)}" for what, keys in problems.items() if keys)
        raise CheckpointMismatch(
            f"{name} does not fit this {type(target).__name__} as {layout!r} ({rules.origin}): {found}"
        )
    target.load_state_dict(wanted | fitting)
    return LoadReport(layout, len(fitting), ignored, kept)


def _target(net: nn.Module, rules: Layout) -> nn.Module:
    """The module that a layout fills: the network, or the encoder within it."""
    if rules.target == "network":
        return net
    if isinstance(net, HmrNet):
        return net.encoder
    backbone = getattr(net, "backbone", None)
    return backbone if isinstance(backbone, nn.Module) else net


def _unused(official: State, ours: State, rules: Layout, target: nn.Module) -> list[str]:
    """Official keys that fill nothing in `target`.

    A tensor that is passed on as it is tells its origin by identity. One that was cut or reshaped is used if the
    result lacks something without it.
    """
    wanted = target.state_dict().keys()
    reached = {key: value for key, value in ours.items() if key in wanted}
    passed_on = {id(value) for value in reached.values()}

    def needed(key: str) -> bool:
        rest = {other: value for other, value in official.items() if other != key}
        return not (reached.keys() <= rules.rename(rest, target).keys())

    return [key for key, value in official.items() if id(value) not in passed_on and not needed(key)]


def _listed(keys: Iterable[str]) -> str:
    names = list(keys)
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more
