"""Body files in SMPL's layout: reading `.npz` and SMPL's published `.pkl`, checking them, writing `.npz`.

Layout: Loper et al., SIGGRAPH Asia 2015, as published on the SMPL site: v1.0 files carry 10 shape components, v1.1
files 300, of which the first 10 are kept. Pickles go through `safe_pickle`, which runs nothing of what is in them.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from bodycast.hmr.body.joints import NUM_BETAS, NUM_JOINTS, PARENTS
from bodycast.hmr.body.safe_pickle import RefusedPickle, load_arrays_from_pickle
from bodycast.npz import NpzError, read_npz
from bodycast.plain_text import message_line, shortened, shown_name

NUM_POSE_FEATURES = 9 * (NUM_JOINTS - 1)
REQUIRED_KEYS = ("v_template", "shapedirs", "posedirs", "J_regressor", "weights", "kintree_table", "f")
OTHER_BODIES = {
    55: "SMPL-X (55 joints)",
    52: "SMPL-H (52 joints)",
    16: "MANO (a hand)",
    5: "FLAME (a head)",
    127: "MHR",
}
"""Number of joints -> family, for a refusal that says what the file is."""
MOST_PICKLE_BYTES = 1 << 30
_ARCHIVES = (b"\x1f\x8b", b"7z\xbc\xaf\x27\x1c", b"Rar!\x1a\x07", b"BZh", b"\xfd7zXZ\x00", b"\x28\xb5\x2f\xfd")
"""First bytes of gzip, 7z, RAR, bzip2, xz and zstandard."""
_WEIGHT_SUM_TOLERANCE = 1e-3


class BodyFileError(ValueError):
    """A body file that cannot be used; the message is one line that says why."""

    def __init__(self, message: object = "") -> None:
        super().__init__(message_line(message))


@dataclass(frozen=True)
class BodyArrays:
    """The checked content of a body file.

    v_template (V,3) metres; shapedirs (V,3,10); posedirs (V,3,207), or None when all are zero; J_regressor (24,V);
    weights (V,24); faces (F,3) int32; name: which body the betas belong to; meta: facts about the body, may be empty.
    """

    name: str
    v_template: NDArray[np.float32]
    shapedirs: NDArray[np.float32]
    posedirs: NDArray[np.float32] | None
    J_regressor: NDArray[np.float32]
    weights: NDArray[np.float32]
    faces: NDArray[np.int32]
    meta: Mapping[str, object]


def load_body_arrays(path: Path) -> BodyArrays:
    """Read and check a body file, `.npz` or `.pkl`.

    Raises BodyFileError when the file is missing, is neither kind, holds something that is refused, lacks a key, or
    has an array of the wrong shape or with values that are not finite.
    """
    shown = shown_name(path)
    if not path.is_file():
        raise BodyFileError(f"{shown}: no such body file; give a .npz, or SMPL's .pkl")
    suffix = path.suffix.lower()
    if suffix not in (".npz", ".pkl"):
        raise BodyFileError(f"{shown}: expected a .npz or .pkl body file, got '{shortened(path.suffix)}'")
    with path.open("rb") as stream:
        other = _not_a_body(path, stream.read(64))
    if other is not None:
        raise BodyFileError(f"{shown}: {other}")
    if suffix == ".npz":
        content = _read_npz(path)
    else:
        if path.stat().st_size > MOST_PICKLE_BYTES:
            raise BodyFileError(f"{shown}: larger than {MOST_PICKLE_BYTES >> 20} MB, which no body file is")
        try:
            content = load_arrays_from_pickle(path.read_bytes())
        except RefusedPickle as error:
            raise BodyFileError(f"{shown}: {error}") from error
    family = _other_body(content)
    if family is not None:
        raise BodyFileError(f"{shown}: a body of {family}; bodies here have SMPL's 24 joints: give SMPL's own file")
    return _checked(content, path)


def save_body_arrays(arrays: BodyArrays, path: Path) -> None:
    """Write a body as `.npz`, all or nothing: a crash or a full disk leaves no half-written `path`."""
    parents = np.where(PARENTS < 0, np.iinfo(np.uint32).max, PARENTS)
    vertex_count = len(arrays.v_template)
    posedirs = (
        np.zeros((vertex_count, 3, NUM_POSE_FEATURES), dtype=np.int8)  # compresses to nothing
        if arrays.posedirs is None
        else arrays.posedirs
    )
    content: dict[str, NDArray[np.generic]] = {
        "v_template": arrays.v_template,
        "shapedirs": arrays.shapedirs,
        "posedirs": posedirs,
        "J_regressor": arrays.J_regressor,
        "weights": arrays.weights,
        "kintree_table": np.stack([parents, np.arange(NUM_JOINTS)]).astype(np.uint32),
        "f": arrays.faces.astype(np.uint32),
        "meta": np.array(json.dumps({**arrays.meta, "name": arrays.name})),
    }
    write_npz(path, content)


def write_npz(path: Path, content: Mapping[str, NDArray[np.generic]]) -> None:
    """Write a compressed `.npz` under a temporary name beside `path`, then move it there in one step."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}.", suffix=".npz")
    try:
        with os.fdopen(handle, "wb") as stream:
            np.savez_compressed(stream, **content)  # type: ignore[arg-type]
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _read_npz(path: Path) -> dict[str, object]:
    try:
        return dict(read_npz(path, (*REQUIRED_KEYS, "meta")))
    except NpzError as error:
        raise BodyFileError(f"{shown_name(path)}: {error}") from error


