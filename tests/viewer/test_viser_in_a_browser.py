"""The viewer on viser, live and recorded, in Chromium; what a browser that does not read costs."""

from __future__ import annotations

import os
import signal
import statistics
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from bodycast.app.errors import UsageError
from bodycast.app.records import BodyEstimates, Frame, FrameResult, FrameWorld, PosedBodies
from bodycast.app.viewer.live import LiveView
from bodycast.app.viewer.recorded import RecordedView
from bodycast.app.viewer.scene import Scene
from bodycast.hmr.geometry.camera import Intrinsics
from bodycast.hmr.geometry.rotations import axis_angle_to_matrix
from tests.viewer.browser import Browser, colour_share, needs_chromium
from tests.viewer.clips import FLOOR, FOCAL_PX, IMAGE_WH, body, walk, write_run
from tests.viewer.test_proxy import free_port

pytest.importorskip("viser", reason="viser is not installed (requirements/view.txt)")

LEAST_SHARE = 0.005
COLOURS = [person.colour for person in Scene.of(walk(2, 2), body()).people]


def frame_results(people: int, frames: int) -> list[FrameResult]:
    """Frames as a run has them."""
    motion = walk(people, frames)
    picture = np.zeros((IMAGE_WH[1], IMAGE_WH[0], 3), np.uint8)
    found: list[FrameResult] = []
    for index in range(frames):
        rows = motion.select(motion.frame == index)
        estimates = BodyEstimates(
            id=rows.person_id,
            pose=axis_angle_to_matrix(rows.poses.reshape(-1, 24, 3)).astype(np.float32),
            betas=rows.betas,
            transl_m=rows.trans,
            score=rows.score,
            token=np.zeros((people, 0), np.float32),
        )
        posed = body()(estimates.pose, estimates.betas, estimates.transl_m)
        bodies = PosedBodies(posed.vertices, posed.joints, np.zeros((people, 24, 2), np.float32))
        lens = Intrinsics(FOCAL_PX, FOCAL_PX, IMAGE_WH[0] / 2, IMAGE_WH[1] / 2, IMAGE_WH)
        world = FrameWorld(rows.contacts, FLOOR.plane, FLOOR.camera_to_world())
        frame = Frame(picture, index, index / 30)
        found.append(FrameResult(frame, estimates, bodies, rows.bbox_xyxy, lens, picture, world=world))
    return found


@pytest.fixture(scope="module")
def live() -> Iterator[LiveView]:
    made = LiveView("127.0.0.1", free_port(), body())
    yield made
    made.close()


def write_until(view: LiveView, results: list[FrameResult], done: threading.Event) -> None:
    number = 0
    while not done.is_set():
        view.write(results[number % len(results)])
        number += 1
        time.sleep(1 / 30)


def assert_both_are_seen(browser: Browser) -> None:
    browser.wait_for("document.readyState === 'complete' && document.querySelector('iframe') !== null")
    deadline_s = time.monotonic() + 90
    while True:
        shot = browser.screenshot()[:, browser.evaluate("document.querySelector('iframe').offsetLeft") :]
        # The panel of controls shows the colours too, as small spots.
        shares = [colour_share(shot[:, : shot.shape[1] - 340], colour) for colour in COLOURS]
        if min(shares) >= 2 * LEAST_SHARE:
            return
        assert time.monotonic() < deadline_s, shares
        time.sleep(0.3)


def local(browser: Browser) -> bool:
    return all(
        address.startswith(("http://127.0.0.1:", "ws://127.0.0.1:", "blob:", "data:")) for address in browser.requests
    )


@needs_chromium
def test_a_live_page_shows_both_people(live: LiveView) -> None:
    done = threading.Event()
    feeder = threading.Thread(target=write_until, args=(live, frame_results(2, 60), done))
    feeder.start()
    try:
        with Browser(1800, 700) as browser:  # wide: the panel of controls hides nobody
            browser.open(live.url)
            assert_both_are_seen(browser)
            browser.wait_for("!document.body.classList.contains('alone')")
            live._view._follow.value = "2"
            deadline_s, places = time.monotonic() + 20, set[float]()
            while len(places) < 4:  # they walk, and the world with them
                assert time.monotonic() < deadline_s, places
                places.add(round(float(live._view._world.position[2]), 3))
                time.sleep(0.1)
            assert_both_are_seen(browser)
            live._view._follow.value = "nobody"
            assert browser.errors == [] and local(browser)
    finally:
        done.set()
        feeder.join()


