"""Keypoint networks and the fusion as stages of the program, on packages that answer with something known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx", reason="tiny graphs are made with onnx (requirements/export.txt)")

from bodycast.app.errors import RunError, UsageError
from bodycast.app.estimation.finite_rows import MAX_EMPTY_OUTPUTS
from bodycast.app.estimation.fused_estimator import FusedEstimator, find_fusion
from bodycast.app.estimation.keypoints import COCO_OF, KeypointNetwork
from bodycast.app.records import Frame, Tracks
from bodycast.engines.package import load_package
from bodycast.hmr.body.body_model import BodyModel, forward_kinematics
from bodycast.hmr.body.coco_joints import coco_offsets, coco_points
from bodycast.hmr.geometry.camera import Intrinsics, project_intrinsics
from bodycast.hmr.geometry.crop import PADDING, ROOM, padded_transforms
from bodycast.hmr.geometry.rotations import axis_angle_to_matrix
from tests.tiny_packages import constant_package, fusion_package, pose_package

WH = (1280, 720)
CAMERA = Intrinsics.default(WH)
BOX = np.array([[500, 100, 700, 600]], np.float32)
FACING = axis_angle_to_matrix(np.array([np.pi, 0, 0], np.float32))


def facing() -> np.ndarray:
    pose = np.tile(np.eye(3, dtype=np.float32), (24, 1, 1))
    pose[0] = FACING
    return pose


def scene(boxes: np.ndarray = BOX, level: int = 200) -> tuple[Frame, Tracks]:
    image = np.full((WH[1], WH[0], 3), level, np.uint8)
    ids = np.arange(1, len(boxes) + 1, dtype=np.int32)
    return Frame(image, 0, 0.0), Tracks(ids, boxes, np.zeros(len(boxes)))


def opened(tmp_path: Path, keypoints: np.ndarray, fit: bool = True, **fusion: object) -> FusedEstimator:
    seen = KeypointNetwork(pose_package(tmp_path / "pose", keypoints).folder, "onnxruntime", "cpu")
    package = fusion_package(tmp_path / "fusion", facing(), **fusion)  # type: ignore[arg-type]
    return FusedEstimator(seen, load_package(package.folder), device="cpu", refine_keypoints=fit)


def test_the_body_stands_where_the_crops_camera_says(tmp_path: Path) -> None:
    estimator = opened(tmp_path, np.zeros((17, 3), np.float32), camera=(0.8, 0.1, -0.2))
    frame, tracks = scene(np.array([[500, 100, 700, 600], [900, 50, 1200, 700]], np.float32))
    bodies = estimator.estimate(estimator.crop(frame, tracks), CAMERA, WH)
    assert bodies.id.tolist() == [1, 2] and bodies.score == pytest.approx(0.9, abs=1e-6)
    assert bodies.token.shape == (2, 0) and estimator.body_name == "bodycast-adult"
    for transform, transl_m in zip(padded_transforms(tracks.xyxy, (64, 64)), bodies.transl_m, strict=True):
        pixel = project_intrinsics(transl_m[None].astype(np.float64), CAMERA)[0]
        expected = np.array(transform.centre_px) + 0.5 * transform.size_px * 0.8 * np.array([0.1, -0.2])
        np.testing.assert_allclose(pixel, expected, atol=0.5)  # the rest pose's pelvis is a hair off the origin
    estimator.close()


def test_refinement_brings_the_body_onto_the_keypoints(tmp_path: Path) -> None:
    """Keypoints of the same body 0.03 crop heights to the right, arms a little lower."""
    body = BodyModel.load()
    offsets = coco_offsets(body)
    plain = opened(tmp_path / "plain", np.zeros((17, 3), np.float32), fit=False)
    frame, tracks = scene()
    before = plain.estimate(plain.crop(frame, tracks), CAMERA, WH)
    rest = body.joints(before.betas)

    def places(pose: np.ndarray, transl: np.ndarray) -> np.ndarray:
        turns, joints = forward_kinematics(pose, rest)
        return project_intrinsics(coco_points(turns, joints + transl[:, None], offsets)[0], CAMERA)

    lowered = before.pose.copy()
    for joint, side in ((16, -1), (17, 1)):
        lowered[0, joint] = axis_angle_to_matrix(np.array([0, 0, 0.2 * side], np.float32)) @ lowered[0, joint]
    transform = padded_transforms(tracks.xyxy, (64, 64))[0]
    wanted = places(lowered, before.transl_m) + np.array([0.03 * transform.size_px, 0])
    at = (wanted - np.array(transform.centre_px)) / transform.size_px
    keypoints = np.concatenate([at, np.ones((17, 1))], axis=1).astype(np.float32)
    fitted = opened(tmp_path / "fitted", keypoints)
    after = fitted.estimate(fitted.crop(frame, tracks), CAMERA, WH)
    off_before = np.linalg.norm(places(before.pose, before.transl_m) - wanted, axis=1).mean()
    off_after = np.linalg.norm(places(after.pose, after.transl_m) - wanted, axis=1).mean()
    assert off_after < 0.2 * off_before
    assert "refined on the keypoints" in fitted.describe() and "refined" not in plain.describe()


def test_a_superset_gives_its_coco_rows(tmp_path: Path) -> None:
    keypoints = np.zeros((33, 3), np.float32)
    keypoints[:, 0] = np.arange(33) / 100
    seen = KeypointNetwork(
        pose_package(tmp_path / "p", keypoints, joint_set="blazepose-33").folder, "onnxruntime", "cpu"
    )
    found = seen.look(np.zeros((3, 64, 64, 3), np.uint8))
    assert found.shape == (3, 17, 3)
    np.testing.assert_allclose(found[0, :, 0], np.array(COCO_OF["blazepose-33"]) / 100, atol=1e-6)


def test_the_flip_test_is_the_mean_with_the_mirror_image(tmp_path: Path) -> None:
    """A network that answers alike for both: sides are exchanged and x turned round, by half a pixel beside zero."""
    keypoints = np.full((17, 3), 0.5, np.float32)
    keypoints[:, 0] = 0.1
    folder = pose_package(tmp_path / "p", keypoints).folder
    seen = KeypointNetwork(folder, "onnxruntime", "cpu", flip_test=True)
    found = seen.look(np.zeros((1, 64, 64, 3), np.uint8))[0]
    np.testing.assert_allclose(found[:, 0], (0.1 + (-0.1 - 1 / 64)) / 2, atol=1e-6)
    assert "flip test" in seen.describe()


def test_crops_are_padded_and_black_where_others_may_stand(tmp_path: Path) -> None:
    seen = KeypointNetwork(pose_package(tmp_path / "p", np.zeros((17, 3), np.float32)).folder, "onnxruntime", "cpu")
    frame, tracks = scene()
    crop = seen.crop(frame, tracks).pixels[0]
    side_px = PADDING * 500
    shown = (crop > 100).all(-1)
    columns = np.flatnonzero(shown.any(0))
    assert (columns[-1] - columns[0] + 1) * side_px / 64 == pytest.approx(200 + 2 * ROOM * 500, abs=2 * side_px / 64)
    assert shown[:, 32].all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"crop_rule": "udp"}, "expected padded crops"),
        ({"joint_set": "smpl-24"}, "keypoints of 'smpl-24', expected one of coco-17"),
        ({"joint_set": "halpe-26"}, r"expected the output keypoints float \('N', 26, 3\)"),
        ({"task": "detector"}, "is a package for detector, expected one for pose"),
    ],
)
def test_other_packages_are_refused(tmp_path: Path, changes: dict[str, str], message: str) -> None:
    folder = pose_package(tmp_path / "p", np.zeros((17, 3), np.float32), **changes).folder
    with pytest.raises(UsageError, match=message):
        KeypointNetwork(folder, "onnxruntime", "cpu")


def test_other_fusions_are_refused(tmp_path: Path) -> None:
    seen = KeypointNetwork(pose_package(tmp_path / "p", np.zeros((17, 3), np.float32)).folder, "onnxruntime", "cpu")
    wrong = fusion_package(tmp_path / "f", orientation_frame="camera")
    with pytest.raises(UsageError, match="in the crop's ray frame"):
        FusedEstimator(seen, load_package(wrong.folder), device="cpu")
    inputs = {"keypoints": np.zeros((2, 17, 3), np.float32), "geometry": np.zeros((2, 3), np.float32)}
    base = load_package(fusion_package(tmp_path / "g").folder).info
    short = constant_package(tmp_path / "short", inputs, {"pose": np.zeros((1, 24, 3, 3), np.float32)}, base)
    with pytest.raises(UsageError, match="expected the output betas"):
        FusedEstimator(seen, load_package(short.folder), device="cpu")


def test_ones_own_fusion_goes_before_the_embedded_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BODYCAST_HOME", str(tmp_path))
    fusion_package(tmp_path / "models" / "mine", name="mine")
    assert find_fusion().info.name == "mine"
    assert find_fusion(tmp_path / "models" / "mine").info.name == "mine"


def test_answers_that_are_no_numbers_are_left_out_and_end_the_run(tmp_path: Path) -> None:
    estimator = opened(tmp_path, np.zeros((17, 3), np.float32), camera=(np.nan, 0.0, 0.0))
    frame, tracks = scene()
    crops = estimator.crop(frame, tracks)
    for _ in range(MAX_EMPTY_OUTPUTS - 1):
        assert len(estimator.estimate(crops, CAMERA, WH)) == 0
    assert "bodies were left out" in estimator.warnings[0]
    with pytest.raises(RunError, match="not finite"):
        estimator.estimate(crops, CAMERA, WH)


def test_nobody_is_no_row(tmp_path: Path) -> None:
    estimator = opened(tmp_path, np.zeros((17, 3), np.float32))
    frame, tracks = scene(np.zeros((0, 4), np.float32))
    assert len(estimator.estimate(estimator.crop(frame, tracks), CAMERA, WH)) == 0
