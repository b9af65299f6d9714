"""Synthetic people: the label says where the person is, the pixels show it there."""

from __future__ import annotations

import numpy as np
import pytest

from hmr.geometry.camera import cam_crop_to_full, project
from hmr.geometry.crop_ray import crop_ray_rotation
from training.synthetic.appearance import sample_appearance
from training.synthetic.crops import CropStudio
from training.synthetic.generate import sample_rng
from training.synthetic.hues import HELD_OUT_HUES
from training.synthetic.limb_coordinates import limb_coordinates
from training.synthetic.poses import heading_rad, is_held_out, sit, split_files
from training.synthetic.scene import CROP_HW


def test_same_seed_same_pixels(studio: CropStudio) -> None:
    first, again = (studio.sample(sample_rng(1, "train", 4)) for _ in range(2))
    np.testing.assert_array_equal(first.pixels, again.pixels)
    other = studio.sample(sample_rng(1, "train", 5))
    assert (first.pixels != other.pixels).mean() > 0.2


def test_label_recovers_the_person(studio: CropStudio) -> None:
    """The label alone, through body, crop camera and ray rotation, gives back the true joints in the camera frame."""
    for index in range(6):
        label = studio.sample(sample_rng(2, "train", index)).label
        posed = studio.body(label.pose[None], label.betas[None], np.zeros((1, 3), np.float32))
        wh = np.array(label.image_wh, np.float32)
        turn = crop_ray_rotation(label.centre_px, label.focal_px, wh / 2)
        transl = cam_crop_to_full(
            label.camera[None], label.centre_px[None], np.array([label.size_px]), wh, label.focal_px
        )[0]
        root = posed.joints[0, 0]
        joints = (posed.joints[0] - root) @ turn.T + root + transl
        np.testing.assert_allclose(joints, label.joints, atol=2e-4)


def test_parts_lie_under_their_joints(studio: CropStudio) -> None:
    """Where the part map shows a part, its projected joint is near: no mirror, no half-crop shift."""
    checked, errors = 0, []
    for index in range(40):
        sample = studio.sample(sample_rng(6, "train", index))
        if sample.score < 0.5:
            continue
        label = sample.label
        pixels = project(label.joints, label.focal_px, np.array(label.image_wh) / 2)
        crop = (pixels - label.centre_px) / (label.size_px / CROP_HW[0]) + [CROP_HW[1] / 2, CROP_HW[0] / 2]
        for joint in (6, 9, 15):
            rows, columns = np.nonzero(sample.parts == joint + 1)
            if len(rows) < 20:
                continue
            middle = np.array([columns.mean(), rows.mean()]) * 4 + 1.5
            errors.append(np.linalg.norm(middle - crop[joint]) / np.sqrt(len(rows) * 16))
            checked += 1
    assert checked >= 15
    assert np.median(errors) < 0.6


def test_left_and_right_are_told_apart(studio: CropStudio) -> None:
    """A person who faces the camera has the left arm on the picture's right."""
    coordinates = limb_coordinates(studio.body)
    left = coordinates.canonical[coordinates.arm > 1.5]
    assert {1, 0} <= {int(x > 0) for x in left[:, 0]}
    assert (coordinates.leg[coordinates.arm > 0] < 0).all()
    feet = coordinates.canonical[coordinates.leg > 2.5]
    assert feet[:, 1].max() < coordinates.canonical[:, 1].mean()


def test_held_out_garments_have_their_own_hues() -> None:
    import colorsys

    def hues(held_out: bool) -> list[float]:
        out = []
        for seed in range(200):
            look = sample_appearance(np.random.default_rng(seed), held_out=held_out, photographs=False)
            for colour in look.fabrics[2].colours:
                hue, saturation, _ = colorsys.rgb_to_hsv(*map(float, colour))
                if saturation > 0.3 and max(map(float, colour)) > 0.2:
                    out.append(hue)
        return out

    low, high = HELD_OUT_HUES
    assert all(low - 1e-3 <= hue <= high + 1e-3 for hue in hues(True))
    assert not any(low + 1e-3 < hue < high - 1e-3 for hue in hues(False))


def test_sitting_folds_hips_and_knees(studio: CropStudio) -> None:
    rng = np.random.default_rng(0)
    pose = sit(np.tile(np.eye(3, dtype=np.float32), (24, 1, 1)), rng)
    joints = studio.body(pose[None], np.zeros((1, 10), np.float32), np.zeros((1, 3), np.float32)).joints[0]
    assert (joints[[4, 5], 2] > joints[[1, 2], 2] + 0.25).all(), "knees lie in front of the hips"
    assert (joints[[7, 8], 1] < joints[[4, 5], 1] - 0.2).all(), "feet hang below the knees"


def test_sampled_pose_faces_forward(studio: CropStudio) -> None:
    for seed in range(5):
        pose = studio.library.sample(np.random.default_rng(seed))
        assert abs(float(heading_rad(pose[0]))) < 0.3
        np.testing.assert_allclose(pose @ pose.swapaxes(-1, -2), np.tile(np.eye(3), (24, 1, 1)), atol=1e-4)


def test_subjects_do_not_leak(shared_dir) -> None:
    folder = shared_dir / "data" / "mocap_cmu"
    train, test = (split_files(folder, split) for split in ("train", "test"))
    assert train and test and not set(train) & set(test)
    assert all(is_held_out(p) for p in test)
    assert not {p.name.split("_")[0] for p in train} & {p.name.split("_")[0] for p in test}


def test_unknown_split_is_refused(tmp_path) -> None:
    with pytest.raises(ValueError, match="expected train or test"):
        split_files(tmp_path, "dev")
    with pytest.raises(ValueError, match=r"no \.bvh"):
        split_files(tmp_path, "train")
