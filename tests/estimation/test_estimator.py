"""The estimator on a package that answers with a known body."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx", reason="tiny graphs are made with onnx (requirements/export.txt)")

from bodycast.app.errors import RunError, UsageError
from bodycast.app.estimation.cropper import crop_people
from bodycast.app.estimation.estimator import MIN_SCALE, Estimator
from bodycast.app.estimation.finite_rows import MAX_EMPTY_OUTPUTS
from bodycast.app.records import BodyEstimates, CropBatch, Frame, Tracks
from bodycast.engines.package import TensorSpec
from bodycast.hmr.body.body_model import BodyModel
from bodycast.hmr.body.joints import Joint
from bodycast.hmr.body.keypoint_refinement import LIMBS
from bodycast.hmr.geometry.camera import Intrinsics, project_intrinsics
from bodycast.hmr.geometry.crop import CropTransform
from tests.tiny_packages import TOKEN_WIDTH, affine_model, affine_package, hmr_info, hmr_package

WH = (1280, 720)


@pytest.fixture
def estimator(tmp_path: Path) -> Estimator:
    opened = Estimator(hmr_package(tmp_path / "hmr", camera=(0.8, 0.1, -0.2)).folder, "onnxruntime", "cpu")
    yield opened
    opened.close()


def crops_of(boxes: list[list[float]]) -> CropBatch:
    image = np.zeros((*WH[::-1], 3), np.uint8)
    image[:, 640:, 2] = 255
    ids = np.arange(1, len(boxes) + 1, dtype=np.int32)
    return crop_people(Frame(image, 0, 0.0), Tracks(ids, np.array(boxes, np.float32), np.zeros(len(boxes))))


def test_one_row_a_crop_with_ids(estimator: Estimator) -> None:
    crops = crops_of([[100, 100, 300, 600], [900, 100, 1100, 600], [910, 200, 1000, 500]])
    bodies = estimator.estimate(crops, Intrinsics.default(WH), WH)
    assert bodies.id.tolist() == [1, 2, 3]
    np.testing.assert_allclose(bodies.betas[:, 0], [0, 1, 1], atol=1e-6)
    np.testing.assert_allclose(bodies.score, 0.8, atol=1e-6)
    assert bodies.token.shape == (3, TOKEN_WIDTH) and estimator.token_width == TOKEN_WIDTH
    assert estimator.input_hw == (256, 192) and estimator.body_name == "bodycast-adult"
    assert "tiny-hmr on onnxruntime (cpu)" in estimator.describe()


@pytest.mark.parametrize(
    "intrinsics",
    [Intrinsics.default(WH), Intrinsics.from_focal(600.0, WH), Intrinsics(900.0, 900.0, 500.0, 410.0, WH)],
    ids=["default", "short", "principal point off centre"],
)
def test_the_translation_projects_where_the_crop_camera_says(estimator: Estimator, intrinsics: Intrinsics) -> None:
    """A point (x, y, 0) of the body lies at crop position s (x + tx) in half squares from its centre: far from the
    camera the full projection must show it there."""
    crops = crops_of([[100, 100, 300, 600], [900, 50, 1200, 700]])
    bodies = estimator.estimate(crops, intrinsics, WH)
    for transform, transl_m in zip(crops.transforms, bodies.transl_m, strict=True):
        pixel = project_intrinsics(transl_m[None].astype(np.float64), intrinsics)[0]
        expected = np.array(transform.centre_px) + 0.5 * transform.size_px * 0.8 * np.array([0.1, -0.2])
        np.testing.assert_allclose(pixel, expected, atol=1e-2)
        assert transl_m[2] == pytest.approx(2 * intrinsics.focal_px / (transform.size_px * 0.8), rel=1e-5)


def test_box_info_is_given_to_networks_that_take_it(tmp_path: Path) -> None:
    """CameraHMR's three numbers: box centre from the principal point and box size, over the focal length."""
    package = hmr_package(tmp_path / "hmr", with_box_info=True)
    opened = Estimator(package.folder, "onnxruntime", "cpu")
    intrinsics = Intrinsics(500.0, 500.0, 600.0, 300.0, WH)
    bodies = opened.estimate(crops_of([[100, 100, 300, 600], [900, 100, 1100, 600]]), intrinsics, WH)
    opened.close()
    np.testing.assert_allclose(bodies.token[:, :3], [[-0.8, 0.1, 1.0], [0.8, 0.1, 1.0]], atol=1e-6)


def seen_at(hand: tuple[float, float]) -> np.ndarray:
    """Keypoints that say one thing alone: where the left wrist is, in crop heights from the crop's centre."""
    keypoints = np.zeros((24, 3), np.float32)
    keypoints[Joint.LEFT_WRIST] = *hand, 1
    return keypoints


