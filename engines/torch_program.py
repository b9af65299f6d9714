"""A `torch.export` program as a package holds it (`model.pt2`), looked at before torch opens it.

`torch.export.load` unpickles and evaluates some parts of the archive. A program of ours needs none of that: tensors lie
there as plain bytes and sizes are sums and products of symbols. An archive that has anything else is refused unopened.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from bodycast.engines.errors import PackageError

PROGRAM_FILE = "model.pt2"
SIGNATURE_FILE = "signature.json"
"""Extra file in the archive: {"inputs": [names], "outputs": [names]}, in the program's order."""

_ENTRIES = re.compile(
    r"data/(weights/(weight_\d+|model_weights_config\.json)|constants/(tensor_\d+|model_constants_config\.json)"
    r"|sample_inputs/model\.pt)|models/model\.json|extra/signature\.json|archive_format|archive_version|byteorder"
    r"|\.data/\w+|\.format_version|\.storage_alignment"
)
_TARGET = re.compile(r"torch\.ops\.(aten|higher_order|prims)\.[\w.]+|_operator\.\w+|math\.\w+")
_WORDS = r"Symbol|Integer|Add|Mul|Pow|Max|Min|Mod|PythonMod|FloorDiv|CeilDiv|TruncToInt|True|False|positive|integer"
_EXPRESSION = re.compile(rf"(?:{_WORDS}|'?[su]\d+'?|\d+|[-+*/(), =])*")


def check_program(path: Path) -> dict[str, list[str]]:
    """Look through the archive; gives its input and output names.

    Raises: PackageError naming what does not belong into a program of ours.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = _entries(archive, path)
            for part in ("weights", "constants"):
                _check_tensors(_json(archive, names, f"data/{part}/model_{part}_config.json", path), path)
            for key, value in _strings(_json(archive, names, "models/model.json", path), ""):
                _check_string(key, value, path)
            signature = _json(archive, names, f"extra/{SIGNATURE_FILE}", path)
    except (OSError, zipfile.BadZipFile, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise PackageError(f"{path}: torch cannot open it: {str(error) or type(error).__name__}") from error
    if not isinstance(signature, dict) or set(cast("dict[str, Any]", signature)) != {"inputs", "outputs"}:
        raise PackageError(f"{path}: {SIGNATURE_FILE} must list inputs and outputs")
    return {side: [str(name) for name in listed] for side, listed in cast("dict[str, Any]", signature).items()}


def sample_inputs(path: Path) -> bytes:
    """The pickled example inputs: the one part that torch reads by itself, first safely and, that failing, unsafely."""
    with zipfile.ZipFile(path) as archive:
        return archive.read(_entries(archive, path)["data/sample_inputs/model.pt"])


def _entries(archive: zipfile.ZipFile, path: Path) -> dict[str, str]:
    """Entry name without the archive's own folder -> full name."""
    names = {name.partition("/")[2]: name for name in archive.namelist()}
    strange = sorted(name for name in names if not _ENTRIES.fullmatch(name))
    if strange:
        raise PackageError(f"{path}: has {strange[0]!r}, which no program of ours has; it is not opened")
    return names


def _json(archive: zipfile.ZipFile, names: dict[str, str], name: str, path: Path) -> object:
    if name not in names:
        raise PackageError(f"{path}: torch cannot open it: {name} is missing")
    return cast("object", json.loads(archive.read(names[name]).decode("utf-8")))


def _check_tensors(config: object, path: Path) -> None:
    entries = cast("dict[str, Any]", config).get("config") if isinstance(config, dict) else None
    for name, entry in cast("dict[str, Any]", entries or {}).items():
        if entry.get("use_pickle") is not False or not re.fullmatch(r"(weight|tensor)_\d+", str(entry["path_name"])):
            raise PackageError(f"{path}: {name!r} is pickled, and could run code when it is opened; it is not opened")


def _strings(value: object, key: str) -> Iterator[tuple[str, str]]:
    """Every text in the document with the key it is under."""
    if isinstance(value, dict):
        for name, item in cast("dict[str, Any]", value).items():
            yield from _strings(item, name)
    elif isinstance(value, list):
        for item in cast("list[Any]", value):
            yield from _strings(item, key)
    elif isinstance(value, str):
        yield key, value


def _check_string(key: str, value: str, path: Path) -> None:
    rules = {"target": _TARGET, "expr_str": _EXPRESSION}
    if key in rules and not rules[key].fullmatch(value):
        raise PackageError(f"{path}: {key} {value[:60]!r} is nothing that a network needs; it is not opened")
