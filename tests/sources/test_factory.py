"""What the user writes as SOURCE."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2
import pytest

from bodycast.app.errors import UsageError
from bodycast.app.sources import SourceOptions, open_source
from bodycast.app.sources.factory import DEMO_CLIP
from tests.sources.clips import encode, grey, send_jpegs, serve


def test_files_folders_and_urls_find_their_source(tmp_path: Path) -> None:
    film = encode(tmp_path / "film.mp4", [grey(64)] * 3)
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    cv2.imwrite(str(pictures / "one.jpg"), grey(64))
    options = SourceOptions(folder_fps=12.0)
    assert len(list(open_source(str(film), options))) == 3
    assert open_source(str(pictures), options).info.fps == 12.0
    assert open_source(str(pictures / "one.jpg"), options).info.frame_count == 1
    with serve(lambda handler, _: send_jpegs(handler, 50)) as url:
        source = open_source(url, options)
        assert source.info.live
        source.close()


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("no_such_film.mp4", "no such file or folder; SOURCE is a camera index"),
        ("9876", "camera 9876"),
        ("/dev/video9876", "camera 9876"),
        ("-1", "count from 0"),
        ("gopher://host/film", "gopher:// is not a kind of stream"),
    ],
)
def test_what_is_not_there_is_refused_in_one_line(spec: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        open_source(spec)
    assert "\n" not in str(caught.value)


def test_the_demo_clip_opens_like_a_file() -> None:
    if not DEMO_CLIP.is_file():
        pytest.skip("assets/demo/demo.mp4 is not in this checkout")
    source = open_source("demo")
    assert source.info.name == "demo"
    assert not source.info.live
    assert next(iter(source)).index == 0
    source.close()


def test_a_missing_demo_clip_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("bodycast.app.sources.factory.DEMO_CLIP", tmp_path / "demo.mp4")
    with pytest.raises(UsageError, match="not complete"):
        open_source("demo")


def test_importing_the_factory_loads_no_driver() -> None:
    code = "import sys, bodycast.app.sources; sys.exit(any(name in sys.modules for name in ('cv2', 'av', 'torch')))"
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=Path(__file__).parents[2]).returncode == 0
