"""`bodycast bench`: every stage and the networks are timed, and what cannot be timed is said."""

from __future__ import annotations

import json

import numpy as np
import pytest

from bodycast.app.commands import bench, bench_stages
from bodycast.app.errors import UsageError
from bodycast.hmr.body.body_model import BodyModel

QUICK = ["--repeats", "1", "--presets", "lite", "--engines", "onnxruntime", "--device", "cpu", "--threads", "1"]


def test_stages_and_networks_are_timed(capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.main([*QUICK, "--people", "1", "2", "--renderers", "cpu", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    for people in (1, 2):
        stages = {time["stage"]: time for time in found["times"] if time["people"] == people}
        assert {"track", "crop (lite)", "smooth (one-euro)", "smooth (diffusion)", "body", "overlay (cpu)"} <= set(
            stages
        )
        assert stages["networks (lite)"]["engine"] == "onnxruntime"
    assert all(0 < time["least_ms"] <= time["median_ms"] <= time["p95_ms"] for time in found["times"])
    assert found["left_out"] == {}


def test_an_engine_that_is_not_for_the_device_leaves_no_networks(capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.main([*QUICK, "--engines", "tensorrt", "--renderers", "cpu"]) == 1
    text = capsys.readouterr().out
    assert "track" in text and "networks (lite)" not in text
    assert "not timed: networks of lite on tensorrt: tensorrt does not run on cpu" in text


def test_the_scene_shows_as_many_people_as_asked_for() -> None:
    body = BodyModel.load()
    scene = bench_stages.side_by_side(bench_stages.demo_scene(body), 3, body)
    width, height = scene.frame.image_wh
    centre = (scene.tracks.xyxy[:, :2] + scene.tracks.xyxy[:, 2:]) / 2
    assert np.all((centre > 0) & (centre < [width, height]))
    assert len(np.unique(scene.tracks.xyxy, axis=0)) == 3


def test_presets_that_share_their_networks_share_a_line() -> None:
    names = [names for names, _ in bench_stages.networks(("fast", "balanced", "quality"))]
    assert names == ["fast", "balanced, quality"]


@pytest.mark.parametrize("words", [["--people", "0"], ["--repeats", "0"], ["--engines", "tvm"]])
def test_useless_words_are_refused(words: list[str]) -> None:
    with pytest.raises(UsageError):
        bench.main(words)
