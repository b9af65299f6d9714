"""What is to be exported: our checkpoint, a published one, or a registered network as it is built."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bodycast.export.checkpoint import load_checkpoint
from bodycast.hmr import checkpoints
from bodycast.hmr.checkpoints.movenet_onnx import read_movenet
from bodycast.hmr.networks import registry
from bodycast.hmr.networks.fov_net import FovNet
from bodycast.hmr.networks.hmr_net import HmrNet, with_merging
from bodycast.hmr.networks.merging.error_constrained_layer_merging import LayerMergeRecipe
from bodycast.hmr.networks.merging.mask_token_merging import FASTHMR_SCHEDULE

UNTRAINED = "none: random weights, for measuring speed only"
_LAYOUT_OF_PREFIX = (
    ("hmr2-", "hmr2"),
    ("camerahmr-fov", "camerahmr-fov"),
    ("camerahmr-", "camerahmr"),
    ("pose-vit-", "vitpose"),
)


@dataclass(frozen=True)
class Source:
    """A network in eval mode on the CPU, and what its package has to say about it.

    model, arguments: what `hmr.networks.registry.build` takes. recipe: how its layers were merged, if they were.
    tokens_of: of a motion decoder, the package whose tokens it learned from.
    orientation_frame, body, licence: defaults that the command line may change.
    """

    net: nn.Module
    model: str
    arguments: dict[str, Any]
    training: str
    metrics: dict[str, float]
    orientation_frame: str
    body: str
    licence: str
    recipe: LayerMergeRecipe | None = None
    tokens_of: str = "none"


def open_source(
    given: str,
    *,
    model: str | None = None,
    layout: str | None = None,
    arguments: Mapping[str, Any] | None = None,
    recipe: LayerMergeRecipe | None = None,
    schedule: Sequence[int] | None = None,
) -> Source:
    """Build or load what `given` names.

    given: a checkpoint of our training; with `model`, a published checkpoint (`layout`: a name in
    hmr.checkpoints.LAYOUTS, guessed from the model where it can be); or a registered name, which has random weights.
    arguments: changes to the registered network's own. recipe: blocks to collapse. schedule: tokens to merge.

    Raises: ValueError, one line, whatever is wrong with one of them.
    """
    path = Path(given)
    try:
        if path.is_file() and model is None:
            if arguments:
                raise ValueError("our checkpoints say how their network is built: --set goes with a name or --model")
            source = _ours(path)
        elif path.is_file() and model is not None:
            source = _published(path, model, layout, dict(arguments or {}))
        elif model is not None:
            raise ValueError(f"no checkpoint {given}")
        else:
            source = _untrained(given, dict(arguments or {}))
        return merged(source, recipe, schedule)
    except KeyError as error:
        raise ValueError(str(error.args[0])) from error
    except TypeError as error:
        text = str(error)
        raise ValueError(text if "takes" in text else f"{given}: cannot be built with these values: {text}") from error


def read_recipe(path: Path) -> LayerMergeRecipe:
    """A layer-merging recipe as JSON (`LayerMergeRecipe.to_json`). Raises ValueError."""
    try:
        return LayerMergeRecipe.from_json(json.loads(path.read_text(encoding="utf-8")))
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{path}: no layer-merging recipe ({error})") from error


def read_schedule(text: str) -> tuple[int, ...]:
    """`fasthmr`, or tokens to merge in each of the first blocks: 40,40,22. Raises ValueError."""
    if text == "fasthmr":
        return tuple(FASTHMR_SCHEDULE)
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise ValueError(f"a schedule is 'fasthmr' or numbers such as 40,40,22, it is {text!r}") from error


def read_arguments(settings: Sequence[str]) -> dict[str, Any]:
    """KEY=VALUE, the value as JSON (image_hw=[192,144]); a plain word is text. Raises ValueError."""
    arguments: dict[str, Any] = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals or not key:
            raise ValueError(f"--set takes KEY=VALUE, got {setting!r}")
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            value = text
        arguments[key] = tuple(value) if isinstance(value, list) else value
    return arguments


def _ours(path: Path) -> Source:
    loaded = load_checkpoint(path)
    return Source(
        loaded.net,
        loaded.model,
        loaded.arguments,
        loaded.training,
        loaded.metrics,
        orientation_frame="crop-ray",
        body=loaded.body,
        licence="Apache-2.0",
        tokens_of=loaded.tokens_of,
    )


def _published(path: Path, model: str, layout: str | None, arguments: dict[str, Any]) -> Source:
    layout = layout or next((name for prefix, name in _LAYOUT_OF_PREFIX if model.startswith(prefix)), None)
    if model.startswith("movenet-"):
        return _movenet(path, model, arguments)
    if layout is None:
        raise ValueError(f"--layout is needed for {model}: one of {', '.join(checkpoints.LAYOUTS)}")
    net = registry.build(model, **arguments)
    report = checkpoints.load_checkpoint(net, path, layout)
    rules = checkpoints.LAYOUTS[layout]
    training = f"{path.name} ({rules.origin}): {report.summary()}"
    if rules.target == "encoder":
        training += "; everything behind the encoder has random weights"
    bodies = not isinstance(net, FovNet)
    return Source(
        net.eval(),
        model,
        arguments,
        training,
        {},
        orientation_frame="camera" if bodies else "none",
        body="smpl-neutral" if bodies else "none",
        licence=f"that of the checkpoint ({rules.origin})",
    )


def _movenet(path: Path, model: str, arguments: dict[str, Any]) -> Source:
    """MoveNet's published ONNX file."""
    net = read_movenet(path, registry.build(model, **arguments))
    return Source(
        net,
        model,
        arguments,
        f"{path.name}: MoveNet singlepose v4 by Google, trained on COCO and Google's Active data set",
        {},
        orientation_frame="none",
        body="none",
        licence="Apache-2.0, Google",
    )


def _untrained(name: str, arguments: dict[str, Any]) -> Source:
    if "/" in name or name.endswith((".pt", ".pth", ".ckpt", ".safetensors")):
        raise ValueError(f"no checkpoint {name}")
    torch.manual_seed(0)  # so that two exports of one name are the same file
    net = registry.build(name, **arguments).eval()
    bodies = not isinstance(net, FovNet)
    return Source(
        net,
        name,
        arguments,
        UNTRAINED,
        {},
        orientation_frame="crop-ray" if bodies else "none",
        body="bodycast-adult" if bodies else "none",
        licence="Apache-2.0",
    )


def merged(source: Source, recipe: LayerMergeRecipe | None, schedule: Sequence[int] | None) -> Source:
    """The source with layers and tokens merged, as its own network and arguments. Raises: ValueError."""
    if recipe is None and schedule is None:
        return source
    if not isinstance(source.net, HmrNet):
        raise ValueError(f"merging is for networks that recover bodies, {source.model} is none")
    net = with_merging(source.net, recipe, schedule).eval()
    arguments = dict(source.arguments)
    if recipe is not None:
        arguments["blocks"] = recipe.blocks_left
    if schedule is not None:
        arguments["schedule"] = tuple(schedule)
    return replace(source, net=net, arguments=arguments, recipe=recipe)
