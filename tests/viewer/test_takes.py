"""Takes are folders as `--output` makes them: run.json and both pages are added at the run's end."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from bodycast.app.pipeline import take_results
from bodycast.app.pipeline.run_report import ReportFile
from bodycast.app.pipeline.sink_maker import Take
from bodycast.app.pipeline.take_results import finish_takes
from bodycast.app.sinks.base import Sink
from bodycast.app.sinks.motion import MotionSink
from bodycast.app.sinks.take import TakeSink
from bodycast.app.viewer.pages import LEFT_OUT
from tests.app.test_run_output import PARTS, SUMMARY
from tests.sinks.results import META, embedded_body, result_of


def recorded(folder: Path) -> list[Take]:
    """Two takes of a run: 6 frames of two people, 3 frames of nobody."""
    takes: list[Take] = []

    def open_sinks(take: Path) -> list[Sink]:
        motion = MotionSink(take / "motion.npz", META, 30.0)
        takes.append(Take(take, motion))
        return [motion]

    sink = TakeSink(folder / "takes", open_sinks)
    for index in range(20):
        if index in (3, 9, 12, 15):
            sink.toggle()
        sink.write(result_of(index, people=[1, 2] if index < 10 else []))
    sink.close()
    return takes


def test_each_take_is_a_folder_with_everything(tmp_path: Path) -> None:
    takes = recorded(tmp_path)
    report = ReportFile(None, {"preset": "fast"}, PARTS)  # a run without --output has takes too
    report.finish(replace(SUMMARY, people=7), {}, (), 0)
    notes = finish_takes(takes, report, embedded_body())
    first, second = (take.folder for take in takes)
    assert notes == ["take-002: replay.html: left out, as nobody was seen"]
    assert {path.name for path in first.iterdir()} == {"motion.npz", "run.json", "replay.html", "report.html"}
    run = json.loads((first / "run.json").read_text())
    assert (run["frames"]["given"], run["people"], run["seconds"]) == (6, 2, pytest.approx(5 / 30, abs=1e-3))
    assert run["configuration"] == {"preset": "fast"} and run["exit_reason"] == SUMMARY.exit_reason
    assert "<svg" in (first / "report.html").read_text()
    assert "Nobody was seen" in (second / "report.html").read_text()


def test_a_take_that_was_not_written_gets_no_page(tmp_path: Path) -> None:
    (take, _) = recorded(tmp_path)
    (take.folder / "motion.npz").unlink()
    assert finish_takes([take], ReportFile(None, {}, PARTS), embedded_body()) == []
    assert list(take.folder.iterdir()) == []


def test_ctrl_c_leaves_out_the_pages_of_all_that_follow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    takes = recorded(tmp_path)
    asked: list[str] = []

    def stopped(folder: Path, _: object) -> list[str]:
        asked.append(folder.name)
        return [f"replay.html, report.html: {LEFT_OUT}"]

    monkeypatch.setattr(take_results, "write_pages", stopped)
    notes = finish_takes(takes, ReportFile(None, {}, PARTS), embedded_body())
    assert asked == ["take-001"] and len(notes) == 1
    assert all((take.folder / "run.json").is_file() for take in takes)
