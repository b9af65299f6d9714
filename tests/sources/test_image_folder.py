"""Folders of pictures."""

from __future__ import annotations

from pathlib import Path

import cv2
import pytest

from bodycast.app.errors import UsageError
from bodycast.app.sources.image_folder import open_images
from tests.sources.clips import grey, level_of


def test_natural_order_and_nominal_times(tmp_path: Path) -> None:
    for number in (10, 2, 1):
        cv2.imwrite(str(tmp_path / f"Frame{number}.png"), grey(8 * number))
    cv2.imwrite(str(tmp_path / "frame3.BMP"), grey(24))
    (tmp_path / "notes.txt").write_text("not a picture")
    source = open_images(tmp_path, 10.0)
    frames = list(source)
    assert [level_of(frame.image) for frame in frames] == [8, 16, 24, 80]
    assert [frame.time_s for frame in frames] == [0.0, 0.1, 0.2, pytest.approx(0.3)]
    assert (source.info.frame_count, source.info.fps, source.info.live) == (4, 10.0, False)


def test_an_unreadable_picture_is_named_and_skipped(tmp_path: Path) -> None:
    for number in range(3):
        cv2.imwrite(str(tmp_path / f"{number}.jpg"), grey(64))
    (tmp_path / "1.jpg").write_bytes(b"not a picture")
    (tmp_path / "3.jpg").touch()
    source = open_images(tmp_path, 30.0)
    assert [frame.index for frame in source] == [0, 2]
    assert [warning.split(":")[0] for warning in source.warnings] == ["1.jpg", "3.jpg"]


def test_webp_and_one_single_file(tmp_path: Path) -> None:
    path = tmp_path / "only.webp"
    cv2.imwrite(str(path), grey(128))
    assert [level_of(frame.image) for frame in open_images(path, 30.0)] == [128]


def test_folders_without_pictures_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no images") as caught:
        open_images(tmp_path, 30.0)
    assert str(tmp_path) in str(caught.value)
    (tmp_path / "film.mp4").touch()
    with pytest.raises(UsageError, match=r"holds the video film\.mp4"):
        open_images(tmp_path, 30.0)
    (tmp_path / "bad.png").write_bytes(b"x")
    with pytest.raises(UsageError, match=r"none of the 1 .* bad\.png"):
        open_images(tmp_path, 30.0)


def test_a_rate_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="above 0"):
        open_images(tmp_path, 0.0)


def test_pictures_of_several_sizes_are_told_once(tmp_path: Path) -> None:
    for number, size in enumerate(((64, 48), (48, 64), (32, 32))):
        cv2.imwrite(str(tmp_path / f"{number}.png"), cv2.resize(grey(64), size))
    source = open_images(tmp_path, 30.0)
    assert [frame.image_wh for frame in source] == [(64, 48), (48, 64), (32, 32)]
    assert len(source.warnings) == 1 and "several sizes" in source.warnings[0]
