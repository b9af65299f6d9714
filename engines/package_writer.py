"""Write a model package: graph, golden tensors and `package.json` with the hash of every file."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from tempfile import mkdtemp

import numpy as np

from bodycast.engines.errors import PackageError
from bodycast.engines.package import (
    GOLDEN_FILE,
    METADATA_FILE,
    MODEL_FILE,
    SCHEMA_VERSION,
    ModelPackage,
    PackageInfo,
    Tensor,
    load_package,
    parse_metadata,
    sha256_of,
)
from bodycast.engines.writable import why_unwritable


def write_package(
    out: Path,
    info: PackageInfo,
    model: bytes | Path,
    golden_inputs: Mapping[str, Tensor],
    golden_outputs: Mapping[str, Tensor],
    *,
    further_files: Mapping[str, bytes | Path] | None = None,
    overwrite: bool = False,
) -> ModelPackage:
    """Write the folder `out` and read it back.

    model: the serialised ONNX graph, or a file to copy; weights are inside, or in the further file `DATA_FILE`.
    golden_*: one example, tensors by name. further_files: what else belongs to the package, by plain file name, as
    content or as a file to copy; hashed like the rest. The folder appears complete or not at all.

    Raises: PackageError where `out` exists and `overwrite` is false or it is no package, or where `info` would not be
    read back.
    """
    if out.exists() and not overwrite:
        raise PackageError(f"{out} exists; choose another folder or pass overwrite")
    check_replaceable(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    replaced = staging.with_name(f"{staging.name}-replaced")
    try:
        if isinstance(model, Path):
            shutil.copyfile(model, staging / MODEL_FILE)
        else:
            (staging / MODEL_FILE).write_bytes(model)
        arrays = {f"in/{name}": array for name, array in golden_inputs.items()}
        arrays |= {f"out/{name}": array for name, array in golden_outputs.items()}
        with (staging / GOLDEN_FILE).open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)
        further = dict(further_files or {})
        for name, content in further.items():
            if Path(name).name != name or name in (MODEL_FILE, GOLDEN_FILE, METADATA_FILE):
                raise PackageError(f"{name}: a further file needs a plain name of its own")
            if isinstance(content, Path):
                shutil.copyfile(content, staging / name)
            else:
                (staging / name).write_bytes(content)
        files = {name: sha256_of(staging / name) for name in (MODEL_FILE, GOLDEN_FILE, *further)}
        document = _document(info, files)
        parse_metadata(json.loads(json.dumps(document)), str(out / METADATA_FILE))
        (staging / METADATA_FILE).write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
        load_package(staging)
        staging.chmod(0o777 & ~_umask())
        if out.exists():
            # Moved aside first: at no moment is there half a folder, and the old one goes when the new one is there.
            out.replace(replaced)
        staging.replace(out)
    finally:
        if replaced.exists() and not out.exists():
            replaced.replace(out)
        for folder in (staging, replaced):
            shutil.rmtree(folder, ignore_errors=True)
    return load_package(out)


def check_package_target(out: Path, overwrite: bool) -> None:
    """Raise PackageError unless a package may be written to `out`, before any work is done. Touches nothing."""
    if overwrite:
        check_replaceable(out)
    elif out.exists():
        raise PackageError(f"{out} exists; pass --overwrite to replace it")
    check_writable(out)


def check_replaceable(out: Path) -> None:
    """Raise PackageError where overwriting `out` would delete what is no package: somebody's folder or file."""
    if out.is_dir() and ((out / METADATA_FILE).is_file() or not any(out.iterdir())):
        return
    if out.exists() or out.is_symlink():
        raise PackageError(f"{out}: is no model package, so it is not replaced; choose another folder")


def check_writable(out: Path) -> None:
    """Raise PackageError where no folder `out` can be made: minutes of work would be lost. Touches nothing."""
    if reason := why_unwritable(out.absolute().parent):
        raise PackageError(f"{out}: {reason}")


def _document(info: PackageInfo, files: dict[str, str]) -> dict[str, object]:
    fields = asdict(info)
    architecture = {"name": fields.pop("architecture"), "arguments": fields.pop("arguments")}
    for key in ("masks", "tokens_of"):
        if fields[key] == "none":  # programs of before that key read the package too
            del fields[key]
    return {
        "schema_version": SCHEMA_VERSION,
        "name": fields.pop("name"),
        "task": fields.pop("task"),
        "architecture": architecture,
        **fields,
        "files": files,
    }


def _umask() -> int:
    """The process's umask; reading it means setting it for a moment."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
