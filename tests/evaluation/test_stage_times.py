"""The stage timer: all stages are there, and its people are in its picture."""

from __future__ import annotations

import json

import numpy as np
import pytest

from bodycast.hmr.body.body_model import BodyModel
from evaluation import stage_times


def test_every_stage_is_timed(capsys: pytest.CaptureFixture[str]) -> None:
    assert stage_times.main(["--people", "1", "2", "--repeats", "2", "--renderers", "cpu", "--json"]) == 0
    times = json.loads(capsys.readouterr().out)
    for people in (1, 2):
        stages = [time["stage"] for time in times if time["people"] == people]
        assert {"track", "crop", "smooth (one-euro)", "body", "overlay (cpu)"} <= set(stages)
    assert all(0 < time["least_ms"] <= time["median_ms"] <= time["p95_ms"] for time in times)


def test_the_scene_shows_as_many_people_as_asked_for() -> None:
    scene = stage_times.demo_scene(3, BodyModel.load())
    width, height = scene.frame.image_wh
    centre = (scene.tracks.xyxy[:, :2] + scene.tracks.xyxy[:, 2:]) / 2
    assert np.all((centre > 0) & (centre < [width, height]))
    assert len(np.unique(scene.tracks.xyxy, axis=0)) == 3


def test_useless_numbers_are_refused() -> None:
    with pytest.raises(SystemExit):
        stage_times.main(["--people", "0"])
