"""Photographs that teachers label: the held-out tenth, agreement, the file, crops whose labels stay on the picture."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from bodycast.hmr.body.surface_joints import POINT_NAMES
from bodycast.hmr.body.torch_body import TorchBody
from tests.training.toy import JOINT_QUERIES, toy_crops, toy_recipe, write_set
from training.batch import joined, mirrored
from training.crop_set import Crops
from training.datasets.errors import DatasetError
from training.loop import RunOptions, Training
from training.losses import Labels, SurfaceBody
from training.photos.agreement import COCO_LANDMARKS, LANDMARKS, Label, agree, same_person
from training.photos.people_file import PeopleWriter, read_people
from training.photos.photo_source import PhotoCrops, WithPhotos
from training.photos.points import body_points, joints_in_space
from training.photos.score import score_photos
from training.photos.split import held_out
from training.photos.teachers import COCO_MIRROR, Landmarks, Square, square_of

BOX = np.array([60.0, 30.0, 90.0, 180.0])
MARKED = 15  # BlazePose's left wrist


def standing() -> np.ndarray:
    """(17,2) COCO keypoints of somebody in BOX who faces the camera."""
    x = [0, 4, -4, 8, -8, 18, -18, 26, -26, 30, -30, 12, -12, 13, -13, 13, -13]
    y = [12, 9, 9, 11, 11, 32, 32, 62, 62, 90, 90, 92, 92, 130, 130, 168, 168]
    return np.stack([105 + np.array(x, float), 30 + np.array(y, float)], axis=1)


def landmarks(person: float = 1.0) -> Landmarks:
    """The same by BlazePose."""
    points = np.concatenate([np.tile([105.0, 120.0], (LANDMARKS, 1)), np.ones((LANDMARKS, 1))], axis=1)
    points[COCO_LANDMARKS, :2] = standing()
    space = np.concatenate([(points[:, :2] - [105, 122]) / 100, np.zeros((LANDMARKS, 1))], axis=1)
    return Landmarks(points, space, person, np.full((256, 256), 3.0, np.float32), Square((105.0, 120.0), 220.0))


def seen() -> np.ndarray:
    return np.concatenate([standing(), np.full((17, 1), 0.8)], axis=1)


def people_file(path: Path, count: int = 6) -> Path:
    """People whose left wrist is a bright dot, at various places in their pictures."""
    writer = PeopleWriter(256)
    rng = np.random.default_rng(0)
    for number in range(count):
        moved = rng.uniform(-20, 20, 2)
        label = agree(seen(), seen(), landmarks(), BOX)
        assert label is not None
        points = label.points.copy()
        points[:, :2] += moved
        image = np.zeros((240, 300, 3), np.uint8)
        x, y = points[MARKED, :2]
        cv2.circle(image, (round(8 * x), round(8 * y)), 8 * 4, (255, 255, 255), -1, shift=3)
        box = BOX + np.array([*moved, 0, 0])
        writer.add(image, box, Label(points, label.space, 17), (landmarks().silhouette, landmarks().square),
                   f"{number % 2}.jpg", number, number % 2 == 0)  # fmt: skip
    writer.write(path)
    return path


def test_a_tenth_is_held_out_by_the_bare_name() -> None:
    names = [f"picture_{number}.jpg" for number in range(5000)]
    assert 0.085 < np.mean([held_out(name) for name in names]) < 0.115
    assert [held_out(f"some/folder/{name}") for name in names[:50]] == [held_out(name) for name in names[:50]]


def test_teachers_that_agree_give_a_label_and_others_none() -> None:
    label = agree(seen(), seen(), landmarks(), BOX)
    assert label is not None and label.agreed == 17
    assert np.allclose(label.points[COCO_LANDMARKS, :2], standing())
    assert agree(seen(), seen(), landmarks(person=0.1), BOX) is None
    assert agree(seen(), seen()[::-1].copy(), landmarks(), BOX) is None
    assert agree(seen(), seen(), landmarks(), BOX * [1, 1, 4, 4]) is None  # one of a group
    off = seen()
    off[9, 0] += 40  # the left wrist alone
    label = agree(seen(), off, landmarks(), BOX)
    assert label is not None and label.points[MARKED, 2] == 0 and label.points[19, 2] == 0 < label.points[16, 2]


def test_one_person_in_two_boxes_is_one() -> None:
    label = agree(seen(), seen(), landmarks(), BOX)
    assert label is not None
    aside = Label(label.points + np.array([60, 0, 0]), label.space, label.agreed)
    assert same_person(label, label) and not same_person(label, aside)


def test_squares_turn_and_place() -> None:
    square = square_of(np.array([100.0, 100.0]), np.array([140.0, 100.0]))  # the head to the right
    assert square.side == pytest.approx(100) and square.angle == pytest.approx(np.pi / 2)
    top = square.place(np.array([[127.5, 0.0]]))[0]
    assert top == pytest.approx([100 + 50 * 255 / 256, 100], abs=1e-6)
    assert (COCO_MIRROR[COCO_MIRROR] == np.arange(17)).all()


def test_points_of_a_mirrored_person_are_mirrored() -> None:
    rng = np.random.default_rng(1)
    places, weight = rng.normal(0, 1, (3, LANDMARKS, 2)), rng.uniform(0, 1, (3, LANDMARKS))
    other = np.arange(LANDMARKS)
    other[1:7] = [4, 5, 6, 1, 2, 3]
    other[7:] = [n + 1 if n % 2 else n - 1 for n in range(7, LANDMARKS)]
    names = [name.replace("left_", "?").replace("right_", "left_").replace("?", "right_") for name in POINT_NAMES]
    swap = [POINT_NAMES.index(name) for name in names]
    ours, ours_weight = body_points(places, weight)
    theirs, theirs_weight = body_points(places[:, other] * [-1, 1], weight[:, other])
    assert np.allclose(theirs[:, swap] * [-1, 1], ours) and np.allclose(theirs_weight[:, swap], ours_weight)


def test_without_a_pelvis_no_joint_in_space_counts() -> None:
    weight = np.ones((2, LANDMARKS))
    weight[0, 23] = 0
    joints, known = joints_in_space(np.random.default_rng(0).normal(0, 1, (2, LANDMARKS, 3)), weight)
    assert known[0].max() == 0 < known[1].max() and np.allclose(joints[:, 0], 0)


@pytest.mark.parametrize("image_hw", [(256, 192), (96, 72)])
def test_labels_stay_on_the_picture(tmp_path: Path, image_hw: tuple[int, int]) -> None:
    photos = PhotoCrops(people_file(tmp_path / "people.npz"), torch.device("cpu"), 0, image_hw[0])
    wrists = [POINT_NAMES.index("left_wrist"), POINT_NAMES.index("right_wrist")]
    plain = photos.rows(torch.arange(len(photos)), image_hw)
    for batch, wrist in ((plain, 0), (photos.draw(12, image_hw), 0), (mirrored(plain), 1)):
        assert batch.known is not None
        rows, columns = torch.meshgrid(*(torch.arange(side).float() for side in image_hw), indexing="ij")
        for row, picture in enumerate(batch.images.mean(1)):
            light = picture - picture.min()
            bright = torch.stack([(light * where).sum() / light.sum() for where in (columns, rows)])
            told = batch.known.points_2d[row, wrists[wrist]] * image_hw[0]
            told = told + torch.tensor([image_hw[1] / 2, image_hw[0] / 2])
            assert (told - bright).norm() < 0.02 * image_hw[0], (row, told, bright)


def test_rendered_crops_teach_the_same_beside_photographs(tmp_path: Path) -> None:
    photos = PhotoCrops(people_file(tmp_path / "people.npz"), torch.device("cpu"), 0, 96)
    rendered = Crops(toy_crops(6)).rows(np.arange(6), (96, 72))
    labels = Labels(SurfaceBody(TorchBody.load()))
    alone, beside = labels(rendered), labels(joined([rendered, photos.draw(4, (96, 72))]))
    for name in alone._fields:
        assert torch.allclose(getattr(alone, name), getattr(beside, name)[:6], atol=1e-4), name
    assert beside.pose[6:].max() == 0 and beside.point_weight[6:].max() > 0.5 and beside.joint_weight[6:].max() > 0


def test_a_run_learns_from_both(tmp_path: Path) -> None:
    folder, people = write_set(tmp_path / "crops", toy_crops(30)), people_file(tmp_path / "people.npz")
    recipe = toy_recipe(
        arguments={**toy_recipe().arguments, "decoder": JOINT_QUERIES}, needs_photos=True
    )  # fmt: skip
    options = {"steps": 3, "validate_limit": 4, "tensorboard": False, "threads": 1}
    with pytest.raises(ValueError, match="give --photos"):
        Training([recipe], RunOptions(folder, folder, tmp_path / "without", 10.0, **options)).source.close()
    training = Training([recipe], RunOptions(folder, folder, tmp_path / "run", 10.0, photos=people, **options))
    assert np.isfinite(training.run()["tiny"]["mpjpe_mm"])
    net = training.trainees[0].finished()
    scores = score_photos(net, PhotoCrops(people, torch.device("cpu"), 0, 96), (96, 72))
    assert scores["people"] == 6 and 0 <= scores["peaks_pck_torso@0.2"] <= 100


def test_bad_files_and_shares_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"training\.photos\.label"):
        read_people(tmp_path / "nothing.npz")
    photos = PhotoCrops(people_file(tmp_path / "people.npz"), torch.device("cpu"), 0, 96)
    with pytest.raises(ValueError, match="photo-share"):
        WithPhotos(photos, photos, 1.0)  # type: ignore[arg-type]
