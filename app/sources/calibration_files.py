"""Calibration files: OpenCV's YAML, XML and JSON, those of calibration scripts, COLMAP's cameras.txt, pose2sim's TOML.

Names of fields differ from script to script (camera_matrix, cameraMatrix, K, mtx ...), so they are compared without
case and punctuation. Only numbers and names are read: tags of YAML create no objects.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from bodycast.app.errors import UsageError
from bodycast.app.sources.calibration import Calibration

LARGEST_BYTES = 4_000_000
DEEPEST = 50
FORMS = "OpenCV's .yml .yaml .xml .json, COLMAP's cameras.txt, or .toml as pose2sim has it"

MATRIX = ("cameramatrix", "k", "intrinsicmatrix", "intrinsics", "intrinsic", "matrix", "mtx")
DISTORTION = re.compile(r"d|dist|dist(ortion)?s?(coef\w*|param\w*)?")
MODEL = ("distortionmodel", "cameramodel", "model")
SIZE = ("imagesize", "size", "resolution", "imgsize")
WIDTH, HEIGHT = ("imagewidth", "width", "w"), ("imageheight", "height", "h")
FISHEYE = ("fisheye", "equidistant", "kannalabrandt", "opencvfisheye")
PLAIN = ("", "plumbbob", "radtan", "rationalpolynomial", "pinhole", "opencv", "perspective", "radialtangential", "none")

Node = dict[str, Any]


def read_calibration(path: Path, camera: str | None = None) -> Calibration:
    """The camera of the file, or the one called `camera` of several.

    Raises: UsageError, one line, where the file is none of these, holds no camera or several, or none of this name.
    """
    cameras = _cameras(path)
    if camera is not None:
        if camera not in cameras:
            raise UsageError(f"{path.name}: no camera {camera!r}; --calibration-camera is one of {_listed(cameras)}")
        return cameras[camera]()
    if not cameras:
        raise UsageError(f"{path.name}: no camera matrix in it; expected {FORMS}")
    if len(cameras) > 1:
        raise UsageError(f"{path.name}: {len(cameras)} cameras; give --calibration-camera, one of {_listed(cameras)}")
    return next(iter(cameras.values()))()


def _cameras(path: Path) -> dict[str, Callable[[], Calibration]]:
    """By name. They are checked when they are made: one camera's mistake is no other's."""
    suffix = path.suffix.lower()
    text = _text(path)
    if suffix == ".txt":
        return _colmap(text, path.name)
    readers = {".toml": _toml, ".json": _json, ".yml": _opencv, ".yaml": _opencv, ".xml": _opencv}
    if suffix not in readers:
        raise UsageError(f"{path.name}: not a kind of calibration file known here; expected {FORMS}")
    if _depth(text) > DEEPEST:
        raise UsageError(f"{path.name}: not a calibration file (brackets in {_depth(text)} layers)")
    tree = readers[suffix](text, path.name)
    found = {name: node for name, node in _nodes(tree).items() if _has_camera(node)}
    several = len(found) > 1
    return {
        name: lambda node=node, name=name: _camera(node, f"{path.name}, camera {name}" if several else path.name)
        for name, node in found.items()
    }


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > LARGEST_BYTES:
            raise UsageError(f"{path}: too large for a calibration file ({path.stat().st_size / 1e6:.0f} MB)")
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UsageError(f"--calibration {path}: {(error.strerror or 'cannot be read').lower()}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: not a text file; expected {FORMS}") from error


def _depth(text: str) -> int:
    """Nesting of brackets; parsers recurse, and one in C would end the program."""
    depth = deepest = 0
    for mark in re.findall(r"[\[\]{}]", text):
        depth += 1 if mark in "[{" else -1
        deepest = max(deepest, depth)
    return deepest


def _listed(names: Mapping[str, object]) -> str:
    return ", ".join(list(names)[:20]) + (" ..." if len(names) > 20 else "")


def _toml(text: str, name: str) -> Node:
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise UsageError(f"{name}: not TOML ({error})") from error


def _json(text: str, name: str) -> Node:
    try:
        tree: object = json.loads(text)
    except ValueError:
        return _opencv(text, name)  # OpenCV before 4.7 wrote numbers as "1.", which is not JSON
    if isinstance(tree, list):
        return {"cameras": tree}
    return cast(Node, tree) if isinstance(tree, dict) else {}


def _opencv(text: str, name: str) -> Node:
    """YAML, XML or JSON by OpenCV's reader, which knows the part of YAML that scripts write."""
    import cv2
    from cv2.utils import logging

    if name.lower().endswith((".yml", ".yaml")) and not text.startswith("%YAML"):
        text = "%YAML:1.0\n---\n" + _indented(re.sub(r"\A\s*---.*\n", "", text))
    level = logging.getLogLevel()
    logging.setLogLevel(0)  # our own line says it
    try:
        storage = cv2.FileStorage(text, cv2.FILE_STORAGE_READ | cv2.FILE_STORAGE_MEMORY)
        tree = _tree(storage.root())
        storage.release()
    except (cv2.error, SystemError, UnicodeDecodeError) as error:
        reason = re.search(r"'?\(\d+\): ([^'\n]+)", str(error.__cause__ or error))
        raise UsageError(f"{name}: cannot be read" + (f" ({reason[1]})" if reason else "")) from error
    finally:
        logging.setLogLevel(level)
    return cast(Node, tree) if isinstance(tree, dict) else {}


