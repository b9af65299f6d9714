"""Numbers for a page: quantised, compressed, as text."""

from __future__ import annotations

import base64
import zlib

import numpy as np
from numpy.typing import NDArray

from bodycast.app.files.person_motion import Floats
from bodycast.hmr.geometry.rotations import matrix_to_axis_angle

LARGEST_INT16 = 32767


def packed(array: NDArray[np.generic]) -> str:
    """The array's bytes, little-endian, compressed (zlib), base64. In the page: `unpack`."""
    little = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"), copy=False)
    return base64.b64encode(zlib.compress(little.tobytes(), 9)).decode("ascii")


def packed_steps(values: NDArray[np.int16]) -> str:
    """(F, ...) int16 as steps from frame to frame, low bytes before high bytes: motion is smooth, so most of the high
    bytes are alike and compress well. Steps wrap around, and so does their sum. In the page: `unpackSteps`."""
    rows = values.reshape(len(values), -1)
    steps = np.diff(rows, axis=0, prepend=np.zeros((1, rows.shape[1]), np.int16)).astype("<i2")
    return packed(np.ascontiguousarray(steps).view(np.uint8).reshape(-1, 2).T)


def quantised(values: Floats | NDArray[np.float32]) -> tuple[NDArray[np.int16], float]:
    """int16 and the step: values = int16 x step."""
    largest = float(np.abs(values).max(initial=0.0))
    step = largest / LARGEST_INT16 if largest > 0 else 1.0
    return np.round(values / step).astype(np.int16), step


def rotation_steps(rotations: Floats) -> tuple[NDArray[np.int16], float]:
    """(F,24,3,3) -> (F,72) int16 axis-angle and its step in radians, 0.0001: 0.1 mm at the end of a limb."""
    vectors = matrix_to_axis_angle(rotations).astype(np.float64).reshape(len(rotations), -1)
    return np.round(vectors * (LARGEST_INT16 / np.pi)).clip(-LARGEST_INT16, LARGEST_INT16).astype(
        np.int16
    ), np.pi / LARGEST_INT16
