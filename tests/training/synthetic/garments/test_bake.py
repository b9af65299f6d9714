"""Baking, on adults made of the embedded body itself: a garment that *is* the skin must come out as the skin."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bodycast.hmr.body.body_model import BodyModel
from bodycast.hmr.geometry.rotations import axis_angle_to_matrix
from training.body.skeleton import _definitions
from training.synthetic.garments.bake import Tailor, metres_per_uv, skirt_weights
from training.synthetic.garments.baked_file import WardrobeFileError, read_wardrobe, write_wardrobe
from training.synthetic.garments.fitting import Adults, fit_betas, fit_linear, inherited_weights
from training.synthetic.garments.mesh_tools import Surface
from training.synthetic.garments.mhclo import read_mhclo, read_obj
from training.synthetic.garments.sources import Piece


@pytest.fixture(scope="module")
def body() -> BodyModel:
    return BodyModel.load()


@pytest.fixture(scope="module")
def adults(body: BodyModel) -> Adults:
    """Fourteen shapes with hanging, bent arms; the base mesh is the body's own skin."""
    betas = np.random.default_rng(0).normal(0, 1, (14, 10)).astype(np.float32)
    turns = np.zeros((24, 3), np.float32)
    turns[16], turns[17], turns[18], turns[19] = (0, 0, -0.9), (0, 0, 0.9), (0, -0.4, 0), (0, 0.4, 0)
    pose = np.tile(axis_angle_to_matrix(turns), (14, 1, 1, 1)).astype(np.float32)
    posed = body(pose, betas, np.zeros((14, 3), np.float32))
    bones: list[str] = []
    heads: list[np.ndarray] = []
    for joint, (place, _) in _definitions().items():
        for bone in place:
            spread = 0.02 * (3.5 - int(bone[6])) if bone.startswith("finger") else 0.0  # index in front, little behind
            bones.append(bone)
            heads.append(posed.joints[:, joint] + np.array([0, 0, spread], np.float32))
    return Adults(
        posed.vertices, np.stack(heads, 1).astype(np.float64), betas.astype(np.float64), np.zeros((14, 3)),
        body.weights.astype(np.float64), bones,
    )  # fmt: skip


def write_tiny_garment(folder: Path, body: BodyModel) -> Piece:
    """A patch of the belly, each vertex bound to the skin that it lies on."""
    rest = body.arrays.v_template
    inside = (np.abs(rest[:, 0]) < 0.1) & (np.abs(rest[:, 1] - 0.12) < 0.06) & (rest[:, 2] > 0.05)
    faces = body.faces[inside[body.faces].all(1)]
    used = np.unique(faces)
    index = np.full(len(rest), -1)
    index[used] = np.arange(len(used))
    lines = [f"v {x} {y} {z}" for x, y, z in rest[used]] + [f"vt {x} {y}" for x, y in rest[used, :2] * 0.25]
    lines += [f"f {a}/{a} {b}/{b} {c}/{c}" for a, b, c in index[faces] + 1]
    (folder / "patch.obj").write_text("\n".join(lines))
    # Reference lengths as they are on the body, so that the offsets are not scaled.
    far = int(np.argmax(rest[:, 0])), int(np.argmin(rest[:, 0]))
    scale = f"_scale {far[0]} {far[1]} "
    widths = np.abs(rest[far[0]] - rest[far[1]]) * 10 + 1e-3
    header = "".join(f"{axis}{scale}{width}\n" for axis, width in zip("xyz", widths, strict=True))
    rows = [f"{v} {v} {v} 1 0 0 0 0 0" for v in used]
    (folder / "patch.mhclo").write_text(header + "verts 0\n" + "\n".join(rows) + "\n")
    return Piece("patch", "top", "patch", clear_m=0.006)


def test_betas_of_the_body_are_its_own(body: BodyModel) -> None:
    betas = np.random.default_rng(1).normal(0, 1, (3, 10))
    rest = body.rest_vertices(betas.astype(np.float32)).astype(np.float64)
    np.testing.assert_allclose(fit_betas(rest, body), betas, atol=1e-3)


