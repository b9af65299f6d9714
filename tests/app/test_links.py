"""Results' names that are symbolic links are replaced, never written through; so are temporary names."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bodycast.app.errors import UsageError
from bodycast.app.files.motion_export import export_motion
from bodycast.app.files.motion_file import MotionMeta
from bodycast.app.files.motion_parts import PARTS_FOLDER, PartsHead, PartsWriter
from bodycast.app.files.output_file import check_target, write_whole
from bodycast.app.files.output_folder import FILES, make_output_folder
from bodycast.app.pipeline.display import Screenshots
from bodycast.app.pipeline.run_report import PartsReport, RunReport
from bodycast.app.sinks.motion import MotionSink
from bodycast.app.sinks.video import VideoSink
from bodycast.engines.user_cache import write_whole as write_cached
from tests.sinks.results import result_of

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege there")
META = MotionMeta("net", "bodycast-adult", "none", 0.0, "film.mp4", 0)


def video(path: Path) -> None:
    sink = VideoSink(path, 30.0, overwrite=True)
    sink.write(result_of())
    sink.close()


def motion(path: Path) -> None:
    sink = MotionSink(path, META, 30.0, overwrite=True)
    sink.write(result_of(people=(1,)))
    sink.close()


def report(path: Path) -> None:
    parts = PartsReport("p", "0", "e", "b", "d", "s", 0.0, "film.mp4", False, 30.0, 1, (1, 1))
    RunReport({}, parts).write(path)


def export(path: Path) -> None:
    source = path.with_name("source.npz")
    motion(source)
    export_motion(source, path, overwrite=True)


WRITERS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "overlay": ("overlay.mp4", video),
    "motion": ("motion.npz", motion),
    "report": ("run.json", report),
    "export": ("out.csv", export),
    "any": ("page.html", lambda path: write_whole(path, lambda stream: stream.write(b"x"))),
    "cache": ("choice.json", lambda path: write_cached(path, b"x")),
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_link_is_replaced_and_what_it_leads_to_left_alone(tmp_path: Path, name: str) -> None:
    filename, write = WRITERS[name]
    folder, precious = tmp_path / "out", tmp_path / "precious"
    folder.mkdir()
    precious.write_text("precious")
    (folder / filename).symlink_to(precious)
    write(folder / filename)
    assert precious.read_text() == "precious"
    assert not (folder / filename).is_symlink() and (folder / filename).stat().st_size > 0


def test_links_that_lead_nowhere_are_there(tmp_path: Path) -> None:
    (tmp_path / "out.mp4").symlink_to(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="exists"):
        check_target(tmp_path / "out.mp4", overwrite=False)
    (tmp_path / "screenshot-001.png").symlink_to(tmp_path / "nowhere")
    Screenshots(tmp_path).save(np.zeros((4, 4, 3), np.uint8))
    assert (tmp_path / "screenshot-002.png").is_file() and not (tmp_path / "nowhere").exists()


def test_an_output_folder_full_of_links(tmp_path: Path) -> None:
    folder, precious = tmp_path / "out", tmp_path / "precious"
    folder.mkdir()
    precious.mkdir()
    (precious / "file").write_text("precious")
    for name in FILES:
        (folder / name).symlink_to(precious / "file")
    (folder / PARTS_FOLDER).symlink_to(precious)
    lock = make_output_folder(folder)
    assert [path.name for path in folder.iterdir()] == [".bodycast.lock"]
    lock.release()
    (folder / PARTS_FOLDER).symlink_to(precious)  # and one that came later
    PartsWriter(folder / PARTS_FOLDER, PartsHead(META, None)).close()
    assert not (folder / PARTS_FOLDER).is_symlink()
    assert [path.name for path in precious.iterdir()] == ["file"]
    assert (precious / "file").read_text() == "precious"


def test_a_lock_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / ".bodycast.lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match="cannot be written"):
        make_output_folder(tmp_path)
    assert not os.path.lexists(tmp_path / "elsewhere")