def _indented(text: str) -> str:
    """YAML whose lists stand in the column of their key, as PyYAML writes them, with the lists indented, as OpenCV's
    reader wants them."""
    keys: list[int] = []
    lines: list[str] = []
    waiting: int | None = None
    for line in text.splitlines():
        content = line.strip()
        column = len(line) - len(line.lstrip())
        if content and not content.startswith("#"):
            item = content.startswith("- ")
            while keys and (column < keys[-1] or (column == keys[-1] and not item)):
                keys.pop()
            if item and waiting == column:
                keys.append(column)
            waiting = column if content.endswith(":") and not item else None
        lines.append("  " * len(keys) + line)
    return "\n".join(lines) + "\n"


def _tree(node: Any) -> object:
    if node.isMap():
        keys: Sequence[str] = node.keys()
        return {key: _tree(node.getNode(key)) for key in keys}
    if node.isSeq():
        return [_tree(node.at(index)) for index in range(node.size())]
    if node.isInt() or node.isReal():
        return float(node.real())
    return node.string() if node.isString() else None


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _nodes(tree: Node) -> dict[str, Node]:
    """What may be a camera, by name: the file itself, its groups, those of its group "cameras", M1 D1 M2 D2 of a stereo
    calibration."""
    if _has_camera(tree):
        return {str(tree.get("camera_name") or tree.get("name") or "camera"): tree}
    pairs = {key[1:]: key for key in tree if re.fullmatch(r"[MK]\d", key)}
    found: dict[str, Node] = {
        number: {**tree, "K": tree[key], "D": tree.get(f"D{number}", [])} for number, key in pairs.items()
    }
    for name, group in tree.items():
        if _plain(name) == "cameras":
            listed = enumerate(cast("list[Any]", group)) if isinstance(group, list) else cast(Node, group).items()
            groups = {str(key): value for key, value in listed}
        else:
            groups = {name: group}
        for key, value in groups.items():
            if isinstance(value, dict):
                node = cast(Node, value)
                called = node.get("name")
                found[called if isinstance(called, str) and called and called not in found else key] = node
    return found


def _fields(node: Node) -> Node:
    """By plain name; a group "intrinsics" of fx, fy, cx, cy is opened."""
    fields = {_plain(key): value for key, value in node.items()}
    for name in MATRIX:
        if isinstance(group := fields.get(name), dict) and "data" not in group:
            fields |= _fields(cast(Node, group))
    return fields


def _first(fields: Node, names: Sequence[str]) -> Any:
    return next((fields[name] for name in names if fields.get(name) is not None), None)


def _has_camera(node: Node) -> bool:
    fields = _fields(node)
    return "fx" in fields or any(_numbers(fields.get(name)) for name in MATRIX)


def _numbers(value: Any) -> list[float]:
    """All numbers of a list, of rows of numbers, or of a matrix with its `data`; empty where it is none of these."""
    if isinstance(value, dict):
        return _numbers(cast(Node, value).get("data"))
    if isinstance(value, list):
        found: list[float] = []
        for part in cast("list[Any]", value):
            inner = _numbers(part) if isinstance(part, list) else [part] if _is_number(part) else []
            if not inner:
                return []
            found += inner
        return found
    return []


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _camera(node: Node, label: str) -> Calibration:
    fields = _fields(node)
    focal, principal = _intrinsics(fields, label)
    said = next((value for name, value in fields.items() if DISTORTION.fullmatch(name) and value is not None), None)
    distortion = _numbers(said)
    if isinstance(said, dict) and not distortion:  # a group of k1, k2 ...
        fields |= _fields(cast(Node, said))
    elif said not in (None, []) and not distortion:
        raise UsageError(f"{label}: the distortion coefficients are not a list of numbers")
    fisheye = _is_fisheye(fields, label)
    if not distortion:
        order = ("k1", "k2", "k3", "k4") if fisheye else ("k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6")
        distortion = [float(fields[name]) if _is_number(fields.get(name)) else 0.0 for name in order]
    # Scripts leave out what is zero: k1 k2 alone, or k1 alone.
    distortion += [0.0] * (4 - len(distortion))
    return Calibration(label, focal, principal, _size(fields), tuple(distortion), fisheye)


