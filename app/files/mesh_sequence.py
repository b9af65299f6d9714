"""Meshes frame by frame (.obj, .ply): one file a frame with everybody in it, world frame."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bodycast.app.files.person_motion import PersonMotion
from bodycast.hmr.body.body_model import BodyModel

F32 = NDArray[np.float32]
Encode = Callable[[list[tuple[int, F32]], NDArray[np.int32]], bytes]


def mesh_files(
    people: list[PersonMotion], body: BodyModel, target: Path, up: NDArray[np.float64]
) -> Iterator[tuple[Path, Callable[[], bytes]]]:
    """Path and content, made when it is asked for: NAME_000012.obj is frame 12. up: (3,3), applied to all points."""
    encode: Encode = encode_obj if target.suffix == ".obj" else encode_ply
    rows = [{int(frame): row for row, frame in enumerate(person.frame)} for person in people]
    rest = [body.rest_vertices(person.betas[None]) for person in people]

    def content(frame: int) -> bytes:
        meshes: list[tuple[int, F32]] = []
        for person, own, vertices in zip(people, rows, rest, strict=True):
            if frame in own:
                row = own[frame]
                pose = person.rotations[row : row + 1].astype(np.float32)
                move = (person.root_m[row] - person.pelvis_rest_m)[None].astype(np.float32)
                posed = body(pose, person.betas[None].astype(np.float32), move, vertices).vertices[0]
                meshes.append((person.person_id, (posed @ up.T).astype(np.float32)))
        return encode(meshes, body.faces)

    for frame in sorted({frame for own in rows for frame in own}):
        yield target.with_stem(f"{target.stem}_{frame:06d}"), lambda frame=frame: content(frame)


def encode_obj(meshes: list[tuple[int, F32]], faces: NDArray[np.int32]) -> bytes:
    """Wavefront's text: an object a person; faces count from 1 over all of them."""
    lines: list[str] = []
    first = 1
    for person, vertices in meshes:
        lines.append(f"o person_{person}")
        lines += [f"v {x:.5f} {y:.5f} {z:.5f}" for x, y, z in vertices.tolist()]
        lines += [f"f {a} {b} {c}" for a, b, c in (faces + first).tolist()]
        first += len(vertices)
    return ("\n".join(lines) + "\n").encode("ascii")


def encode_ply(meshes: list[tuple[int, F32]], faces: NDArray[np.int32]) -> bytes:
    """Stanford's binary, little-endian."""
    vertices = np.concatenate([mesh for _, mesh in meshes])
    counts = np.cumsum([0, *(len(mesh) for _, mesh in meshes)])
    table = np.empty(len(meshes) * len(faces), np.dtype([("count", "u1"), ("corners", "<i4", 3)]))
    table["count"] = 3
    table["corners"] = np.concatenate([faces + start for start in counts[:-1]])
    header = (
        "ply\nformat binary_little_endian 1.0\ncomment Bodycast\n"
        f"element vertex {len(vertices)}\nproperty float x\nproperty float y\nproperty float z\n"
        f"element face {len(table)}\nproperty list uchar int vertex_indices\nend_header\n"
    )
    return header.encode("ascii") + vertices.astype("<f4").tobytes() + table.tobytes()
