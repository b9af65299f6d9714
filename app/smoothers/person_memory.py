"""Rows of arrays by person: what a stateful stage keeps of everybody lies in a few arrays, not in an object each."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from bodycast.app.records import F64, I32

Rows = NDArray[np.intp]
Flags = NDArray[np.bool_]
Number = TypeVar("Number", bound=np.generic)


class PeopleRows:
    """Gives every id a row, and the rows of those who are forgotten to the next ones."""

    def __init__(self) -> None:
        self._row_of: dict[int, int] = {}
        self._free: list[int] = []

    def __len__(self) -> int:
        """Rows in use or used before: what the arrays must have room for."""
        return len(self._row_of) + len(self._free)

    def find(self, people: I32) -> tuple[Rows, Flags]:
        """Rows (N,) of ids (N,), made where there were none; also (N,) which are new."""
        ids: list[int] = people.tolist()
        new = [person not in self._row_of for person in ids]
        for person in ids:
            if person not in self._row_of:
                self._row_of[person] = self._free.pop() if self._free else len(self._row_of)
        return np.array([self._row_of[person] for person in ids], np.intp), np.array(new, bool)

    def forget(self, last_s: F64, before_s: float) -> None:
        """Give up the rows of people whose `last_s`, by row, is before a time."""
        for person in [person for person, row in self._row_of.items() if last_s[row] < before_s]:
            self._free.append(self._row_of.pop(person))

    def clear(self) -> None:
        """Forget everybody."""
        self._row_of.clear()
        self._free.clear()


def with_room(array: NDArray[Number], rows: int) -> NDArray[Number]:
    """The array (R, ...), with zeros behind where it has fewer than `rows`; it doubles, so that this is rare."""
    if len(array) >= rows:
        return array
    more = np.zeros((max(rows, 2 * len(array)) - len(array), *array.shape[1:]), array.dtype)
    return np.concatenate([array, more])
