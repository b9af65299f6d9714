"""The BVH reader: channel orders, the hierarchy, damaged files."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from bodycast.hmr.geometry.rotations import axis_angle_to_matrix
from training.mocap.bvh import BvhError, axis_rotation, load_bvh, parse_bvh

CLIP = """HIERARCHY
ROOT hip
{
  OFFSET 1 2 3
  CHANNELS 6 Xposition Yposition Zposition Zrotation Yrotation Xrotation
  JOINT knee
  {
    OFFSET 0 -4 0
    CHANNELS 3 Zrotation Xrotation Yrotation
    End Site
    {
      OFFSET 0 -5 0.5
    }
  }
  JOINT back
  {
    OFFSET 0 6 0
    CHANNELS 3 Zrotation Xrotation Yrotation
  }
}
MOTION
Frames: 2
Frame Time: 0.05
10 20 30 90 0 0 0 90 0 0 0 0
0 0 0 10 20 30 40 50 60 0 0 -70
"""


def about(axis: str, degrees: float) -> np.ndarray:
    return axis_rotation("XYZ".index(axis), np.deg2rad([degrees]))[0]


def test_hierarchy_and_rest_pose():
    clip = parse_bvh(CLIP)
    assert clip.names == ("hip", "knee", "back")
    assert clip.parents.tolist() == [-1, 0, 0]
    assert clip.rest_places().tolist() == [[1, 2, 3], [1, -2, 3], [1, 8, 3]]
    assert {joint: offset.tolist() for joint, offset in clip.end_offsets.items()} == {1: [0, -5, 0.5]}
    assert clip.fps == pytest.approx(20.0)
    assert clip.positions.tolist() == [[11, 22, 33], [1, 2, 3]]


def test_rotations_multiply_in_the_declared_order():
    clip = parse_bvh(CLIP)
    assert np.allclose(clip.rotations[1, 0], about("Z", 10) @ about("Y", 20) @ about("X", 30))
    assert np.allclose(clip.rotations[1, 1], about("Z", 40) @ about("X", 50) @ about("Y", 60))
    assert np.allclose(clip.rotations[1, 2], about("Y", -70))


@pytest.mark.parametrize("axis", range(3))
def test_axis_rotation_is_the_right_handed_one(axis: int):
    vector = np.zeros(3)
    vector[axis] = 0.7
    assert np.allclose(axis_rotation(axis, np.array([0.7]))[0], axis_angle_to_matrix(vector))


def test_gzip_and_plain_read_the_same(tmp_path: Path):
    plain, packed = tmp_path / "a.bvh", tmp_path / "a.bvh.gz"
    plain.write_text(CLIP)
    packed.write_bytes(gzip.compress(CLIP.encode()))
    assert np.array_equal(load_bvh(plain).rotations, load_bvh(packed).rotations)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("MOTION", "", "MOTION section"),
        ("Frames: 2", "Frames: 3", "expected 3 frames of 12 numbers, got 24"),
        ("Frame Time: 0.05", "Frame Time: 0", "positive frame time"),
        ("Frames: 2", "Frames", "expected 'Frames:'"),
        ("OFFSET 0 6 0", "OFFSET 0 six 0", "expected a number"),
        ("3 Zrotation Xrotation", "3 Wrotation Xrotation", "expected a channel such as Zrotation, got 'Wrotation'"),
        ("CHANNELS 3 Zrotation Xrotation Yrotation", "CHANNELS 3 Zrotation Xrotation Yposition", "only the root"),
        ("JOINT back", "BONE back", "expected a keyword of the hierarchy, got 'BONE'"),
        ("  }\n}\nMOTION", "  }\nMOTION", "brace that is not closed"),
        ("}\nMOTION", "}\n}\nMOTION", "brace too many"),
    ],
)
def test_damaged_clips_are_refused(tmp_path: Path, old: str, new: str, message: str):
    assert old in CLIP
    path = tmp_path / "clip.bvh"
    path.write_text(CLIP.replace(old, new))
    with pytest.raises(BvhError, match=message) as caught:
        load_bvh(path)
    assert str(path) in str(caught.value)


def test_damaged_gzip_is_refused(tmp_path: Path):
    path = tmp_path / "clip.bvh.gz"
    for data in (b"no gzip", gzip.compress(CLIP.encode())[:-20]):
        path.write_bytes(data)
        with pytest.raises(BvhError, match="not a readable"):
            load_bvh(path)
