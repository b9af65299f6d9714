"""The further formats of `convert`, read back by the libraries that read them, or by what their formats say."""

from __future__ import annotations

import csv
import json
import struct
from pathlib import Path

import numpy as np
import pytest

from bodycast.app.errors import UsageError
from bodycast.app.files import export_motion
from bodycast.app.files.joint_angles import angles_deg
from bodycast.app.files.joint_names import joint_names
from bodycast.app.files.motion_file import read_motion
from bodycast.app.files.person_motion import Z_UP, PersonMotion, people_in_world
from bodycast.app.sinks.motion import MotionSink
from bodycast.hmr.body.body_model import BodyModel
from bodycast.hmr.body.joints import JOINT_NAMES, Joint
from bodycast.hmr.geometry.rotations import axis_angle_to_matrix
from tests.sinks.results import META, result_of

FPS = 30.0


@pytest.fixture()
def source(tmp_path: Path) -> Path:
    """Two people; the second comes in frame 4."""
    sink = MotionSink(tmp_path / "motion.npz", META, FPS)
    for index in range(12):
        sink.write(result_of(index, index / FPS, [1, 2] if index >= 4 else [1]))
    sink.close()
    return sink.path


def person(source: Path, number: int = 1, *, alone: bool = False) -> PersonMotion:
    """One of the recorded people, in the exporters' world; alone: where only they are exported."""
    motion = read_motion(source)
    return people_in_world(motion, [number])[0] if alone else people_in_world(motion, motion.person_ids)[number - 1]


def test_amass_has_its_156_columns_and_stands_along_z(source: Path, tmp_path: Path) -> None:
    files = export_motion(source, tmp_path / "new" / "am.npz", format="amass")
    assert [path.name for path in files] == ["am_person1.npz", "am_person2.npz"]
    with np.load(files[1], allow_pickle=False) as stored:
        assert stored["poses"].shape == (12, 156)
        assert (stored["betas"].shape, stored["dmpls"].shape) == ((16,), (12, 8))
        assert float(stored["mocap_framerate"]) == float(stored["mocap_frame_rate"]) == FPS
        assert not stored["poses"][:, 66:].any()
        poses, trans = stored["poses"], stored["trans"]
    seen = person(source, 2)
    body = BodyModel.load()
    pose = np.tile(np.eye(3, dtype=np.float32), (12, 24, 1, 1))
    pose[:, :22] = axis_angle_to_matrix(poses[:, :66].reshape(12, 22, 3).astype(np.float32))
    betas = np.tile(seen.betas.astype(np.float32), (12, 1))
    joints = body(pose, betas, trans.astype(np.float32)).joints
    # The second person's first pose is held until they come.
    np.testing.assert_allclose(joints[4:, :22], (seen.joints_m() @ Z_UP.T)[:, :22], atol=2e-3)
    np.testing.assert_allclose(joints[0], joints[4], atol=1e-5)


def test_trc_holds_the_joints_as_markers(source: Path, tmp_path: Path) -> None:
    (path,) = export_motion(source, tmp_path / "out.trc", person_id=1)
    lines = path.read_text().splitlines()
    assert lines[2].split("\t")[2:5] == ["12", "24", "m"]
    assert [name for name in lines[3].split("\t")[2:] if name] == list(JOINT_NAMES)
    values = np.array([[float(number) for number in line.split("\t")] for line in lines[6:]])
    np.testing.assert_allclose(values[:, 1], np.arange(12) / FPS, atol=1e-5)
    np.testing.assert_allclose(values[:, 2:].reshape(12, 24, 3), person(source, alone=True).joints_m(), atol=1e-4)


def test_c3d_is_read_back_by_ezc3d(source: Path, tmp_path: Path) -> None:
    ezc3d = pytest.importorskip("ezc3d")
    (path,) = export_motion(source, tmp_path / "out.c3d", person_id=1)
    document = ezc3d.c3d(str(path))
    assert document["parameters"]["POINT"]["LABELS"]["value"] == list(JOINT_NAMES)
    assert document["parameters"]["POINT"]["RATE"]["value"][0] == pytest.approx(FPS)
    points = document["data"]["points"][:3].transpose(2, 1, 0)
    np.testing.assert_allclose(points, person(source, alone=True).joints_m() @ Z_UP.T * 1000, atol=0.1)


def posed(joint: Joint, axis: int, degrees: float) -> PersonMotion:
    """One frame of the T-pose with one joint turned about an axis of the body (x left, y up, z forward)."""
    body = BodyModel.load()
    rest = body.joints(np.zeros((1, 10)))[0].astype(np.float64)
    rotations = np.tile(np.eye(3), (1, 24, 1, 1))
    turn = np.zeros(3)
    turn[axis] = np.deg2rad(degrees)
    rotations[0, joint] = axis_angle_to_matrix(turn)
    from bodycast.hmr.body.joints import PARENTS

    offsets = np.concatenate([np.zeros((1, 3)), rest[1:] - rest[PARENTS[1:]]])
    one = np.zeros(1)
    return PersonMotion(1, np.zeros(1, np.int64), one, one, rotations, rest[:1], offsets, rest[0], np.zeros(10))


