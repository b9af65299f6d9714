"""Binary glTF 2.0 as far as rigged people need it: accessors, pictures, nodes, skins; EXT_meshopt_compression too."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from training.synthetic.avatars.meshopt import decode_attributes, decode_triangles

F32 = NDArray[np.float32]
_TYPES = {5120: "i1", 5121: "u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
_WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}
_MESHOPT = "EXT_meshopt_compression"


class GlbError(ValueError):
    """A file that is not the glTF that is needed; one line."""


class Glb:
    """A .glb file. `json` is its document."""

    def __init__(self, path: Path) -> None:
        """Raises GlbError where the file is not binary glTF 2.0."""
        self.path = path
        data = path.read_bytes()
        if len(data) < 28 or data[:4] != b"glTF" or struct.unpack_from("<I", data, 4)[0] != 2:
            raise GlbError(f"{path}: not a binary glTF 2.0 file")
        length = struct.unpack_from("<I", data, 12)[0]
        self.json: dict[str, Any] = json.loads(data[20 : 20 + length])
        self._binary = data[28 + length :]
        self._views: dict[int, bytes] = {}

    def view(self, index: int) -> bytes:
        """The bytes of a buffer view, decoded."""
        if index not in self._views:
            view = self.json["bufferViews"][index]
            coded = view.get("extensions", {}).get(_MESHOPT)
            self._views[index] = self._raw(view) if coded is None else self._decoded(coded)
        return self._views[index]

    def _raw(self, view: dict[str, Any]) -> bytes:
        if view["buffer"] != 0:
            raise GlbError(f"{self.path}: a buffer lies outside the file")
        start = view.get("byteOffset", 0)
        return self._binary[start : start + view["byteLength"]]

    def _decoded(self, coded: dict[str, Any]) -> bytes:
        data, count, stride = self._raw(coded), coded["count"], coded["byteStride"]
        if coded["mode"] == "TRIANGLES":
            return decode_triangles(data, count).astype({2: "<u2", 4: "<u4"}[stride]).tobytes()
        if coded["mode"] != "ATTRIBUTES" or coded.get("filter", "NONE") != "NONE":
            raise GlbError(f"{self.path}: cannot read {coded['mode']} with filter {coded.get('filter')}")
        return decode_attributes(data, count, stride).tobytes()

    def accessor(self, index: int) -> NDArray[Any]:
        """(count, width) as stored, or float32 where the file says that integers are normalised."""
        accessor = self.json["accessors"][index]
        dtype, width = np.dtype(_TYPES[accessor["componentType"]]), _WIDTHS[accessor["type"]]
        view, start = accessor["bufferView"], accessor.get("byteOffset", 0)
        stride = self.json["bufferViews"][view].get("byteStride", dtype.itemsize * width)
        rows = np.ndarray((accessor["count"], width), dtype, self.view(view), start, (stride, dtype.itemsize))
        if accessor.get("normalized") and dtype.kind in "iu":
            return np.maximum(rows / np.float32(np.iinfo(dtype).max), -1).astype(np.float32)
        return rows

    def picture(self, texture: int) -> NDArray[np.uint8]:
        """(h, w, 3) RGB of a texture; PNG, JPEG or WebP."""
        entry = self.json["textures"][texture]
        source = entry.get("extensions", {}).get("EXT_texture_webp", entry)["source"]
        data = np.frombuffer(self.view(self.json["images"][source]["bufferView"]), np.uint8)
        picture = cv2.imdecode(data, cv2.IMREAD_COLOR)
        if picture is None:
            raise GlbError(f"{self.path}: texture {texture} cannot be read")
        return np.ascontiguousarray(picture[..., ::-1])

    def parents(self) -> dict[int, int]:
        """Each node's parent, where it has one."""
        nodes = self.json["nodes"]
        return {child: parent for parent, node in enumerate(nodes) for child in node.get("children", ())}

    def worlds(self) -> NDArray[np.float64]:
        """(N, 4, 4) each node's place in the scene."""
        parents, local = self.parents(), [_local(node) for node in self.json["nodes"]]

        def world(node: int) -> NDArray[np.float64]:
            return local[node] if node not in parents else world(parents[node]) @ local[node]

        return np.stack([world(node) for node in range(len(local))])


def _local(node: dict[str, Any]) -> NDArray[np.float64]:
    if "matrix" in node:
        return np.array(node["matrix"], np.float64).reshape(4, 4).T
    x, y, z, w = node.get("rotation", (0, 0, 0, 1))
    turn = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )
    out = np.eye(4)
    out[:3, :3] = turn * np.array(node.get("scale", (1, 1, 1)))
    out[:3, 3] = node.get("translation", (0, 0, 0))
    return out
