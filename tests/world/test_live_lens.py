"""The lens while people are followed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bodycast.app.records import BodyEstimates, Frame
from bodycast.app.world.lens import estimate_lens
from bodycast.app.world.live import LiveWorld
from bodycast.app.world.live_lens import LiveLens
from bodycast.app.world.options import WorldOptions
from tests.sinks.results import embedded_body
from tests.world.scenes import LENS, pixels
from tests.world.test_lens_and_scores import under, walk

FRAMES = 130
"""Then the walker is still 2 m from the camera."""


def test_it_goes_where_the_walks_say_without_a_jump() -> None:
    series = under(walk(), 1 / 1.3).series()
    lens = LiveLens()
    ratios = []
    for row, time_s in enumerate(series.time_s.tolist()):
        lens.update([1], series.root_m[row : row + 1], series.soles_m[row : row + 1], time_s)
        ratios.append(lens.ratio)
    for extra in range(1, 400):  # the walk is over; the lens settles
        lens.update([], np.zeros((0, 3), np.float32), np.zeros((0, 4, 3), np.float32), time_s + extra / 30)
    whole = estimate_lens([series])
    assert ratios[0] == 1.0
    assert np.abs(np.diff(np.log(ratios))).max() < 0.01
    assert lens.estimate.walks == 1
    assert lens.ratio == pytest.approx(whole.ratio, rel=0.05)
    assert lens.ratio > 1.03


@pytest.mark.parametrize("options", [WorldOptions(live=True, lens_from="as given"), WorldOptions()])
def test_a_given_lens_and_a_film_stay_as_they_are(options: WorldOptions) -> None:
    world = LiveWorld(embedded_body(), options)
    placed, frame_world, lens = _run(world)
    assert frame_world.focal_ratio == 1.0
    assert lens.focal_px == LENS.focal_px
    assert len(placed) == 1


def test_the_picture_stays_while_the_lens_changes() -> None:
    world = LiveWorld(embedded_body(), WorldOptions(live=True))
    placed, frame_world, lens = _run(world)
    assert frame_world.focal_ratio > 1.01
    assert lens.focal_px == pytest.approx(LENS.focal_px * frame_world.focal_ratio)
    assert world.report().focal_px == pytest.approx(lens.focal_px, abs=0.1)
    body = embedded_body()
    joints = body(placed.pose, placed.betas, placed.transl_m).joints
    seen = under(walk(), 1 / 1.3)
    off = np.linalg.norm(pixels(joints, lens)[0] - pixels(seen.joints()[FRAMES - 1 : FRAMES])[0], axis=1)
    assert np.median(off) < 3


def _run(world: LiveWorld):
    """The last frame of somebody who walks towards a camera whose lens is longer than assumed."""
    seen = under(walk(), 1 / 1.3)
    series = seen.series()
    rest = embedded_body().joints(np.zeros((1, 10), np.float32))[:, 0]
    image = np.zeros((LENS.image_wh[1], LENS.image_wh[0], 3), np.uint8)
    empty = BodyEstimates.empty()
    for row, time_s in enumerate(series.time_s.tolist()[:FRAMES]):
        estimates = replace(
            empty,
            id=np.ones(1, np.int32),
            pose=seen.pose[row : row + 1],
            betas=np.zeros((1, 10), np.float32),
            transl_m=(seen.root_m[row : row + 1] - rest).astype(np.float32),
            score=np.ones(1, np.float32),
            token=np.zeros((1, 0), np.float32),
            keypoints=np.zeros((1, 0, 3), np.float32),
        )
        placed, frame_world = world.place(
            Frame(image, row, time_s), estimates, np.array([[0, 0, 50, 50]], np.float32), LENS
        )
    return placed, frame_world, LENS.with_focal_times(frame_world.focal_ratio)
