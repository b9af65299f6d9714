"""Every reader on a tiny data set of exactly its layout: what is read, in which frame and unit, and what is refused."""

from __future__ import annotations

import io
import json
import os
import pickle
import tarfile
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest
import scipy.io

from hmr.body.body_model import BodyModel
from hmr.body.joints import Joint
from hmr.body.surface_joints import POINT_NAMES
from hmr.geometry.camera import project_intrinsics
from hmr.geometry.rotations import axis_angle_to_matrix
from tests.training.datasets.layouts import (
    write_3dpw,
    write_emdb,
    write_picture,
    write_smpl_folder,
    write_spin_h36m,
)
from training.datasets.amass import read_amass
from training.datasets.as_crops import as_row
from training.datasets.coco import read_coco
from training.datasets.emdb import read_emdb
from training.datasets.errors import DatasetError
from training.datasets.files import read_npz, read_pickle
from training.datasets.hmr2_tars import read_hmr2_tars
from training.datasets.human36m import read_human36m_folders, read_human36m_npz
from training.datasets.joint_sets import H36M_17_OF_32, JOINT_SETS, points_of
from training.datasets.labelled_npz import read_labelled_npz
from training.datasets.mpi_inf_3dhp import read_3dhp_test, read_3dhp_train
from training.datasets.mpii import read_mpii
from training.datasets.sample import Joints3d, Keypoints2d, PersonSample
from training.datasets.smpl_files import SmplFiles
from training.datasets.threedpw import read_3dpw


@pytest.fixture(scope="module")
def smpl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_smpl_folder(tmp_path_factory.mktemp("smpl"))


def error_of(function, *arguments: object) -> str:
    with pytest.raises(DatasetError) as caught:
        list(function(*arguments))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_3dpw_in_the_cameras_frame(tmp_path: Path, smpl: Path, protocol: int) -> None:
    write_3dpw(tmp_path, smpl, protocol=protocol)
    files = SmplFiles(smpl)
    samples = list(read_3dpw(tmp_path, "test", files))
    assert len(samples) == 6 and samples[0].picture is not None
    for sample in samples:
        assert sample.camera is not None and sample.joints_3d is not None and sample.keypoints is not None
        assert sample.pose is not None and sample.betas is not None and sample.transl_m is not None
        body = files.body(str(sample.body).removeprefix("smpl-"))
        posed = body(sample.pose[None], sample.betas[None], sample.transl_m[None])
        # Pose and translation taken to the camera give the joints that were taken there.
        np.testing.assert_allclose(posed.joints[0], sample.joints_3d.m, atol=1e-4)
        np.testing.assert_allclose(
            project_intrinsics(sample.joints_3d.m, sample.camera)[:18], sample.keypoints.px, atol=0.01
        )
        assert sample.xyxy is not None and (sample.xyxy[:2] < sample.keypoints.px.min(0)).all()
    assert samples[0].picture.read().shape == (1920, 1080, 3)
    assert samples[0].image_wh == (1080, 1920)
    without = next(read_3dpw(tmp_path, "test"))
    assert without.transl_m is None and "transl_m" not in without.present


def test_3dpw_says_what_is_wrong(tmp_path: Path, smpl: Path) -> None:
    content = write_3dpw(tmp_path, smpl)
    path = tmp_path / "sequenceFiles" / "test" / "downtown_test_00.pkl"
    assert "no such folder" in error_of(read_3dpw, tmp_path / "gone")
    assert "splits" in error_of(read_3dpw, tmp_path, "trian")
    for change, said in (
        ({"poses": None}, "'poses'"),
        ({"poses": content["poses"][:1]}, "expected 1 actors, got 2"),
        ({"cam_poses": np.zeros((4, 3, 3))}, "cam_poses: expected shape (any, 4, 4), got (4, 3, 3)"),
        ({"genders": ["x", "f"]}, "gender"),
        ({"cam_intrinsics": "nothing"}, "cam_intrinsics: expected numbers"),
    ):
        path.write_bytes(pickle.dumps({**content, **change}))
        assert said in error_of(read_3dpw, tmp_path, "test")
    path.write_bytes(pickle.dumps(content)[:-200])
    assert "not a readable pickle" in error_of(read_3dpw, tmp_path, "test")


