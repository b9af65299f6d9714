"""Results in a store: made locally, uploaded whole, the mark last. memory:// and file:// stand for all of fsspec."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import pytest

from bodycast.app.batch.batch import run_batch
from bodycast.app.batch.films import folder_name
from bodycast.app.batch.marks import Done, read_done, remove_marks, write_done
from bodycast.app.batch.remote import RemotePath, check_output, local_folder, result_path
from bodycast.app.commands.batch import BatchConfig
from bodycast.app.errors import RunError, UsageError
from tests.batch.fake_work import work

fsspec = pytest.importorskip("fsspec")


@pytest.fixture
def store(tmp_path: Path) -> RemotePath:
    return RemotePath(f"memory://{tmp_path.name}")


def test_a_folder_is_uploaded_with_its_mark_last(store: RemotePath, monkeypatch: pytest.MonkeyPatch) -> None:
    uploaded: list[str] = []
    filesystem = type(store._filesystem)
    original = filesystem.put_file
    monkeypatch.setattr(
        filesystem, "put_file", lambda self, source, to, **more: (uploaded.append(to), original(self, source, to))
    )
    with local_folder(store / "a") as folder:
        (folder / "motion.npz").write_bytes(b"motion")
        write_done(folder, Done("a.mp4", "x", 3, 20, 2, 4.0, {}))
        (folder / "run.json").write_bytes(b"{}")
        assert not (store / "a").exists(), "nothing is there before all is done"
    assert [Path(name).name for name in uploaded] == ["motion.npz", "run.json", "done.json"]
    done = read_done(store / "a")
    assert done is not None and done.files["motion.npz"].size_bytes == 6
    (store / "a" / "motion.npz").write_bytes(b"cut")
    assert read_done(store / "a") is None
    remove_marks(store / "a")
    remove_marks(store / "a")
    assert not (store / "a" / "done.json").exists() and (store / "a" / "motion.npz").exists()


def test_a_film_that_fails_uploads_nothing(store: RemotePath) -> None:
    with pytest.raises(RunError), local_folder(store / "a") as folder:
        (folder / "motion.npz").write_bytes(b"half")
        raise RunError("broken")
    assert not (store / "a").exists()


def test_an_upload_that_breaks_leaves_no_mark(store: RemotePath, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: object, source: str, to: str, **more: object) -> None:
        raise OSError("the network is gone")

    monkeypatch.setattr(type(store._filesystem), "put_file", broken)
    with pytest.raises(RunError, match="the network is gone"), local_folder(store / "a") as folder:
        write_done(folder, Done("a.mp4", "x", 3, 20, 2, 4.0, {}))
    assert read_done(store / "a") is None


def test_places_travel_between_processes_and_wrong_ones_are_refused(store: RemotePath) -> None:
    assert str(pickle.loads(pickle.dumps(store / "a"))) == str(store / "a")
    assert isinstance(result_path("out/batch"), Path)
    with pytest.raises(UsageError, match="nosuch"):
        result_path("nosuch://bucket")
    with pytest.raises(UsageError, match="cannot be written"):
        check_output(RemotePath("file:///proc/no-folder"))


def test_worker_processes_upload_and_resume_reads_the_store(tmp_path: Path) -> None:
    films, output = tmp_path / "films", tmp_path / "out"
    films.mkdir()
    for name in ("a", "b"):
        (films / f"{name}.mp4").write_bytes(name.encode())
    place = result_path(f"file://{output}")
    config = BatchConfig(films=(str(films),))
    output.mkdir()  # fake workers leave their notes there
    assert run_batch(config, place, work) == 0
    folder = output / folder_name(str(films / "a.mp4"))
    assert (folder / "motion.npz").read_bytes().startswith(b"motion of ")
    assert (output / "summary.csv").is_file() and read_done(folder) is not None
    with pytest.raises(UsageError, match="--resume goes on"):
        run_batch(config, place, work)
    (folder / "done.json").unlink()
    before = len(list(output.glob("worker-*")))
    assert run_batch(replace(config, resume=True), place, work) == 0
    assert len(list(output.glob("worker-*"))) == before + 1 and read_done(folder) is not None
    with pytest.raises(UsageError, match="ends with the process"):
        run_batch(config, result_path("memory://batch"), work)
