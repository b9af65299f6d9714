"""Person masks of crops, and that they reach the network: silhouettes, the box's middle, a segmenter, none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx", reason="tiny graphs are made with onnx (requirements/export.txt)")

from bodycast.app.errors import UsageError
from bodycast.app.estimation.cropper import crop_people
from bodycast.app.estimation.estimator import Estimator
from bodycast.app.estimation.person_masks import SilhouetteMasks, central_part, moved_mask
from bodycast.app.estimation.segmenter import SegmenterMasks
from bodycast.app.records import Frame, Tracks
from bodycast.hmr.body.body_model import BodyModel
from bodycast.hmr.geometry.camera import Intrinsics, project_intrinsics
from bodycast.hmr.geometry.crop import CropTransform, crop_transforms
from tests.tiny_packages import constant_package, hmr_package, info

WH = (640, 480)
FRAME = Frame(np.zeros((480, 640, 3), np.uint8), 0, 0.0)


def tracks_of(*boxes: list[float], ids: list[int] | None = None) -> Tracks:
    numbers = np.array(ids or range(1, len(boxes) + 1), np.int32)
    return Tracks(numbers, np.array(boxes, np.float32), np.zeros(len(boxes)))


def standing(depth_m: float = 4.0) -> tuple[np.ndarray, Intrinsics, list[float]]:
    """A mesh in the rest pose before the camera, (1, V, 3), and its box px."""
    body = BodyModel.load()
    upright = np.diag([1, -1, -1]).astype(np.float32)
    pose = np.tile(np.eye(3, dtype=np.float32), (1, 24, 1, 1))
    pose[:, 0] = upright
    vertices = body(pose, np.zeros((1, 10), np.float32), np.array([[0, 0, depth_m]], np.float32)).vertices
    intrinsics = Intrinsics.default(WH)
    points = project_intrinsics(vertices[0], intrinsics)
    return vertices, intrinsics, [*points.min(0).tolist(), *points.max(0).tolist()]


def test_a_silhouette_covers_the_mesh_and_little_else() -> None:
    vertices, intrinsics, box = standing()
    masks = SilhouetteMasks()
    tracks = tracks_of(box, ids=[7])
    crops = crop_people(FRAME, tracks)
    masks.remember(tracks.id, vertices, intrinsics)
    mask = masks.of(FRAME, tracks, crops)[0]
    at = np.round(crops.transforms[0].to_crop(project_intrinsics(vertices[0], intrinsics))).astype(int)
    inside = ((at >= 0) & (at < (192, 256))).all(axis=1)
    assert inside.mean() > 0.99 and mask[at[inside, 1], at[inside, 0]].all()
    # The rest pose has its arms down and apart: beside the head and between the feet is nobody.
    assert 0.1 < (mask > 0).mean() < 0.45
    assert not mask[:20, :20].any() and not mask[:20, -20:].any()


def test_who_has_no_mesh_yet_has_the_middle_of_their_box() -> None:
    vertices, intrinsics, box = standing()
    masks = SilhouetteMasks()
    first, both = tracks_of(box, ids=[1]), tracks_of(box, box, ids=[1, 2])
    masks.remember(first.id, vertices, intrinsics)
    known, new = masks.of(FRAME, both, crop_people(FRAME, both))
    np.testing.assert_array_equal(new, central_part(crop_transforms([box])[0], both.xyxy[1]))
    assert (known != new).any()
    masks.remember(both.id[1:], vertices, intrinsics)  # the first has left
    again = masks.of(FRAME, first, crop_people(FRAME, first))[0]
    np.testing.assert_array_equal(again, new)


def test_the_middle_of_a_box_is_the_box_made_smaller() -> None:
    mask = central_part(CropTransform((100.0, 100.0), 256.0), np.array([50, 0, 150, 200], np.float32))
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    assert (columns[0], columns[-1] + 1, rows[0], rows[-1] + 1) == (61, 131, 38, 218)


def test_a_mesh_behind_the_camera_leaves_no_silhouette() -> None:
    vertices, intrinsics, box = standing()
    masks = SilhouetteMasks()
    tracks = tracks_of(box)
    masks.remember(tracks.id, vertices - np.array([0, 0, 10], np.float32), intrinsics)
    mask = masks.of(FRAME, tracks, crop_people(FRAME, tracks))[0]
    np.testing.assert_array_equal(mask, central_part(crop_transforms([box])[0], tracks.xyxy[0]))


@pytest.fixture
def masked(tmp_path: Path) -> Path:
    return hmr_package(tmp_path / "masked", with_masks=True, masks="silhouette").folder


def shares(estimator: Estimator, tracks: Tracks, intrinsics: Intrinsics) -> np.ndarray:
    """Share of each crop that its mask covers, as the network saw it."""
    return estimator.estimate(estimator.crop(FRAME, tracks), intrinsics, WH).betas[:, 0]


def test_the_estimator_gives_its_network_the_masks(masked: Path) -> None:
    vertices, intrinsics, box = standing()
    tracks = tracks_of(box)
    estimator = Estimator(masked, "onnxruntime", "cpu")
    assert "silhouette" in estimator.describe()
    middle = shares(estimator, tracks, intrinsics)
    estimator.remember(tracks.id, vertices, intrinsics)
    body = shares(estimator, tracks, intrinsics)
    crops = estimator.crop(FRAME, tracks)
    estimator.close()
    assert middle[0] != pytest.approx(body[0], abs=0.02)
    assert crops.masks is not None and body[0] == pytest.approx(crops.masks.mean() / 255, abs=1e-4)
    none = Estimator(masked, "onnxruntime", "cpu", masks="none")
    none.remember(tracks.id, vertices, intrinsics)
    np.testing.assert_array_equal(shares(none, tracks, intrinsics), 0)
    none.close()


def test_the_flip_test_mirrors_masks_too(masked: Path) -> None:
    vertices, intrinsics, box = standing()
    tracks = tracks_of(box)
    estimator = Estimator(masked, "onnxruntime", "cpu", flip_test=True)
    estimator.remember(tracks.id, vertices, intrinsics)
    crops = estimator.crop(FRAME, tracks)
    assert crops.masks is not None
    assert shares(estimator, tracks, intrinsics)[0] == pytest.approx(crops.masks.mean() / 255, abs=0.01)
    estimator.close()


def test_crops_without_masks_have_the_middle(masked: Path) -> None:
    tracks = tracks_of([100, 100, 300, 400])
    estimator = Estimator(masked, "onnxruntime", "cpu")
    covered = estimator.estimate(crop_people(FRAME, tracks), Intrinsics.default(WH), WH).betas[0, 0]
    estimator.close()
    assert covered == pytest.approx(0.7 * 0.9, abs=0.01)


def test_masks_for_a_network_that_takes_none_are_refused(tmp_path: Path) -> None:
    plain = hmr_package(tmp_path / "plain").folder
    Estimator(plain, "onnxruntime", "cpu", masks="none").close()
    with pytest.raises(UsageError, match="--masks silhouette: tiny-hmr takes no masks; bodycast import"):
        Estimator(plain, "onnxruntime", "cpu", masks="silhouette")


def segmenter(folder: Path, side: int = 64) -> Path:
    """The left half of every crop is the person."""
    left = np.zeros((1, side, side), np.float32)
    left[..., : side // 2] = 1
    base = info(
        name="left", task="segmenter", architecture="constant", arguments={}, normalisation="in-graph",
        crop_rule="hmr2-square",
    )  # fmt: skip
    return constant_package(folder, {"crops": np.zeros((2, side, side, 3), np.uint8)}, {"mask": left}, base).folder


def test_a_segmenters_mask_is_moved_into_the_networks_crop(tmp_path: Path) -> None:
    tracks = tracks_of([100, 100, 200, 300], [300, 100, 500, 300])
    crops = crop_people(FRAME, tracks)
    masks = SegmenterMasks(segmenter(tmp_path / "left"), "onnxruntime", "cpu")
    found = masks.of(FRAME, tracks, crops)
    assert found.shape == (2, 256, 192) and set(np.unique(found)) == {0, 255}
    # A square crop of the same person is wider; the middles lie on each other.
    assert (found[:, 8:-8, 8:90] == 255).all() and not found[:, :, 100:].any()
    assert masks.of(FRAME, Tracks.empty(), crop_people(FRAME, Tracks.empty())).shape == (0, 256, 192)
    masks.close()


def test_segmenter_is_found_among_the_installed(masked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BODYCAST_HOME", str(tmp_path / "home"))
    with pytest.raises(UsageError, match="no segmenter is installed; bodycast export segmenter"):
        Estimator(masked, "onnxruntime", "cpu", masks="segmenter")
    segmenter(tmp_path / "home" / "models" / "left")
    tracks = tracks_of([100, 100, 300, 400])
    estimator = Estimator(masked, "onnxruntime", "cpu", masks="segmenter")
    assert "masks: left on" in estimator.describe()
    assert shares(estimator, tracks, Intrinsics.default(WH))[0] == pytest.approx(0.5, abs=0.02)
    estimator.close()


def test_a_mask_is_sampled_where_it_lies() -> None:
    made_in = CropTransform((100.0, 100.0), 100.0, (50, 50))
    mask = np.zeros((50, 50), np.float32)
    mask[10:20, 30:40] = 1
    moved = moved_mask(mask, made_in, CropTransform((110.0, 90.0), 50.0, (100, 100)))
    rows, columns = np.flatnonzero(moved.any(1)), np.flatnonzero(moved.any(0))
    # x px 110..128 -> 50..86 of the other crop, y 70..88 -> 10..46; half a cell beyond the outer samples.
    assert abs(columns[0] - 48) <= 2 and abs(columns[-1] - 88) <= 2
    assert abs(rows[0] - 8) <= 2 and abs(rows[-1] - 48) <= 2
