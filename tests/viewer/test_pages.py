"""replay.html and report.html: what is in them, how large they are, and what happens when they cannot be made."""

from __future__ import annotations

import json
import re
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bodycast.app.errors import UsageError
from bodycast.app.files.joint_angles import angles_deg
from bodycast.app.files.output_folder import check_output_folder
from bodycast.app.viewer import pages, replay
from bodycast.app.viewer.curves import curves_of
from bodycast.app.viewer.pages import write_pages
from bodycast.app.viewer.picture import small_film
from bodycast.app.viewer.replay import replay_page
from bodycast.app.viewer.scene import Scene
from tests.viewer.clips import body, walk, write_film, write_run


def data_of(page: bytes) -> dict[str, object]:
    found = re.search(r'<script id="data" type="application/json">(.*?)</script>', page.decode(), re.S)
    assert found
    return json.loads(found[1])


def test_a_run_gets_both_pages_and_they_ask_for_nothing(tmp_path: Path) -> None:
    write_run(tmp_path, walk())
    assert write_pages(tmp_path, body()) == []
    for name in ("replay.html", "report.html"):
        text = (tmp_path / name).read_text(encoding="utf-8")
        assert not re.search(r"(?:src|href|url)\s*[=(]\s*[\"']?(?:https?:)?//", text), name
        assert "http://" not in text and "https://" not in text, name
        assert "<!--" not in text, "every part of the template is filled"
        assert "default-src 'none'" in text
    with pytest.raises(UsageError, match=r"replay\.html"):
        check_output_folder(tmp_path, overwrite=False)


def test_names_from_outside_do_not_become_elements(tmp_path: Path) -> None:
    write_run(tmp_path, walk())
    write_pages(tmp_path, body())
    for name in ("replay.html", "report.html"):
        text = (tmp_path / name).read_text(encoding="utf-8")
        assert "walk <&>" not in text and "walk &lt;&amp;&gt;" in text
    assert "a note &lt;b&gt;" in (tmp_path / "report.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_thirty_seconds_of_two_people_stay_below_five_megabytes(tmp_path: Path) -> None:
    write_run(tmp_path, walk(2, 900))
    began_s = time.process_time()
    assert write_pages(tmp_path, body()) == []
    assert time.process_time() - began_s < 40
    page = (tmp_path / "replay.html").read_bytes()
    assert 1e6 < len(page) < 5e6
    data = data_of(page)
    assert data["seconds"] == pytest.approx(899 / 30) and data["filmEnd"] > 29 and data["notes"] == []


def test_thirty_seconds_without_a_picture_are_small() -> None:
    page = replay_page(Scene.of(walk(2, 900), body()), "walk", None)
    assert len(page.content) < 1_500_000


def test_a_long_run_is_cut_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay, "MOST_BYTES", 500_000)
    page = replay_page(Scene.of(walk(3, 900), body()), "walk", None)
    assert len(page.content) < 500_000
    data = data_of(page.content)
    assert 1 < data["seconds"] < 25
    assert any("s of 30 s" in note for note in data["notes"])


def test_the_film_ends_where_bytes_time_or_work_end(tmp_path: Path) -> None:
    write_film(tmp_path / "film.mp4", 90)
    whole = small_film(tmp_path / "film.mp4", 2_000_000, 60, 60)
    assert whole is not None and whole.end_s == pytest.approx(89 / 30, abs=0.05)
    short = small_film(tmp_path / "film.mp4", 2_000_000, 1.0, 60)
    assert short is not None and short.end_s == pytest.approx(1.0, abs=0.05)
    tight = small_film(tmp_path / "film.mp4", 15_000, 60, 60)
    assert tight is not None and len(tight.content) < 40_000
    assert small_film(tmp_path / "film.mp4", 2_000_000, 60, 0.0) is None


