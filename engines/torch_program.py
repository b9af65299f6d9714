"""A `torch.export` program as a package holds it (`model.pt2`), looked at before torch opens it.

`torch.export.load` unpickles and evaluates parts of the archive, and reads it with a parser of its own. A program of
ours needs neither: tensors lie there as plain bytes, sizes are sums and products of symbols. So torch never sees the
file: it gets an archive that is written anew from what was checked here, with example inputs of our own.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from bodycast.engines.errors import PackageError

PROGRAM_FILE = "model.pt2"
SIGNATURE_FILE = "signature.json"
"""Extra file in the archive: {"inputs": [names], "outputs": [names]}, in the program's order."""

SAMPLE_INPUTS = "data/sample_inputs/model.pt"
GRAPH = "models/model.json"

_ENTRIES = re.compile(
    r"data/(weights/(weight_\d+|model_weights_config\.json)|constants/(tensor_\d+|model_constants_config\.json)"
    r"|sample_inputs/model\.pt)|models/model\.json|extra/signature\.json|archive_format|archive_version|byteorder"
    r"|version|\.data/\w+|\.format_version|\.storage_alignment"
)
_OPERATORS = (
    "abs add and_ eq floordiv ge getitem gt invert le lshift lt mod mul ne neg not_ or_ pos pow rshift sub truediv xor"
)
_TARGET = re.compile(
    r"torch\.ops\.(aten|prims)\.(?!from_file\b)_?[a-z]\w*(\.[A-Za-z]\w*)?"
    r"|torch\.ops\.higher_order\.wrap_with_(set_grad_enabled|autocast)"
    rf"|_operator\.({_OPERATORS.replace(' ', '|')})|math\.[a-z]\w*"
)
_WORDS = r"Symbol|Integer|Add|Mul|Pow|Max|Min|Mod|PythonMod|FloorDiv|CeilDiv|TruncToInt|True|False|positive|integer"
_EXPRESSION = re.compile(rf"(?:{_WORDS}|'?[su]\d+'?|\d{{1,18}}|\*(?!\*)|[-+/(), =])*")
_LONGEST_EXPRESSION = 1000
_EMPTY_IN_GRAPH: dict[str, object] = {"guards_code": [], "metadata": {}}
"""Parts of the graph that a run does not need, and torch would evaluate: they are left out."""


@dataclass(frozen=True, slots=True)
class CheckedProgram:
    """`entries`: name without the archive's own folder -> content, all that belongs into a program and nothing else,
    without example inputs. `inputs`, `outputs`: names in the program's order."""

    entries: dict[str, bytes]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    def archive(self, example_inputs: bytes) -> io.BytesIO:
        """The archive for torch. `example_inputs`: what `torch.save` makes of (tuple of tensors, {})."""
        written = io.BytesIO()
        with zipfile.ZipFile(written, "w", zipfile.ZIP_STORED) as archive:
            for name, content in {**self.entries, SAMPLE_INPUTS: example_inputs}.items():
                archive.writestr(f"program/{name}", content)
        written.seek(0)
        return written