@pytest.mark.parametrize("fit", [False, True])
def test_limbs_are_moved_onto_the_joints_seen(tmp_path: Path, fit: bool) -> None:
    """The rest pose holds its left arm out to the right of the picture; the wrist is seen a little above."""
    crops, camera = crops_of([[400, 50, 800, 700], [30, 50, 430, 700]]), Intrinsics.default(WH)
    body = BodyModel.load()
    folder = hmr_package(tmp_path / "blind").folder
    blind = Estimator(folder, "onnxruntime", "cpu")
    assert "refined on the keypoints" not in blind.describe()
    plain = blind.estimate(crops, camera, WH)
    blind.close()

    def wrist_px(bodies: BodyEstimates) -> np.ndarray:
        return project_intrinsics(body(bodies.pose, bodies.betas, bodies.transl_m).joints, camera)[:, Joint.LEFT_WRIST]

    centres = np.array([transform.centre_px for transform in crops.transforms])
    sides = np.array([transform.size_px for transform in crops.transforms])[:, None]
    there = (wrist_px(plain) - centres) / sides
    hand = (float(there[0, 0]), float(there[0, 1]) - 0.06)
    opened = Estimator(
        hmr_package(tmp_path / "seeing", keypoints=seen_at(hand)).folder, "onnxruntime", "cpu", refine_keypoints=fit
    )
    assert ("refined on the keypoints" in opened.describe()) == fit
    bodies = opened.estimate(crops, camera, WH)
    opened.close()
    left = (wrist_px(bodies)[0] - centres[0]) / sides[0] - hand
    assert np.linalg.norm(left) == pytest.approx(0.06, abs=1e-4) if not fit else np.linalg.norm(left) < 0.02
    unmoved = [joint for joint in Joint if joint not in LIMBS] if fit else list(Joint)
    np.testing.assert_allclose(bodies.pose[:, unmoved], plain.pose[:, unmoved], atol=1e-6)
    np.testing.assert_allclose(bodies.betas, plain.betas)


def test_keypoints_of_another_body_are_left_alone(tmp_path: Path) -> None:
    folder = hmr_package(tmp_path / "smpl", keypoints=seen_at((0.1, 0.1)), body="smpl-neutral").folder
    opened = Estimator(folder, "onnxruntime", "cpu")
    assert "refined on the keypoints" not in opened.describe()
    opened.close()


def test_keypoints_of_another_shape_are_refused(tmp_path: Path) -> None:
    folder = hmr_package(tmp_path / "few", keypoints=np.zeros((17, 3))).folder
    with pytest.raises(UsageError, match=r"keypoints float \(N, 24, 3\)"):
        Estimator(folder, "onnxruntime", "cpu")


@pytest.mark.parametrize("frame", ["camera", "crop-ray"])
def test_root_rotations_are_in_the_camera_frame(tmp_path: Path, frame: str) -> None:
    """The tiny network answers "facing the camera" for every crop. Relative to the ray through the crop, somebody at
    the left edge (negative x) is turned so that he still faces the camera's position: his axes tilt to the ray."""
    opened = Estimator(hmr_package(tmp_path / "hmr", orientation_frame=frame).folder, "onnxruntime", "cpu")
    intrinsics = Intrinsics(700.0, 700.0, 640.0, 300.0, WH)
    crops = crops_of([[0, 100, 200, 500], [540, 100, 740, 500]])
    root = opened.estimate(crops, intrinsics, WH).pose[:, 0]
    opened.close()
    forwards = root @ np.array([0.0, 0.0, 1.0])
    if frame == "camera":
        np.testing.assert_allclose(forwards, [[0, 0, 1], [0, 0, 1]], atol=1e-6)
    else:
        ray = np.array([100 - 640, 300 - 300, 700.0])
        np.testing.assert_allclose(forwards, [ray / np.linalg.norm(ray), [0, 0, 1]], atol=1e-6)
    np.testing.assert_allclose(root @ root.transpose(0, 2, 1), np.tile(np.eye(3), (2, 1, 1)), atol=1e-6)


def test_nobody(estimator: Estimator) -> None:
    empty = CropBatch(np.zeros((0, 256, 192, 3), np.uint8), (), np.zeros(0, np.int32))
    bodies = estimator.estimate(empty, Intrinsics.default(WH), WH)
    assert len(bodies) == 0 and bodies.token.shape == (0, TOKEN_WIDTH)


def test_a_camera_behind_the_person_scores_zero(tmp_path: Path) -> None:
    package = hmr_package(tmp_path / "hmr", camera=(-0.5, 0.0, 0.0))
    bodies = Estimator(package.folder, "onnxruntime", "cpu").estimate(
        crops_of([[100, 100, 300, 600]]), Intrinsics.default(WH), WH
    )
    assert bodies.score[0] == 0
    assert bodies.transl_m[0, 2] == pytest.approx(2 * Intrinsics.default(WH).focal_px / (MIN_SCALE * 500), rel=1e-5)


