"""`python -m evaluation score`: figures that are known beforehand, on labels, crop sets, motions and tracks."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from bodycast.app.files.motion_file import read_motion, write_motion
from bodycast.app.records import BodyEstimates
from bodycast.hmr.body.body_model import BodyModel
from bodycast.hmr.geometry.camera import Intrinsics
from bodycast.hmr.geometry.crop_ray import crop_ray_rotation
from bodycast.hmr.geometry.rotations import axis_angle_to_matrix
from evaluation.keypoint_metrics import COCO_SIGMAS, head_length, oks, pck_over_people, torso_length
from evaluation.predict_rows import write_estimates
from evaluation.predictions import empty_columns, read_predictions, write_predictions
from evaluation.score import main

PEOPLE = 4
WH = (640, 480)
FACING = np.array([np.pi, 0, 0])


@pytest.fixture(scope="module")
def body() -> BodyModel:
    return BodyModel.load()


def predicted_people(body: BodyModel, count: int = PEOPLE, seed: int = 0) -> dict[str, np.ndarray]:
    """Columns of `count` random people who face the camera, three to five metres away."""
    rng = np.random.default_rng(seed)
    poses = rng.normal(scale=0.2, size=(count, 24, 3))
    poses[:, 0] = FACING
    estimates = BodyEstimates(
        id=np.arange(1, count + 1, dtype=np.int32),
        pose=axis_angle_to_matrix(poses).astype(np.float32),
        betas=rng.normal(size=(count, 10)).astype(np.float32),
        transl_m=np.stack(
            [rng.uniform(-1, 1, count), rng.uniform(-0.2, 0.2, count), rng.uniform(3, 5, count)], 1
        ).astype(np.float32),
        score=rng.uniform(0.5, 1, count).astype(np.float32),
        token=np.zeros((count, 0), np.float32),
    )
    columns = empty_columns(count)
    columns["annotation_id"][:] = 10 + np.arange(count)
    columns["image_id"][:] = np.arange(count) // 2
    write_estimates(columns, np.arange(count), estimates, body, Intrinsics.default(WH))
    return columns


def labels_of(columns: dict[str, np.ndarray], path: Path, **first: object) -> Path:
    """COCO labels in which everybody is exactly where the prediction is; `first` changes the first annotation."""
    annotations = []
    for row in range(len(columns["valid"])):
        points = columns["coco_2d"][row].astype(float)
        low, high = points.min(0) - 10, points.max(0) + 10
        flat = np.concatenate([points, np.full((17, 1), 2.0)], 1).ravel().tolist()
        annotations.append(
            {
                "id": 10 + row, "image_id": row // 2, "category_id": 1, "iscrowd": 0, "keypoints": flat,
                "num_keypoints": 17, "bbox": [*low, *(high - low)], "area": float(np.prod(high - low) * 0.5),
            }
        )  # fmt: skip
    annotations[0] |= first
    images = [{"id": i, "file_name": f"{i}.png", "width": WH[0], "height": WH[1]} for i in range(2)]
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "person"}]}
    path.write_text(json.dumps(content))
    return path


def score(capsys: pytest.CaptureFixture[str], *words: object) -> dict[str, float]:
    assert main([*map(str, words), "--json"]) == 0
    (result,) = json.loads(capsys.readouterr().out).values()
    return result


def test_exact_keypoints_score_full_and_moved_ones_by_their_share(
    tmp_path: Path, body: BodyModel, capsys: pytest.CaptureFixture[str]
) -> None:
    columns = predicted_people(body)
    labels = labels_of(columns, tmp_path / "labels.json")
    pred = tmp_path / "pred.npz"
    write_predictions(pred, columns, {"body": body.name})
    got = score(capsys, pred, labels)
    assert got["people"] == PEOPLE and got["joints_labelled"] == 17 * PEOPLE and got["joints_of_limbs"] == 12 * PEOPLE
    for name in ("pck_torso@0.05", "pck_head@0.05", "pck_bbox@0.05", "pck17_torso@0.2", "oks", "ap", "ap50", "ar"):
        assert got[name] == pytest.approx(100, abs=0.01), name
    # Wrists of two of the four people moved by 0.3 torso lengths: 4 of 48 joints beyond 0.2, none beyond 0.5.
    torso = torso_length(columns["coco_2d"].astype(float), np.ones((PEOPLE, 17), bool))
    for row in (0, 3):
        columns["coco_2d"][row, [9, 10], 0] += 0.3 * torso[row]
    write_predictions(pred, columns, {"body": body.name})
    got = score(capsys, pred, labels)
    assert got["pck_torso@0.2"] == pytest.approx(100 * 44 / 48) and got["pck_torso@0.5"] == 100
    assert got["pck_torso_wrists@0.2"] == pytest.approx(50) and got["pck_torso_elbows@0.2"] == 100
    assert got["pck17_torso@0.2"] == pytest.approx(100 * 64 / 68)
    assert 80 < got["oks"] < 99.9 and got["ap"] < 100
    score(capsys, pred, labels, "--people", tmp_path / "people.csv")
    header, *rows = (line.split(",") for line in (tmp_path / "people.csv").read_text().splitlines())
    assert header[0] == "annotation_id" and {rows[0][0], rows[1][0]} == {"10", "13"}, "the worst come first"
    assert [row[3] for row in rows] == ["0.833", "0.833", "1.000", "1.000"]


def test_ids_of_text_and_nought_get_cocos_ap(
    tmp_path: Path, body: BodyModel, capsys: pytest.CaptureFixture[str]
) -> None:
    columns = predicted_people(body)
    columns["annotation_id"][0] = 0
    labels = labels_of(columns, tmp_path / "labels.json", id="0")
    content = json.loads(labels.read_text())
    for image in content["images"]:
        image["id"] = str(image["id"])
    labels.write_text(json.dumps(content))
    pred = tmp_path / "pred.npz"
    write_predictions(pred, columns, {"body": body.name})
    got = score(capsys, pred, labels)
    assert got["people"] == PEOPLE and got["ap"] == pytest.approx(100) and got["ar"] == pytest.approx(100)


def test_results_of_pose_estimators_get_cocos_ap(
    tmp_path: Path, body: BodyModel, capsys: pytest.CaptureFixture[str]
) -> None:
    columns = predicted_people(body)
    labels = labels_of(columns, tmp_path / "labels.json")
    people = json.loads(labels.read_text())["annotations"]
    rows = [{"image_id": p["image_id"], "category_id": 1, "keypoints": p["keypoints"], "score": 0.9} for p in people]
    results = tmp_path / "results.json"
    results.write_text(json.dumps(rows))
    assert score(capsys, results, labels)["ap"] == pytest.approx(100)
    results.write_text(json.dumps(rows[:2]))
    assert score(capsys, results, labels)["ar"] == pytest.approx(50)
    for broken, said in (
        (rows[0], "a list"),
        ([{"image_id": 0}], "category_id"),
        ([{**rows[0], "image_id": 77}], "51"),
    ):
        results.write_text(json.dumps(broken))
        assert main([str(results), str(labels)]) == 2
        assert said in capsys.readouterr().err


def test_missing_people_are_misses_and_crowds_do_not_count(
    tmp_path: Path, body: BodyModel, capsys: pytest.CaptureFixture[str]
) -> None:
    columns = predicted_people(body)
    pred = tmp_path / "pred.npz"
    columns["valid"][1] = False
    write_predictions(pred, columns, {"body": body.name})
    got = score(capsys, pred, labels_of(columns, tmp_path / "labels.json"))
    assert got["people_without_prediction"] == 1 and got["pck_torso@0.2"] == pytest.approx(75)
    assert got["oks"] == pytest.approx(75, abs=0.01) and got["ar"] == pytest.approx(75, abs=0.01)
    got = score(capsys, pred, labels_of(columns, tmp_path / "crowd.json", iscrowd=1))
    assert got["people"] == PEOPLE - 1
    hidden = labels_of(columns, tmp_path / "hidden.json", keypoints=[0.0] * 51)
    assert score(capsys, pred, hidden)["people"] == PEOPLE - 1


def test_lengths_and_similarity_by_hand() -> None:
    points = np.zeros((1, 17, 2))
    points[0, [5, 6]] = [[10, 0], [-10, 0]]
    points[0, [11, 12]] = [[5, 40], [-5, 40]]
    points[0, [0, 1, 2]] = [[0, -20], [3, -24], [-3, -24]]
    labelled = np.ones((1, 17), bool)
    labelled[0, [3, 4]] = False
    assert torso_length(points, labelled)[0] == 40
    assert head_length(points, labelled)[0] == pytest.approx(6)
    labelled[0, 5] = False
    assert np.isnan(torso_length(points, labelled)[0])
    # At a distance of 2 sigma sqrt(area) a joint's similarity is exp(-1/2).
    distance = 2 * COCO_SIGMAS[None] * np.sqrt(900.0)
    assert oks(distance, labelled, np.array([900.0]))[0] == pytest.approx(np.exp(-0.5))
    distance[0, 7] = np.nan
    assert oks(distance, labelled, np.array([900.0]))[0] == pytest.approx(np.exp(-0.5) * 13 / 14)
    assert np.isnan(pck_over_people(distance, labelled, np.array([np.nan]), 0.2))


def write_crop_set(folder: Path, body: BodyModel, columns: dict[str, np.ndarray]) -> None:
    """A crop set whose labels are the predictions; the second sample is a bad crop."""
    folder.mkdir()
    count = len(columns["valid"])
    pose = axis_angle_to_matrix(columns["poses"].reshape(-1, 24, 3))
    centre = columns["joints_2d"].mean(1)
    focal = columns["focal_px"]
    wh = columns["image_wh"].astype(np.float32)
    pose[:, 0] = crop_ray_rotation(centre, focal, wh / 2).swapaxes(-1, -2) @ pose[:, 0]
    score = np.ones(count, np.float32)
    score[1] = 0
    arrays = {
        "joints": columns["joints_3d"], "pose": pose.astype(np.float32), "betas": columns["betas"], "score": score,
        "focal_px": focal, "image_wh": wh, "centre_px": centre, "size_px": np.full(count, 400, np.float32),
    }  # fmt: skip
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    (folder / "meta.json").write_text(json.dumps({"finished": count}))


def test_a_crop_set_is_scored_over_its_good_crops(
    tmp_path: Path, body: BodyModel, capsys: pytest.CaptureFixture[str]
) -> None:
    columns = predicted_people(body)
    columns["annotation_id"][:] = np.arange(PEOPLE)
    write_crop_set(tmp_path / "crops", body, columns)
    pred = tmp_path / "pred.npz"
    meta = {"body": body.name, "labels": "crops"}
    write_predictions(pred, columns, meta)
    got = score(capsys, pred, tmp_path / "crops")
    assert (got["samples"], got["good_samples"]) == (PEOPLE, PEOPLE - 1)
    for name in ("mpjpe_mm", "pa_mpjpe_mm", "pve_mm", "error_2d_percent"):
        assert got[name] == pytest.approx(0, abs=0.05), name
    assert got["score_of_bad"] == pytest.approx(float(columns["score"][1]))
    columns["joints_3d"][[0, 2, 3], 1:, 2] += 0.024
    columns["joints_2d"][[0, 2, 3], :, 0] += 8
    write_predictions(pred, columns, meta)
    got = score(capsys, pred, tmp_path / "crops")
    assert got["mpjpe_mm"] == pytest.approx(23, abs=0.05)
    assert got["error_2d_percent"] == pytest.approx(2, abs=0.02)
    write_predictions(pred, columns, {"body": body.name, "labels": "other"})
    assert main([str(pred), str(tmp_path / "crops")]) == 2
    assert "made on 'other'" in capsys.readouterr().err


def test_motions_go_against_truth_and_tracks(
    tmp_path: Path, repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    truth = repository / "assets" / "demo" / "demo.npz"
    motion = read_motion(truth)
    few = motion.select(motion.frame < 12)
    path = tmp_path / "motion.npz"
    write_motion(path, few)
    got = score(capsys, path, path)
    assert got["id_switches"] == 0 and got["found_percent"] == 100
    assert got["mpjpe_mm"] == pytest.approx(0, abs=0.01) and got["pve_mm"] == pytest.approx(0, abs=0.01)
    one = few.of_person(few.person_ids[0])
    marks = np.zeros((int(few.frame.max()) + 1, 33, 3), np.float32)
    for landmark, joint in {
        11: 16,
        12: 17,
        13: 18,
        14: 19,
        15: 20,
        16: 21,
        23: 1,
        24: 2,
        25: 4,
        26: 5,
        27: 7,
        28: 8,
    }.items():
        marks[one.frame, landmark, :2] = one.joints_2d[:, joint]
    np.savez(tmp_path / "track.npz", keypoints_px=marks)
    write_motion(path, one)
    assert score(capsys, path, tmp_path / "track.npz")["all_within_percent"] == pytest.approx(100)


def test_pictures_are_drawn(tmp_path: Path, body: BodyModel) -> None:
    columns = predicted_people(body)
    pred = tmp_path / "pred.npz"
    write_predictions(pred, columns, {"body": body.name})
    labels = labels_of(columns, tmp_path / "labels.json")
    for index in range(2):
        cv2.imwrite(str(tmp_path / f"{index}.png"), np.full((WH[1], WH[0], 3), 90, np.uint8))
    words = [str(pred), str(labels), "--images", str(tmp_path), "--pictures", str(tmp_path / "drawn")]
    assert main(words) == 0
    assert sorted(p.name for p in (tmp_path / "drawn").iterdir()) == ["0.jpg", "1.jpg", "sheet.jpg"]
    picture = cv2.imread(str(tmp_path / "drawn" / "0.jpg"))
    assert picture.shape == (WH[1], 2 * WH[0], 3)
    left, right = picture[:, : WH[0]], picture[:, WH[0] :]
    assert (np.abs(left.astype(int) - 90).max(-1) > 40).mean() > 0.01, "a mesh is drawn"
    assert 0.0005 < (np.abs(right.astype(int) - 90).max(-1) > 40).mean() < 0.1, "skeletons are drawn"


def test_bad_input_gets_one_line(tmp_path: Path, body: BodyModel, capsys: pytest.CaptureFixture[str]) -> None:
    columns = predicted_people(body, 2)
    pred, labels = tmp_path / "pred.npz", labels_of(columns, tmp_path / "labels.json", id=99)
    write_predictions(pred, columns, {"body": body.name})
    broken = tmp_path / "broken.npz"
    np.savez(broken, annotation_id=np.zeros(2), joints_2d=np.zeros((2, 24, 2)))
    other = tmp_path / "other.json"
    other.write_text(labels.read_text().replace('"id": 99', '"id": 990').replace('"id": 11', '"id": 110'))
    for words, said in (
        ([tmp_path / "gone.npz", labels], "no such file"),
        ([pred, tmp_path / "gone.json"], "no such file"),
        ([broken, labels], "missing"),
        ([pred, tmp_path], "no crop set"),
        ([pred, pred], "are scored against"),
        ([pred, other], "none of the labelled people"),
        ([pred, labels, "--pictures", tmp_path / "p"], "--images"),
    ):
        assert main([str(word) for word in words]) == 2, said
        error = capsys.readouterr().err
        assert said in error and error.count("\n") == 1, error
    assert read_predictions(pred).meta["body"] == body.name
