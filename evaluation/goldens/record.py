"""One golden file, and our answer to one of its outputs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

# An output is off where its error exceeds both: absolute, and as a share of the output's largest value.
ABSOLUTE_BOUND = 1e-4
RELATIVE_BOUND = 1e-5


@dataclass(frozen=True)
class Golden:
    """Tensors of a public implementation on a tiny random configuration.

    Attributes:
        name: file name without suffix, for messages only.
        meta: what the file says about itself; `repo` and `cls` name the source, `config` the sizes.
        state: state dict under the official key names.
        inputs, outputs, intermediates: arrays by name.
    """

    name: str
    meta: dict[str, Any]
    state: dict[str, NDArray[Any]]
    inputs: dict[str, NDArray[Any]]
    outputs: dict[str, NDArray[Any]]
    intermediates: dict[str, NDArray[Any]]

    @property
    def config(self) -> dict[str, Any]:
        """The configuration of the network, as its authors name things."""
        return self.meta["config"]

    @classmethod
    def load(cls, path: Path) -> Golden:
        """Read a `.npz`.

        Raises:
            ValueError: it is not a golden file; the text says what is missing.
        """
        with np.load(path, allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in archive.files}
        if "meta" not in arrays:
            raise ValueError(f"{path.name} has no `meta`: expected a golden file with meta, in/*, out/*")
        meta = json.loads(str(arrays.pop("meta")))
        missing = [key for key in ("repo", "cls", "config") if key not in meta]
        if missing:
            raise ValueError(f"{path.name}: its `meta` lacks {', '.join(missing)}")
        groups: dict[str, dict[str, NDArray[Any]]] = {"sd": {}, "in": {}, "out": {}, "mid": {}}
        for key, array in arrays.items():
            group, _, name = key.partition("/")
            if group not in groups:
                raise ValueError(f"{path.name}: key {key!r} is in none of {', '.join(groups)}")
            groups[group][name] = array
        if not groups["out"]:
            raise ValueError(f"{path.name} has no outputs (out/*) to compare with")
        return cls(path.stem, meta, groups["sd"], groups["in"], groups["out"], groups["mid"])

    def tensor(self, name: str) -> Tensor:
        """Input `name` as a torch tensor (a copy)."""
        import torch

        return torch.from_numpy(self.inputs[name].copy())

    def state_tensors(self, prefix: str = "") -> dict[str, Tensor]:
        """State-dict entries below `prefix`, the prefix removed, as torch tensors (copies)."""
        import torch

        return {
            key.removeprefix(prefix): torch.from_numpy(array.copy())
            for key, array in self.state.items()
            if key.startswith(prefix)
        }


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