def _intrinsics(fields: Node, label: str) -> tuple[tuple[float, float], tuple[float, float]]:
    matrices = [numbers for name in MATRIX if (numbers := _numbers(fields.get(name)))]
    k = matrices[0] if matrices else []
    if not k:
        k = [float(fields[name]) for name in ("fx", "fy", "cx", "cy") if _is_number(fields.get(name))]
    if len(k) == 4:  # fx fy cx cy, as Kalibr has it
        return (k[0], k[1]), (k[2], k[3])
    if len(k) != 9 or k[8] != 1 or any(k[place] for place in (3, 6, 7)) or abs(k[1]) > 1e-3 * abs(k[0]):
        raise UsageError(f"{label}: the camera matrix is not [fx 0 cx; 0 fy cy; 0 0 1]")
    return (k[0], k[4]), (k[2], k[5])


def _is_fisheye(fields: Node, label: str) -> bool:
    flag = _first(fields, ("fisheye", "fisheyemodel"))
    if flag is not None:
        return flag not in (False, 0, 0.0, "false", "False", "0")
    models = [_plain(said) for name in MODEL if isinstance(said := fields.get(name), str)]
    unknown = [model for model in models if model not in (*FISHEYE, *PLAIN)]
    if unknown:
        raise UsageError(f"{label}: the lens model {unknown[0]!r} is not known here; expected OpenCV's or its fisheye")
    return any(model in FISHEYE for model in models)


def _size(fields: Node) -> tuple[int, int] | None:
    sizes = [numbers for name in SIZE if len(numbers := _numbers(fields.get(name))) == 2]
    sides = [_first(fields, names) for names in (WIDTH, HEIGHT)]
    size = sizes[0] if sizes else [float(side) for side in sides if _is_number(side)]
    return (round(size[0]), round(size[1])) if len(size) == 2 else None


COLMAP: dict[str, tuple[str, ...]] = {
    "SIMPLE_PINHOLE": ("f", "cx", "cy"),
    "PINHOLE": ("fx", "fy", "cx", "cy"),
    "SIMPLE_RADIAL": ("f", "cx", "cy", "k1"),
    "RADIAL": ("f", "cx", "cy", "k1", "k2"),
    "OPENCV": ("fx", "fy", "cx", "cy", "k1", "k2", "p1", "p2"),
    "FULL_OPENCV": ("fx", "fy", "cx", "cy", "k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6"),
    "SIMPLE_RADIAL_FISHEYE": ("f", "cx", "cy", "k1"),
    "RADIAL_FISHEYE": ("f", "cx", "cy", "k1", "k2"),
    "OPENCV_FISHEYE": ("fx", "fy", "cx", "cy", "k1", "k2", "k3", "k4"),
}
"""COLMAP's camera models (src/colmap/sensor/models.h) that are OpenCV's, with their parameters in order."""


def _colmap(text: str, name: str) -> dict[str, Callable[[], Calibration]]:
    lines = [line.split() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    if not lines or any(len(line) < 5 for line in lines):
        raise UsageError(f"{name}: not COLMAP's cameras.txt (CAMERA_ID MODEL WIDTH HEIGHT PARAMS); expected {FORMS}")
    return {line[0]: lambda line=line: _colmap_camera(line, name) for line in lines}


def _colmap_camera(line: list[str], name: str) -> Calibration:
    label, model = f"{name}, camera {line[0]}", line[1]
    if model not in COLMAP:
        raise UsageError(f"{label}: the lens model {model} is not known here; there are {', '.join(COLMAP)}")
    try:
        width, height = int(line[2]), int(line[3])
        said = dict(zip(COLMAP[model], map(float, line[4:]), strict=True))
    except ValueError as error:
        raise UsageError(f"{label}: expected width, height and {' '.join(COLMAP[model])}") from error
    fisheye = model.endswith("FISHEYE")
    order = ("k1", "k2", "k3", "k4") if fisheye else ("k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6")
    distortion = tuple(said.get(key, 0.0) for key in order)
    focal = said.get("fx", said.get("f", 0.0)), said.get("fy", said.get("f", 0.0))
    # COLMAP's upper left pixel has its centre at (0.5, 0.5), ours at (0, 0).
    return Calibration(label, focal, (said["cx"] - 0.5, said["cy"] - 0.5), (width, height), distortion, fisheye)
