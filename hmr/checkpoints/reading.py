"""Open a checkpoint without running anything that is in it."""

from __future__ import annotations

import collections
import pickle
import re
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

State = dict[str, Tensor]

# Where the files in circulation keep their weights, most specific first.
_CONTAINERS = ("state_dict", "model", "model_state_dict")

# Configuration objects that HMR2.0's Lightning checkpoints carry beside the weights. They are read as plain
# dictionaries: the class itself is never imported.
_INERT = ("yacs.config.CfgNode",)


class UnsafeCheckpoint(ValueError):  # noqa: N818 - reads as what happened
    """The file holds more than tensors and plain values, or is no checkpoint at all."""


def read_state(path: str | Path) -> State:
    """The tensors of a `.ckpt`, `.pth`, `.pt` or `.safetensors` file by key, on the CPU.

    Lightning's, mmcv's and timm's containers are opened; a `module.` that data-parallel training put before every key
    is removed.

    Raises:
        FileNotFoundError: there is no such file.
        UnsafeCheckpoint: it names objects that are not plain data (nothing of it is run), or holds no tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint at {path}")
    content = _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)
    for name in _CONTAINERS:
        if isinstance(content, Mapping) and isinstance(content.get(name), Mapping):
            content = content[name]
            break
    if not isinstance(content, Mapping) or not content:
        raise UnsafeCheckpoint(f"{path.name} holds no table of tensors")
    wrong = [str(key) for key, value in content.items() if not isinstance(value, Tensor)]
    if wrong:
        raise UnsafeCheckpoint(
            f"{path.name} holds no state dict: {', '.join(wrong[:5])} are no tensors; expected one of the containers "
            f"{', '.join(_CONTAINERS)} or a table of tensors"
        )
    state = {str(key): value for key, value in content.items()}
    if all(key.startswith("module.") for key in state):
        state = {key.removeprefix("module."): value for key, value in state.items()}
    return state


# A damaged stream can fail at any instruction of the unpickler, hence so many kinds of error.
_STREAM_ERRORS = (
    pickle.UnpicklingError,
    EOFError,
    RuntimeError,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    AssertionError,
    struct.error,
)


def _read_torch(path: Path) -> Any:
    inert = [(collections.OrderedDict, name) for name in _INERT]
    try:
        with torch.serialization.safe_globals(inert):
            return torch.load(path, map_location="cpu", weights_only=True)
    except _STREAM_ERRORS as error:
        named = re.search(r"GLOBAL (\S+)", str(error))
        if named is None:
            raise UnsafeCheckpoint(f"{path.name} is not read: it is damaged or no checkpoint of torch") from error
        raise UnsafeCheckpoint(
            f"{path.name} is not read: it holds more than tensors and plain values ({named[1]}). If you trust where it "
            'comes from, keep its weights alone: torch.save({"state_dict": torch.load(path, weights_only=False)'
            '["state_dict"]}, "weights.pt")'
        ) from error


def _read_safetensors(path: Path) -> Any:
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ImportError as error:
        raise ImportError(
            "reading .safetensors needs the safetensors package: install requirements/export.txt"
        ) from error
    try:
        return load_file(path)
    except SafetensorError as error:
        raise UnsafeCheckpoint(f"{path.name} is not read: it is damaged or no safetensors file ({error})") from error
