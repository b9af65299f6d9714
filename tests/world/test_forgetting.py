"""What a run without an end, or a cut, must let go: people who are gone, another camera's answers."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from bodycast.app.records import U8, BodyEstimates, Frame
from bodycast.app.world.lens import usual_lens
from bodycast.app.world.lens_watch import LensWatch
from bodycast.app.world.live import FORGET_S, LiveWorld
from bodycast.app.world.live_lens import LOOK_EVERY_S, MOST_WALKS, LiveLens
from bodycast.app.world.options import WorldOptions
from bodycast.app.world.verticals import Verticals
from bodycast.hmr.geometry.ground import Floor
from tests.sinks.results import embedded_body
from tests.world.scenes import IMAGE_WH, LENS, on_floor, see, upright
from tests.world.test_lens_and_scores import under, walk
from tests.world.test_verticals import LENS as ROOM_LENS
from tests.world.test_verticals import NOBODY, POSTS, room

FLOOR = Floor.of_angles(0.1, 0.0, 1.5)
GREY = np.full((IMAGE_WH[1], IMAGE_WH[0], 3), 90, np.uint8)


def stand(world: LiveWorld, person: int, begin_s: float, image: U8 = GREY) -> None:
    """A second of somebody who stands."""
    seen = see(upright(30), on_floor(upright(30), (0.3, -4.5)), FLOOR)
    rest = embedded_body().joints(np.zeros((1, 10), np.float32))[:, 0]
    for row in range(30):
        estimates = BodyEstimates(
            id=np.full(1, person, np.int32),
            pose=seen.pose[row : row + 1],
            betas=np.zeros((1, 10), np.float32),
            transl_m=(seen.root_m[row : row + 1] - rest).astype(np.float32),
            score=np.full(1, 0.9, np.float32),
            token=np.zeros((1, 0), np.float32),
        )
        world.place(Frame(image, row, begin_s + row / 30), estimates, np.array([[0, 0, 9, 9]], np.float32), LENS)


def test_who_is_gone_for_long_is_forgotten_with_their_level() -> None:
    world = LiveWorld(embedded_body(), WorldOptions(lens_from="as given"))
    stand(world, 1, 0.0)
    assert set(world.floor.levels) == {1}
    stand(world, 2, FORGET_S / 2)
    assert set(world.floor.levels) == {1, 2}
    stand(world, 3, FORGET_S + 10)
    stand(world, 3, FORGET_S + 11)  # nor does the next fit bring them back
    assert set(world.floor.levels) == {2, 3} == set(world.report().heights_m)


def test_the_lens_keeps_the_newest_walks() -> None:
    lens, series = LiveLens(), under(walk(), 1 / 1.3).series()
    for row, time_s in enumerate(series.time_s.tolist()):
        root, soles = series.root_m[[row] * 40], series.soles_m[[row] * 40]
        lens.update(range(40), root, soles, time_s)
    lens.update([], root[:0], soles[:0], time_s + LOOK_EVERY_S)
    assert lens.estimate.walks == MOST_WALKS


def test_pictures_of_other_cameras_have_each_their_vertical() -> None:
    verticals, found = Verticals(), []
    for row, pitch_deg in enumerate((12.0, -6.0)):
        verticals.reset()
        verticals.update(
            room(Floor.of_angles(np.radians(pitch_deg), 0.0, 1.5), POSTS), row / 10, NOBODY, np.eye(3), ROOM_LENS
        )
        vertical = verticals.vertical(ROOM_LENS.focal_px)
        assert vertical is not None
        found.append(float(np.degrees(vertical.angles_rad[0])))
    assert found == [pytest.approx(12, abs=1), pytest.approx(-6, abs=1)]


def test_a_lens_that_moves_a_little_is_no_reason_to_look_again() -> None:
    verticals = Verticals()
    verticals.update(room(Floor.of_angles(0.2, 0.0, 1.5), POSTS), 0.0, NOBODY, np.eye(3), ROOM_LENS)
    first = verticals.vertical(ROOM_LENS.focal_px)
    assert first is not None and verticals.vertical(ROOM_LENS.focal_px * 1.005) is first
    assert verticals.vertical(ROOM_LENS.focal_px * 1.2) is not first


def test_upright_edges_of_one_shot_say_nothing_of_a_film_of_two() -> None:
    world = LiveWorld(embedded_body(), WorldOptions(lens_from="as given"))
    picture = room(Floor.of_angles(0.2, 0.0, 1.5), POSTS)
    world.reset()  # before anybody was seen
    stand(world, 1, 0.0, picture)
    assert world.vertical(ROOM_LENS.focal_px) is not None
    world.reset()
    stand(world, 2, 1.0, picture)
    assert world.vertical(ROOM_LENS.focal_px) is None


def test_an_answer_that_comes_after_a_cut_is_of_the_camera_before() -> None:
    may_answer = threading.Event()

    class Slow:
        def focal_px(self, image: U8) -> float:
            assert may_answer.wait(5)
            return 900.0

    watch = LensWatch(Slow(), live=True)
    watch.offer(Frame(GREY, 0, 0.0), usual_lens(IMAGE_WH))
    watch.reset()
    may_answer.set()
    watch.close()
    assert watch.seen is None
    watch.offer(Frame(GREY, 1, 0.1), usual_lens(IMAGE_WH))  # looked at at once
    watch.close()
    assert watch.seen is not None and watch.seen.pictures == 1
