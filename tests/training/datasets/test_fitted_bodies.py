"""Bodies that were fitted or simulated: BEDLAM, AMASS, 4D-Humans' shards."""

from __future__ import annotations

import pickle
import tarfile
from pathlib import Path

import cv2
import numpy as np

from bodycast.hmr.body.joints import Joint
from bodycast.hmr.body.surface_joints import POINT_NAMES
from bodycast.hmr.geometry.rotations import axis_angle_to_matrix
from tests.training.datasets.layouts import (
    add_to_shard,
    error_of,
    write_picture,
)
from training.datasets.amass import read_amass
from training.datasets.as_crops import as_row
from training.datasets.hmr2_tars import read_hmr2_tars
from training.datasets.labelled_npz import read_labelled_npz


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
        add_to_shard(shard, "train/im.0001.jpg", jpg)  # a key ends at the first dot of its last part
        add_to_shard(shard, "coco/000001.jpg", jpg)
        add_to_shard(shard, "coco/000001.data.pyd", pickle.dumps(people))
        add_to_shard(shard, "coco/000001.detection.npz", b"not read")
        add_to_shard(shard, "coco/000002.jpg", jpg)
        add_to_shard(shard, "coco/000002.data.pyd", pickle.dumps([person()]))
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
        add_to_shard(shard, "a.jpg", jpg)
        add_to_shard(shard, "a.data.pyd", pickle.dumps([{"keypoints_2d": np.zeros((44, 3))}]))
    assert "'keypoints_3d' is missing" in error_of(read_hmr2_tars, [tmp_path / "bad.tar"])
    assert "no such shard" in error_of(read_hmr2_tars, [tmp_path / "gone.tar"])
