"""Reading MakeHuman's garment files, on tiny ones written here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from training.synthetic.garments.mhclo import GarmentFileError, read_mhclo, read_obj

OBJ = """# a square and a triangle
v 0 0 0
v 1 0 0
v 1 1 0
v 0 1 0
v 0 0 1
vt 0 0
vt 1 0
vt 1 1
vt 0 1
f 1/1 2/2 3/3 4/4
f 1/1 2/2 5/3
"""
MHCLO = """# comment
name tiny
x_scale 0 1 2.0
y_scale 0 2 2.0
z_scale 0 3 2.0
verts 0
material tiny.mhmat
3
0 1 2 0.5 0.25 0.25 1.0 2.0 -1.0
delete_verts
1 3 - 5 9
"""


def test_polygons_become_fans(tmp_path: Path) -> None:
    (tmp_path / "a.obj").write_text(OBJ)
    mesh = read_obj(tmp_path / "a.obj")
    assert mesh.vertices.shape == (5, 3)
    np.testing.assert_array_equal(mesh.faces, [[0, 1, 2], [0, 2, 3], [0, 1, 4]])
    np.testing.assert_array_equal(mesh.uv_faces, [[0, 1, 2], [0, 2, 3], [0, 1, 2]])


def test_binding_follows_the_base_mesh(tmp_path: Path) -> None:
    """A bound vertex is the weighted corner plus its offset in decimetres, scaled by the reference lengths."""
    (tmp_path / "a.mhclo").write_text(MHCLO)
    binding = read_mhclo(tmp_path / "a.mhclo")
    np.testing.assert_array_equal(binding.deleted, [1, 3, 4, 5, 9])
    base = np.array([[0, 0, 0], [0.4, 0, 0], [0, 0.2, 0], [0.1, 0.1, 0.3]], np.float64)
    placed = binding.fit(base[None])[0]
    np.testing.assert_allclose(placed[0], base[3])
    # References are 2 dm: here x is 4 dm (twice as wide), y 2 dm, z 3 dm.
    expected = 0.5 * base[0] + 0.25 * base[1] + 0.25 * base[2] + [0.1 * 2.0, 0.2 * 1.0, -0.1 * 1.5]
    np.testing.assert_allclose(placed[1], expected, atol=1e-12)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.mhclo", MHCLO.replace("x_scale 0 1 2.0\n", ""), "x, y, z scales"),
        ("a.mhclo", MHCLO.replace("0.5 0.25", "half 0.25"), "line 9"),
        ("a.obj", OBJ.replace("v 1 0 0", "v 1 zero 0"), "line 3"),
        ("a.obj", OBJ.replace("f 1/1 2/2 3/3 4/4", "f 1/1 2/2 9/3"), "expected faces over 5"),
    ],
)
def test_faulty_files_are_refused_by_name(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(GarmentFileError, match=message):
        (read_obj if name.endswith("obj") else read_mhclo)(tmp_path / name)
