"""HMR2.0's crop rule: the official crops, exact inverses, the smaller network inputs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bodycast.hmr.geometry.crop import CropTransform, crop_transforms, hmr_square, sample_crop, stack_crops

MEAN = 255 * np.array([0.485, 0.456, 0.406])
STD = 255 * np.array([0.229, 0.224, 0.225])

transforms = st.builds(
    CropTransform,
    st.tuples(st.floats(-500, 4000), st.floats(-500, 4000)),
    st.floats(8, 3000),
    st.sampled_from([(256, 256), (256, 192), (192, 144), (128, 96)]),
)


@pytest.fixture(scope="module")
def golden(goldens_dir: Path):
    return np.load(goldens_dir / "hmr2_crop.npz", allow_pickle=False)


def test_rule_matches_the_official_crops(golden):
    centre, size = hmr_square(golden["in/boxes"])
    np.testing.assert_allclose(centre, golden["out/box_center"], rtol=1e-6)
    np.testing.assert_allclose(size, golden["out/box_size"], rtol=1e-6)
    for transform, affine in zip(crop_transforms(golden["in/boxes"], (256, 256)), golden["out/affine"], strict=True):
        np.testing.assert_allclose(transform.image_to_crop, affine, rtol=1e-5, atol=1e-4)


def test_pixels_match_the_official_crops(golden):
    """The last box is blurred first upstream (it is larger than 563 px), so only the other three compare."""
    rgb = golden["in/image_bgr"][..., ::-1]
    # The file holds a sample of the pixels.
    crop, channel, v, u = np.unravel_index(golden["at/img"], golden["shape/img"])
    official = golden["out/img"] * STD[channel] + MEAN[channel]
    for i, transform in enumerate(crop_transforms(golden["in/boxes"], (256, 256))[:3]):
        ours = sample_crop(rgb, transform)[v, u, channel]
        difference = np.abs(ours - official)[crop == i]
        # OpenCV quantises its bilinear weights to 1/32 and rounds to integers: 4 grey levels, 0.3 on average.
        assert difference.max() < 5.0 and difference.mean() < 0.4


def test_network_crop_is_the_central_part_of_the_square(golden):
    rgb = golden["in/image_bgr"][..., ::-1]
    square = sample_crop(rgb, crop_transforms(golden["in/boxes"][:1], (256, 256))[0])
    network = sample_crop(rgb, crop_transforms(golden["in/boxes"][:1], (256, 192))[0])
    np.testing.assert_allclose(network, square[:, 32:224], atol=1e-9)


@given(transforms, st.floats(0, 256), st.floats(0, 256))
def test_crop_to_image_and_back(transform, u, v):
    point = np.array([u, v])
    image = transform.to_image(point)
    np.testing.assert_allclose(transform.to_crop(image), point, atol=1e-6)
    np.testing.assert_allclose(transform.crop_to_image @ [u, v, 1.0], image, atol=1e-6)
    np.testing.assert_allclose(transform.image_to_crop @ [*image, 1.0], point, atol=1e-6)


@given(transforms)
def test_every_network_size_looks_at_the_same_square(transform):
    """The corners of the square, in crop pixels of any input size, are the same image points."""
    height, width = transform.crop_hw
    margin = (height - width) / 2
    corners = np.array([[-margin, 0.0], [width + margin, height]])
    x, y = transform.centre_px
    half = transform.size_px / 2
    np.testing.assert_allclose(transform.to_image(corners), [[x - half, y - half], [x + half, y + half]], atol=1e-6)


def test_empty_and_impossible_boxes():
    assert crop_transforms(np.zeros((0, 4))) == ()
    centres, sizes = stack_crops(())
    assert centres.shape == (0, 2) and sizes.shape == (0,)
    with pytest.raises(ValueError, match="x1 > x0"):
        crop_transforms([[5.0, 5.0, 5.0, 9.0]])
    with pytest.raises(ValueError, match="x1 > x0"):
        crop_transforms([[np.nan, 5.0, 7.0, 9.0]])
    with pytest.raises(ValueError, match="positive size"):
        CropTransform((0.0, 0.0), 0.0)