@pytest.mark.parametrize(
    ("joint", "axis", "degrees", "name", "expected"),
    [
        (Joint.LEFT_HIP, 0, -30, "hip_flexion_l", 30),  # the thigh swings forward
        (Joint.RIGHT_HIP, 0, -30, "hip_flexion_r", 30),
        (Joint.LEFT_HIP, 2, 20, "hip_adduction_l", -20),  # away from the other leg
        (Joint.RIGHT_HIP, 2, -20, "hip_adduction_r", -20),
        (Joint.RIGHT_KNEE, 0, 50, "knee_flexion_r", 50),  # the shank swings back
        (Joint.LEFT_ANKLE, 0, -15, "ankle_dorsiflexion_l", 15),  # the toes come up
        (Joint.LEFT_ELBOW, 1, -70, "elbow_flexion_l", 70),  # the forearm comes forward
        (Joint.RIGHT_ELBOW, 1, 70, "elbow_flexion_r", 70),
        (Joint.LEFT_SHOULDER, 2, -60, "shoulder_elevation_l", 30),  # the arm goes down from the T-pose
        (Joint.RIGHT_SHOULDER, 2, 60, "shoulder_elevation_r", 30),
        (Joint.PELVIS, 0, 10, "pelvis_tilt", 10),
        (Joint.SPINE2, 0, 20, "trunk_lean", 20),
        (Joint.PELVIS, 2, -15, "trunk_lean", 15),
    ],
)
def test_joint_angles_have_the_signs_that_their_names_say(
    joint: Joint, axis: int, degrees: float, name: str, expected: float
) -> None:
    assert angles_deg(posed(joint, axis, degrees))[name][0] == pytest.approx(expected, abs=1e-6)


def test_joint_angles_are_a_table_with_units(source: Path, tmp_path: Path) -> None:
    (path,) = export_motion(source, tmp_path / "out.csv", format="angles")
    rows = list(csv.DictReader(path.read_text().splitlines()))
    assert len(rows) == 12 + 8
    assert "knee_flexion_l_deg" in rows[0]
    assert [row["person_id"] for row in rows[4:8]] == ["1", "1", "2", "1"] or rows[5]["person_id"] == "2"


def test_phalp_names_are_there_without_a_pickle(source: Path, tmp_path: Path) -> None:
    (path,) = export_motion(source, tmp_path / "out.npz", format="phalp")
    motion = read_motion(source)
    with np.load(path, allow_pickle=False) as stored:
        assert stored["body_pose"].shape == (len(motion), 23, 3, 3)
        np.testing.assert_array_equal(stored["tracked_ids"], motion.person_id)
        np.testing.assert_array_equal(stored["3d_joints"], motion.joints_3d)


