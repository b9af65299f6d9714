"""A whole batch, with worker processes that open no networks: marks, resume, deaths, failures, summary."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from bodycast.app.batch.batch import run_batch
from bodycast.app.batch.films import Film, folder_name
from bodycast.app.batch.marks import DONE_FILE, FAILED_FILE, read_done, read_failed
from bodycast.app.batch.messages import Advanced
from bodycast.app.batch.progress import BatchProgress
from bodycast.app.commands.batch import BatchConfig, parse_batch
from bodycast.app.commands.main import main
from bodycast.app.config import NetworkConfig
from bodycast.app.errors import UsageError
from tests.batch.fake_work import work

REPOSITORY = Path(__file__).resolve().parents[2]


class Batch:
    """Films by name in tmp/films, results in tmp/out."""

    def __init__(self, tmp_path: Path, *names: str) -> None:
        self.films, self.output = tmp_path / "films", tmp_path / "out"
        self.films.mkdir()
        for name in names:
            (self.films / f"{name}.mp4").write_bytes(name.encode())
        self.config = BatchConfig(films=(str(self.films),), output=str(self.output))

    def run(self, **changes: object) -> int:
        return run_batch(replace(self.config, **changes), self.output, work)  # type: ignore[arg-type]

    def folder(self, name: str) -> Path:
        return self.output / folder_name(str(self.films / f"{name}.mp4"))

    def rows(self) -> dict[str, dict[str, str]]:
        with (self.output / "summary.csv").open(encoding="utf-8", newline="") as table:
            return {Path(row["film"]).stem: row for row in csv.DictReader(table)}

    def results(self) -> dict[str, bytes]:
        return {path.parent.name: path.read_bytes() for path in self.output.glob("*/motion.npz")}

    def workers(self) -> int:
        return len(list(self.output.glob("worker-*")))


def test_one_worker_does_all_films_and_the_summary_has_the_figures(tmp_path: Path) -> None:
    batch = Batch(tmp_path, "a", "b", "c")
    assert batch.run() == 0
    assert batch.workers() == 1
    rows = batch.rows()
    assert list(rows) == ["a", "b", "c"]
    film, packages = str(batch.films / "a.mp4"), "tiny=" + "ab" * 32
    assert list(rows["a"].values()) == [film, batch.folder("a").name, "done", "20", "2", "4.0", "5.0", "", packages]
    page = (batch.output / "summary.html").read_text(encoding="utf-8")
    assert "3 films: 3 done, 0 failed, 0 open" in page and f'href="{batch.folder("b").name}/report.html"' in page


def test_a_broken_film_is_listed_and_the_others_go_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    batch = Batch(tmp_path, "a", "broken", "c<b>")
    assert batch.run() == 1
    rows = batch.rows()
    assert [row["status"] for row in rows.values()] == ["done", "failed", "done"]
    assert rows["broken"]["error"] == "the film is broken"
    output = capsys.readouterr()
    assert "broken.mp4: the film is broken" in output.out and "failed    " in output.err
    assert "c&lt;b&gt;" in (batch.output / "summary.html").read_text(encoding="utf-8")
    assert batch.run(resume=True) == 1, "it has still failed"
    assert batch.workers() == 1, "and is not done again unasked"
    assert batch.run(retry_failed=True) == 1
    assert batch.workers() == 2


def test_a_killed_worker_costs_its_film_alone_and_that_is_done_again(tmp_path: Path) -> None:
    batch = Batch(tmp_path, "a", "once", "z")
    assert batch.run() == 0
    assert batch.workers() == 2 and (batch.output / "died").exists()
    assert batch.results()[batch.folder("once").name].startswith(b"motion of ")


def test_films_that_kill_their_worker_fail_with_the_cause_and_workers_see_one_gpu_each(tmp_path: Path) -> None:
    batch = Batch(tmp_path, "a", "deadly", "exits", "z")  # four deaths, of four workers
    assert batch.run(workers=2, gpus="3,5", films_together=1) == 1
    rows = batch.rows()
    assert [row["status"] for row in rows.values()] == ["done", "failed", "failed", "done"]
    assert rows["deadly"]["error"] == "its worker died 2 times, last by SIGKILL"
    assert rows["exits"]["error"] == "its worker died 2 times, last with exit code 3"
    seen = [path.read_text() for path in batch.output.glob("worker-*")]
    assert set(seen) == {"3", "5"} and len(seen) >= 4


def test_one_worker_does_films_side_by_side(tmp_path: Path) -> None:
    batch = Batch(tmp_path, "broken", "pair1", "pair2", "retires", "z")  # each of a pair waits for the other
    assert batch.run(films_together=2) == 1
    assert batch.workers() <= 2, "another one follows that which retires, and none stands beside it"
    assert [row["status"] for row in batch.rows().values()] == ["failed", *["done"] * 4]


def test_films_whose_worker_died_are_tried_again_alone(tmp_path: Path) -> None:
    batch = Batch(tmp_path, "patient", "traitor", "z")
    assert batch.run(films_together=3) == 1
    rows = batch.rows()
    assert [row["status"] for row in rows.values()] == ["done", "failed", "done"], "who died beside it once is done"
    assert rows["traitor"]["error"] == "its worker died 2 times, last by SIGKILL"


def test_how_many_films_go_together(monkeypatch: pytest.MonkeyPatch) -> None:
    for gpus, together in ((0, 1), (1, 4)):
        monkeypatch.setattr("bodycast.engines.devices.cuda_devices", lambda gpus=gpus: (gpus, "said"))
        assert BatchConfig().together == together
    assert BatchConfig(network=NetworkConfig(device="cpu")).together == 1
    assert BatchConfig(gpus="0").together == 4 and BatchConfig(gpus="0", ray="auto").together == 1
    assert BatchConfig(films_together=2).together == 2
    for wrong in ({"films_together": 0}, {"films_together": 2, "ray": "auto"}):
        with pytest.raises(UsageError, match="films-together"):
            BatchConfig(**wrong)  # type: ignore[arg-type]


def test_gpus_are_numbers_and_nothing_falls_back_to_the_cpu() -> None:
    with pytest.raises(UsageError, match="--gpus"):
        BatchConfig(gpus="first")
    with pytest.raises(UsageError, match="--device cpu"):
        BatchConfig(gpus="0", network=NetworkConfig(device="cpu"))
    assert BatchConfig(gpus="0").run_config().network.device == "cuda"


def test_a_worker_that_retires_is_followed_by_another(tmp_path: Path) -> None:
    batch = Batch(tmp_path, "a", "retires", "z")
    assert batch.run() == 0
    assert batch.workers() == 2


def test_later_workers_and_resume_run_on_the_engines_of_the_first(tmp_path: Path) -> None:
    batch = Batch(tmp_path, "a", "once", "z")
    assert batch.run() == 0
    given = [path.read_text() for path in batch.output.glob("engines-*")]
    assert len(given) == 2 and "none" in given
    (batch.folder("z") / DONE_FILE).unlink()
    assert batch.run(resume=True) == 0
    given = [path.read_text() for path in batch.output.glob("engines-*")]
    assert len(given) == 3 and len(set(given)) == 2, "the first measures, and nobody else"


def test_settings_that_fit_no_film_end_the_batch_at_once(tmp_path: Path) -> None:
    batch = Batch(tmp_path, "fatal", "z")
    with pytest.raises(UsageError, match="no such model"):
        batch.run()
    assert [row["status"] for row in batch.rows().values()] == ["open", "open"]


def test_resume_skips_what_is_done_and_redoes_what_is_half_finished(tmp_path: Path) -> None:
    batch = Batch(tmp_path, "a", "b", "c", "d")
    batch.config = replace(batch.config, workers=2)
    assert batch.run() == 0
    undisturbed = batch.results()
    (batch.folder("d") / DONE_FILE).unlink()
    assert batch.run(resume=True) == 0, "one film left for two workers: it gets no more threads than before"
    assert batch.results() == undisturbed
    kept = (batch.folder("a") / DONE_FILE).stat().st_mtime_ns
    (batch.folder("b") / DONE_FILE).unlink()
    (batch.folder("b") / "motion.npz").write_bytes(b"half")
    (batch.folder("c") / "motion.npz").write_bytes(b"cut")  # another size than its mark says
    (batch.folder("d") / DONE_FILE).write_text("{")
    assert read_done(batch.folder("c")) is None and read_done(batch.folder("d")) is None
    with pytest.raises(UsageError, match="--resume goes on"):
        batch.run()
    assert batch.run(resume=True) == 0
    assert batch.results() == undisturbed
    assert (batch.folder("a") / DONE_FILE).stat().st_mtime_ns == kept
    (batch.films / "a.mp4").write_bytes(b"another film")
    assert batch.run(resume=True) == 0
    assert (batch.folder("a") / DONE_FILE).stat().st_mtime_ns != kept


def test_results_of_other_settings_are_not_mixed(tmp_path: Path) -> None:
    batch = Batch(tmp_path, "a")
    assert batch.run() == 0
    other = NetworkConfig(flip_test=True)
    with pytest.raises(UsageError, match="other settings"):
        batch.run(resume=True, network=other)
    assert batch.run(results=replace(batch.config.results, overwrite=True), network=other) == 0
    assert batch.run(resume=True, network=other) == 0


def test_shards_share_a_folder_and_its_summary(tmp_path: Path) -> None:
    batch = Batch(tmp_path, "a", "b", "c")
    assert batch.run(shard="1/2") == 0
    assert [row["status"] for row in batch.rows().values()] == ["done", "open", "done"]
    assert batch.run(shard="2/2") == 0
    assert [row["status"] for row in batch.rows().values()] == ["done"] * 3


@pytest.mark.skipif(os.name != "posix", reason="kill -9")
def test_workers_end_by_themselves_where_the_parent_is_killed(tmp_path: Path) -> None:
    batch = Batch(tmp_path, "a", "slow")
    program = (
        "from pathlib import Path; from bodycast.app.batch.batch import run_batch;"
        "from bodycast.app.commands.batch import BatchConfig; from tests.batch.fake_work import work;"
        f"run_batch(BatchConfig(films=({str(batch.films)!r},)), Path({str(batch.output)!r}), work)"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], cwd=REPOSITORY)
    try:
        wait_for(lambda: (batch.output / "slow").exists() and bool((batch.output / "slow").read_text()))
        worker = int((batch.output / "slow").read_text())
    finally:
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    wait_for(lambda: not is_running(worker))
    assert read_done(batch.folder("a")) is not None and not (batch.folder("slow") / DONE_FILE).exists()
    assert read_failed(batch.folder("slow")) is None, "what was in flight is simply done again"


def wait_for(condition: object, limit_s: float = 30.0) -> None:
    end_s = time.monotonic() + limit_s
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end_s, "it never came"
        time.sleep(0.05)


def is_running(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat")
        if state.parent.parent.joinpath("self").exists():
            return state.exists() and state.read_text().rpartition(")")[2].split()[0] != "Z"
        os.kill(process, 0)
    except (ProcessLookupError, FileNotFoundError):
        return False
    return True


def test_progress_says_what_is_left_by_size(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    films = [Film(tmp_path / f"{name}.mp4", name) for name in "ab"]
    for film, size in zip(films, (100, 300), strict=True):
        film.path.write_bytes(bytes(size))
    now = [0.0]
    progress = BatchProgress(films, clock=lambda: now[0])
    assert progress.text() == "0 of 2 films"
    now[0] = 12.0
    progress.ended(films[0], "broken")
    progress.advanced(films[1], Advanced(5, 15))
    assert progress.text() == "1 of 2 films, 1 failed, 12 s left"
    assert capsys.readouterr().err.splitlines() == [
        f"failed    {films[0].path}: broken",
        "progress  1 of 2 films, 1 failed, 36 s left",
    ]


def test_the_command_line_has_the_flags_of_a_run_and_refuses_the_rest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = parse_batch(["a.mp4", "b.mp4", "--output", "out", "--preset", "lite", "--renderer", "none"], "batch")
    run = config.run_config()
    assert config.films == ("a.mp4", "b.mp4") and run.preset == "lite" and run.people.detect_every == 0.5
    assert run.results.renderer == "none" and not run.results.window
    with pytest.raises(UsageError, match="--overwrite"):
        parse_batch(["a.mp4", "--output", "out", "--overwrite", "--resume"], "batch")
    assert main(["batch", str(tmp_path)]) == 2
    assert "--output DIR is missing" in capsys.readouterr().err
    assert main(["batch", str(tmp_path), "--output", str(tmp_path / "out")]) == 2
    assert "no films in" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(f"**/{FAILED_FILE}"))
