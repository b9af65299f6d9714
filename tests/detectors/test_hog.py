"""HOG on real clips (where they are), and its grouping and merging on boxes made by hand."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from bodycast.app.detectors.hog import HogDetector, group_windows, merge_close_ups, person_from_face
from bodycast.app.errors import UsageError
from bodycast.app.records import Frame
from bodycast.hmr.geometry.boxes import clip, from_points, iou_matrix
from bodycast.hmr.geometry.suppression import covered_share, non_maximum_suppression


def boxes(*rows: tuple[float, float, float, float]) -> np.ndarray:
    return np.array(rows, np.float32).reshape(-1, 4)


def clip_frames(shared_dir: Path, name: str, every: int = 20, count: int = 100) -> list[tuple[np.ndarray, np.ndarray]]:
    """Frames and their person boxes, from the joints that MediaPipe saw."""
    joints = np.load(shared_dir / "media" / f"{name}.mediapipe.npz")["keypoints_px"]
    capture = cv2.VideoCapture(str(shared_dir / "media" / f"{name}.mp4"))
    frames: list[tuple[np.ndarray, np.ndarray]] = []
    for index in range(count):
        image = capture.read()[1]
        if index % every == 0:
            seen = joints[index, :, 2] > 0.5
            box = from_points(joints[index, :, :2], seen, padding=0.06)
            frames.append((image, clip(box, image.shape[1::-1]).astype(np.float32)))
    capture.release()
    return frames


def found_share(frames: list[tuple[np.ndarray, np.ndarray]]) -> tuple[float, int]:
    """Share of frames with a box of IoU over 0.5, and boxes that hit nobody."""
    detector = HogDetector()
    hits, strays = 0, 0
    for image, person in frames:
        overlap = iou_matrix(detector.detect(Frame(image, 0, 0.0)).xyxy, person[None])
        hits += bool(np.any(overlap > 0.5))
        strays += int(np.sum(overlap < 0.2))
    return hits / len(frames), strays


@pytest.mark.parametrize("name", ["taiji", "run"])
def test_whole_people_in_real_clips(shared_dir: Path, name: str) -> None:
    share, strays = found_share(clip_frames(shared_dir, name))
    assert share >= 0.8 and strays <= 1


def test_close_ups_as_at_a_webcam(shared_dir: Path) -> None:
    """Head and shoulders cut from a clip: HOG alone finds none of these."""
    close: list[tuple[np.ndarray, np.ndarray]] = []
    for image, person in clip_frames(shared_dir, "taiji"):
        middle, top = person[[0, 2]].mean(), max(person[1] - 20, 0)
        low = np.array([middle - 210, top]).astype(int)
        window = image[low[1] : low[1] + 236, low[0] : low[0] + 420]
        scale = 1280 / window.shape[1]
        cut = (person - np.tile(low, 2)) * scale
        picture = cv2.resize(window, None, fx=scale, fy=scale)
        close.append((picture, clip(cut, picture.shape[1::-1]).astype(np.float32)))
    share, strays = found_share(close)
    assert share >= 0.8 and strays <= 1


def test_windows_that_agree_become_one_person() -> None:
    near = boxes((100, 100, 200, 300), (104, 100, 204, 300), (96, 104, 196, 304))
    limb = boxes((120, 150, 160, 230))
    far = boxes((500, 100, 600, 300))
    margin = np.array([0.5, 1.0, 0.5, 0.4, 0.3], np.float32)
    grouped, support = group_windows(np.concatenate([near, limb, far]), margin)
    np.testing.assert_allclose(support, [2.0, 0.3], rtol=1e-6)
    np.testing.assert_allclose(grouped[0], (0.25 * near[0] + 0.5 * near[1] + 0.25 * near[2]), rtol=1e-6)
    np.testing.assert_allclose(grouped[1], far[0])


def test_grouping_nothing() -> None:
    grouped, support = group_windows(boxes(), np.zeros(0, np.float32))
    assert grouped.shape == (0, 4) and support.shape == (0,)


def test_a_face_on_a_whole_person_is_the_same_person() -> None:
    whole, face = boxes((100, 100, 300, 700)), boxes((170, 110, 240, 190))
    keep_whole, keep_close = merge_close_ups(whole, face, person_from_face(face))
    assert keep_whole.tolist() == [True] and keep_close.tolist() == [False]


def test_a_sleeve_beside_a_large_face_goes() -> None:
    face = boxes((500, 100, 700, 300))
    sleeve, other = (420, 300, 560, 690), (1000, 100, 1200, 700)
    keep_whole, keep_close = merge_close_ups(boxes(sleeve, other), face, person_from_face(face))
    assert keep_whole.tolist() == [False, True] and keep_close.tolist() == [True]


def test_merging_with_nobody_on_either_side() -> None:
    face = boxes((500, 100, 700, 300))
    keep_whole, keep_close = merge_close_ups(boxes(), face, person_from_face(face))
    assert keep_whole.shape == (0,) and keep_close.tolist() == [True]
    keep_whole, keep_close = merge_close_ups(face, boxes(), boxes())
    assert keep_whole.tolist() == [True] and keep_close.shape == (0,)


def test_suppression_keeps_the_best_of_those_that_overlap() -> None:
    xyxy = boxes((0, 0, 10, 10), (1, 0, 11, 10), (30, 0, 40, 10), (2, 0, 12, 10))
    keep = non_maximum_suppression(xyxy, np.array([0.5, 0.9, 0.3, 0.6], np.float32), 0.5)
    assert keep.tolist() == [1, 2]
    assert non_maximum_suppression(boxes(), np.zeros(0, np.float32), 0.5).shape == (0,)


def test_covered_share() -> None:
    share = covered_share(boxes((0, 0, 10, 10), (20, 20, 30, 30)), boxes((5, 0, 50, 10)))
    np.testing.assert_allclose(share, [[0.5], [0.0]])


def test_opencv_without_hog_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(cv2, "HOGDescriptor")
    with pytest.raises(UsageError, match=r"has no HOG detector: pip install 'opencv-python<5'"):
        HogDetector()


@pytest.mark.parametrize("hw", [(1, 1), (1, 2000), (2000, 1), (3, 5), (200, 1920)])
def test_pictures_of_a_few_pixels_and_strips_hold_nobody(hw: tuple[int, int]) -> None:
    assert len(HogDetector().detect(Frame(np.zeros((*hw, 3), np.uint8), 0, 0.0))) == 0


def test_people_in_a_strip_are_found(shared_dir: Path) -> None:
    ((image, person),) = clip_frames(shared_dir, "taiji", count=1)
    width = image.shape[1]
    strip = np.pad(image, ((0, 0), (width, width), (0, 0)), mode="edge")
    found = HogDetector().detect(Frame(strip, 0, 0.0)).xyxy
    assert (iou_matrix(found, person[None] + np.float32([width, 0, width, 0])) > 0.5).any()
