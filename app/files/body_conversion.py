"""`bodycast convert-body IN OUT.npz`: turn SMPL's published pickle into a file that loads fast and runs
nothing.
"""

from __future__ import annotations

from pathlib import Path

from bodycast.hmr.body.body_files import BodyFileError, load_body_arrays, save_body_arrays


def convert_body(source: Path, target: Path, overwrite: bool = False) -> None:
    """Read the body file `source` (SMPL's `.pkl`, or a `.npz`), check it, and write it to `target` as `.npz`.

    The write is all or nothing. Raises BodyFileError when `source` cannot be used, when `target` is no `.npz` or in
    a folder that does not exist, and when `target` exists and `overwrite` is not given.
    """
    if target.suffix.lower() != ".npz":
        raise BodyFileError(f"{target}: expected a target that ends in .npz, got '{target.suffix}'")
    if not target.parent.is_dir():
        raise BodyFileError(f"{target.parent}: no such folder; create it first")
    if target.exists() and not overwrite:
        raise BodyFileError(f"{target}: exists already; choose another name or overwrite it with --overwrite")
    if target.exists() and source.exists() and target.samefile(source):
        raise BodyFileError(f"{target}: is what is read; choose another name")
    save_body_arrays(load_body_arrays(source), target)
