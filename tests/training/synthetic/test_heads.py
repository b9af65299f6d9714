"""Painted heads: eyes where the mesh has eyes, lips where it has lips, tones from light to dark."""

from __future__ import annotations

import numpy as np
import pytest

from bodycast.hmr.body.body_model import BodyModel
from training.synthetic.garments.baked_file import read_wardrobe
from training.synthetic.garments.head_chart import CHANNELS, HEAD_AXIS_XZ, HEAD_HW, HEAD_TOP_M, chart_place
from training.synthetic.garments.wardrobe import WARDROBE_FILE
from training.synthetic.heads import HeadPool, Landmarks, paint_pool


@pytest.fixture(scope="module")
def chart() -> np.ndarray:
    return read_wardrobe(WARDROBE_FILE)[1]


@pytest.fixture(scope="module")
def pool(chart: np.ndarray) -> HeadPool:
    return paint_pool(4, 8, chart)


def test_chart_runs_from_the_right_ear_over_the_face_to_the_left() -> None:
    x, z = HEAD_AXIS_XZ
    column, row = chart_place(np.array([x, HEAD_TOP_M, z + 0.1]))
    assert abs(column - (HEAD_HW[1] / 2 - 0.5)) < 1e-6 and abs(row + 0.5) < 1e-6
    assert chart_place(np.array([x + 0.1, 0.6, z]))[0] == pytest.approx(HEAD_HW[1] * 0.75 - 0.5)


def test_masks_are_symmetric_and_in_their_places(chart: np.ndarray) -> None:
    marks = Landmarks.of(chart)
    np.testing.assert_allclose(marks.eyes[0] * [-1, 1], marks.eyes[1], atol=1e-3)
    assert 0.025 < marks.eyes[0, 0] < 0.04, "half the distance of the pupils along the face"
    assert 0.05 < marks.eyes[0, 1] - marks.mouth[1] < 0.09
    assert 0.018 < marks.mouth_half_m < 0.032
    ears = marks.masks["ears"] > 0.5
    assert ears[:, :200].any() and ears[:, 312:].any() and not ears[:, 230:282].any()


def test_eyes_have_pupils_and_whites(pool: HeadPool, chart: np.ndarray) -> None:
    ball = chart[..., CHANNELS.index("eyeballs")] > 128
    contrasts = [np.ptp(p[ball][:, :3].mean(1).astype(float)) for p in pool.pictures]
    assert np.median(contrasts) > 90


def test_lips_are_redder_than_the_cheek(pool: HeadPool, chart: np.ndarray) -> None:
    lips = chart[..., CHANNELS.index("lips")] > 200
    lips[:, :230], lips[:, 282:] = False, False
    rows, columns = np.nonzero(lips)
    cheek = (slice(rows.min() - 25, rows.min() - 15), slice(columns.min() - 25, columns.min() - 12))

    def redness(pixels: np.ndarray) -> float:
        red, green = pixels[..., 0].astype(float).mean(), pixels[..., 1].astype(float).mean()
        return red / max(green, 1.0)

    more = [redness(p[lips]) - redness(p[cheek]) for p in pool.pictures]
    assert np.median(more) > 0.08


def test_tones_cover_the_scale(pool: HeadPool) -> None:
    level = pool.tone.mean(1)
    assert level[0] > 0.75 and level[-1] < 0.35
    assert np.corrcoef(np.arange(8), level)[0, 1] < -0.9


def test_same_seed_same_heads(pool: HeadPool, chart: np.ndarray) -> None:
    np.testing.assert_array_equal(pool.pictures, paint_pool(4, 8, chart).pictures)
    assert (pool.pictures != paint_pool(5, 8, chart).pictures).any()


def test_paint_ends_above_the_neck(pool: HeadPool) -> None:
    """The chart's lower edge fades out, so that the neck has no rim; the rest is opaque."""
    assert (pool.pictures[:, -1, :, 3] < 40).all()
    assert (pool.pictures[:, :200, :, 3] == 255).all()


def test_eyeballs_of_the_chart_are_those_of_the_body(chart: np.ndarray) -> None:
    body = BodyModel.load()
    rest = body.arrays.v_template.astype(float)
    marks = Landmarks.of(chart)
    front = rest[(np.abs(np.abs(rest[:, 0]) - 0.031) < 0.012) & (np.abs(rest[:, 1] - marks.eyes[0, 1]) < 0.006)]
    assert len(front) > 4 and front[:, 2].max() > 0.13
