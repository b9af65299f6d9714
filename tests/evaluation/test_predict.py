"""`python -m evaluation predict`: rows, rules for odd boxes and pictures, the live program's estimator behind it."""

from __future__ import annotations

import json
import subprocess
import sys
import unicodedata
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from bodycast.app.commands.run import parse_run
from bodycast.app.estimation.keypoints import KeypointNetwork
from bodycast.app.pipeline.build import open_estimator
from bodycast.app.pipeline.inference import pose_bodies
from bodycast.app.records import Frame, Tracks
from bodycast.hmr.body.body_model import BodyModel
from bodycast.hmr.geometry.camera import Intrinsics
from evaluation.predict import _parser, main, run_config
from evaluation.predictions import read_predictions
from tests.tiny_packages import pose_package

PACKAGE = "hmr-swin-t-s2-lite"
FLAGS = ["--engine", "onnxruntime", "--device", "cpu", "--threads", "1", "--quiet"]
WH = (200, 150)


def picture(seed: int = 0, wh: tuple[int, int] = WH) -> np.ndarray:
    """Smooth random colours, (H,W,3) uint8 BGR."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3)).astype(np.uint8)
    return cv2.resize(coarse, wh, interpolation=cv2.INTER_CUBIC)


def label_file(folder: Path, images: list[dict], annotations: list[dict], **extra: object) -> Path:
    path = folder / "labels.json"
    path.write_text(json.dumps({"images": images, "annotations": annotations, **extra}), encoding="utf-8")
    return path


def person(number: int, image_id: int, bbox: list[float] | None, **extra: object) -> dict:
    return {"id": number, "image_id": image_id, "bbox": bbox, "category_id": 1, **extra}


def predict(folder: Path, labels: Path, *flags: str, code: int = 0, network: str = PACKAGE) -> Path:
    out = folder / "pred.npz"
    words = [network, "--images", str(folder), "--coco", str(labels), "--out", str(out), *FLAGS, *flags]
    assert main(words) == code
    return out


@pytest.mark.parametrize("network", [PACKAGE, "fast", "balanced", "pose-lightning"])
def test_it_is_the_live_programs_estimator_row_by_row(network: str, tmp_path: Path) -> None:
    """For a package, and for a preset exactly what `run_webcam.py --preset` opens."""
    images = [picture(seed) for seed in range(3)]
    for index, image in enumerate(images):
        cv2.imwrite(str(tmp_path / f"{index}.png"), image)
    boxes = [[20, 10, 60, 120], [90.5, 20, 100, 60], [5, 5, 150, 140], [60, 30, 50, 90]]
    owner = [2, 0, 1, 0]
    labels = label_file(
        tmp_path,
        [{"id": index, "file_name": f"{index}.png"} for index in range(3)],
        [person(100 + row, owner[row], box) for row, box in enumerate(boxes)],
    )
    got = read_predictions(predict(tmp_path, labels, "--batch", "3", network=network))
    assert got.annotation_id.tolist() == [100, 101, 102, 103] and got.image_id.tolist() == owner
    assert got.valid.all()
    np.testing.assert_allclose(got.bbox, boxes)
    body = BodyModel.load()
    flags = {
        PACKAGE: ["--model", PACKAGE],
        "pose-lightning": ["--model", "none", "--keypoints", "pose-lightning"],
    }.get(network, ["--preset", network])
    config = parse_run(["film.mp4", "--engine", "onnxruntime", "--device", "cpu", *flags], "test")
    estimator = open_estimator(config, threads=1)
    camera = Intrinsics.default(WH)
    for row, (x, y, w, h) in enumerate(boxes):
        tracks = Tracks(np.array([1], np.int32), np.array([[x, y, x + w, y + h]], np.float32), np.zeros(1))
        crops = estimator.crop(Frame(images[owner[row]], 0, 0.0), tracks)
        estimates = estimator.estimate(crops, camera, WH)
        posed = pose_bodies(body, estimates, camera)
        np.testing.assert_allclose(got.joints_2d[row], posed.joints_px[0], atol=0.02)
        np.testing.assert_allclose(got.joints_3d[row], posed.joints[0], atol=1e-4)
        np.testing.assert_allclose(got.trans[row], estimates.transl_m[0], rtol=1e-4, atol=1e-4)
        assert got.focal_px[row] == pytest.approx(250)
    estimator.close()
    np.testing.assert_array_equal(got.points_2d[:, :24], got.joints_2d)
    assert np.isfinite(got.points_2d).all()


def test_the_focal_length_that_is_given_is_used(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), picture())
    images = [{"id": 1, "file_name": "a.png", "focal_px": 400}]
    labels = label_file(tmp_path, images, [person(1, 1, [50, 20, 80, 110])])
    own = read_predictions(predict(tmp_path, labels))
    given = read_predictions(predict(tmp_path, labels, "--focal-px", "800", "--overwrite"))
    assert (own.focal_px[0], given.focal_px[0]) == (400, 800)
    assert given.trans[0, 2] == pytest.approx(2 * own.trans[0, 2], rel=1e-4)


def test_pictures_of_every_kind_are_the_same_picture(tmp_path: Path) -> None:
    """Grey, 16 bit, CMYK, EXIF-turned, unicode names, sub-folders; labels may count turned or stored."""
    grey = cv2.cvtColor(picture(), cv2.COLOR_BGR2GRAY)
    rgb = Image.fromarray(np.repeat(grey[..., None], 3, 2))
    deep = tmp_path / "sub" / "deeper"
    deep.mkdir(parents=True)
    rgb.save(tmp_path / "plain.png")
    Image.fromarray(grey).save(tmp_path / "grey.png")
    cv2.imwrite(str(tmp_path / "deep.png"), np.repeat(grey[..., None], 3, 2).astype(np.uint16) * 257)
    rgb.convert("CMYK").save(tmp_path / "cmyk.jpg", quality=100)
    composed, apart = (unicodedata.normalize(form, "é 人.png") for form in ("NFC", "NFD"))
    rgb.save(deep / apart)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise: what is stored is the picture turned the other way
    rgb.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.jpg", quality=100, exif=exif, subsampling=0)
    rgb.save(tmp_path / "stored.jpg", quality=100, exif=exif, subsampling=0)
    names = ["plain.png", "grey.png", "deep.png", "cmyk.jpg", composed, "turned.jpg", "stored.jpg"]
    sizes: list[dict] = [{} for _ in names]
    sizes[5] = sizes[6] = {"width": WH[0], "height": WH[1]}
    labels = label_file(
        tmp_path,
        [{"id": i, "file_name": name, **size} for i, (name, size) in enumerate(zip(names, sizes, strict=True))],
        [person(i + 1, i, [40, 15, 90, 120]) for i in range(len(names))],
    )
    got = read_predictions(predict(tmp_path, labels))
    assert got.valid.all() and (got.image_wh == WH).all()
    for row, name in enumerate(names):
        tolerance = 3.0 if name.endswith("jpg") else 0.02
        np.testing.assert_allclose(got.joints_2d[row], got.joints_2d[0], atol=tolerance, err_msg=name)


def test_odd_boxes_follow_the_rules(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), picture())
    labels = label_file(
        tmp_path,
        [{"id": 1, "file_name": "a.png"}],
        [
            person(7, 1, [20, 20, 50, 100]),
            person(8, 1, [20, 20, 0, 100]),
            person(9, 1, None),
            person(10, 1, [10, 10, 120, 100], iscrowd=1),
            person(11, 1, [20, 20, 50, 50]) | {"category_id": 3},
            person(12, 1, [-5000, -9000, 3e7, 4e7], keypoints=[1, 2, 2] * 14),
            person(13, 1, [900, 900, 10, 10]),
        ],
        categories=[{"id": 1, "name": "person"}, {"id": 3, "name": "car"}],
    )
    words = [w for w in FLAGS if w != "--quiet"]
    out = tmp_path / "pred.npz"
    assert main([PACKAGE, "--images", str(tmp_path), "--coco", str(labels), "--out", str(out), *words]) == 0
    said = capsys.readouterr().err
    assert "2 annotations have no box" in said and "1 crowd regions" in said and "1 annotations are of other" in said
    got = read_predictions(out)
    assert got.annotation_id.tolist() == [7, 8, 9, 10, 12, 13]
    assert got.valid.tolist() == [True, False, False, True, True, True]
    assert got.iscrowd.tolist() == [False, False, False, True, False, False]
    assert np.isfinite(got.joints_3d[got.valid]).all()
    assert np.isnan(got.joints_2d[1:3]).all() and (got.score[1:3] == 0).all()


def test_ids_may_be_text_and_pictures_listed_twice(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), picture())
    labels = label_file(
        tmp_path,
        [{"id": "1", "file_name": "a.png", "width": "200", "height": "150"}] * 2,
        [
            person(7, 1, [20, 20, 50, 100]) | {"id": "7", "image_id": "1", "category_id": "2"},
            person(8, 1, [20, 20, 50, 100]) | {"category_id": [3]},
        ],
        categories=[{"id": 2, "name": "Person"}, {"id": "car", "name": "car"}],
    )
    got = read_predictions(predict(tmp_path, labels))
    assert got.annotation_id.tolist() == [7] and got.image_id.tolist() == [1] and got.valid.all()


def test_what_is_missing_or_there_already_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), picture())
    images = [{"id": 1, "file_name": "a.png"}, {"id": 2, "file_name": "gone.png"}]
    labels = label_file(tmp_path, images, [person(1, 1, [5, 5, 50, 90]), person(2, 2, [5, 5, 50, 90])])
    predict(tmp_path, labels, code=2)
    assert "1 of 2 pictures are not there" in capsys.readouterr().err
    assert not (tmp_path / "pred.npz").exists()
    out = predict(tmp_path, labels, "--allow-missing")
    assert read_predictions(out).valid.tolist() == [True, False]
    predict(tmp_path, labels, "--allow-missing", code=2)
    assert "--overwrite" in capsys.readouterr().err
    (tmp_path / "gone.png").write_text("no picture")
    predict(tmp_path, labels, "--overwrite", code=2)
    assert "gone.png: not a readable picture" in capsys.readouterr().err
    predict(tmp_path, labels, "--overwrite", "--allow-missing")
    stored = read_predictions(out)
    assert stored.valid.tolist() == [True, False] and "gone.png" in stored.meta["notes"][0]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: c["images"][0].pop("file_name"), "file_name"),
        (lambda c: c["annotations"][0].update(image_id=5), "image_id 5 is not among"),
        (lambda c: c["annotations"][0].update(bbox=[1, 2, 3]), "expected bbox"),
        (lambda c: c["annotations"][0].update(keypoints=[1, 2, 3, 4]), "expected triples"),
        (lambda c: c["annotations"][0].update(keypoints=["a"]), "expected numbers"),
        (lambda c: c["annotations"].append(dict(c["annotations"][0])), "occurs twice"),
        (lambda c: c["images"].append({"id": 1, "file_name": "b.png"}), "not for the same picture"),
        (lambda c: c["images"][0].update(focal_px="wide"), "expected focal_px"),
        (lambda c: c["images"][0].update(focal_px=-5), "expected focal_px"),
        (lambda c: c["annotations"][0].update(id=2**70), "expected an integer 'id'"),
        (lambda c: c.pop("images"), "'images'"),
        (lambda c: c["images"][0].update(width=99, height=98), "another picture, or a resized one"),
    ],
)
def test_broken_label_files_are_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change, said: str
) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), picture())
    content = {"images": [{"id": 1, "file_name": "a.png"}], "annotations": [person(1, 1, [5, 5, 50, 90])]}
    change(content)
    (tmp_path / "labels.json").write_text(json.dumps(content))
    predict(tmp_path, tmp_path / "labels.json", code=2)
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1 and not (tmp_path / "pred.npz").exists()


def test_no_torch_is_loaded(tmp_path: Path, repository: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), picture())
    labels = label_file(tmp_path, [{"id": 1, "file_name": "a.png"}], [person(1, 1, [5, 5, 50, 90])])
    words = ["predict", PACKAGE, "--images", str(tmp_path), "--coco", str(labels), "--out", str(tmp_path / "p.npz")]
    code = (
        "import sys; from evaluation.__main__ import main\n"
        "code = main(sys.argv[1:]); assert 'torch' not in sys.modules; sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *words, *FLAGS], cwd=repository, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_papers_protocol_knows_no_test_time_augmentation_but_what_is_asked_for() -> None:
    words = ["balanced", "--images", "x", "--coco", "x.json", "--out", "p.npz"]
    plain, asked = (_parser().parse_args([*words, *more]) for more in ([], ["--flip-test"]))
    assert run_config(plain).network.flip_test
    assert not run_config(plain, protocol=True).network.flip_test
    assert run_config(asked, protocol=True).network.flip_test


def test_unsure_crops_are_looked_at_turned_only_where_that_is_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = pose_package(tmp_path / "pose", np.full((17, 3), 0.2), side=64).folder
    crops = np.zeros((1, 64, 64, 3), np.uint8)
    for turned in (True, False):
        network = KeypointNetwork(package, "onnxruntime", "cpu", look_turned=turned)
        looks: list[int] = []
        run = network.engine.run

        def counted(inputs: dict[str, np.ndarray], run=run, looks=looks) -> dict[str, np.ndarray]:
            looks.append(len(inputs["crops"]))
            return run(inputs)

        monkeypatch.setattr(network.engine, "run", counted)
        network.look(crops)
        network.close()
        assert looks == ([1, 3] if turned else [1])
