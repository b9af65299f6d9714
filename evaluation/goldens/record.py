"""One golden file, and our answer to one of its outputs."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bodycast.npz import NpzError, read_npz

if TYPE_CHECKING:
    from torch import Tensor

# An output is off where its error exceeds both: absolute, and as a share of the output's largest value.
ABSOLUTE_BOUND = 1e-4
RELATIVE_BOUND = 1e-5

# What a damaged archive raises, depending on where it is damaged.


@dataclass(frozen=True)
class Golden:
    """Tensors of a public implementation on a tiny random configuration.

    Attributes:
        name: file name without suffix, for messages only.
        meta: what the file says about itself; `repo` and `cls` name the source, `config` the sizes.
        state: state dict under the official key names.
        inputs, outputs, intermediates: arrays by name.
        samples: for an output of which the file holds some elements alone, their flat indices and its whole shape.
    """

    name: str
    meta: dict[str, Any]
    state: dict[str, NDArray[Any]]
    inputs: dict[str, NDArray[Any]]
    outputs: dict[str, NDArray[Any]]
    intermediates: dict[str, NDArray[Any]]
    samples: dict[str, tuple[NDArray[Any], tuple[int, ...]]] = field(default_factory=dict)

    @property
    def config(self) -> dict[str, Any]:
        """The configuration of the network, as its authors name things; empty where the file has none."""
        return self.meta.get("config") or {}

    def setting(self, name: str) -> Any:
        """An entry of the configuration that no tensor's shape shows.

        Raises:
            ValueError: the file does not say it.
        """
        if name not in self.config:
            raise ValueError(f"the configuration lacks {name!r}, which no tensor's shape shows")
        return self.config[name]

    @classmethod
    def load(cls, path: Path) -> Golden:
        """Read a `.npz`.

        Raises:
            ValueError: it is not a golden file; the text says what is missing.
        """
        arrays = _read_archive(path)
        if "meta" not in arrays:
            raise ValueError(f"{path.name} has no `meta`: expected a golden file with meta, in/*, out/*")
        meta = _read_meta(path.name, arrays.pop("meta"))
        groups: dict[str, dict[str, NDArray[Any]]] = {g: {} for g in ("sd", "in", "out", "mid", "at", "shape")}
        for key, array in arrays.items():
            group, _, name = key.partition("/")
            if group not in groups:
                raise ValueError(f"{path.name}: key {key!r} is in none of {', '.join(groups)}")
            groups[group][name] = array
        if not groups["out"]:
            raise ValueError(f"{path.name} has no outputs (out/*) to compare with")
        if set(groups["at"]) != set(groups["shape"]) or not set(groups["at"]) <= set(groups["out"]):
            raise ValueError(f"{path.name}: an output that is sampled needs at/NAME, shape/NAME and out/NAME")
        samples = {name: (at, tuple(map(int, groups["shape"][name]))) for name, at in groups["at"].items()}
        return cls(path.stem, meta, groups["sd"], groups["in"], groups["out"], groups["mid"], samples)

    def output_shape(self, name: str) -> tuple[int, ...]:
        """Shape of a whole output, also where the file holds a sample of its elements."""
        return self.samples[name][1] if name in self.samples else self.outputs[name].shape

    def array(self, name: str) -> NDArray[Any]:
        """Input `name`; floating-point ones as they are stored, but at least float32.

        Raises:
            ValueError: the file has no such input.
        """
        if name not in self.inputs:
            raise ValueError(f"there is no input in/{name}")
        array = self.inputs[name]
        return array.astype(np.float32) if array.dtype == np.float16 else array

    def tensor(self, name: str) -> Tensor:
        """Input `name` as a torch tensor (a copy), float32 where it is floating-point."""
        return _tensor(self.array(name))

    def weight(self, key: str) -> NDArray[Any]:
        """One entry of the state dict.

        Raises:
            ValueError: the file has no such entry.
        """
        if key not in self.state:
            raise ValueError(f"the state dict has no {key}")
        return self.state[key]

    def state_tensors(self, prefix: str = "") -> dict[str, Tensor]:
        """State-dict entries below `prefix`, the prefix removed, as torch tensors (copies, float32)."""
        return {key.removeprefix(prefix): _tensor(array) for key, array in self.state.items() if key.startswith(prefix)}


@dataclass(frozen=True)
class Ours:
    """Our value for an output, where it needs a remark; a plain array does otherwise.

    Attributes:
        value: same shape as the golden output.
        where: boolean mask (broadcastable) of the elements that are defined; the rest is not compared.
        counted: False for a convention that we do not follow: the difference is printed, not judged.
        note: why, in a few words; printed beside the row.
    """

    value: NDArray[Any]
    where: NDArray[np.bool_] | None = None
    counted: bool = True
    note: str = ""


Answer = Callable[[], "Tensor | NDArray[Any] | Ours"]
Answers = Mapping[str, Answer]
"""What an adapter returns: for each output a function, called only where the file asks for that output."""


def _tensor(array: NDArray[Any]) -> Tensor:
    import torch

    tensor = torch.from_numpy(array.copy())
    return tensor.float() if tensor.is_floating_point() else tensor


def _read_archive(path: Path) -> dict[str, NDArray[Any]]:
    try:
        return read_npz(path)
    except (NpzError, OSError) as error:
        raise ValueError(f"{path.name} cannot be read as .npz: {error}") from error


def _read_meta(name: str, array: NDArray[Any]) -> dict[str, Any]:
    """The JSON text: a string (of any shape with one element), or its UTF-8 bytes."""
    content = array.tobytes() if array.dtype == np.uint8 else array.item() if array.size == 1 else None
    text = content.decode("utf-8", "replace") if isinstance(content, bytes) else content
    if not isinstance(text, str):
        raise ValueError(f"{name}: `meta` must be one JSON text, got {array.dtype} of shape {array.shape}")
    try:
        meta: Any = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{name}: its `meta` is no JSON: {error}") from error
    if not isinstance(meta, dict) or not isinstance(meta.get("repo"), str):
        raise ValueError(f"{name}: its `meta` lacks repo, the source of the file")
    if not isinstance(meta.get("config") or {}, dict):
        raise ValueError(f"{name}: its `meta` has a config that is no table")
    return meta
