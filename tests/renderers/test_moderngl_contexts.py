"""GL contexts: several in one thread, one per thread, and what closing does."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from bodycast.app.errors import RunError
from bodycast.app.renderers.moderngl_renderer import ModernglRenderer, pinhole_to_clip
from bodycast.app.renderers.viewport import Viewport
from bodycast.hmr.geometry.camera import Intrinsics
from tests.meshes import ellipsoid

WH = (200, 150)
CAMERA = Intrinsics.default(WH)
PICTURE = np.full((WH[1], WH[0], 3), 50, np.uint8)
VERTICES, FACES = ellipsoid((0.4, 0.5, 0.3))
BODY = (VERTICES + np.array([0, 0, 3]))[None].astype(np.float32)
IDS = np.array([1], np.int32)


def make() -> ModernglRenderer:
    try:
        return ModernglRenderer(FACES)
    except RunError as error:
        pytest.skip(str(error))


def draw(renderer: ModernglRenderer) -> np.ndarray:
    return renderer.render(PICTURE, BODY, IDS, CAMERA)


def test_two_renderers_in_one_thread_do_not_disturb_each_other() -> None:
    first, second = make(), make()
    alone = draw(first)
    assert np.array_equal(draw(second), alone)
    second.close()
    assert np.array_equal(draw(first), alone)
    first.close()


def test_a_renderer_lives_in_the_thread_that_made_it() -> None:
    def life(_: int) -> np.ndarray:
        renderer = make()
        pictures = [draw(renderer) for _ in range(5)]
        renderer.close()
        assert all(np.array_equal(picture, pictures[0]) for picture in pictures)
        return pictures[0]

    with ThreadPoolExecutor(max_workers=2) as pool:
        pictures = list(pool.map(life, range(4)))
    assert np.any(pictures[0] != PICTURE)
    assert all(np.array_equal(picture, pictures[0]) for picture in pictures)


def test_a_closed_renderer_says_so() -> None:
    renderer = make()
    renderer.close()
    renderer.close()
    with pytest.raises(RunError, match="closed"):
        draw(renderer)


def test_what_is_drawn_does_not_depend_on_what_was_drawn_before() -> None:
    """Buffers grow and are used again: nothing of an earlier, larger crowd may remain."""
    renderer = make()
    before = draw(renderer)
    crowd = np.concatenate([BODY + np.array([x, 0, 0.5], np.float32) for x in (-0.5, 0.0, 0.5)])
    renderer.render(PICTURE, crowd, np.array([1, 2, 3], np.int32), CAMERA)
    assert np.array_equal(draw(renderer), before)
    renderer.close()


def test_clip_space_of_the_viewport_corners() -> None:
    viewport = Viewport(40, 30, 120, 110)
    sx, ox, sy, oy = pinhole_to_clip(CAMERA, viewport)
    for u, v, clip in ((39.5, 29.5, (-1, -1)), (119.5, 109.5, (1, 1)), (79.5, 69.5, (0, 0))):
        x, y = (u - CAMERA.cx) / CAMERA.fx, (v - CAMERA.cy) / CAMERA.fy
        assert (sx * x + ox, sy * y + oy) == pytest.approx(clip, abs=1e-9)


def test_multisampling_as_on_a_gpu_gives_the_same_body_with_finer_edges(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = make()
    monkeypatch.setattr("bodycast.app.renderers.moderngl_renderer.is_software", lambda name: False)
    fine = make()
    one, other = draw(plain), draw(fine)
    plain.close()
    fine.close()
    inside_one, inside_other = (np.any(picture != PICTURE, axis=-1) for picture in (one, other))
    # Multisampling reaches pixels that the silhouette only touches: up to one pixel around it.
    assert inside_other.sum() > inside_one.sum() and inside_one[inside_other].mean() > 0.93
    difference = np.abs(one.astype(int) - other).max(axis=-1)
    assert (difference > 8).sum() < 0.12 * inside_one.sum()
