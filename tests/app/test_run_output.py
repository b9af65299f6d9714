"""The output folder and run.json: refused before the run, whole after it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from bodycast.app.config import LensConfig, ResultsConfig, RunConfig
from bodycast.app.errors import RunError, UsageError
from bodycast.app.files.motion_parts import PARTS_FOLDER
from bodycast.app.files.output_folder import FILES, check_output_folder, make_output_folder, texts_of
from bodycast.app.pipeline.build import DEMO_OUTPUT, load_body, resolve_output
from bodycast.app.pipeline.pipeline import RunSummary
from bodycast.app.pipeline.run_report import PartsReport, ReportFile, jsonable, versions
from bodycast.app.pipeline.timing import StageTimes, timed

PARTS = PartsReport(
    package="tiny",
    package_sha256="0" * 64,
    engine="tiny on onnxruntime",
    body="bodycast-adult",
    detector="hog",
    smoother="none",
    lag_s=0.0,
    source="film.mp4",
    source_live=False,
    source_fps=30.0,
    source_frame_count=10,
    image_wh=(320, 180),
)
SUMMARY = RunSummary("end of source", None, 10, 9, {"source": 0, "drawing": 1}, 1.5, "cpu", ())


def test_a_folder_with_results_is_refused_unless_they_may_go(tmp_path: Path) -> None:
    check_output_folder(tmp_path, overwrite=False)
    (tmp_path / "notes.txt").write_text("mine")
    check_output_folder(tmp_path, overwrite=False)
    (tmp_path / "motion.npz").write_bytes(b"old")
    with pytest.raises(UsageError, match=r"motion.npz.*--overwrite"):
        check_output_folder(tmp_path, overwrite=False)
    check_output_folder(tmp_path, overwrite=True)
    assert (tmp_path / "motion.npz").read_bytes() == b"old", "checking must not touch anything"


def test_overwriting_removes_all_three_results_and_nothing_else(tmp_path: Path) -> None:
    for name in (*FILES, "notes.txt"):
        (tmp_path / name).write_text("old")
    lock = make_output_folder(tmp_path)
    with pytest.raises(UsageError, match="another run writes there now"):
        make_output_folder(tmp_path)
    lock.release()
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(UsageError, match="is a file"):
        check_output_folder(tmp_path / "out", overwrite=True)
    with pytest.raises(UsageError, match="out is a file, expected a folder"):
        check_output_folder(tmp_path / "out" / "deeper", overwrite=True)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(UsageError, match="no permission"):
        check_output_folder(tmp_path / "out", overwrite=False)


def test_checking_makes_no_folder(tmp_path: Path) -> None:
    check_output_folder(tmp_path / "a" / "b", overwrite=False)
    assert list(tmp_path.iterdir()) == []


def results(**changes: object) -> ResultsConfig:
    return replace(ResultsConfig(output=None, window=False), **changes)  # type: ignore[arg-type]


def test_a_run_that_shows_and_keeps_nothing_is_refused_and_the_demo_has_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="--output"):
        resolve_output(RunConfig(source="0", results=results()))
    assert resolve_output(RunConfig(source="demo", results=results())) == DEMO_OUTPUT
    assert resolve_output(RunConfig(source="demo", results=results(window=True))) is None
    assert resolve_output(RunConfig(source="0", results=results(window=True))) is None


def test_a_body_that_the_network_does_not_belong_to_is_refused_unless_only_poses_are_wanted() -> None:
    assert load_body("auto", "bodycast-adult", pose_only=False).name == "bodycast-adult"
    with pytest.raises(UsageError, match=r"smpl-neutral.*bodycast-adult.*--pose-only"):
        load_body("auto", "smpl-neutral", pose_only=False)
    assert load_body("auto", "smpl-neutral", pose_only=True).name == "bodycast-adult"
    with pytest.raises(UsageError, match=r"nowhere\.npz"):
        load_body("nowhere.npz", "smpl-neutral", pose_only=False)


def report_in(folder: Path) -> dict[str, object]:
    return json.loads((folder / "run.json").read_text())


def test_a_report_says_running_until_it_is_finished(tmp_path: Path) -> None:
    times = StageTimes()
    for milliseconds in range(1, 101):
        times.add("estimate", milliseconds / 1e3)
    report = ReportFile(tmp_path, jsonable(RunConfig()), PARTS)
    report.begin()
    assert report_in(tmp_path)["exit_reason"] == "running"
    report.finish(SUMMARY, times.summary(), ("a warning",), 0)
    document = report_in(tmp_path)
    assert (document["exit_reason"], document["exit_code"]) == ("end of source", 0)
    assert document["frames"] == {"taken": 10, "given": 9, "dropped": {"source": 0, "drawing": 1}}
    assert document["warnings"] == ["a warning"]
    stage = document["stage_ms"]["estimate"]  # type: ignore[index]
    assert stage == {"count": 100, "p50_ms": 50.5, "p95_ms": pytest.approx(95.05), "p99_ms": pytest.approx(99.01)}
    assert document["parts"]["package_sha256"] == "0" * 64  # type: ignore[index]
    assert document["configuration"]["people"]["detect_every"] == RunConfig().people.detect_every  # type: ignore[index]
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]


def test_an_aborted_start_is_told_only_if_a_report_was_begun(tmp_path: Path) -> None:
    ReportFile(tmp_path, {}, PARTS).abort("no OpenGL", 1)
    assert list(tmp_path.iterdir()) == []
    report = ReportFile(tmp_path, {}, PARTS)
    report.begin()
    report.abort("no OpenGL", 1)
    assert report_in(tmp_path)["exit_reason"] == "no OpenGL"


def test_a_run_without_a_folder_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    report = ReportFile(None, {}, PARTS)
    report.begin()
    report.finish(SUMMARY, {}, (), 0)
    assert list(tmp_path.iterdir()) == []


def test_a_report_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"run\.json"):
        ReportFile(tmp_path / "gone", {}, PARTS).begin()


def test_versions_name_python_and_what_is_installed_without_importing_it() -> None:
    found = versions()
    assert found["python"].startswith("3.")
    assert "numpy" in found


def test_stage_times_are_bounded_and_count_everything() -> None:
    times = StageTimes(kept=10)
    for sample in range(100):
        times.add("crop", float(sample))
    summary = times.summary()["crop"]
    assert summary.count == 100
    assert summary.p50_ms == pytest.approx(94.5e3)


def test_two_blocks_of_a_stage_in_one_frame_are_one_sample() -> None:
    times, stage_s = StageTimes(), dict[str, float]()
    for _ in range(2):
        with timed("body", stage_s):
            pass
    assert list(stage_s) == ["body"]
    times.add_all(stage_s)
    assert times.summary()["body"].count == 1


def test_a_system_that_refuses_the_folder_late_is_the_command_lines_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(
        UsageError, match="cannot be written \\(Read-only file system\\); give another folder"
    ) as caught:
        make_output_folder(tmp_path / "out")
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("overwrite", [False, True])
def test_what_a_run_reads_is_never_replaced(tmp_path: Path, overwrite: bool) -> None:
    film = tmp_path / "out" / "overlay.mp4"
    film.parent.mkdir()
    film.write_bytes(b"film")
    link = tmp_path / "link.mp4"
    link.symlink_to(film)
    hard = tmp_path / "hard.mp4"
    hard.hardlink_to(film)
    addresses = (film.as_uri(), "FILE://" + str(film))
    for source in (film, link, hard, f"{tmp_path}/out/../out/overlay.mp4", *addresses):
        with pytest.raises(UsageError, match=r"overlay.mp4 there is what the run reads"):
            check_output_folder(film.parent, overwrite, (source, "0", "rtsp://camera/x", "a\0b"))
    check_output_folder(film.parent, True, ("other.mp4",))


def test_every_file_that_a_flag_names_is_read() -> None:
    """A calibration in the results' place was lost."""
    config = RunConfig(source="film.mp4", lens=LensConfig(calibration=Path("out/run.json")))
    texts = set(map(str, texts_of(config)))
    assert {"film.mp4", str(Path("out/run.json")), config.network.body, config.people.detector} <= texts


