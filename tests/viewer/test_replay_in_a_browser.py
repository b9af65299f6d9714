"""replay.html and report.html in Chromium, drawn in software."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from bodycast.app.viewer.pages import write_pages
from bodycast.app.viewer.scene import Scene
from tests.viewer.browser import Browser, colour_share, needs_chromium
from tests.viewer.clips import body, walk, write_run

pytestmark = needs_chromium

LEAST_SHARE = 0.005


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    write_run(folder, walk(2, 90))
    assert write_pages(folder, body()) == []
    return folder


@pytest.fixture(scope="module")
def page(folder: Path) -> Iterator[Browser]:
    with Browser() as browser:
        browser.open((folder / "replay.html").as_uri())
        browser.wait_for("window.replay && replay.drawn > 0")
        yield browser


def test_it_shows_both_people_in_every_view(page: Browser, folder: Path) -> None:
    scene = Scene.of(walk(2, 90), body())
    page.evaluate("replay.play(false); replay.seek(1)")
    for look in ("free", "camera", "front", "side", "top"):
        drawn = page.evaluate(f"replay.look('{look}'); replay.drawn")
        page.wait_for(f"replay.drawn > {drawn}")
        shot = page.screenshot()[:, 640:]
        for person in scene.people:
            assert colour_share(shot, person.colour) / 2 >= LEAST_SHARE, f"{look}: person {person.id}"
    page.evaluate("replay.look('free')")


def test_it_plays_steps_and_goes_where_it_is_told(page: Browser) -> None:
    page.evaluate("replay.seek(0); replay.play(true)")
    page.wait_for("replay.time > 0.5 && !document.querySelector('video').paused")
    page.evaluate("replay.play(false); replay.seek(1)")
    page.evaluate("document.getElementById('on').click()")
    assert page.evaluate("replay.time") == pytest.approx(31 / 30)
    assert page.evaluate("document.querySelector('video').currentTime") == pytest.approx(31 / 30, abs=0.02)
    page.evaluate("document.getElementById('back').click()")
    assert page.evaluate("replay.time") == pytest.approx(1.0)
    assert not page.evaluate("replay.playing")


def test_it_follows_a_person(page: Browser) -> None:
    page.evaluate("replay.followPerson(2); replay.seek(0.5)")
    page.wait_for("!replay.dirty")
    middle = np.array(page.evaluate("replay.middle"))
    pelvis = np.array(page.evaluate("replay.scene.people[1].pose.joints[0]"))
    assert np.abs(middle - pelvis).max() < 1e-3
    page.evaluate("replay.seek(1.5)")
    page.wait_for("!replay.dirty")
    assert np.abs(np.array(page.evaluate("replay.middle")) - middle).max() > 0.1, "they have moved"
    page.evaluate("replay.followPerson(0)")


def test_people_are_hidden_and_coloured(page: Browser) -> None:
    page.evaluate("replay.seek(1)")
    blue, orange = (person.colour for person in Scene.of(walk(2, 2), body()).people)
    page.evaluate("document.querySelector('input[type=checkbox][data-person=\"2\"]').click()")
    time.sleep(0.5)
    shot = page.screenshot()[:500, 640:]
    assert colour_share(shot, orange) < 0.001 < LEAST_SHARE < colour_share(shot, blue)
    page.evaluate("document.querySelector('input[type=checkbox][data-person=\"2\"]').click()")
    page.evaluate("replay.scene.people[1].colour = [40, 220, 60]; replay.dirty = true")
    time.sleep(0.5)
    assert colour_share(page.screenshot()[:, 640:], (40, 220, 60)) > LEAST_SHARE


def test_its_joints_are_those_of_the_motion(page: Browser) -> None:
    scene = Scene.of(walk(2, 90), body())
    for person, row in ((0, 10), (1, 77)):
        asked = f"poseAt(replay.scene.people[{person}], replay.scene.parents, {row}/30 + 1e-6).joints"
        there = np.array(page.evaluate(asked))
        assert np.abs(there - scene.people[person].bones[0][row]).max() < 0.002


def test_nothing_was_wrong_and_nothing_was_fetched(page: Browser) -> None:
    page.evaluate("0")
    assert page.errors == []
    assert {address.partition(":")[0] for address in page.requests} <= {"file", "blob", "data"}


def test_the_report_opens_without_errors(folder: Path) -> None:
    with Browser() as browser:
        browser.open((folder / "report.html").as_uri())
        assert browser.wait_for("document.querySelectorAll('path.curve').length") == 24
        assert browser.evaluate("[...document.querySelectorAll('svg')].every(svg => svg.clientHeight > 50)")
        assert browser.errors == [] and len(browser.requests) == 1
