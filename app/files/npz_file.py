"""Reading the .npz files that a user names: no pickle is ever opened, and whatever is wrong is one line."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bodycast.app.errors import UsageError
from bodycast.npz import NpzError, read_npz
from bodycast.plain_text import shown_name


def read_arrays(
    path: Path, names: Iterable[str], kind: str, way_out: str, optional: Iterable[str] = ()
) -> dict[str, NDArray[np.generic]]:
    """The arrays called `names` of an archive that is to be a `kind` file ("motion"), and those of `optional` that it
    has.

    Raises: UsageError, which ends in `way_out`, for a missing file, another kind of file, or a missing array.
    """
    names = list(names)
    shown = shown_name(path)
    try:
        content = read_npz(path, (*names, *optional))
    except FileNotFoundError as error:
        raise UsageError(f"{shown}: no such file; {way_out}") from error
    except NpzError as error:
        raise UsageError(f"{shown}: not a readable {kind} file ({error}); {way_out}") from error
    missing = [name for name in names if name not in content]
    if missing:
        raise UsageError(f"{shown}: not a {kind} file, {', '.join(missing)} missing; {way_out}")
    return content
