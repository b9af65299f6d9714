"""Body files in SMPL's layout: reading `.npz` and SMPL's published `.pkl`, checking them, writing `.npz`.

Layout: Loper et al., SIGGRAPH Asia 2015, as published on the SMPL site: v1.0 files carry 10 shape components, v1.1
files 300, of which the first 10 are kept. Pickles go through `safe_pickle`, which runs nothing of what is in them.
"""

from __future__ import annotations

import json
import os
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from bodycast.hmr.body.joints import NUM_BETAS, NUM_JOINTS, PARENTS
from bodycast.hmr.body.safe_pickle import RefusedPickle, load_arrays_from_pickle

NUM_POSE_FEATURES = 9 * (NUM_JOINTS - 1)
REQUIRED_KEYS = ("v_template", "shapedirs", "posedirs", "J_regressor", "weights", "kintree_table", "f")
_WEIGHT_SUM_TOLERANCE = 1e-3


class BodyFileError(ValueError):
    """A body file that cannot be used; the message is one line that says why."""


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
    if not path.is_file():
        raise BodyFileError(f"{path}: no such body file; give a .npz, or SMPL's .pkl")
    if path.suffix == ".npz":
        content = _read_npz(path)
    elif path.suffix == ".pkl":
        try:
            content = load_arrays_from_pickle(path.read_bytes())
        except RefusedPickle as error:
            raise BodyFileError(f"{path}: {error}") from error
    else:
        raise BodyFileError(f"{path}: expected a .npz or .pkl body file, got '{path.suffix}'")
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
        with np.load(path, allow_pickle=False) as archive:
            wanted = [key for key in (*REQUIRED_KEYS, "meta") if key in archive.files]
            return {key: archive[key] for key in wanted}
    except (zipfile.BadZipFile, ValueError, EOFError, OSError) as error:
        raise BodyFileError(f"{path}: not a readable .npz without pickled objects ({error})") from error


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
        raise BodyFileError(f"{path}: meta: expected 'name' to be text, got {name!r}")
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
        raise BodyFileError(f"{path}: kintree_table: expected SMPL's tree, got parents {parents.tolist()}")
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
    except json.JSONDecodeError as error:
        raise BodyFileError(f"{path}: meta: expected JSON ({error})") from error
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
