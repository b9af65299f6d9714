"""Reading label files: pickles without running them, .npz without pickles inside, and keys checked by name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bodycast import npz
from bodycast.hmr.body.safe_pickle import RefusedPickle, load_tree_from_pickle
from training.datasets.errors import DatasetError


def require_file(path: Path, what: str) -> Path:
    """`path`, where it is a file. Raises DatasetError that says what it should have been."""
    if not path.is_file():
        raise DatasetError(f"{path}: no such file; expected {what}")
    return path


def require_folder(path: Path, what: str) -> Path:
    """`path`, where it is a folder. Raises DatasetError that says what it should have been."""
    if not path.is_dir():
        raise DatasetError(f"{path}: no such folder; expected {what}")
    return path


def read_pickle(path: Path, what: str) -> dict[str, Any]:
    """The dictionary in a pickle, nothing of it executed. Raises DatasetError."""
    try:
        content = load_tree_from_pickle(require_file(path, what).read_bytes())
    except RefusedPickle as error:
        raise DatasetError(f"{path}: {error}") from error
    if not isinstance(content, dict):
        raise DatasetError(f"{path}: expected a dictionary ({what}), got {type(content).__name__}")
    return {str(key): value for key, value in cast("dict[object, Any]", content).items()}


def read_npz(path: Path, what: str) -> dict[str, NDArray[Any]]:
    """All arrays of an .npz. An array of pickled objects is read by the same rule as pickles: never executed.

    Raises DatasetError.
    """
    require_file(path, what)
    try:
        return npz.read_npz(path, objects=load_tree_from_pickle)
    except (RefusedPickle, ValueError) as error:
        raise DatasetError(f"{path}: {error}; expected {what}") from error


def take(content: Mapping[str, Any], key: str, shape: tuple[int | None, ...], where: object) -> NDArray[np.float64]:
    """Array `key` as float64, checked: None in `shape` stands for any length. Raises DatasetError naming the key."""
    if key not in content:
        raise DatasetError(
            f"{where}: the key {key!r} is missing; there are {', '.join(sorted(map(str, content)))[:200]}"
        )
    return numbers(content[key], shape, f"{where}: {key}")


def numbers(value: ArrayLike, shape: tuple[int | None, ...], where: object) -> NDArray[np.float64]:
    """`value` as float64 of this shape. Raises DatasetError with expected and actual."""
    try:
        array = np.asarray(value, np.float64)
    except (ValueError, TypeError) as error:
        raise DatasetError(f"{where}: expected numbers ({error})") from error
    fits = array.ndim == len(shape) and all(w is None or w == g for w, g in zip(shape, array.shape, strict=True))
    if not fits:
        wanted = ", ".join("any" if size is None else str(size) for size in shape)
        raise DatasetError(f"{where}: expected shape ({wanted}), got {array.shape}")
    return array
