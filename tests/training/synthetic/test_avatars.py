"""Avatars: compressed streams are read as the specification says; a tiny rigged person becomes a member of a cast."""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from bodycast.hmr.body.body_model import BodyModel
from bodycast.hmr.body.joints import PARENTS, Joint
from training.synthetic.avatars.__main__ import main
from training.synthetic.avatars.avatar_file import AVATARS_FILE, AvatarError, read_avatars
from training.synthetic.avatars.fitting import fit_body
from training.synthetic.avatars.meshopt import MeshoptError, decode_attributes, decode_triangles
from training.synthetic.avatars.rig import JOINT_OF_NODE, read_rigged
from training.synthetic.pack import open_pack
from training.synthetic.studio import Studio

NAME_OF = {joint: name for name, joint in JOINT_OF_NODE.items()}


def encoded(rows: np.ndarray) -> bytes:
    """A mode 0 stream of (N, stride) bytes whose groups are all stored as whole bytes."""
    count, stride = rows.shape
    block, last, out = min((8192 // stride) & ~15, 256), rows[0], bytearray([0xA0])
    for start in range(0, count, block):
        part = rows[start : start + block]
        step = np.diff(np.vstack([last[None], part]).astype(np.uint8), axis=0)
        coded = np.where(step & 0x80, ~(step << 1), step << 1).astype(np.uint8)
        groups = -(-len(part) // 16)
        padded = np.zeros((groups * 16, stride), np.uint8)
        padded[: len(part)] = coded
        header = bytes(0xFF if k + 4 <= groups else (1 << 2 * (groups - k)) - 1 for k in range(0, groups, 4))
        for column in padded.T:
            out += header + column.tobytes()
        last = part[-1]
    return bytes(out) + rows[0].tobytes().rjust(max(32, stride), b"\0")


def test_attributes_come_back() -> None:
    rows = np.random.default_rng(0).integers(0, 256, (600, 8)).astype(np.uint8)
    np.testing.assert_array_equal(decode_attributes(encoded(rows), 600, 8), rows)
    with pytest.raises(MeshoptError, match="0xa0"):
        decode_attributes(b"\xa1" + encoded(rows)[1:], 600, 8)
    with pytest.raises(MeshoptError):
        decode_attributes(encoded(rows)[:900] + bytes(32), 600, 8)


def test_the_example_of_the_specification() -> None:
    """Sixteen 4-bit deltas, of which two are written out."""
    group = bytes.fromhex("175ff0bc77a9210034b5")
    stream = b"\xa0" + (b"\x02" + group) + b"\x00" * 3 + bytes(32)
    deltas = [-1, -4, -3, 26, -91, 0, -6, 6, -4, -4, 5, -5, 1, -1, 0, 0]
    got = decode_attributes(stream, 16, 4)
    np.testing.assert_array_equal(got[:, 0], np.cumsum(deltas).astype(np.uint8))
    assert not got[:, 1:].any()


def test_triangles_come_back() -> None:
    """Three fresh vertices, one on the newest edge (c, b), (a, c) and (b, a) with a fresh, an old and a far vertex."""
    table = bytes(16)
    stream = b"\xe1" + bytes([0xF0, 0x00, 0x13, 0x0F]) + bytes([0x14]) + table
    got = decode_triangles(stream, 12).reshape(-1, 3).tolist()
    assert got[0] == [0, 1, 2]
    assert got[1] == [0, 2, 3]
    assert got[2][:2] == [3, 2]
    assert got[3][2] == 10
    with pytest.raises(MeshoptError, match="left over"):
        decode_triangles(b"\xe1" + bytes([0xF0]) + b"\x00" + table, 3)


def tiny_person(path: Path, body: BodyModel, betas: np.ndarray) -> None:
    """The body's own skin as a .glb: its joints as nodes, one quadrant of it brown; positions are compressed."""
    places = body.joints(betas[None])[0]
    nodes: list[dict[str, Any]] = []
    for joint in range(24):
        parent = int(PARENTS[joint])
        offset = places[joint] - (places[parent] if parent >= 0 else 0)
        children = [k for k in range(24) if PARENTS[k] == joint]
        name = NAME_OF[Joint(joint)]
        nodes.append({"name": name, "translation": offset.tolist(), **({"children": children} if children else {})})
    nodes.append({"mesh": 0, "skin": 0})
    vertices = body.rest_vertices(betas[None])[0]
    order = np.argsort(-body.weights, axis=1)[:, :4]
    inverse = np.tile(np.eye(4, dtype=np.float32), (24, 1, 1))
    inverse[:, :3, 3] = -places
    picture = cv2.imencode(".png", np.full((8, 8, 3), (40, 80, 160), np.uint8))[1].tobytes()
    columns = [
        (encoded(np.ascontiguousarray(vertices).view(np.uint8).reshape(len(vertices), 12)), "VEC3", 5126),
        (np.tile(np.float32([0.5, 0.5]), (len(vertices), 1)), "VEC2", 5126),
        (order.astype(np.uint8), "VEC4", 5121),
        (np.take_along_axis(np.asarray(body.weights), order, 1).astype(np.float32), "VEC4", 5126),
        (np.asarray(body.faces, np.uint32).reshape(-1, 1), "SCALAR", 5125),
        (inverse.swapaxes(1, 2).reshape(24, 16), "MAT4", 5126),
    ]
    counts = [len(vertices)] * 4 + [body.faces.size, 24]
    binary, views, accessors = bytearray(), [], []
    for number, ((data, kind, component), count) in enumerate(zip(columns, counts, strict=True)):
        raw = data if isinstance(data, bytes) else np.ascontiguousarray(data).tobytes()
        view: dict[str, Any] = {"buffer": 0, "byteOffset": len(binary), "byteLength": len(raw)}
        if isinstance(data, bytes):
            coded = {**view, "mode": "ATTRIBUTES", "byteStride": 12, "count": count}
            view = {"buffer": 1, "byteLength": 12 * count, "extensions": {"EXT_meshopt_compression": coded}}
        views.append(view)
        accessors.append({"bufferView": number, "componentType": component, "type": kind, "count": count})
        binary += raw + bytes(-len(raw) % 4)
    views.append({"buffer": 0, "byteOffset": len(binary), "byteLength": len(picture)})
    binary += picture
    names = ("POSITION", "TEXCOORD_0", "JOINTS_0", "WEIGHTS_0")
    primitive = {"attributes": {name: k for k, name in enumerate(names)}, "indices": 4, "material": 0}
    document = {
        "asset": {"version": "2.0"}, "nodes": nodes, "meshes": [{"name": "body", "primitives": [primitive]}],
        "skins": [{"joints": list(range(24)), "inverseBindMatrices": 5}], "accessors": accessors, "bufferViews": views,
        "materials": [{"pbrMetallicRoughness": {"baseColorTexture": {"index": 0}}}], "textures": [{"source": 0}],
        "images": [{"bufferView": 6, "mimeType": "image/png"}],
        "buffers": [{"byteLength": len(binary)}, {"byteLength": 12 * len(vertices)}],
    }  # fmt: skip
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    head = struct.pack("<4sII", b"glTF", 2, 28 + len(text) + len(binary)) + struct.pack("<I4s", len(text), b"JSON")
    path.write_bytes(head + text + struct.pack("<I4s", len(binary), b"BIN\0") + bytes(binary))


@pytest.fixture(scope="module")
def person(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    betas = np.zeros(10, np.float32)
    betas[:3] = 1.0, -0.8, 0.6
    path = tmp_path_factory.mktemp("glb") / "person.glb"
    tiny_person(path, BodyModel.load(), betas)
    return path, betas


def test_the_body_in_a_body_is_found(person: tuple[Path, np.ndarray]) -> None:
    body, (path, betas) = BodyModel.load(), person
    rigged = read_rigged(path)
    np.testing.assert_allclose(rigged.joints, body.joints(betas[None])[0], atol=1e-5)
    np.testing.assert_allclose(rigged.vertices, body.rest_vertices(betas[None])[0], atol=1e-5)
    fitted = fit_body(rigged, body)
    found, true = (body.joints(b[None])[0] for b in (fitted.betas, betas))
    assert np.linalg.norm(found - true, axis=1).max() < 0.03
    assert np.abs(fitted.bone_error_m).max() < 0.02
    assert fitted.surface_error_m < 0.01


def test_a_pack_takes_avatars(
    person: tuple[Path, np.ndarray], pack_folder: Path, studio_v2: Studio, capsys: pytest.CaptureFixture[str]
) -> None:
    pack = open_pack(pack_folder, "train")
    assert not pack.avatars
    with pytest.raises(AvatarError, match="avatars"):
        read_avatars(pack_folder / AVATARS_FILE)
    assert main([str(pack_folder), "--glb", str(person[0].parent), "--count", "2"]) == 1
    assert "fewer than --count 2" in capsys.readouterr().err
    assert main([str(pack_folder), "--glb", str(person[0].parent), "--count", "1"]) == 0
    avatars = read_avatars(pack_folder / AVATARS_FILE)
    everybody = replace(pack, avatars=avatars, variety=replace(pack.variety, avatars=1.0, gear=0.0, crowd=0.0))
    studio = Studio(everybody, seed=studio_v2.seed)
    try:
        chunk = studio.chunk(0)
    finally:
        studio.close()
    assert (chunk["betas"] == avatars[0].betas).all()
    # Brown (160, 80, 40) lies where the part map shows the person: reddest there, whatever the light's colour.
    person_pixels = chunk["pixels"][:, ::4, ::4].astype(float)
    shown = chunk["parts"] > 0
    assert shown.mean() > 0.1
    redness = person_pixels[..., 0] - person_pixels[..., 2]
    assert redness[shown].mean() > redness[~shown].mean() + 25