def test_coco_wants_keypoints(source: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has no keypoints"):
        export_motion(source, tmp_path / "out.json")


@pytest.mark.parametrize("suffix", [".obj", ".ply"])
def test_meshes_are_a_file_a_frame(source: Path, tmp_path: Path, suffix: str) -> None:
    files = export_motion(source, tmp_path / "mesh" / f"m{suffix}", up="z")
    assert [path.name for path in files][:2] == [f"m_000000{suffix}", f"m_000001{suffix}"]
    assert len(files) == 12
    vertices = BodyModel.load().vertex_count
    if suffix == ".obj":
        lines = files[-1].read_text().splitlines()
        points = np.array([[float(n) for n in line.split()[1:]] for line in lines if line.startswith("v ")])
        assert [line for line in lines if line.startswith("o ")] == ["o person_1", "o person_2"]
    else:
        content = files[-1].read_bytes()
        start = content.index(b"end_header\n") + len(b"end_header\n")
        points = np.frombuffer(content, "<f4", 2 * vertices * 3, start).reshape(-1, 3)
    assert len(points) == 2 * vertices
    seen = person(source)
    head = seen.joints_m()[-1, Joint.HEAD] @ Z_UP.T
    assert np.linalg.norm(points[:vertices] - head, axis=1).min() < 0.2


@pytest.mark.parametrize("number", [1, 2])  # the second comes later, and VRM animations know no size
def test_vrma_names_the_humanoid_and_moves_its_hips(source: Path, tmp_path: Path, number: int) -> None:
    (path,) = export_motion(source, tmp_path / "out.vrma", person_id=number)
    content = path.read_bytes()
    length = struct.unpack("<I", content[12:16])[0]
    document = json.loads(content[20 : 20 + length])
    bones = document["extensions"]["VRMC_vrm_animation"]["humanoid"]["humanBones"]
    assert {"hips", "spine", "head", "leftUpperArm", "rightLowerLeg", "leftToes"} <= set(bones)
    assert document["nodes"][bones["leftHand"]["node"]]["name"] == "leftHand"
    assert {channel["target"]["path"] for channel in document["animations"][0]["channels"]} == {
        "rotation",
        "translation",
    }
    assert "meshes" not in document
    offset = {name: document["nodes"][bone["node"]]["translation"] for name, bone in bones.items()}
    np.testing.assert_allclose(np.array(offset["leftLowerArm"])[1:], 0, atol=1e-6, err_msg="a T-pose")
    np.testing.assert_allclose(np.array(offset["rightFoot"])[[0, 2]], 0, atol=1e-6, err_msg="a T-pose")
    leg = sum(offset[name][1] for name in ("leftUpperLeg", "leftLowerLeg", "leftFoot", "leftToes"))
    assert offset["hips"][1] + leg == pytest.approx(0.02, abs=0.01), "the soles are 2 cm below the toes' joints"


def test_a_glb_has_one_armature_a_person_with_bare_bones(source: Path, tmp_path: Path) -> None:
    (path,) = export_motion(source, tmp_path / "out.glb", names="mixamo")
    content = path.read_bytes()
    document = json.loads(content[20 : 20 + struct.unpack("<I", content[12:16])[0]])
    nodes = document["nodes"]
    names = [nodes[root]["name"] for root in document["scenes"][0]["nodes"]]
    assert names == ["person_1", "person_1_body", "person_2", "person_2_body"]
    for root in document["scenes"][0]["nodes"][::2]:
        assert nodes[nodes[root]["children"][0]]["name"] == "mixamorig:Hips"
    assert len(document["images"]) == 2
    for mesh in document["meshes"]:
        uv = document["accessors"][mesh["primitives"][0]["attributes"]["TEXCOORD_0"]]
        assert uv["type"] == "VEC2"


@pytest.mark.parametrize("of", ["smpl", "vrm", "mixamo", "ue", "rigify"])
def test_names_are_24_different_ones(of: str) -> None:
    assert len(set(joint_names(of))) == 24


@pytest.mark.parametrize(
    ("name", "frames"), [("bvh", (12, 8)), ("trc", (12, 8)), ("amass", (12, 8)), ("smpl", (12, 8))]
)
def test_files_of_one_person_start_with_the_film_or_where_they_come(
    source: Path, tmp_path: Path, name: str, frames: tuple[int, int]
) -> None:
    ending = {"bvh": ".bvh", "trc": ".trc"}.get(name, ".npz")
    for start, count in zip(("common", "person"), frames, strict=True):
        target = tmp_path / f"{start}{ending}"
        path = export_motion(source, target, format=name, person_id=2, start=start)[0]
        if ending == ".npz":
            with np.load(path) as stored:
                found = len(stored["poses"])
        else:
            label, at = ("Frames:", 1) if ending == ".bvh" else ("30.000000", 2)
            found = int(next(line.split()[at] for line in path.read_text().splitlines() if line.startswith(label)))
        assert found == count, start


def test_a_vrma_starts_where_they_come_if_asked(source: Path, tmp_path: Path) -> None:
    for start, first_s in (("common", 4 / FPS), ("person", 0.0)):
        (path,) = export_motion(source, tmp_path / f"{start}.vrma", person_id=2, start=start)
        content = path.read_bytes()
        document = json.loads(content[20 : 20 + struct.unpack("<I", content[12:16])[0]])
        times = document["accessors"][document["animations"][0]["samplers"][0]["input"]]
        assert times["min"][0] == pytest.approx(first_s, abs=1e-6)


def test_flags_that_do_not_apply_are_refused(source: Path, tmp_path: Path) -> None:
    for keywords, said in (
        ({"target": "a.glb", "up": "z"}, "--up z does not apply"),
        ({"target": "a.csv", "names": "vrm"}, "--names apply to"),
        ({"target": "a.glb", "fps": 25.0}, "--fps does not apply"),
        ({"target": "a.bvh", "fps": 1e9}, "expected 1 to 1000"),
        ({"target": "a.csv", "format": "amass"}, "writes .npz files"),
        ({"target": "a.glb", "start": "person"}, "one clock for everybody"),
        ({"target": "a.usd", "start": "person"}, "one clock for everybody"),
        ({"target": "a.bvh", "start": "late"}, "expected common or person"),
        ({"target": "a.bvh", "names": "unity"}, "there are smpl, vrm"),
    ):
        target = tmp_path / str(keywords.pop("target"))
        with pytest.raises(UsageError, match=said):
            export_motion(source, target, **keywords)  # type: ignore[arg-type]
        assert not target.exists()
