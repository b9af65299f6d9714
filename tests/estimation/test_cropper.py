"""The fast cropper against HMR2.0's golden crops and against exact sampling."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from bodycast.app.estimation.cropper import SHRINK_LIMIT, WARP_LIMIT_PX, crop_people, sample_window
from bodycast.app.records import Frame, Tracks
from bodycast.hmr.geometry.crop import CropTransform, sample_crop


def tracks(*boxes: tuple[float, float, float, float]) -> Tracks:
    count = len(boxes)
    xyxy = np.array(boxes, np.float32).reshape(count, 4)
    return Tracks(np.arange(3, 3 + count, dtype=np.int32), xyxy, np.zeros(count))


@pytest.fixture(scope="module")
def waves() -> np.ndarray:
    """A smooth picture (720, 1280, 3) with different channels: sampling errors show, aliasing does not."""
    y, x = np.mgrid[0:720, 0:1280]
    planes = [127 + 120 * np.sin(x / 30), 127 + 120 * np.sin(y / 25), 127 + 120 * np.sin((x + y) / 40)]
    return np.stack(planes, axis=-1).astype(np.uint8)


def test_hmr2_golden(goldens_dir: Path) -> None:
    golden = np.load(goldens_dir / "hmr2_crop.npz")
    boxes = [tuple(box) for box in golden["in/boxes"]]
    crops = crop_people(Frame(golden["in/image_bgr"], 0, 0.0), tracks(*boxes))
    mean, std = np.array([0.485, 0.456, 0.406]) * 255, np.array([0.229, 0.224, 0.225]) * 255
    # The file holds a sample of the 256x256 pixels (crop, channel, row, column); ours are the middle 192 columns.
    crop, channel, v, u = np.unravel_index(golden["at/img"], golden["shape/img"])
    expected = golden["out/img"] * std[channel] + mean[channel]
    inside = (u >= 32) & (u < 224)
    ours = crops.pixels[crop[inside], v[inside], u[inside] - 32, channel[inside]]
    crop, expected = crop[inside], expected[inside]
    # The fourth box is shrunk: upstream blurs it slightly and still skips pixels, ours averages over all of them.
    np.testing.assert_allclose(ours[crop < 3], expected[crop < 3], atol=0.01)
    assert ours[crop == 3].mean() == pytest.approx(expected[crop == 3].mean(), abs=1.0)


@pytest.mark.parametrize("input_hw", [(256, 192), (192, 144)])
@pytest.mark.parametrize("height", [90, 258, 300, 400, 560, 700])
def test_equals_exact_sampling_at_every_scale(waves: np.ndarray, height: int, input_hw: tuple[int, int]) -> None:
    crops = crop_people(Frame(waves, 0, 0.0), tracks((500.3, 10.7, 500.3 + 0.6 * height, 10.7 + height)), input_hw)
    expected = sample_crop(waves, crops.transforms[0])[..., ::-1]
    error = np.abs(crops.pixels[0] - expected)
    # One pixel off would be up to 5 grey levels here for each image pixel per crop pixel.
    assert error.mean() < 0.6 and error.max() < 2.5


@pytest.mark.parametrize("height", [90, 280, 700])
def test_pictures_that_opencv_cannot_warp(waves: np.ndarray, height: int) -> None:
    wide = np.zeros((720, WARP_LIMIT_PX + 2000, 3), np.uint8)
    wide[:, 32000 : 32000 + 1280] = waves
    here, there = (
        crop_people(Frame(image, 0, 0.0), tracks((left + 500.3, 10.7, left + 500.3 + 0.6 * height, 10.7 + height)))
        for image, left in ((waves, 0), (wide, 32000))
    )
    error = np.abs(there.pixels.astype(int) - here.pixels)
    assert error.mean() < 0.6 and error.max() < 4
    nobody = crop_people(Frame(wide, 0, 0.0), tracks((-900, -900, -800, -700)))
    assert nobody.pixels.max() == 0


def test_large_boxes_beyond_the_picture(waves: np.ndarray) -> None:
    crops = crop_people(Frame(waves, 0, 0.0), tracks((-200, -100, 900, 900), (1200, 600, 2200, 1900)))
    for pixels, transform in zip(crops.pixels, crops.transforms, strict=True):
        exact = sample_crop(waves, transform)[..., ::-1]
        inside = cv2.erode(exact.min(axis=2), np.ones((7, 7))) > 0
        outside = cv2.dilate(exact.max(axis=2), np.ones((7, 7))) == 0
        assert inside.sum() > 100 and outside.sum() > 100
        assert np.abs(pixels - exact)[inside].max() < 3
        assert pixels[outside].max() == 0


def test_a_box_outside_the_picture_is_black(waves: np.ndarray) -> None:
    crops = crop_people(Frame(waves, 0, 0.0), tracks((-900, -900, -200, -100), (-90, -90, -20, -10)))
    assert crops.pixels.max() == 0


def test_fine_stripes_average_out() -> None:
    stripes = np.zeros((720, 1280, 3), np.uint8)
    stripes[:, ::2] = 255
    transform = CropTransform((640.0, 360.0), 700.0)
    assert transform.scale > SHRINK_LIMIT
    shrunk = sample_window(stripes, transform).astype(float)
    plain = sample_crop(stripes, transform)
    assert shrunk.std() < 0.5 * plain.std()


def test_rgb_ids_and_sizes(waves: np.ndarray) -> None:
    blue = np.zeros((100, 100, 3), np.uint8)
    blue[..., 0] = 200
    crops = crop_people(Frame(blue, 0, 0.0), tracks((20, 20, 80, 80), (30, 10, 60, 90)), (192, 144))
    assert crops.pixels.shape == (2, 192, 144, 3) and crops.id.tolist() == [3, 4]
    assert crops.pixels[0, 96, 72].tolist() == [0, 0, 200]
    assert [transform.crop_hw for transform in crops.transforms] == [(192, 144)] * 2


def test_nobody(waves: np.ndarray) -> None:
    crops = crop_people(Frame(waves, 0, 0.0), Tracks.empty())
    assert crops.pixels.shape == (0, 256, 192, 3) and crops.transforms == ()


def test_a_box_without_area_is_refused(waves: np.ndarray) -> None:
    with pytest.raises(ValueError, match="x1 > x0"):
        crop_people(Frame(waves, 0, 0.0), tracks((10, 10, 10, 50)))
