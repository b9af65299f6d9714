"""Checkpoints of our own training: what network, with which weights, and how well it does."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from bodycast.hmr.body.body_model import EMBEDDED_BODY
from bodycast.hmr.networks import registry


class CheckpointError(ValueError):
    """A checkpoint cannot be read; the message says what is missing or off."""


@dataclass(frozen=True)
class Checkpoint:
    """net: rebuilt, in eval mode, on the CPU. metrics: names with their unit. training: what it learned from.
    tokens_of: of a motion decoder, the package whose tokens it learned from. body: whose
    shapes it gives, the embedded body's where nothing is said."""

    net: nn.Module
    model: str
    arguments: dict[str, Any]
    metrics: dict[str, float]
    training: str
    tokens_of: str = "none"
    body: str = EMBEDDED_BODY.stem


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a training checkpoint: {model, arguments, state_dict, and perhaps metrics, training}.

    Nothing in the file is executed (weights_only). Every weight must fit.

    Raises: CheckpointError.
    """
    if not path.is_file():
        raise CheckpointError(f"no checkpoint {path}")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # bytes that are no pickle raise whatever the unpickler stumbles over
        said = str(error).partition("\n")[0].partition(". ")[0]
        reason = said if " " in said else "nothing that torch.save writes"
        raise CheckpointError(f"{path}: not a checkpoint of ours ({reason})") from error
    _check_parts(state, path)
    arguments = {key: tuple(value) if isinstance(value, list) else value for key, value in state["arguments"].items()}
    try:
        net = registry.build(state["model"], **arguments)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{path}: {error.args[0] if error.args else error!s}") from error
    _check_weights(net, state["state_dict"], path)
    net.load_state_dict(state["state_dict"])
    metrics = {key: float(value) for key, value in state.get("metrics", {}).items()}
    training = state.get("training", "") or "not recorded"
    tokens_of = str(state.get("tokens_of") or "none")
    body = str(state.get("body") or EMBEDDED_BODY.stem)
    return Checkpoint(net.eval(), state["model"], dict(state["arguments"]), metrics, str(training), tokens_of, body)


def _check_parts(state: object, path: Path) -> None:
    """Raise CheckpointError unless the file holds what ours hold, each of its type."""
    parts = cast("dict[str, Any]", state) if isinstance(state, dict) else {}
    kinds: dict[str, type] = {"model": str, "arguments": dict, "state_dict": dict}
    missing = [key for key in kinds if key not in parts]
    if missing:
        raise CheckpointError(
            f"{path}: not a checkpoint of ours, it has no {', '.join(missing)}; a published one goes with --model"
        )
    for key, kind in {**kinds, "metrics": dict}.items():
        if not isinstance(parts.get(key, {}), kind):
            raise CheckpointError(f"{path}: {key}: expected {kind.__name__}, it is {type(parts[key]).__name__}")
    for name, value in parts.get("metrics", {}).items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise CheckpointError(f"{path}: metrics.{name}: expected a number, it is {value!r}")


def _check_weights(net: nn.Module, weights: dict[str, Any], path: Path) -> None:
    """Raise CheckpointError where a weight is missing, unknown or of another shape: the first of each, and how many."""
    wanted = net.state_dict()
    missing, unknown = sorted(set(wanted) - set(weights)), sorted(set(map(str, weights)) - set(wanted))
    other = [
        f"{name} {_shape(weights[name])} in place of {tuple(wanted[name].shape)}"
        for name in wanted
        if name in weights and _shape(weights[name]) != tuple(wanted[name].shape)
    ]
    said = [
        f"{len(names)} {word} ({names[0]}{', ...' if names[1:] else ''})"
        for word, names in (("missing", missing), ("unknown", unknown), ("of another shape", other))
        if names
    ]
    if said:
        raise CheckpointError(f"{path}: weights that do not fit the network it names: {'; '.join(said)}")


def _shape(weight: object) -> tuple[int, ...] | None:
    return tuple(weight.shape) if isinstance(weight, torch.Tensor) else None