def test_what_lies_among_the_parts_of_a_killed_run_is_not_removed(tmp_path: Path) -> None:
    film = tmp_path / PARTS_FOLDER / "film.mp4"
    film.parent.mkdir()
    film.write_bytes(b"film")
    for source in (film, film.parent):
        with pytest.raises(UsageError, match="holds what the run reads"):
            check_output_folder(tmp_path, True, (source,))


@pytest.mark.skipif(os.name != "posix", reason="redirection of POSIX shells")
def test_a_film_that_a_shell_has_opened_is_not_replaced(tmp_path: Path) -> None:
    film = tmp_path / "overlay.mp4"
    film.write_bytes(b"film")
    with film.open("rb") as stream:
        done = subprocess.run(
            [sys.executable, "-m", "bodycast", "run", "-", "--output", str(tmp_path), "--overwrite", "--no-window"],
            stdin=stream,
            capture_output=True,
            text=True,
        )
    assert done.returncode == 2 and "is what the run reads" in done.stderr
    assert film.read_bytes() == b"film"


def test_the_first_error_is_told_though_the_report_fails_too(monkeypatch: pytest.MonkeyPatch) -> None:
    from types import SimpleNamespace

    from bodycast.app.commands import progress, run
    from bodycast.app.pipeline import build, pipeline
    from bodycast.app.pipeline.workers import Failure

    def full(*_: object) -> None:
        raise RunError("run.json: cannot be written")

    summary = replace(SUMMARY, failure=Failure("video", RunError("overlay.mp4: cannot be written")))
    report = SimpleNamespace(finish=full, abort=full, folder=None, write_elsewhere=lambda: "")
    stages = SimpleNamespace(warnings=lambda: ())
    parts = {"options": None, "parts": None, "sends": (), "world": lambda: None, "governor": None}
    built = SimpleNamespace(stages=stages, report=report, **parts)
    fake = SimpleNamespace(run=lambda _: summary, times=StageTimes(), request_stop=lambda _: None)
    monkeypatch.setattr(build, "build_run", lambda *_, **__: built)
    monkeypatch.setattr(pipeline, "Pipeline", lambda *_: fake)
    monkeypatch.setattr(progress, "announce", lambda *_: None)
    with pytest.raises(RunError, match=r"overlay\.mp4"):
        run.run(RunConfig(source="film.mp4"))