def test_nothing_finite_for_a_while_stops_the_run_with_the_name(tmp_path: Path) -> None:
    package = hmr_package(tmp_path / "hmr", camera=(0.9, float("nan"), 0.0))
    estimator = Estimator(package.folder, "onnxruntime", "cpu")
    crops = crops_of([[100, 100, 300, 600]])
    for _ in range(MAX_EMPTY_OUTPUTS - 1):
        assert len(estimator.estimate(crops, Intrinsics.default(WH), WH)) == 0
    with pytest.raises(RunError, match="output 'camera' has values that are not finite"):
        estimator.estimate(crops, Intrinsics.default(WH), WH)


def test_one_body_that_is_not_finite_is_left_out_and_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    estimator = Estimator(hmr_package(tmp_path / "hmr").folder, "onnxruntime", "cpu")
    crops = crops_of([[100, 100, 300, 600], [400, 100, 600, 600]])
    whole = estimator.estimate(crops, Intrinsics.default(WH), WH)
    run = estimator.engine.run

    def spoilt(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        outputs = {name: array.copy() for name, array in run(inputs).items()}
        outputs["betas"][0, 3] = np.inf
        return outputs

    monkeypatch.setattr(estimator.engine, "run", spoilt)
    bodies = estimator.estimate(crops, Intrinsics.default(WH), WH)
    assert bodies.id.tolist() == [whole.id[1]]
    np.testing.assert_array_equal(bodies.transl_m, whole.transl_m[1:])
    np.testing.assert_array_equal(bodies.pose, whole.pose[1:])
    assert estimator.warnings == ("1 bodies were left out: the engine's output was not finite",)


def test_lite_input(tmp_path: Path) -> None:
    lite = Estimator(hmr_package(tmp_path / "hmr", (192, 144)).folder, "onnxruntime", "cpu")
    assert lite.input_hw == (192, 144)
    wrong = CropBatch(np.zeros((1, 256, 192, 3), np.uint8), (CropTransform((5.0, 5.0), 9.0),), np.ones(1, np.int32))
    with pytest.raises(ValueError, match=r"expected \(192, 144\)"):
        lite.estimate(wrong, Intrinsics.default(WH), WH)
    lite.close()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"crop_rule": "none"}, "crop_rule is 'none', this program expects 'hmr2-square'"),
        ({"normalisation": "none"}, "normalisation is 'none'"),
        ({"joint_set": "none"}, "joint_set is 'none'"),
        ({"orientation_frame": "none"}, "orientation_frame is 'none', this program expects 'crop-ray' or 'camera'"),
        ({"focal_convention": "none"}, "focal_convention is 'none'"),
        (
            {"outputs": tuple(spec for spec in hmr_info().outputs if spec.name != "camera")},
            "output 'camera' is missing, it has pose, betas, score, token",
        ),
        (
            {"inputs": (TensorSpec("images", "uint8", ("N", 256, 192, 3), "1", "crops"),)},
            r"takes 'crops' and perhaps 'masks' and 'box_info', this one takes \['images'\]",
        ),
    ],
)
def test_other_conventions_are_refused(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    golden_outputs = {spec.name for spec in hmr_info(**changes).outputs}
    golden_input = hmr_info(**changes).inputs[0].name
    from bodycast.engines.package_writer import write_package  # a package whose metadata differs from its graph

    info = hmr_info(**changes)
    inputs = {golden_input: np.zeros((1, 256, 192, 3), np.uint8)}
    outputs = {s.name: np.zeros(s.concrete(1), s.dtype) for s in info.outputs if s.name in golden_outputs}
    package = write_package(tmp_path / "p", info, affine_model(), inputs, outputs)
    with pytest.raises(UsageError, match=message):
        Estimator(package.folder)


def test_wrong_task_and_no_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BODYCAST_HOME", str(tmp_path / "home"))
    with pytest.raises(UsageError, match="is a package for smoother, expected one for hmr"):
        Estimator(affine_package(tmp_path / "p").folder)
    with pytest.raises(UsageError, match="no model package 'hmr-absent' for hmr"):
        Estimator("hmr-absent")
    named = hmr_package(tmp_path / "home" / "models" / "mine")
    opened = Estimator("mine", "onnxruntime", "cpu")
    assert opened.package.folder == named.folder
    opened.close()
    with pytest.raises(UsageError, match=r"one of .*mine"):
        Estimator("other")


def test_an_engine_that_is_not_there_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no engine 'onnx'; there are auto"):
        Estimator(hmr_package(tmp_path / "hmr").folder, "onnx")


def test_a_closed_engine_is_a_run_error(estimator: Estimator) -> None:
    estimator.close()
    with pytest.raises(RunError, match="not open"):
        estimator.estimate(crops_of([[100, 100, 300, 600]]), Intrinsics.default(WH), WH)
