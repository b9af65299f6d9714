"""The network of a recipe: a registered one, at the recipe's size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from torch import nn

from bodycast.hmr.networks import registry
from bodycast.hmr.networks.encoders.group_mix_former import GroupMixFormerSize
from bodycast.hmr.networks.encoders.swin import SwinSize
from bodycast.hmr.networks.encoders.vit import ViTSize
from bodycast.hmr.networks.encoders.vmamba import VMambaSize

SIZE_RECORDS = (SwinSize, GroupMixFormerSize, VMambaSize, ViTSize)


def build_network(model: str, image_hw: tuple[int, int], arguments: Mapping[str, Any]) -> nn.Module:
    """Build `model` of the registry. `size` among the arguments may be a table of an encoder's numbers, as a recipe can
    hold it. Raises KeyError for an unknown name, TypeError for other arguments, ValueError for a table of no encoder.
    """
    values = dict(arguments)
    if isinstance(values.get("size"), Mapping):
        values["size"] = _size_record(values["size"])
    return registry.build(model, image_hw=image_hw, **values)


def finished_network(state: Mapping[str, Any]) -> nn.Module:
    """The network of a run's result (its checkpoint's content), with its weights."""
    arguments = dict(state["arguments"])
    net = build_network(state["model"], tuple(arguments.pop("image_hw")), arguments)
    net.load_state_dict({key: value.float() for key, value in state["state_dict"].items()})
    return net.eval()


def _size_record(table: Mapping[str, Any]) -> Any:
    numbers = {key: tuple(value) if isinstance(value, list) else value for key, value in table.items()}
    for record in SIZE_RECORDS:
        if set(numbers) == {entry.name for entry in fields(record)}:
            return record(**numbers)
    known = "; ".join(f"{r.__name__}: {', '.join(f.name for f in fields(r))}" for r in SIZE_RECORDS)
    raise ValueError(f"a size has the entries of one kind of encoder ({known}), got {', '.join(numbers)}")