def test_skin_as_a_garment_is_the_skin(tmp_path: Path, body: BodyModel, adults: Adults) -> None:
    write_tiny_garment(tmp_path, body)
    binding = read_mhclo(tmp_path / "patch.mhclo")
    weights = inherited_weights(binding, adults)
    np.testing.assert_allclose(weights.sum(1), 1.0, atol=1e-9)
    template, shapedirs = fit_linear(binding, weights, adults)
    used = binding.corners[:, 0]
    np.testing.assert_allclose(template, body.arrays.v_template[used], atol=0.004)
    np.testing.assert_allclose(shapedirs, body.arrays.shapedirs[used], atol=0.004)


def test_baked_patch_clears_the_skin_and_survives_the_file(tmp_path: Path, body: BodyModel, adults: Adults) -> None:
    piece = write_tiny_garment(tmp_path, body)
    mesh, binding = read_obj(tmp_path / "patch.obj"), read_mhclo(tmp_path / "patch.mhclo")
    tailor = Tailor.of(body, adults)
    baked = tailor.tailor(mesh, binding, piece, np.ones(len(mesh.faces), bool))
    distance, _ = Surface(body.arrays.v_template.astype(float), body.faces.astype(np.int64)).distance(baked.template)
    assert distance.min() > 0.003, "the patch lies on the skin and was to be pushed out"
    rest = body.arrays.v_template
    assert (
        baked.covers[(np.abs(rest[:, 0]) < 0.07) & (np.abs(rest[:, 1] - 0.12) < 0.04) & (rest[:, 2] > 0.1)].mean() > 0.9
    )
    assert not baked.covers[rest[:, 2] < 0].any(), "the back is bare"
    # A quarter of a metre of texture is a metre of patch.
    assert abs(metres_per_uv(mesh.vertices, mesh.faces, mesh.uv, mesh.uv_faces) - 4.0) < 0.4

    chart = np.arange(256 * 512 * 4, dtype=np.uint32).astype(np.uint8).reshape(256, 512, 4)
    write_wardrobe(tmp_path / "w.npz", [baked], chart)
    (again,), chart_again = read_wardrobe(tmp_path / "w.npz")
    np.testing.assert_array_equal(chart_again, chart)
    np.testing.assert_array_equal(again.faces, baked.faces)
    np.testing.assert_array_equal(again.covers, baked.covers)
    np.testing.assert_allclose(again.template, baked.template, atol=3e-5)
    np.testing.assert_allclose(again.uv, baked.uv, atol=1.1e-4)
    np.testing.assert_allclose(again.weights, baked.weights, atol=0.005)
    np.testing.assert_allclose(again.shapedirs, baked.shapedirs, atol=np.abs(baked.shapedirs).max() / 250)


def test_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    with pytest.raises(WardrobeFileError, match="expected a baked wardrobe"):
        read_wardrobe(tmp_path / "other.npz")
    with pytest.raises(WardrobeFileError, match="expected a baked wardrobe"):
        read_wardrobe(tmp_path / "missing.npz")


def test_a_skirt_blends_from_leg_to_leg(body: BodyModel) -> None:
    joints = body.joints(np.zeros((1, 10), np.float32))[0].astype(np.float64)
    places = np.array([[0.15, -0.4, 0.1], [-0.15, -0.4, 0.1], [0.0, -0.4, 0.1], [0.0, 0.05, 0.1], [0.15, -0.8, 0.1]])
    weights = np.zeros((5, 24))
    weights[:, 0] = 1.0
    out = skirt_weights(weights, places, joints)
    np.testing.assert_allclose(out.sum(1), 1.0)
    assert out[0, 1] > 0.95 and out[1, 2] > 0.95
    np.testing.assert_allclose(out[2, [1, 2]], 0.5, atol=0.02)
    assert out[3, 0] > 0.9
    assert out[4, 4] > 0.9
