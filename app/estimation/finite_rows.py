"""Outputs of engines that are not finite: their rows are left out and counted, and too many in a row end the run."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from bodycast.app.errors import RunError
from bodycast.engines.package import Tensor

MAX_EMPTY_OUTPUTS = 60
"""Outputs in a row without one finite row, after which the engine counts as broken."""


class FiniteRows:
    """Counts over a run. Used by one thread."""

    def __init__(self) -> None:
        self._left_out = self._empty_outputs = 0

    def of(self, outputs: Mapping[str, Tensor], who: str) -> NDArray[np.bool_]:
        """(N,) which rows are finite in every array (N, ...). who: the engine, in words.

        Raises: RunError where nothing finite has come MAX_EMPTY_OUTPUTS times in a row.
        """
        rows = [np.isfinite(array).reshape(len(array), -1).all(axis=1) for array in outputs.values()]
        finite = np.logical_and.reduce(rows)
        self._left_out += int((~finite).sum())
        self._empty_outputs = 0 if finite.any() else self._empty_outputs + 1
        if self._empty_outputs >= MAX_EMPTY_OUTPUTS:
            name = next(name for name, array in outputs.items() if not np.isfinite(array).all())
            raise RunError(
                f"{who}: output {name!r} has values that are not finite, "
                f"{MAX_EMPTY_OUTPUTS} times in a row; try another --engine or export the package again"
            )
        return finite

    @property
    def warnings(self) -> tuple[str, ...]:
        """What went wrong without ending the run."""
        if not self._left_out:
            return ()
        return (f"{self._left_out} bodies were left out: the engine's output was not finite",)
