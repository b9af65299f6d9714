"""The file that holds a wardrobe: one `.npz` of small integers, and its reader and writer.

Per garment NAME: `NAME/template` (V, 3) int16 of 0.05 mm; `NAME/shapedirs` (V, 3, 10) int8 times `NAME/shape_scale`
(10,) m; `NAME/normals` (V, 3) int8; `NAME/faces` (F, 3) uint16; `NAME/uv` (V, 2) int16 of 0.2 mm; `NAME/joints` and
`NAME/weights` (V, 4) uint8; `NAME/covers` packed bits over the body's vertices. `head_chart`: see head_chart.py.
`meta` is JSON: names, kinds, orders.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bodycast.npz import read_npz

Floats = NDArray[np.floating]
SCHEMA = 1
_TEMPLATE_M, _UV_M = 5e-5, 2e-4


class WardrobeFileError(ValueError):
    """A wardrobe file that is not one, or of another schema."""


@dataclass(frozen=True)
class BakedGarment:
    """A garment as baked; arrays as in `wardrobe.Garment`, weights dense (V, 24); `loose`: may be worn wide."""

    name: str
    kind: str
    order: int
    held_out: bool
    template: Floats
    shapedirs: Floats
    normals: Floats
    faces: NDArray[np.integer]
    uv: Floats
    weights: Floats
    covers: NDArray[np.bool_]
    loose: bool


def write_wardrobe(path: Path, garments: list[BakedGarment], head_chart: NDArray[np.uint8]) -> None:
    """Write `garments` and the chart of the head (see head_chart.py) to `path`.

    Raises WardrobeFileError where a garment does not fit the integers.
    """
    arrays: dict[str, NDArray[np.generic]] = {"head_chart": head_chart}
    meta: dict[str, object] = {"schema": SCHEMA, "body_vertices": len(garments[0].covers), "garments": []}
    rows: list[dict[str, object]] = []
    for g in garments:
        if len(g.template) > 65535 or np.abs(g.template).max() > 1.6 or np.abs(g.uv).max() > 6.5:
            raise WardrobeFileError(f"{g.name}: too large for the file's integers")
        scale = np.maximum(np.abs(g.shapedirs).max((0, 1)), 1e-6) / 127.0
        order = np.argsort(-g.weights, axis=1, kind="stable")[:, :4]
        share = np.take_along_axis(g.weights, order, 1)
        rows.append({"name": g.name, "kind": g.kind, "order": g.order, "held_out": g.held_out, "loose": g.loose})
        arrays |= {
            f"{g.name}/template": np.rint(g.template / _TEMPLATE_M).astype(np.int16),
            f"{g.name}/shapedirs": np.rint(g.shapedirs / scale).astype(np.int8),
            f"{g.name}/shape_scale": scale.astype(np.float32),
            f"{g.name}/normals": np.rint(g.normals * 127).astype(np.int8),
            f"{g.name}/faces": g.faces.astype(np.uint16),
            f"{g.name}/uv": np.rint(g.uv / _UV_M).astype(np.int16),
            f"{g.name}/joints": order.astype(np.uint8),
            f"{g.name}/weights": np.rint(share / share.sum(1, keepdims=True) * 255).astype(np.uint8),
            f"{g.name}/covers": np.packbits(g.covers),
        }
    meta["garments"] = rows
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, meta=np.array(json.dumps(meta)), **arrays)


def read_wardrobe(path: Path) -> tuple[list[BakedGarment], NDArray[np.uint8]]:
    """The garments and the head chart of a file that `write_wardrobe` wrote. Raises WardrobeFileError."""
    try:
        arrays = read_npz(path)
        meta = json.loads(str(arrays["meta"]))
    except (OSError, ValueError, KeyError) as error:
        raise WardrobeFileError(f"{path}: expected a baked wardrobe, got something else ({error})") from error
    if meta.get("schema") != SCHEMA:
        raise WardrobeFileError(f"{path}: expected schema {SCHEMA}, got {meta.get('schema')}; bake it again")
    garments = [_read_garment(arrays, row, int(meta["body_vertices"])) for row in meta["garments"]]
    return garments, arrays["head_chart"].astype(np.uint8)


def _read_garment(arrays: dict[str, NDArray[np.generic]], row: dict[str, object], body_vertices: int) -> BakedGarment:
    name = str(row["name"])

    def get(part: str) -> NDArray[np.generic]:
        return arrays[f"{name}/{part}"]

    share = get("weights").astype(np.float32)
    weights = np.zeros((len(share), 24), np.float32)
    np.put_along_axis(weights, get("joints").astype(np.int64), share / share.sum(1, keepdims=True), 1)
    normals = get("normals").astype(np.float32)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-6)
    return BakedGarment(
        name=name, kind=str(row["kind"]), order=int(str(row["order"])), held_out=bool(row["held_out"]),
        template=get("template").astype(np.float32) * np.float32(_TEMPLATE_M),
        shapedirs=get("shapedirs").astype(np.float32) * get("shape_scale").astype(np.float32),
        normals=normals, faces=get("faces").astype(np.int32), uv=get("uv").astype(np.float32) * np.float32(_UV_M),
        weights=weights, covers=np.unpackbits(get("covers").astype(np.uint8))[:body_vertices].astype(bool),
        loose=bool(row["loose"]),
    )  # fmt: skip
