"""Array types of the geometry package and the one rule about precision."""

from __future__ import annotations

from typing import Any, TypeAlias, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

F32: TypeAlias = NDArray[np.float32]
F64: TypeAlias = NDArray[np.float64]
I32: TypeAlias = NDArray[np.int32]
U8: TypeAlias = NDArray[np.uint8]
FloatArray: TypeAlias = NDArray[np.floating[Any]]
BoolArray: TypeAlias = NDArray[np.bool_]


def as_float(values: ArrayLike) -> FloatArray:
    """`values` as an array: float32 and float64 stay what they are, everything else becomes float64."""
    array = np.asarray(values)
    if array.dtype.type in (np.float32, np.float64):
        return cast(FloatArray, array)
    return array.astype(np.float64)


def require_last_axes(array: FloatArray, last: tuple[int, ...], name: str) -> None:
    """Raise ValueError unless the trailing axes of `array` are `last`."""
    if array.shape[array.ndim - len(last) :] != last or array.ndim < len(last):
        wanted = ", ".join(("...", *map(str, last)))
        raise ValueError(f"{name} must have shape ({wanted}), got {array.shape}")


def norm(vectors: FloatArray) -> FloatArray:
    """Euclidean length along the last axis, which is kept: (..., D) -> (..., 1), same dtype."""
    return cast(FloatArray, np.sqrt(np.sum(vectors * vectors, axis=-1, keepdims=True)))
