"""Checkpoints of our own training: what network, with which weights, and how well it does."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import nn

from hmr.networks import registry


class CheckpointError(ValueError):
    """A checkpoint cannot be read; the message says what is missing or off."""


@dataclass(frozen=True)
class Checkpoint:
    """net: rebuilt, in eval mode, on the CPU. metrics: names with their unit. training: what it learned from."""

    net: nn.Module
    model: str
    arguments: dict[str, Any]
    metrics: dict[str, float]
    training: str


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a training checkpoint: {model, arguments, state_dict, and perhaps metrics, training}.

    Nothing in the file is executed (weights_only). Every weight must fit.

    Raises: CheckpointError.
    """
    if not path.is_file():
        raise CheckpointError(f"no checkpoint {path}")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (UnpicklingError, RuntimeError, EOFError) as error:
        raise CheckpointError(f"{path}: not a checkpoint of ours ({str(error).partition(chr(10))[0]})") from error
    missing = [key for key in ("model", "arguments", "state_dict") if not isinstance(state, dict) or key not in state]
    if missing:
        raise CheckpointError(f"{path}: not a checkpoint of ours, it has no {', '.join(missing)}")
    arguments = {key: tuple(value) if isinstance(value, list) else value for key, value in state["arguments"].items()}
    try:
        net = registry.build(state["model"], **arguments)
        net.load_state_dict(state["state_dict"])
    except (KeyError, TypeError, RuntimeError) as error:
        raise CheckpointError(f"{path}: {error.args[0] if error.args else error!s}") from error
    metrics = {key: float(value) for key, value in state.get("metrics", {}).items()}
    training = state.get("training", "") or "not recorded"
    return Checkpoint(net.eval(), state["model"], dict(state["arguments"]), metrics, str(training))