def _not_a_body(path: Path, start: bytes) -> str | None:
    """What a file that calls itself a body is, where its first bytes say so."""
    start = start.removeprefix(b"\xef\xbb\xbf")
    if start.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        return "a web page, not a body file: the download asked for a login; sign in with a browser and fetch it again"
    packed = start.startswith(b"PK\x03\x04") and path.suffix.lower() == ".pkl"
    if packed or start.startswith(_ARCHIVES):
        return "an archive, not a body file: unpack it and give the .pkl that is in it"
    if start.startswith((b"version https://git-lfs", b"{", b"#")):
        return "text, not a body file; fetch it again"
    return None


def _other_body(content: Mapping[str, object]) -> str | None:
    """The name of another family of bodies, by its number of joints."""
    weights = content.get("weights")
    if not isinstance(weights, np.ndarray):
        return None
    return OTHER_BODIES.get(cast("NDArray[np.generic]", weights).shape[-1] if weights.ndim == 2 else 0)


def _checked(content: Mapping[str, object], path: Path) -> BodyArrays:
    missing = [key for key in REQUIRED_KEYS if not isinstance(content.get(key), np.ndarray)]
    if missing:
        raise BodyFileError(f"{path}: missing or not an array: {', '.join(missing)}")
    raw = {key: cast("NDArray[np.generic]", content[key]) for key in REQUIRED_KEYS}
    for key, array in raw.items():
        if array.dtype.kind not in "fiu":
            raise BodyFileError(f"{path}: {key}: expected numbers, got dtype {array.dtype}")
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise BodyFileError(f"{path}: {key}: holds values that are not finite (NaN or infinity)")
    if raw["v_template"].ndim != 2 or raw["v_template"].shape[1] != 3 or len(raw["v_template"]) == 0:
        raise BodyFileError(f"{path}: v_template: expected shape (V, 3), got {raw['v_template'].shape}")
    vertex_count = len(raw["v_template"])
    if raw["shapedirs"].ndim == 3 and raw["shapedirs"].shape[2] > NUM_BETAS:
        raw["shapedirs"] = raw["shapedirs"][:, :, :NUM_BETAS]
    if raw["posedirs"].shape == (NUM_POSE_FEATURES, 3 * vertex_count):  # as layers for training keep them
        raw["posedirs"] = raw["posedirs"].T.reshape(vertex_count, 3, NUM_POSE_FEATURES)
    expected = {
        "shapedirs": (vertex_count, 3, NUM_BETAS),
        "posedirs": (vertex_count, 3, NUM_POSE_FEATURES),
        "J_regressor": (NUM_JOINTS, vertex_count),
        "weights": (vertex_count, NUM_JOINTS),
        "kintree_table": (2, NUM_JOINTS),
        "f": (len(raw["f"]), 3),
    }
    for key, shape in expected.items():
        if raw[key].shape != shape:
            raise BodyFileError(f"{path}: {key}: expected shape {shape}, got {raw[key].shape}")
    _check_values(raw, vertex_count, path)
    meta = _read_meta(content.get("meta"), path)
    name = meta.get("name", _name_from_file(path))
    if not isinstance(name, str):
        raise BodyFileError(f"{path}: meta: expected 'name' to be text, got {shortened(repr(name))}")
    return BodyArrays(
        name=name,
        v_template=_float32(raw["v_template"]),
        shapedirs=_float32(raw["shapedirs"]),
        posedirs=_float32(raw["posedirs"]) if raw["posedirs"].any() else None,
        J_regressor=_float32(raw["J_regressor"]),
        weights=_float32(raw["weights"]),
        faces=np.ascontiguousarray(raw["f"], dtype=np.int32),
        meta=meta,
    )


def _check_values(raw: Mapping[str, NDArray[np.generic]], vertex_count: int, path: Path) -> None:
    """What shapes alone cannot tell: the tree, the range of the faces, and that weights are weights."""
    parents = raw["kintree_table"][0].astype(np.int64)[1:]
    if not np.array_equal(parents, PARENTS[1:]):
        raise BodyFileError(f"{path}: kintree_table: expected SMPL's tree, got parents {shortened(parents.tolist())}")
    faces = raw["f"].astype(np.int64)
    if faces.size and (faces.min() < 0 or faces.max() >= vertex_count):
        raise BodyFileError(f"{path}: f: expected indices 0..{vertex_count - 1}, got {faces.min()}..{faces.max()}")
    error = float(np.abs(raw["weights"].astype(np.float64).sum(axis=1) - 1.0).max())
    if error > _WEIGHT_SUM_TOLERANCE:
        raise BodyFileError(f"{path}: weights: expected rows that sum to 1, got one that is off by {error:.3g}")


def _read_meta(meta: object, path: Path) -> dict[str, object]:
    if not isinstance(meta, np.ndarray):
        return {}
    try:
        parsed: object = json.loads(str(cast("NDArray[np.str_]", meta)))
    except (json.JSONDecodeError, RecursionError) as error:
        raise BodyFileError(f"{path}: meta: expected JSON ({shortened(error)})") from error
    if not isinstance(parsed, dict):
        raise BodyFileError(f"{path}: meta: expected a JSON object, got {type(parsed).__name__}")
    return cast("dict[str, object]", parsed)


def _name_from_file(path: Path) -> str:
    """SMPL's files carry no name, but their file names say which of the three bodies they are."""
    stem = path.stem.lower()
    if "lbs_10_207" not in stem and "smpl" not in stem:
        return stem
    if "female" in stem or "_f_lbs" in stem:
        return "smpl-female"
    if "male" in stem or "_m_lbs" in stem:
        return "smpl-male"
    return "smpl-neutral"


def _float32(array: NDArray[np.generic]) -> NDArray[np.float32]:
    return np.ascontiguousarray(array, dtype=np.float32)
