"""Reading the .npz files that a user names: no pickle is ever opened, and whatever is wrong is one line."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bodycast.app.errors import UsageError


def read_arrays(
    path: Path, names: Iterable[str], kind: str, way_out: str, optional: Iterable[str] = ()
) -> dict[str, NDArray[np.generic]]:
    """The arrays called `names` of an archive that is to be a `kind` file ("motion"), and those of `optional` that it
    has.

    Raises: UsageError, which ends in `way_out`, for a missing file, another kind of file, or a missing array.
    """
    if not path.is_file():
        raise UsageError(f"{path}: no such file; {way_out}")
    if not zipfile.is_zipfile(path):
        raise UsageError(f"{path}: not a readable {kind} file (no .npz archive); {way_out}")
    names = list(names)
    try:
        with np.load(path, allow_pickle=False) as archive:
            missing = [name for name in names if name not in archive.files]
            if missing:
                raise UsageError(f"{path}: not a {kind} file, {', '.join(missing)} missing; {way_out}")
            there = [name for name in optional if name in archive.files]
            return {name: archive[name] for name in (*names, *there)}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise UsageError(f"{path}: not a readable {kind} file ({error}); {way_out}") from error
