"""Exported motion, read back by small independent readers: joints must be where the run put them, to 1 mm."""

from __future__ import annotations

import csv
import json
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bodycast.app.errors import RunError, UsageError
from bodycast.app.files import export_motion
from bodycast.app.files.bvh import matrix_to_euler_zxy
from bodycast.app.files.glb import continuous_quaternions, strongest_influences, vertex_normals
from bodycast.app.files.motion_file import Motion, write_motion
from bodycast.app.files.person_motion import people_in_world
from bodycast.app.sinks.motion import MotionSink
from bodycast.hmr.body.joints import JOINT_NAMES, PARENTS
from bodycast.hmr.geometry.rotations import axis_angle_to_matrix, geodesic_distance, matrix_to_axis_angle
from tests.motion_export.recordings import (
    FPS,
    from_the_start,
    origin_of,
    read_bvh,
    record,
    recorded,
    rotation,
    world_joints,
)
from tests.sinks.results import META, disk_of, embedded_body, result_of

MILLIMETRE = 1e-3


@pytest.fixture()
def motion(tmp_path: Path) -> Motion:
    return record(tmp_path / "motion.npz", [index / FPS for index in range(20)], {1: range(20), 3: range(5, 15)})


def test_bvh_puts_the_joints_where_the_run_did(motion: Motion, tmp_path: Path) -> None:
    files = export_motion(tmp_path / "motion.npz", tmp_path / "out.bvh")
    assert [path.name for path in files] == ["out_person1.bvh", "out_person3.bvh"]
    for path, person in zip(files, (1, 3), strict=True):
        places, frame_time = read_bvh(path)
        assert frame_time == pytest.approx(1 / FPS)
        assert set(places) == set(JOINT_NAMES)
        got = np.stack([places[name] for name in JOINT_NAMES], axis=1)
        assert np.abs(got - from_the_start(motion, person)).max() < MILLIMETRE


def test_bvh_in_centimetres_and_for_one_person(motion: Motion, tmp_path: Path) -> None:
    (path,) = export_motion(tmp_path / "motion.npz", tmp_path / "one.bvh", person_id=3, centimetres=True)
    assert path.name == "one.bvh"
    places, _ = read_bvh(path)
    got = np.stack([places[name] for name in JOINT_NAMES], axis=1) / 100
    assert np.abs(got - from_the_start(motion, 3, [3])).max() < MILLIMETRE


def test_people_stand_upright_in_the_world(motion: Motion) -> None:
    joints = people_in_world(motion, [1])[0].joints_m()
    head, foot = JOINT_NAMES.index("head"), JOINT_NAMES.index("left_foot")
    assert (joints[:, head, 1] > joints[:, foot, 1] + 0.8).all()
    assert np.abs(joints[0, 0, [0, 2]]).max() < MILLIMETRE  # the origin is below the first pelvis
    assert (np.diff(joints[:, 0, 2]) < 0).all()  # who goes away from the camera goes along -z
    assert joints[..., 1].min() == pytest.approx(0.02, abs=0.01)  # the lowest joint is on the floor


def test_euler_angles_give_the_rotation_back_also_when_locked() -> None:
    random = axis_angle_to_matrix(np.random.default_rng(0).normal(size=(500, 3)) * 2)
    locked = [
        rotation("Z", z) @ rotation("X", x) @ rotation("Y", y) for z in (0, 50) for x in (90, -90) for y in (0, 30)
    ]
    matrices = np.concatenate([random, np.stack(locked)])
    angles = np.degrees(matrix_to_euler_zxy(matrices))
    again = np.stack([rotation("Z", z) @ rotation("X", x) @ rotation("Y", y) for z, x, y in angles.tolist()])
    assert np.abs(again - matrices).max() < 1e-6