@needs_chromium
@pytest.mark.slow
def test_ten_people_are_shown_and_slow_nothing_down(
    live: LiveView, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results, people = frame_results(10, 20), Scene.of(walk(10, 2), body()).people
    # The last two of the ten colours are paler and browner kinds of others.
    colours = [person.colour for person in people][:8]
    took_s, shown, done = list[float](), list[float](), threading.Event()
    show = live._view.show

    def counted(*given: object) -> None:
        show(*given)  # type: ignore[arg-type]
        shown.append(time.monotonic())

    def feed() -> None:
        while not done.is_set():
            at_s = time.thread_time()
            live.write(results[len(took_s) % len(results)])
            took_s.append(time.thread_time() - at_s)
            time.sleep(1 / 30)

    monkeypatch.setattr(live._view, "show", counted)
    feeder = threading.Thread(target=feed)
    with Browser(2400, 600) as browser:
        browser.open(live.url)
        feeder.start()
        try:
            browser.wait_for("document.readyState === 'complete' && document.querySelector('iframe') !== null")
            left = browser.evaluate("document.querySelector('iframe').offsetLeft")
            deadline_s = time.monotonic() + 120
            shares = [0.0]
            while min(shares) < 0.0004:
                assert time.monotonic() < deadline_s, shares
                time.sleep(0.3)
                # Below viser's note on software drawing, beside its controls.
                shot = browser.screenshot(tmp_path / "ten.png")[160:, left:-340]
                shares = [colour_share(shot, colour, hue_off=3) for colour in colours]
            assert len(live._view._people) == 10
            first, first_shown, began_s = len(took_s), len(shown), time.monotonic()
            time.sleep(5)
            seconds, frames = time.monotonic() - began_s, len(shown) - first_shown
            busy = sum(took_s[first:]) / seconds
            moved = np.abs(browser.screenshot()[160:, left:-340].astype(int) - shot).max(axis=2) > 40
        finally:
            done.set()
            feeder.join()
        print(f"ten people: {frames / seconds:.0f} frames a second, {100 * busy:.0f} % of a core")
        assert busy < 0.35 and frames > seconds
        assert moved.mean() > 0.001, "they move on the screen"
        assert browser.errors == []


@needs_chromium
def test_a_browser_that_does_not_read_costs_no_time_and_little_memory(live: LiveView) -> None:
    results = frame_results(2, 60)
    with Browser() as browser:
        browser.open(live.url)
        while not live._view.watched:
            time.sleep(0.1)
        for result in results:
            live.write(result)
        processes = browser.processes()
        for process in processes:
            os.kill(process, signal.SIGSTOP)
        try:
            before_mb, took_s = resident_mb(), list[float]()
            began_s = time.monotonic()
            while time.monotonic() - began_s < 10:
                at_s = time.monotonic()
                live.write(results[len(took_s) % 60])
                took_s.append(time.monotonic() - at_s)
                time.sleep(max(0.0, 1 / 30 - took_s[-1]))
            grown_mb = resident_mb() - before_mb
        finally:
            for process in processes:
                os.kill(process, signal.SIGCONT)
        print(f"{len(took_s)} frames, median {1000 * statistics.median(took_s):.1f} ms, {grown_mb:.1f} MB")
        assert grown_mb < 50
        assert statistics.median(took_s) < 0.033 and max(took_s) < 1.0
        assert live._view.watched, "it is still connected"


def resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


@needs_chromium
def test_a_recorded_run_plays_follows_and_steps(tmp_path: Path) -> None:
    write_run(tmp_path, walk(2, 60))
    view = RecordedView(tmp_path, "127.0.0.1", free_port(), body())
    player = threading.Thread(target=view.run)
    player.start()
    try:
        with Browser() as browser:
            browser.open(view.url)
            assert_both_are_seen(browser)
            browser.wait_for("!document.body.classList.contains('alone')")
            before_s = view.time_s
            time.sleep(1)
            assert view.time_s != before_s
            view.step(1)
            at_s = view.time_s
            view.step(1)
            assert view.time_s == pytest.approx(at_s + 1 / 30) or at_s > 1.9
            view._view._follow.value = "2"
            deadline_s = time.monotonic() + 10
            places = view.scene.people[1].bones[0][:, 0] * (1, 0, 1)
            for frame in (30, 55):
                view.seek(frame / 30)
                time.sleep(0.5)
                while view._view._anchor is None or not np.allclose(
                    view._view._world.position, view._view._anchor - places[frame], atol=1e-6
                ):
                    assert time.monotonic() < deadline_s
                    time.sleep(0.05)
            view._view._group.value = "speed"
            view.seek(0.5)
            frame = "document.querySelector('iframe').contentDocument"
            browser.wait_for(f"{frame}.querySelectorAll('.uplot canvas').length > 0")
            assert [len(row) for row in view._view._curves.data] == [60, 60]
            browser.screenshot(tmp_path / "view.png")
            assert browser.errors == [] and local(browser)
    finally:
        view.stop()
        player.join()
        view.close()


def test_nothing_is_done_while_nobody_looks() -> None:
    view = LiveView("127.0.0.1", free_port(), body())
    try:
        for result in frame_results(2, 3):
            view.write(result)
        assert view.latency_s is None and view._feed.newest(0) is None
        assert view.url in view.describe()
    finally:
        view.close()


def test_a_missing_viser_is_one_line_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "viser", None)
    with pytest.raises(UsageError, match=r"viser.*pip install"):
        LiveView("127.0.0.1", free_port(), body())


def test_a_folder_that_cannot_be_shown_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"motion\.npz"):
        RecordedView(tmp_path, "127.0.0.1", free_port(), body())
    motion = walk(1, 3)
    write_run(tmp_path, motion.select(np.zeros(3, bool)), film=False)
    with pytest.raises(UsageError, match="nobody"):
        RecordedView(tmp_path, "127.0.0.1", free_port(), body())