def test_the_wall_time_of_the_first_frame_is_kept(tmp_path: Path) -> None:
    live = replace(SUMMARY, first_frame_wall_s=1_700_000_000.25)
    for summary, parts, expected in (
        (live, PARTS, "2023-11-14T22:13:20.250Z"),
        (SUMMARY, replace(PARTS, source_recorded_utc="2020-02-02T10:00:00Z"), "2020-02-02T10:00:00Z"),
        (SUMMARY, PARTS, None),
    ):
        report = ReportFile(tmp_path, {}, parts)
        report.begin()
        report.finish(summary, {}, (), 0)
        assert json.loads((tmp_path / "run.json").read_text())["first_frame_utc"] == expected


def test_progress_is_a_line_now_and_then_where_stderr_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    from bodycast.app.commands.progress import ProgressLines, progress_bar
    from bodycast.app.pipeline.pipeline import Progress

    now_s = [0.0]
    lines = ProgressLines(lambda: now_s[0])
    for second in range(31):
        now_s[0] = float(second)
        lines(Progress(second, 60, 2.0, 1))
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 3
    assert told[0] == "progress  10 of 60 frames, 2.0 fps, 1 followed, 25 s left"
    with progress_bar(visible=True) as bar:
        assert isinstance(bar, ProgressLines)


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_an_output_that_lacks_letters_ends_nothing(encoding: str) -> None:
    import subprocess
    import sys

    program = (
        "import sys; from bodycast.app.commands.run import guarded\n"
        "def tell():\n    print('\\u5f71\\u7247 \\udce9'); print('\\u0142', file=sys.stderr); return 0\n"
        "sys.exit(guarded(tell, 'test', False))"
    )
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, env=environment, timeout=60)
    assert (done.returncode, done.stdout.strip()) == (0, b"\\u5f71\\u7247 \\udce9")


def test_a_display_that_is_gone_shows_no_window_where_none_was_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from bodycast.app.commands import run
    from bodycast.app.pipeline import build
    from bodycast.app.sinks import window

    monkeypatch.setattr(window, "display_problem", lambda: window.DisplayProblem("no window on display :99"))
    seen: list[bool] = []

    def build_run(config: RunConfig, **_: object) -> None:
        seen.append(config.results.window)
        raise UsageError("enough")

    monkeypatch.setattr(build, "build_run", build_run)
    shown = RunConfig(source="film.mp4", results=ResultsConfig(window=True))
    for asked, window_wanted in ((False, False), (True, True)):
        with pytest.raises(UsageError, match="enough"):
            run.run(shown, window_asked=asked)
        assert seen[-1] is window_wanted
    assert capsys.readouterr().err.count("note ") == 1


@pytest.mark.parametrize("flag", ["source", "--output", "--model", "--body", "--detector", "--calibration"])
def test_a_name_that_is_too_long_is_one_short_line(capsys: pytest.CaptureFixture[str], flag: str) -> None:
    from bodycast.app.commands.run import main

    name = "x" * 5000 + (".yml" if flag == "--calibration" else "")
    given = [name] if flag == "source" else ["demo", flag, name]
    assert (
        main([*given, "--no-window", "--renderer", "none", *(() if flag == "--output" else ("--output", "out"))]) == 2
    )
    told = capsys.readouterr().err.splitlines()[-1]
    assert len(told) < 700 and "defect" not in told
