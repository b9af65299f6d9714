"""The window's keys in a whole run: pause, screenshot, views, opacity, mirror; files stay as they were asked for."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from bodycast.app.pipeline.pipeline import Pipeline, RunSummary
from bodycast.app.pipeline.stages import PipelineOptions
from bodycast.app.pipeline.view import View
from bodycast.app.records import F32, I32, U8, FrameResult
from bodycast.app.sinks.base import Sink
from bodycast.app.sinks.take import TakeSink
from bodycast.hmr.geometry.camera import Intrinsics
from tests.live.fakes import FakeRenderer, FakeWindow, MemorySink, World, walk


class WhiteRenderer(FakeRenderer):
    """Paints the right half white where there are people."""

    def render(self, image: U8, vertices: F32, person_id: I32, intrinsics: Intrinsics) -> U8:
        out = image.copy()
        if len(vertices):
            out[-20:, 160:] = 255
        return out


class Presses(FakeWindow):
    """Presses `keys[n]` at its n-th picture; keeps what was shown."""

    def __init__(self, keys: dict[int, str]) -> None:
        super().__init__()
        self.keys = keys
        self._keep = lambda result: (result.frame.index, result.overlay.copy())

    def write(self, result: FrameResult) -> None:
        super().write(result)
        for key in self.keys.get(self.writes, ""):
            self.press(key)


def run(
    keys: dict[int, str], frames: int = 12, folder: Path = Path("nowhere"), more: Callable[[], list[Sink]] = list
) -> tuple[Presses, MemorySink, RunSummary]:
    window, file = Presses(keys), MemorySink(keep=lambda result: result.overlay.copy())
    world = World(images=walk(frames, step_px=0), fps=100.0, window=window, make_renderer=WhiteRenderer)
    world.sinks = [file, *more()]  # type: ignore[list-item]
    options = PipelineOptions(hud=False, screenshots=folder)
    return window, file, Pipeline(world.stages(), options).run()


def corner(picture: U8) -> tuple[int, int]:
    """Lower left and lower right pixel."""
    return int(picture[-2, 2].max()), int(picture[-2, -2].max())


def test_mesh_opacity_and_mirror_change_the_window_and_no_file() -> None:
    window, file, summary = run({3: "-", 20: "-", 40: "+x"}, frames=60)
    assert summary.failure is None
    shown = [corner(picture) for _, picture in window.kept]
    assert shown[2] == (0, 255)
    assert (0, 191) in shown and (0, 128) in shown, "three quarters, then half"
    assert shown[-1] == (191, 0), "mirrored, and more solid again"
    assert {corner(picture) for picture in file.kept} == {(0, 255)}


def test_m_goes_through_mesh_skeleton_both_and_side() -> None:
    view = View("mesh")
    seen = []
    for _ in range(5):
        seen.append((view.what, view.as_files))
        view.next()
    assert seen == [("mesh", True), ("skeleton", False), ("both", False), ("side", False), ("mesh", True)]
    window, file, summary = run({2: "m"}, frames=16)
    assert summary.failure is None
    assert corner(window.kept[0][1]) == (0, 255) and corner(window.kept[-1][1]) == (0, 0), "no mesh any more"
    assert corner(file.kept[-1]) == (0, 255)


def test_opacity_has_a_least_and_a_most() -> None:
    view = View()
    view.step_opacity(1)
    assert view.opacity == 1.0
    for _ in range(9):
        view.step_opacity(-1)
    assert view.opacity == 0.25


def test_space_holds_a_film_and_lets_it_go_on() -> None:
    window, file, summary = run({4: " ", 9: " "})
    indices = [index for index, _ in window.kept]
    assert indices == [0, 1, 2, 3, 3, 3, 3, 3, 3, *range(4, 12)]
    assert len(file.kept) == 12 and summary.failure is None


def test_a_paused_live_view_goes_on_with_the_newest() -> None:
    window = Presses({3: " ", 12: " "})
    world = World(images=walk(60), live=True, fps=60.0, window=window)
    summary = Pipeline(world.stages(), PipelineOptions(hud=False)).run()
    indices = [index for index, _ in window.kept]
    held = indices[2]
    assert indices[3:12] == [held] * 9 and indices[12] > held + 3
    assert summary.failure is None


def test_q_ends_a_paused_run() -> None:
    class Quits(Presses):
        def write(self, result: FrameResult) -> None:
            super().write(result)
            if self.writes == 8:
                self._on_quit()

    window = Quits({3: " "})
    world = World(images=walk(60), window=window)
    begun = time.perf_counter()
    assert Pipeline(world.stages(), PipelineOptions()).run().exit_reason == "window closed"
    assert time.perf_counter() - begun < 5


def test_s_keeps_what_is_shown_without_the_figures(tmp_path: Path) -> None:
    window = Presses({3: "s", 5: "xs"})
    world = World(images=walk(8, step_px=0), fps=100.0, window=window, make_renderer=WhiteRenderer)
    Pipeline(world.stages(), PipelineOptions(hud=True, screenshots=tmp_path / "shots")).run()
    pictures = sorted((tmp_path / "shots").iterdir())
    assert [path.name for path in pictures] == ["screenshot-001.png", "screenshot-002.png"]
    first, second = (np.asarray(cv2.imread(str(path))) for path in pictures)
    assert first.shape == (180, 320, 3)
    assert corner(first) == (0, 255) and corner(second) == (255, 0)
    assert (first[:30, :60] == 0).all(), "no text in the corner"


def test_a_screenshot_that_cannot_be_kept_does_not_end_the_run(tmp_path: Path) -> None:
    (tmp_path / "shots").write_text("a file")
    _, file, summary = run({3: "s"}, folder=tmp_path / "shots")
    assert summary.failure is None and len(file.kept) == 12


def test_r_starts_and_ends_takes(tmp_path: Path) -> None:
    taken: list[list[object]] = []

    def open_take(folder: Path) -> list[Sink]:
        sink = MemorySink(keep=lambda result: result.frame.index)
        taken.append(sink.kept)
        return [sink]

    takes = TakeSink(tmp_path, open_take)
    window, _, summary = run({3: "r", 20: "r", 24: "r"}, frames=60, more=lambda: [takes])
    assert summary.failure is None and len(window.kept) == 60
    assert len(taken) == 2 and all(indices == list(range(len(indices))) for indices in taken)
    assert 8 <= len(taken[0]) <= 26 and len(taken[1]) >= 20
