"""People from the side: all of them are in the picture, upright, in front of what is behind them."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from bodycast.app.records import F32, I32, U8, FrameResult, FrameWorld
from bodycast.app.renderers.side_view import SideView
from bodycast.hmr.geometry.camera import Intrinsics, project_intrinsics
from tests.sinks.results import result_of


class Recorder:
    """A renderer that keeps what it was asked to draw."""

    name = "recorder"

    def render(self, image: U8, vertices: F32, person_id: I32, intrinsics: Intrinsics) -> U8:
        self.vertices, self.intrinsics = vertices, intrinsics
        self.pixels = np.asarray(project_intrinsics(vertices, intrinsics))
        return image.copy()

    def close(self) -> None: ...


def scene(*people: int) -> FrameResult:
    image = np.full((360, 640, 3), 128, np.uint8)
    return result_of(0, people=people, overlay=image)


def test_everybody_is_in_the_picture_and_stands_upright() -> None:
    recorder, result = Recorder(), scene(1, 2, 5)
    picture = SideView().draw(recorder, result)
    assert picture.shape == (360, 640, 3)
    assert (recorder.vertices[..., 2] > 0.5).all()
    inside = (recorder.pixels >= 0) & (recorder.pixels < (640, 360))
    assert inside.mean() > 0.99
    head, foot = recorder.pixels[0][np.argmin(recorder.pixels[0][:, 1])], recorder.pixels[0].max(axis=0)
    assert head[1] < foot[1] - 40


def test_what_was_far_from_the_camera_is_at_one_side() -> None:
    """Seen from the scene's right-hand side, the camera of the film is on the left and what is far on the right."""
    near = scene(1)
    far = replace(near, bodies=replace(near.bodies, vertices=near.bodies.vertices + np.float32([0, 0, 0.5])))
    recorder, view = Recorder(), SideView()
    view.draw(recorder, near)
    first = recorder.pixels[..., 0].mean()
    view.draw(recorder, far)
    assert recorder.pixels[..., 0].mean() > first + 20


def test_nobody_yet_is_an_empty_picture_and_nobody_later_a_floor() -> None:
    view, recorder = SideView(), Recorder()
    assert len(np.unique(view.draw(recorder, scene()).reshape(-1, 3), axis=0)) == 1
    view.draw(recorder, scene(1))
    assert len(np.unique(view.draw(recorder, scene()).reshape(-1, 3), axis=0)) > 1


@pytest.mark.parametrize("known", [True, False])
def test_a_world_that_is_not_known_is_a_level_camera(known: bool) -> None:
    result = scene(1)
    world = FrameWorld.unknown(1)
    lost = replace(world, camera_to_world=np.full((4, 4), np.nan))
    recorder = Recorder()
    picture = SideView().draw(recorder, replace(result, world=world if known else lost))
    assert np.isfinite(recorder.pixels).all() and cv2.countNonZero(picture[..., 0]) > 0