class _Hostile:
    """Pickles to a call of os.mkdir."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self):
        return os.mkdir, (str(self.target),)


def test_pickles_never_execute(tmp_path: Path) -> None:
    target = tmp_path / "made-by-the-pickle"
    path = tmp_path / "evil.pkl"
    path.write_bytes(pickle.dumps({"poses": [_Hostile(target)]}))
    assert "refused" in error_of(read_pickle, path, "anything")
    objects = np.empty(1, object)
    objects[0] = _Hostile(target)
    np.savez(tmp_path / "evil.npz", poses=objects)
    assert "refused" in error_of(read_npz, tmp_path / "evil.npz", "anything")
    with tarfile.open(tmp_path / "evil.tar", "w") as shard:
        _add(shard, "a.jpg", b"x")
        _add(shard, "a.data.pyd", pickle.dumps([_Hostile(target)]))
    assert "refused" in error_of(read_hmr2_tars, [tmp_path / "evil.tar"])
    assert not target.exists()


def test_npz_with_objects_inside_is_read_as_lists(tmp_path: Path) -> None:
    objects = np.empty(2, object)
    objects[0], objects[1] = {"a": np.arange(3)}, ["text", 2.5]
    np.savez(tmp_path / "objects.npz", mixed=objects, words=np.array(["ä", "b"]), numbers=np.eye(2))
    content = read_npz(tmp_path / "objects.npz", "anything")
    np.testing.assert_array_equal(content["mixed"][0]["a"], [0, 1, 2])
    assert content["mixed"][1] == ["text", 2.5] and content["words"].tolist() == ["ä", "b"]


def test_emdb(tmp_path: Path, smpl: Path) -> None:
    content = write_emdb(tmp_path, smpl)
    samples = list(read_emdb(tmp_path, "emdb1", SmplFiles(smpl)))
    assert [s.frame for s in samples] == [0, 2, 3] and samples[0].body == "smpl-female"
    first = samples[0]
    T = content["camera"]["extrinsics"][0]
    body = BodyModel.load(smpl / "SMPL_FEMALE.npz")
    pose = axis_angle_to_matrix(
        np.concatenate([content["smpl"]["poses_root"][0], content["smpl"]["poses_body"][0]]).reshape(24, 3)
    )
    world = body(pose[None], content["smpl"]["betas"][None], content["smpl"]["trans"][:1]).joints[0]
    assert first.joints_3d is not None
    np.testing.assert_allclose(first.joints_3d.m, world @ T[:3, :3].T + T[:3, 3], atol=1e-4)
    assert first.xyxy is not None and first.xyxy.tolist() == [100, 200, 900, 1800]
    assert first.picture is not None and first.picture.read().shape == (1920, 1440, 3)
    bare = list(read_emdb(tmp_path, "all"))
    assert len(bare) == 6 and bare[0].joints_3d is None and bare[0].pose is not None
    del content["smpl"]["betas"]
    (tmp_path / "P1" / "15_other" / "P1_15_other_data.pkl").write_bytes(pickle.dumps({**content, "emdb1": False}))
    assert "'betas' is missing" in error_of(read_emdb, tmp_path, "all")


def test_human36m_npz(tmp_path: Path) -> None:
    content = write_spin_h36m(tmp_path)
    samples = list(read_human36m_npz(tmp_path / "h36m_valid_protocol1.npz", tmp_path, "test"))
    assert [(s.subject, s.sequence, s.frame) for s in samples] == [
        ("S9", "Directions_1.60457274", 0),
        ("S9", "Directions_1.60457274", 5),
        ("S9", "Directions_1.54138969", 0),
        ("S1", "Eating.60457274", 0),
    ]
    joints = samples[1].joints_3d
    assert joints is not None and not joints.absolute and joints.valid.sum() == 18
    np.testing.assert_allclose(joints.m, content["S"][1, :, :3])
    assert samples[1].xyxy is not None
    np.testing.assert_allclose(samples[1].xyxy, [480 - 210, 480 - 210, 480 + 210, 480 + 210])
    assert samples[0].picture is not None and samples[0].picture.read().shape == (1000, 1000, 3)


def test_human36m_folders(tmp_path: Path) -> None:
    folder = tmp_path / "S9" / "Directions-1"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(3)
    joints = rng.normal([0, 0, 5000], 300, (12, 32, 3))
    K = (1145.0, 512.0, 1143.0, 515.0)
    points = joints[..., :2] / joints[..., 2:] * [K[0], K[2]] + [K[1], K[3]]
    with h5py.File(folder / "annot.h5", "w") as stored:
        stored["pose/2d"], stored["pose/3d"] = points, joints
        stored["frame"] = np.tile(np.arange(1, 7), 2)
        stored["camera"] = np.repeat([54138969, 60457274], 6)
        for camera in ("54138969", "60457274"):
            stored[f"intrinsics/{camera}"] = np.array(K)
    write_picture(folder / "imageSequence" / "60457274" / "img_000006.jpg", (1000, 1002))
    samples = list(read_human36m_folders(tmp_path, ("S9",), "test", every=5, cameras=("60457274",)))
    assert [(s.sequence, s.frame) for s in samples] == [("Directions-1.60457274", 0), ("Directions-1.60457274", 5)]
    last = samples[1]
    assert last.joints_3d is not None and last.camera is not None and last.keypoints is not None
    np.testing.assert_allclose(last.joints_3d.m, joints[11, H36M_17_OF_32] / 1000)
    np.testing.assert_allclose(project_intrinsics(last.joints_3d.m, last.camera), last.keypoints.px, atol=1e-6)
    assert last.picture is not None and last.picture.read().shape == (1002, 1000, 3)
    with h5py.File(folder / "annot.h5", "a") as stored:
        del stored["frame"]
    assert "not one of h36m-fetch's" in error_of(read_human36m_folders, tmp_path, ("S9",), "test")
    assert "no S5/" in error_of(read_human36m_folders, tmp_path, ("S5",), "train")


CALIBRATION = """Skeletool Camera Calibration File V1.0
name          0
  sensor      10 10
  size        2048 2048
  animated    0
  intrinsic   1500 0 1024 0 0 1501 1023 0 0 0 1 0 0 0 0 1
  extrinsic   1 0 0 0 0 1 0 0 0 0 1 0 0 0 0 1
  radial      0