class Glb:
    """A reader of .glb files that only knows the format."""

    def __init__(self, path: Path) -> None:
        content = path.read_bytes()
        magic, version, total = struct.unpack_from("<4sII", content)
        assert (magic, version, total) == (b"glTF", 2, len(content))
        length, kind = struct.unpack_from("<I4s", content, 12)
        assert (kind, length % 4) == (b"JSON", 0)
        self.json = json.loads(content[20 : 20 + length])
        binary_length, kind = struct.unpack_from("<I4s", content, 20 + length)
        assert kind == b"BIN\0"
        self.binary = content[28 + length : 28 + length + binary_length]
        assert self.json["buffers"][0]["byteLength"] == len(self.binary)

    def array(self, accessor: int) -> np.ndarray:
        entry = self.json["accessors"][accessor]
        view = self.json["bufferViews"][entry["bufferView"]]
        dtype = {5121: np.uint8, 5125: np.uint32, 5126: np.float32}[entry["componentType"]]
        shape = {"SCALAR": (), "VEC3": (3,), "VEC4": (4,), "MAT4": (4, 4)}[entry["type"]]
        assert view["byteOffset"] % 4 == 0
        array = np.frombuffer(self.binary, dtype, entry["count"] * int(np.prod(shape)), view["byteOffset"])
        assert array.nbytes == view["byteLength"]
        return array.reshape(-1, *shape)

    def pose(self, time_s: float) -> dict[int, np.ndarray]:
        """Node -> (4,4) global transform at a time, by the rules of the format."""
        nodes = self.json["nodes"]
        local = [dict(node) for node in nodes]
        for channel in self.json["animations"][0]["channels"]:
            sampler = self.json["animations"][0]["samplers"][channel["sampler"]]
            times, values = self.array(sampler["input"]), self.array(sampler["output"])
            if channel["target"]["path"] == "scale":
                assert sampler["interpolation"] == "STEP"
                row = max(np.searchsorted(times, time_s + 1e-4, "right") - 1, 0)
                local[channel["target"]["node"]]["scale"] = values[row]
                continue
            assert sampler["interpolation"] == "LINEAR"
            right = int(np.clip(np.searchsorted(times, time_s), 1, len(times) - 1))
            weight = np.clip((time_s - times[right - 1]) / (times[right] - times[right - 1]), 0, 1)
            value = (1 - weight) * values[right - 1] + weight * values[right]
            local[channel["target"]["node"]][channel["target"]["path"]] = value / (
                np.linalg.norm(value) if channel["target"]["path"] == "rotation" else 1
            )
        result: dict[int, np.ndarray] = {}

        def place(node: int, parent: np.ndarray) -> None:
            matrix = np.eye(4)
            x, y, z, w = local[node].get("rotation", (0, 0, 0, 1))
            matrix[:3, :3] = [
                [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
                [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
                [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
            ]
            matrix[:3, :3] *= local[node].get("scale", (1, 1, 1))
            matrix[:3, 3] = local[node].get("translation", (0, 0, 0))
            result[node] = parent @ matrix
            for child in local[node].get("children", []):
                place(child, result[node])

        for root in self.json["scenes"][0]["nodes"]:
            place(root, np.eye(4))
        return result


def test_glb_poses_skeleton_and_skin_like_the_run(motion: Motion, tmp_path: Path) -> None:
    (path,) = export_motion(tmp_path / "motion.npz", tmp_path / "out.glb")
    glb = Glb(path)
    body = embedded_body()
    assert [mesh["name"] for mesh in glb.json["meshes"]] == ["person_1", "person_3"]
    for mesh_node in (node for node in glb.json["nodes"] if "mesh" in node):
        person = int(mesh_node["name"].split("_")[1])
        rows = motion.of_person(person)
        skin = glb.json["skins"][mesh_node["skin"]]
        primitive = glb.json["meshes"][mesh_node["mesh"]]["primitives"][0]
        to_joint = glb.array(skin["inverseBindMatrices"]).transpose(0, 2, 1)
        rest = glb.array(primitive["attributes"]["POSITION"])
        joints, weights = (glb.array(primitive["attributes"][name]) for name in ("JOINTS_0", "WEIGHTS_0"))
        np.testing.assert_array_equal(glb.array(primitive["indices"]).reshape(-1, 3), body.faces)
        for row in (0, len(rows) // 2, len(rows) - 1):
            placed = glb.pose(float(rows.time_s[row]))
            got = np.stack([placed[node][:3, 3] for node in skin["joints"]])
            assert np.abs(got - world_joints(motion, person)[row]).max() < MILLIMETRE
            bones = np.stack([placed[node] for node in skin["joints"]]) @ to_joint
            blended = np.einsum("vk,vkij->vij", weights, bones[joints])
            skinned = np.einsum("vij,vj->vi", blended[:, :3, :3], rest) + blended[:, :3, 3]
            pose = axis_angle_to_matrix(rows.poses[row].reshape(1, 24, 3))
            expected = body(pose, rows.betas[row : row + 1], rows.trans[row : row + 1]).vertices[0]
            assert np.abs(skinned - (expected * np.array([1, -1, -1]) - origin_of(motion))).max() < MILLIMETRE


def test_glb_keeps_variable_times_and_the_clip_as_one_timeline(tmp_path: Path) -> None:
    times = [7.0, 7.05, 7.2, 7.21, 8.0]
    motion = record(tmp_path / "motion.npz", times, {1: range(5), 2: range(2, 5)})
    (path,) = export_motion(tmp_path / "motion.npz", tmp_path / "out.glb")
    glb = Glb(path)
    inputs = {sampler["input"] for sampler in glb.json["animations"][0]["samplers"]}
    starts = sorted(round(float(glb.array(accessor)[0]), 4) for accessor in inputs)
    assert sorted(set(starts)) == [0.0, 0.2]
    pelvis = _node(glb, 1)
    # A slow film's long frames are no absence.
    assert np.linalg.norm(glb.pose(0.6)[pelvis][:3, 1]) == pytest.approx(1)
    for row, time_s in enumerate(times):
        got = glb.pose(time_s - 7.0)[pelvis][:3, 3]
        assert np.abs(got - world_joints(motion, 1)[row, 0]).max() < MILLIMETRE


def test_glb_shows_nobody_before_they_come_and_while_they_are_away(tmp_path: Path) -> None:
    times = [index / FPS for index in range(60)]
    sink = MotionSink(tmp_path / "motion.npz", META, FPS)
    for index, time_s in enumerate(times):
        here = [1, *([2] if 10 <= index < 20 or index >= 45 else [])]
        sink.write(result_of(index, time_s, here))
    sink.close()
    (path,) = export_motion(tmp_path / "motion.npz", tmp_path / "out.glb")
    glb = Glb(path)
    pelvis = {person: _node(glb, person) for person in (1, 2)}

    def size(person: int, frame: int) -> float:
        return float(np.linalg.norm(glb.pose((frame + 0.01) / FPS)[pelvis[person]][:3, 1]))

    assert [round(size(2, frame), 4) for frame in (0, 9, 10, 19, 21, 44, 45, 59)] == [0, 0, 1, 1, 0, 0, 1, 1]
    assert [round(size(1, frame), 4) for frame in (0, 30, 59)] == [1, 1, 1]


def test_everybodys_bvh_starts_with_the_clip(motion: Motion, tmp_path: Path) -> None:
    files = export_motion(tmp_path / "motion.npz", tmp_path / "out.bvh")
    first, late = (np.stack([read_bvh(path)[0][name] for name in JOINT_NAMES], axis=1) for path in files)
    assert (len(first), len(late)) == (20, 15)
    # At the same frame of both files everybody is where the run had them at the same time, as far apart as there.
    apart = recorded(motion, 3)[:, 0] - recorded(motion, 1)[5:15, 0]
    assert np.abs((late[5:15, 0] - first[5:15, 0]) - apart).max() < MILLIMETRE
    assert np.abs(late[:5] - late[5]).max() < MILLIMETRE


def test_a_known_floor_is_at_nought_and_a_moving_camera_has_none(motion: Motion, tmp_path: Path) -> None:
    pitch = np.radians(20.0)
    up = np.array([0.0, -np.cos(pitch), -np.sin(pitch)])
    back = -np.array([0.0, 0.0, 1.0]) - up * np.sin(pitch)
    back /= np.linalg.norm(back)
    turn = np.stack([np.cross(up, back), up, back])
    joints = motion.joints_3d @ turn.T + np.array([0, 1.7, 0])
    camera_to_world = np.eye(4)
    camera_to_world[:3, :3], camera_to_world[1, 3] = turn, 1.7
    root = axis_angle_to_matrix(motion.poses[:, :3].astype(np.float64))
    placed = replace(
        motion,
        floor=np.array([*up, 1.7]),
        camera_to_world=camera_to_world,
        joints_world=joints.astype(np.float32),
        trans_world=(motion.trans + joints[:, 0] - motion.joints_3d[:, 0]).astype(np.float32),
        root_orient_world=matrix_to_axis_angle(turn @ root).astype(np.float32),
    )
    got = people_in_world(placed, [1, 3])
    shift = joints[0, 0] * np.array([1, 0, 1])
    for person in got:
        mine = placed.person_id == person.person_id
        assert np.abs(person.joints_m() - (joints[mine] - shift)).max() < MILLIMETRE
    nowhere = {
        name: np.full_like(getattr(placed, name), np.nan)
        for name in ("joints_world", "trans_world", "root_orient_world")
    }
    for person in people_in_world(replace(placed, floor=np.full(4, np.nan), **nowhere), [1, 3]):
        assert np.abs(person.joints_m() - world_joints(motion, person.person_id)).max() < MILLIMETRE


def _node(glb: Glb, person: int) -> int:
    """The pelvis below a person's armature."""
    return next(node["children"][0] for node in glb.json["nodes"] if node["name"] == f"person_{person}")


def test_glb_needs_the_body_that_the_betas_belong_to(motion: Motion, tmp_path: Path) -> None:
    write_motion(tmp_path / "smpl.npz", replace(motion, meta=replace(META, body="smpl-neutral")))
    with pytest.raises(UsageError, match="'smpl-neutral', not to 'bodycast-adult'"):
        export_motion(tmp_path / "smpl.npz", tmp_path / "out.glb")
    with pytest.raises(UsageError, match="no such body file"):
        export_motion(tmp_path / "smpl.npz", tmp_path / "out.glb", body=tmp_path / "smpl.pkl")
    assert export_motion(tmp_path / "smpl.npz", tmp_path / "out.bvh", person_id=1)


def test_quaternions_never_jump_to_the_other_sign() -> None:
    angles = np.linspace(0, 4 * np.pi, 100)
    matrices = np.stack([rotation("Y", degrees) for degrees in np.degrees(angles)])[:, None]
    quaternions = continuous_quaternions(matrices)
    assert (np.sum(quaternions[1:] * quaternions[:-1], axis=-1) > 0.99).all()


def test_the_four_strongest_weights_are_kept() -> None:
    weights = np.random.default_rng(0).dirichlet(np.full(24, 0.2), size=50).astype(np.float32)
    joints, kept = strongest_influences(weights)
    np.testing.assert_allclose(kept.sum(axis=1), 1.0, atol=1e-6)
    for row in range(50):
        assert set(joints[row].tolist()) == set(np.argsort(-weights[row])[:4].tolist())
    one = np.zeros((1, 24), np.float32)
    one[0, 5] = 1.0
    joints, kept = strongest_influences(one)
    assert (joints.tolist(), kept.tolist()) == ([[5, 0, 0, 0]], [[1.0, 0.0, 0.0, 0.0]])


def test_normals_point_outwards() -> None:
    body = embedded_body()
    vertices = body.rest_vertices(np.zeros((1, 10)))[0]
    normals = vertex_normals(vertices, body.faces)
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1.0, atol=1e-5)
    belly = np.argmax(vertices[:, 2] - 10 * np.abs(vertices[:, 0]) - 10 * np.abs(vertices[:, 1]))
    assert normals[belly, 2] > 0.5


def test_csv_holds_places_and_angles_in_the_world(motion: Motion, tmp_path: Path) -> None:
    (path,) = export_motion(tmp_path / "motion.npz", tmp_path / "out.csv")
    with open(path, newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [(int(row["frame"]), int(row["person_id"])) for row in rows] == list(
        zip(motion.frame.tolist(), motion.person_id.tolist(), strict=True)
    )
    for person in (1, 3):
        mine = [row for row in rows if int(row["person_id"]) == person]
        places = np.array(
            [[[float(row[f"{name}_{axis}_m"]) for axis in "xyz"] for name in JOINT_NAMES] for row in mine]
        )
        assert np.abs(places - world_joints(motion, person)).max() < MILLIMETRE
        turns = axis_angle_to_matrix([[float(row[f"left_knee_r{axis}_rad"]) for axis in "xyz"] for row in mine])
        knee = axis_angle_to_matrix(motion.of_person(person).poses[:, 12:15])
        assert geodesic_distance(turns, knee).max() < 1e-4
        assert float(mine[0]["score"]) == pytest.approx(0.9)


def test_npz_is_the_same_motion_for_amass_tools(motion: Motion, tmp_path: Path) -> None:
    files = export_motion(tmp_path / "motion.npz", tmp_path / "out.npz")
    for path, person in zip(files, (1, 3), strict=True):
        with np.load(path) as archive:
            amass = {key: archive[key] for key in archive.files}
        pose = axis_angle_to_matrix(amass["poses"].reshape(-1, 24, 3))
        joints = embedded_body()(pose, np.tile(amass["betas"], (len(pose), 1)), amass["trans"]).joints
        assert np.abs(joints - world_joints(motion, person)).max() < MILLIMETRE
        assert float(amass["mocap_framerate"]) == FPS
        assert str(amass["gender"]) == "neutral"
        assert float(amass["start_time_s"]) == pytest.approx(motion.of_person(person).time_s[0])


def test_what_cannot_be_exported_is_refused(motion: Motion, tmp_path: Path) -> None:
    source = tmp_path / "motion.npz"
    with pytest.raises(UsageError, match=r"'\.mov'; known: \.glb"):
        export_motion(source, tmp_path / "out.mov")
    with pytest.raises(UsageError, match="made by Blender, which was not found"):
        export_motion(source, tmp_path / "out.fbx", blender="no-such-blender")
    with pytest.raises(UsageError, match="no person 2; there are 1, 3"):
        export_motion(source, tmp_path / "out.bvh", person_id=2)
    with pytest.raises(UsageError, match="replace its own source"):
        export_motion(source, source, overwrite=True)
    with pytest.raises(UsageError, match="centimetres"):
        export_motion(source, tmp_path / "out.csv", centimetres=True)
    record(tmp_path / "nobody.npz", [0.0], {})
    with pytest.raises(UsageError, match="nobody"):
        export_motion(tmp_path / "nobody.npz", tmp_path / "out.bvh")


def test_nothing_is_replaced_unasked_and_a_full_disk_leaves_nothing(motion: Motion, tmp_path: Path) -> None:
    source = tmp_path / "motion.npz"
    target = tmp_path / "out.csv"
    target.write_text("precious")
    with pytest.raises(UsageError, match="--overwrite"):
        export_motion(source, target)
    with disk_of(1000), pytest.raises(RunError, match="cannot be written"):
        export_motion(source, target, overwrite=True)
    assert target.read_text() == "precious"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["motion.npz", "out.csv"]
    export_motion(source, target, overwrite=True)
    assert target.read_text() != "precious"


def test_bones_come_from_the_recorded_joints(motion: Motion) -> None:
    person = people_in_world(motion, [1])[0]
    rest = embedded_body().joints(motion.betas[:1])[0]
    np.testing.assert_allclose(person.offsets_m[1:], rest[1:] - rest[PARENTS[1:]], atol=2e-6)
    np.testing.assert_allclose(person.pelvis_rest_m, rest[0], atol=2e-6)
