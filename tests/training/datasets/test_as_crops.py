"""Real samples as crop sets: what is written is what was labelled, and the trainer's loader takes it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from bodycast.hmr.body.joints import Joint
from bodycast.hmr.body.surface_joints import POINT_NAMES
from bodycast.hmr.geometry.camera import cam_crop_to_full
from bodycast.hmr.geometry.crop_ray import crop_ray_rotation
from tests.training.datasets.layouts import write_3dpw, write_picture, write_smpl_folder
from training.datasets.as_crops import ROW_FIELDS, as_row, cut_crop, main, write_crop_set
from training.datasets.pictures import Picture
from training.datasets.sample import Joints3d, Keypoints2d, PersonSample
from training.datasets.threedpw import read_3dpw


@pytest.fixture(scope="module")
def threedpw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("3dpw")
    write_3dpw(folder / "data", write_smpl_folder(folder / "smpl"))
    return folder / "data"


def test_a_set_is_what_was_labelled(threedpw: Path, tmp_path: Path) -> None:
    samples = list(read_3dpw(threedpw, "test"))
    written = write_crop_set(samples, tmp_path / "set", source="3dpw")
    assert (written.rows, written.left_out) == (6, 0)
    stored = {name: np.load(tmp_path / "set" / f"{name}.npy", mmap_mode="r") for name in ROW_FIELDS}
    for name, (shape, dtype) in ROW_FIELDS.items():
        assert stored[name].shape == (6, *shape) and stored[name].dtype == np.dtype(dtype), name
    assert json.loads((tmp_path / "set" / "meta.json").read_text())["finished"] == 6
    for row, sample in enumerate(samples):
        assert sample.joints_3d is not None and sample.camera is not None and sample.pose is not None
        centre, size, focal = (stored[n][row].astype(float) for n in ("centre_px", "size_px", "focal_px"))
        principal = stored["image_wh"][row] / 2
        np.testing.assert_allclose(principal, [540, 960])
        np.testing.assert_allclose(stored["joints"][row], sample.joints_3d.m, atol=1e-5)
        assert stored["known_joints"][row].all() and stored["known_pose"][row] == 1 == stored["known_camera"][row]
        assert stored["known_betas"][row] == 0 and stored["known_parts"][row] == 0
        # The camera places the pelvis where it is labelled, and the root turns back into the camera's frame.
        transl = cam_crop_to_full(stored["camera"][row][None], centre[None], size[None], principal * 2, focal)
        np.testing.assert_allclose(transl[0], sample.joints_3d.m[0], atol=1e-3)
        root = crop_ray_rotation(centre, focal, principal) @ stored["pose"][row, 0]
        np.testing.assert_allclose(root, sample.pose[0], atol=1e-5)
        assert sample.keypoints is not None
        knee = POINT_NAMES.index("right_knee")
        px = stored["points_2d"][row, knee] * size + centre
        np.testing.assert_allclose(px, sample.keypoints.px[9], atol=0.02)
        assert stored["known_points"][row, knee] == pytest.approx(sample.keypoints.confidence[9])
        assert stored["known_points"][row, Joint.SPINE1] == 0


def test_the_trainers_loader_takes_it(threedpw: Path, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from training.crop_set import CropSet

    write_crop_set(read_3dpw(threedpw, "test"), tmp_path / "set", source="3dpw")
    crops = CropSet(tmp_path / "set")
    batch = crops.rows(np.arange(3), (128, 96))
    assert len(crops) == 6 and batch.images.shape == (3, 3, 128, 96) and torch.isfinite(batch.joints).all()
    known = getattr(batch, "known", None)
    if known is None:
        pytest.skip("this trainer knows no weights of labels yet")
    assert known.points.shape == (3, 35)


def test_labels_that_are_not_there_weigh_nothing(tmp_path: Path) -> None:
    path = write_picture(tmp_path / "a.png", (200, 150))
    place = {"dataset": "x", "split": "y", "sequence": "s", "subject": "a", "frame": 0}
    box = np.array([40.0, 20, 120, 140])
    confidence = np.zeros(17)
    confidence[:3] = 1
    keypoints = Keypoints2d("coco-17", np.tile([80.0, 80.0], (17, 1)), confidence)
    row = as_row(PersonSample(**place, picture=Picture(path), xyxy=box, keypoints=keypoints))
    assert row is not None
    for name in ("known_pose", "known_betas", "known_camera", "known_parts"):
        assert row[name] == 0, name
    assert not row["known_joints"].any() and row["score"] == 1 and row["focal_px"] == 250
    labelled = [POINT_NAMES[i] for i in np.flatnonzero(row["known_points"])]
    assert labelled == ["nose", "left_eye", "right_eye"]
    np.testing.assert_allclose(row["points_2d"][POINT_NAMES.index("nose")], 0, atol=1e-9)  # the box's middle
    # Joints relative to the pelvis are taken, a camera is not made up for them.
    joints = Joints3d("smpl-24", np.random.default_rng(0).normal(size=(24, 3)), np.ones(24, bool), absolute=False)
    row = as_row(PersonSample(**place, picture=Picture(path), xyxy=box, joints_3d=joints))
    assert row is not None and row["known_joints"].all() and row["known_camera"] == 0
    # Without a pelvis there is nothing to compare relative to.
    joints = Joints3d("smpl-24", joints.m, np.arange(24) > 0)
    row = as_row(PersonSample(**place, picture=Picture(path), xyxy=box, joints_3d=joints))
    assert row is not None and not row["known_joints"].any()
    assert as_row(PersonSample(**place, picture=Picture(path))) is None
    assert as_row(PersonSample(**place, xyxy=box)) is None


def test_crops_are_the_live_programs() -> None:
    from bodycast.app.estimation.cropper import sample_window
    from bodycast.hmr.geometry.crop import CropTransform

    rng = np.random.default_rng(1)
    image = np.kron(rng.integers(0, 256, (40, 50, 3)), np.ones((12, 12, 1))).astype(np.uint8)
    for size in (150.0, 450.0, 900.0):
        transform = CropTransform((260.3, 210.8), size)
        ours, live = cut_crop(image, transform)[..., ::-1].astype(int), sample_window(image, transform).astype(int)
        assert np.abs(ours - live)[8:-8, 8:-8].mean() < 0.2, size


def test_the_command_line(threedpw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "set"
    words = ["3dpw", str(threedpw), "--split", "test", "--out", str(out)]
    assert main([*words, "--every", "2", "--limit", "2"]) == 0
    assert "2 crops" in capsys.readouterr().out and len(np.load(out / "score.npy")) == 2
    assert main(words) == 2 and "exists" in capsys.readouterr().err
    assert main(["coco", str(tmp_path / "l.json"), "--out", str(tmp_path / "c")]) == 2
    assert "--images" in capsys.readouterr().err
    missing = threedpw / "imageFrames"
    assert main(["bedlam", str(tmp_path / "l.npz"), "--images", str(missing), "--out", str(tmp_path / "b")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["set"], "nothing half-written is left behind"