def test_a_page_that_cannot_be_made_is_a_note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_run(tmp_path, walk())
    (tmp_path / "overlay.mp4").write_bytes(b"no film")
    notes = write_pages(tmp_path, body())
    assert len(notes) == 1 and notes[0].startswith("replay.html")
    assert (tmp_path / "report.html").exists() and not (tmp_path / "replay.html").exists()

    def full(path: Path, content: bytes) -> None:
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(pages, "_write", full)
    notes = write_pages(tmp_path, body())
    assert len(notes) == 1 and "No space left" in notes[0]


def test_nobody_seen_leaves_a_report_alone(tmp_path: Path) -> None:
    motion = walk()
    write_run(tmp_path, motion.select(np.zeros(len(motion), bool)), film=False)
    notes = write_pages(tmp_path, body())
    assert notes == ["replay.html: left out, as nobody was seen"]
    assert "Nobody was seen" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_the_report_has_the_runs_figures_and_a_curve_for_each_person(tmp_path: Path) -> None:
    write_run(tmp_path, walk(), film=False)
    write_pages(tmp_path, body())
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    for figure in ("60 of 60 in 2.0 s, 30.0 a second", "3 by source", "1.71 m", "1.40 m", ">0.25<", "640x360"):
        assert figure in text, figure
    for person in (1, 2):
        assert f"<title>person {person}: left knee</title>" in text


def test_curves_are_the_angles_heights_and_speeds_of_the_motion() -> None:
    motion = walk()
    scene = Scene.of(motion, body())
    curves = {curve.name: curve.values for curve in curves_of(scene.people[0])}
    joints = motion.of_person(1).joints_world.astype(np.float64)
    thigh, shank = joints[:, 5] - joints[:, 2], joints[:, 8] - joints[:, 5]
    cosine = (thigh * shank).sum(1) / np.linalg.norm(thigh, axis=1) / np.linalg.norm(shank, axis=1)
    assert np.abs(curves["right knee"] - np.degrees(np.arccos(cosine))).max() < 6, "0 is the rest pose, not straight"
    exported = angles_deg(scene.people[0].motion)
    for side in ("left", "right"):
        for name, angle in (("knee", "knee_flexion"), ("hip", "hip_flexion"), ("elbow", "elbow_flexion")):
            np.testing.assert_allclose(curves[f"{side} {name}"], exported[f"{angle}_{side[0]}"], atol=1e-3)
    assert curves["left knee"].max() < 15, "this knee hardly bends"
    step_s = 6 / 30
    way = np.linalg.norm((joints[9:, 0] - joints[3:-6, 0])[:, [0, 2]], axis=1) / step_s
    assert np.abs(curves["speed"][6:-3] - way).max() < 0.02
    assert 0.2 < curves["speed"].max() < 3.5
    lowest = joints[:, [7, 10], 1].min(axis=1)
    assert np.abs(curves["left foot"] - lowest).max() < 0.15


def test_the_scene_is_the_motion_and_the_camera_sees_it_where_it_was() -> None:
    motion = walk()
    scene = Scene.of(motion, body())
    for person in scene.people:
        rows = motion.of_person(person.id)
        places, _ = person.bones
        to_camera = np.linalg.inv(scene.camera_to_world)
        seen = places @ to_camera[:3, :3].T + to_camera[:3, 3]
        assert np.abs(seen - rows.joints_3d).max() < 0.003
    assert scene.people[0].row_at(0.5) == 15 and scene.people[0].row_at(9.0) is None


def test_a_motion_without_a_world_is_shown_and_says_so() -> None:
    motion = walk(1)
    nowhere = {
        name: np.full_like(getattr(motion, name), np.nan)
        for name in ("joints_world", "trans_world", "root_orient_world")
    }
    motion = replace(motion, **nowhere, floor=np.full(4, np.nan), camera_to_world=np.diag([1.0, -1.0, -1.0, 1.0]))
    scene = Scene.of(motion, body())
    page = replay_page(scene, "walk", None)
    assert any("the camera moves" in note for note in page.notes)
    to_camera = np.linalg.inv(scene.camera_to_world)
    seen = scene.people[0].bones[0] @ to_camera[:3, :3].T + to_camera[:3, 3]
    assert np.abs(seen - motion.joints_3d).max() < 0.003
