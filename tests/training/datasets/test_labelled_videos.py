"""Films with bodies or joints: 3DPW, EMDB, Human3.6M, MPI-INF-3DHP on tiny sets of exactly their layouts."""

from __future__ import annotations

import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest

from bodycast.hmr.body.body_model import BodyModel
from bodycast.hmr.geometry.camera import project_intrinsics
from bodycast.hmr.geometry.rotations import axis_angle_to_matrix
from tests.training.datasets.layouts import (
    AS_COCO_18,
    error_of,
    write_3dpw,
    write_emdb,
    write_picture,
    write_spin_h36m,
)
from training.datasets.emdb import read_emdb
from training.datasets.human36m import read_human36m_folders, read_human36m_npz
from training.datasets.joint_sets import H36M_17_OF_32
from training.datasets.mpi_inf_3dhp import read_3dhp_test, read_3dhp_train
from training.datasets.smpl_files import SmplFiles
from training.datasets.threedpw import read_3dpw

h5py = pytest.importorskip("h5py", reason="needs requirements/train.txt")
scipy_io = pytest.importorskip("scipy.io", reason="needs requirements/train.txt")


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
            project_intrinsics(sample.joints_3d.m, sample.camera)[AS_COCO_18], sample.keypoints.px, atol=0.01
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
    scipy_io.savemat(folder / "annot.mat", {"annot2": cells[0], "annot3": cells[1]})
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