"""


def test_mpi_inf_3dhp_training(tmp_path: Path) -> None:
    folder = tmp_path / "S1" / "Seq1"
    (folder / "imageSequence").mkdir(parents=True)
    rng = np.random.default_rng(2)
    cells = [np.empty((14, 1), object) for _ in range(2)]
    joints = rng.normal([0, 0, 4000], 300, (14, 21, 28, 3))
    points = rng.uniform(300, 1500, (14, 21, 28, 2))
    for camera in range(14):
        cells[0][camera, 0] = points[camera].reshape(21, 56)
        cells[1][camera, 0] = joints[camera].reshape(21, 84)
    scipy.io.savemat(folder / "annot.mat", {"annot2": cells[0], "annot3": cells[1]})
    assert "no pictures" in error_of(read_3dhp_train, tmp_path)
    (folder / "camera.calibration").write_text(CALIBRATION)
    for number in (1, 11, 21):
        write_picture(folder / "imageFrames" / "video_0" / f"frame_{number:06d}.jpg", (2048, 2048))
    video = cv2.VideoWriter(
        str(folder / "imageSequence" / "video_1.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 25, (64, 64)
    )
    for grey in range(21):
        video.write(np.full((64, 64, 3), grey * 10, np.uint8))
    video.release()
    samples = list(read_3dhp_train(tmp_path, every=10))
    assert [(s.sequence, s.frame) for s in samples] == [(f"Seq1.{c}", f) for c in (0, 1) for f in (0, 10, 20)]
    second = samples[1]
    assert second.joints_3d is not None and second.keypoints is not None and second.camera is not None
    np.testing.assert_allclose(second.joints_3d.m, joints[0, 10] / 1000)
    np.testing.assert_allclose(second.keypoints.px, points[0, 10])
    assert (second.camera.fx, second.camera.fy, second.camera.cx, second.camera.cy) == (1500, 1501, 1024, 1023)
    assert samples[3].camera is None
    assert samples[4].picture is not None and abs(int(samples[4].picture.read()[30, 30, 0]) - 100) < 6


def test_mpi_inf_3dhp_test(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    joints, points = rng.normal(scale=300, size=(3, 1, 17, 3)), rng.uniform(100, 900, (3, 1, 17, 2))
    (tmp_path / "TS5").mkdir()
    with h5py.File(tmp_path / "TS5" / "annot_data.mat", "w") as stored:
        stored["annot2"], stored["annot3"], stored["univ_annot3"] = points, joints, joints
        stored["valid_frame"] = np.array([[1.0], [0.0], [1.0]])
    samples = list(read_3dhp_test(tmp_path))
    assert [(s.subject, s.frame) for s in samples] == [("TS5", 0), ("TS5", 2)]
    assert samples[1].joints_3d is not None and samples[1].image_wh == (1920, 1080)
    np.testing.assert_allclose(samples[1].joints_3d.m, joints[2, 0] / 1000)
    assert str(samples[1].picture).endswith("img_000003.jpg")


def test_coco(tmp_path: Path) -> None:
    write_picture(tmp_path / "images" / "a.jpg", (64, 48))
    flat = np.zeros((17, 3))
    flat[5], flat[6] = [10, 20, 2], [30, 21, 1]
    annotation = {"id": 5, "image_id": 1, "category_id": 1, "bbox": [5, 6, 30, 40], "keypoints": flat.ravel().tolist()}
    content = {
        "images": [{"id": 1, "file_name": "a.jpg", "width": 64, "height": 48}],
        "annotations": [
            annotation,
            {**annotation, "id": 6, "iscrowd": 1},
            {**annotation, "id": 7, "keypoints": [0] * 51},
        ],
        "categories": [{"id": 1, "name": "person"}],
    }
    (tmp_path / "l.json").write_text(json.dumps(content))
    (sample,) = read_coco(tmp_path / "l.json", tmp_path / "images")
    assert sample.subject == "5" and sample.xyxy is not None and sample.xyxy.tolist() == [5, 6, 35, 46]
    assert sample.keypoints is not None and sample.keypoints.confidence.sum() == 2
    assert sample.present == ("picture", "xyxy", "keypoints")
    (tmp_path / "images" / "a.jpg").unlink()
    assert "1 pictures of l.json are missing" in error_of(read_coco, tmp_path / "l.json", tmp_path / "images")


def test_mpii_json_and_mat_agree(tmp_path: Path) -> None:
    joints = np.arange(32, dtype=float).reshape(16, 2) + 100
    row = {
        "image": "015601864.jpg",
        "joints": joints.tolist(),
        "joints_vis": [1] * 15 + [0],
        "center": [594.0, 257.0],
        "scale": 3.02,
    }
    (tmp_path / "train.json").write_text(json.dumps([row]))
    (from_json,) = read_mpii(tmp_path / "train.json", tmp_path)
    point = np.array(
        [(x, y, i, "1") for i, (x, y) in enumerate(joints[:15])],
        dtype=[("x", "O"), ("y", "O"), ("id", "O"), ("is_visible", "O")],
    )
    person = {"scale": 3.02, "objpos": {"x": 594.0, "y": 257.0}, "annopoints": {"point": point}}
    annolist = np.empty(2, [("image", "O"), ("annorect", "O")])
    annolist[0] = ({"name": "015601864.jpg"}, person)
    annolist[1] = ({"name": "test.jpg"}, np.empty((0, 0)))
    scipy.io.savemat(tmp_path / "mpii.mat", {"RELEASE": {"annolist": annolist, "img_train": np.array([1, 0])}})
    (from_mat,) = read_mpii(tmp_path / "mpii.mat", tmp_path)
    for sample in (from_json, from_mat):
        assert sample.keypoints is not None and sample.xyxy is not None and sample.sequence == "015601864.jpg"
        np.testing.assert_allclose(sample.keypoints.px[:15], joints[:15] - 1)  # MATLAB counts from 1
        assert sample.keypoints.confidence.tolist() == [1] * 15 + [0]
        half = 125 * 3.02
        np.testing.assert_allclose(sample.xyxy, [593 - half, 256 + 45.3 - half, 593 + half, 256 + 45.3 + half])
    (tmp_path / "train.json").write_text(json.dumps([{"image": "a.jpg"}]))
    assert "joints, joints_vis, center, scale missing" in error_of(read_mpii, tmp_path / "train.json", tmp_path)


def test_bedlam(tmp_path: Path) -> None:
    rng = np.random.default_rng(8)
    ext = np.tile(np.eye(4), (2, 1, 1))
    ext[:, :3, 3] = [0.5, 0.2, 4]
    pose = rng.normal(scale=0.3, size=(2, 165))
    points = np.concatenate([rng.uniform(0, 700, (2, 127, 2)), np.ones((2, 127, 1))], -1)
    columns = {
        "imgname": np.array(["seq_000000/seq_000000_0000.png", "seq_000000/seq_000000_0005.png"]),
        "center": np.full((2, 2), 300.0), "scale": np.array([1.5, 1.6]), "pose_cam": pose,
        "shape": rng.normal(size=(2, 11)), "trans_cam": np.full((2, 3), 0.1), "cam_ext": ext,
        "cam_int": np.tile([[900.0, 0, 640], [0, 900, 360], [0, 0, 1]], (2, 1, 1)),
        "gtkps": points, "sub": np.array(["rp_a", "rp_b"]), "gender": np.array(["f", "m"]),
    }  # fmt: skip
    np.savez(tmp_path / "bedlam.npz", **columns)
    first, second = read_labelled_npz(tmp_path / "bedlam.npz", tmp_path, "bedlam")
    assert (first.subject, second.subject) == ("rp_a", "rp_b") and first.body == "smplx-neutral"
    assert first.pose is not None and first.transl_m is not None and first.keypoints is not None
    np.testing.assert_allclose(first.pose[:22], axis_angle_to_matrix(pose[0, :66].reshape(22, 3)), atol=1e-9)
    np.testing.assert_array_equal(first.pose[22:], np.tile(np.eye(3), (2, 1, 1)))
    np.testing.assert_allclose(first.transl_m, [0.6, 0.3, 4.1])
    assert first.keypoints.confidence.sum() == 22 and first.image_wh == (1280, 720)
    picture = write_picture(tmp_path / "seq_000000" / "seq_000000_0000.png", (1280, 720))
    assert first.picture is not None and first.picture.read().shape == (720, 1280, 3)
    columns["cam_int"] = np.tile([[900.0, 0, 360], [0, 900, 640], [0, 0, 1]], (2, 1, 1))  # a close-up, stored lying
    np.savez(tmp_path / "upright.npz", **columns)
    upright, _ = read_labelled_npz(tmp_path / "upright.npz", tmp_path, "bedlam")
    assert upright.picture is not None
    np.testing.assert_array_equal(upright.picture.read(), np.rot90(cv2.imread(str(picture)), -1))
    del columns["center"]
    np.savez(tmp_path / "bad.npz", **columns)
    assert "'center' is missing" in error_of(read_labelled_npz, tmp_path / "bad.npz", tmp_path, "bedlam")


def test_amass(tmp_path: Path) -> None:
    (tmp_path / "CMU" / "01").mkdir(parents=True)
    rng = np.random.default_rng(9)
    poses = rng.normal(scale=0.2, size=(12, 156))
    stored = {"poses": poses, "trans": rng.normal(size=(12, 3)), "betas": rng.normal(size=16), "mocap_framerate": 120.0}
    np.savez(tmp_path / "CMU" / "01" / "01_01_poses.npz", gender=np.array("female"), dmpls=np.zeros((12, 8)), **stored)
    np.savez(tmp_path / "CMU" / "01" / "shape.npz", betas=np.zeros(16), gender=np.array("female"))
    samples = list(read_amass(tmp_path, fps=30))
    assert [s.frame for s in samples] == [0, 4, 8] and samples[0].body == "smplh-female"
    assert samples[1].pose is not None and samples[1].transl_m is not None
    np.testing.assert_allclose(samples[1].pose[:22], axis_angle_to_matrix(poses[4, :66].reshape(22, 3)), atol=1e-9)
    np.testing.assert_array_equal(samples[1].transl_m, stored["trans"][4])
    assert samples[0].picture is None and samples[0].sequence == "CMU/01/01_01_poses"
    stored.pop("mocap_framerate")
    np.savez(tmp_path / "CMU" / "01" / "01_01_poses.npz", **stored)
    assert "'mocap_frame_rate' is missing" in error_of(read_amass, tmp_path)


def _add(shard: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    shard.addfile(info, io.BytesIO(content))


def test_4d_humans_tars(tmp_path: Path) -> None:
    rng = np.random.default_rng(10)
    jpg = cv2.imencode(".jpg", np.full((60, 80, 3), 77, np.uint8))[1].tobytes()

    def person(**changes: object) -> dict[str, object]:
        return {
            "keypoints_2d": np.concatenate([rng.uniform(0, 60, (44, 2)), np.full((44, 1), 0.9)], 1).astype("f4"),
            "keypoints_3d": np.concatenate([rng.normal(size=(44, 3)), np.ones((44, 1))], 1).astype(np.float32),
            "center": np.array([40.0, 30.0]), "scale": np.array([0.2, 0.3]),
            "body_pose": rng.normal(scale=0.2, size=72), "betas": rng.normal(size=10),
            "has_body_pose": np.float32(1), "has_betas": np.float32(1),
            "extra_info": {"fitting_loss": np.array({"reprojection_loss": 3.0})}, **changes,
        }  # fmt: skip

    people = [person(), person(has_body_pose=np.float32(0), betas=np.full(10, np.nan), keypoints_3d=np.zeros((44, 4)))]
    with tarfile.open(tmp_path / "000000.tar", "w") as shard:
        _add(shard, "train/im.0001.jpg", jpg)  # a key ends at the first dot of its last part
        _add(shard, "coco/000001.jpg", jpg)
        _add(shard, "coco/000001.data.pyd", pickle.dumps(people))
        _add(shard, "coco/000001.detection.npz", b"not read")
        _add(shard, "coco/000002.jpg", jpg)
        _add(shard, "coco/000002.data.pyd", pickle.dumps([person()]))
    samples = list(read_hmr2_tars([tmp_path / "000000.tar"]))
    assert [(s.sequence, s.subject) for s in samples] == [
        ("coco/000001", "0"),
        ("coco/000001", "1"),
        ("coco/000002", "0"),
    ]
    first, second = samples[:2]
    assert first.pose is not None and first.body == "smpl-neutral" and first.xyxy is not None
    np.testing.assert_allclose(
        first.pose, axis_angle_to_matrix(np.asarray(people[0]["body_pose"]).reshape(24, 3)), atol=1e-9
    )
    assert first.xyxy.tolist() == [10, 0, 70, 60]
    assert second.present == ("picture", "xyxy", "keypoints")
    row = as_row(first)
    assert row is not None and row["known_camera"] == 0
    named = {POINT_NAMES[i] for i in np.flatnonzero(row["known_joints"])}
    assert {"pelvis", "left_knee", "right_wrist"} <= named and "spine1" not in named
    np.testing.assert_allclose(row["joints"][Joint.PELVIS], np.asarray(people[0]["keypoints_3d"])[8, :3], atol=1e-6)
    assert first.picture is not None and first.picture.read().shape == (60, 80, 3)
    with tarfile.open(tmp_path / "bad.tar", "w") as shard:
        _add(shard, "a.jpg", jpg)
        _add(shard, "a.data.pyd", pickle.dumps([{"keypoints_2d": np.zeros((44, 3))}]))
    assert "'keypoints_3d' is missing" in error_of(read_hmr2_tars, [tmp_path / "bad.tar"])
    assert "no such shard" in error_of(read_hmr2_tars, [tmp_path / "gone.tar"])


def test_joint_sets_agree_with_hmr2s_order_and_have_no_doubles() -> None:
    for name, names in JOINT_SETS.items():
        if name != "hmr2-44":  # OpenPose's joints and the regressed ones share names there
            assert len(set(names)) == len(names), name
        for index, _ in points_of(name):
            assert 0 <= index < len(names)
    assert {name: len(names) for name, names in JOINT_SETS.items() if not name.endswith(str(len(names)))} == {}


def test_samples_check_what_they_are_made_of() -> None:
    place = {"dataset": "x", "split": "y", "sequence": "s", "subject": "a", "frame": 0}
    with pytest.raises(ValueError, match=r"pose: expected shape \(24, 3, 3\), got \(72,\)"):
        PersonSample(**place, pose=np.zeros(72))
    with pytest.raises(ValueError, match="name of their body"):
        PersonSample(**place, betas=np.zeros(10))
    with pytest.raises(ValueError, match="not finite"):
        Keypoints2d("coco-17", np.full((17, 2), np.nan), np.zeros(17))
    with pytest.raises(ValueError, match="Joints3d"):
        Joints3d("smpl-24", np.zeros((17, 3)), np.ones(17, bool))