def check_program(path: Path) -> CheckedProgram:
    """Read the archive and look through it.

    Raises: PackageError naming what does not belong into a program of ours.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = {name: archive.read(full) for name, full in _entries(archive, path).items()}
        for part in ("weights", "constants"):
            name = f"data/{part}/model_{part}_config.json"
            config = _json(entries, name, path)
            _check_tensors(config, path)
            entries[name] = json.dumps(config).encode()
        graph = _without(_json(entries, GRAPH, path))
        for key, value in _strings(graph, ""):
            _check_string(key, value, path)
        entries[GRAPH] = json.dumps(graph).encode()
        signature = _json(entries, f"extra/{SIGNATURE_FILE}", path)
    except (OSError, ValueError, RecursionError, zipfile.BadZipFile, RuntimeError, NotImplementedError) as error:
        raise PackageError(f"{path}: torch cannot open it: {str(error) or type(error).__name__}") from error
    sides = cast("dict[str, Any]", signature) if isinstance(signature, dict) else {}
    if set(sides) != {"inputs", "outputs"} or not all(isinstance(side, list) for side in sides.values()):
        raise PackageError(f"{path}: {SIGNATURE_FILE} must list inputs and outputs")
    entries.pop(SAMPLE_INPUTS, None)
    inputs, outputs = (tuple(str(name) for name in sides[side]) for side in ("inputs", "outputs"))
    return CheckedProgram(entries, inputs, outputs)


def _entries(archive: zipfile.ZipFile, path: Path) -> dict[str, str]:
    """Entry name without the archive's own folder -> full name. One folder, each name once, nothing compressed: so
    every reader finds the same, and no more is read than the file is large."""
    full = [entry.filename for entry in archive.infolist()]
    roots = {name.partition("/")[0] for name in full}
    names = {name.partition("/")[2]: name for name in full}
    strange = sorted(name for name in names if not _ENTRIES.fullmatch(name))
    if strange:
        raise PackageError(f"{path}: has {strange[0][:80]!r}, which no program of ours has; it is not opened")
    if len(names) != len(full) or len(roots) != 1:
        raise PackageError(f"{path}: has one name twice, or several folders; it is not opened")
    packed = [entry for entry in archive.infolist() if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1]
    if packed or sum(entry.file_size for entry in archive.infolist()) > path.stat().st_size:
        raise PackageError(f"{path}: has compressed or encrypted parts, which no program of ours has; it is not opened")
    return names


def _json(entries: dict[str, bytes], name: str, path: Path) -> object:
    if name not in entries:
        raise PackageError(f"{path}: torch cannot open it: {name} is missing")
    return cast("object", json.loads(entries[name].decode("utf-8")))


def _without(value: object) -> object:
    """The document with the parts of `_EMPTY_IN_GRAPH` empty."""
    if isinstance(value, dict):
        items = cast("dict[str, object]", value).items()
        return {key: _EMPTY_IN_GRAPH.get(key, _without(item)) for key, item in items}
    if isinstance(value, list):
        return [_without(item) for item in cast("list[object]", value)]
    return value


def _check_tensors(config: object, path: Path) -> None:
    entries = cast("dict[str, Any]", config).get("config") if isinstance(config, dict) else None
    if not isinstance(entries, dict):
        raise ValueError("its list of tensors is none")
    for name, entry in cast("dict[str, Any]", entries).items():
        fields = cast("dict[str, Any]", entry) if isinstance(entry, dict) else {}
        plain = re.fullmatch(r"(weight|tensor)_\d+", str(fields.get("path_name")))
        if fields.get("use_pickle") is not False or not plain:
            raise PackageError(
                f"{path}: {name[:80]!r} is pickled, and could run code when it is opened; it is not opened"
            )


def _strings(value: object, key: str) -> Iterator[tuple[str, str]]:
    """Every text in the document with the key it is under; keys themselves under "key"."""
    if isinstance(value, dict):
        for name, item in cast("dict[str, Any]", value).items():
            yield "key", name
            yield from _strings(item, name)
    elif isinstance(value, list):
        for item in cast("list[Any]", value):
            yield from _strings(item, key)
    elif isinstance(value, str):
        yield key, value


def _check_string(key: str, value: str, path: Path) -> None:
    if key == "target":
        fits = _TARGET.fullmatch(value) is not None
    elif key == "expr_str":
        fits = _harmless_expression(value)
    else:  # what torch looks up as an enumeration would be imported, what is an object of a script unpickled
        fits = "__enum__" not in value and not (key == "key" and value in ("as_custom_obj", "custom_obj_name"))
    if not fits:
        raise PackageError(f"{path}: {key} {value[:60]!r} is nothing that a network needs; it is not opened")


def _harmless_expression(value: str) -> bool:
    """Sizes only, and no number that takes for ever to compute: torch evaluates the text."""
    if len(value) > _LONGEST_EXPRESSION or not _EXPRESSION.fullmatch(value):
        return False
    powers = value.count("Pow")
    return powers == 0 or (powers == 1 and all(len(number) <= 3 for number in re.findall(r"\d+", value)))
