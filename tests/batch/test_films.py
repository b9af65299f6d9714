"""Which films a batch has, what their folders are called, and how shards share them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bodycast.app.batch.films import Film, find_films, folder_name, parse_shard, shard_of
from bodycast.app.errors import UsageError


def touch(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"film")


def test_a_folder_gives_the_films_below_it_and_not_the_results(tmp_path: Path) -> None:
    touch(tmp_path, "b.mp4", "a.MOV", "deep/er/c.mkv", "notes.txt", ".hidden.mp4", ".trash/d.mp4", "out/x/overlay.mp4")
    films = find_films([str(tmp_path)], tmp_path / "out")
    assert [film.path.name for film in films] == ["a.MOV", "b.mp4", "c.mkv"]


def test_a_glob_a_list_and_films_can_be_mixed_and_each_film_comes_once(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4", "b.mp4", "sub/c.mp4", "d.txt")
    films = tmp_path / "films.txt"
    films.write_text("﻿# mine\n\nsub/c.mp4\nmissing.mp4\na.mp4\n", encoding="utf-8")
    found = find_films([str(tmp_path / "*.mp4"), str(films), str(tmp_path / "a.mp4")], tmp_path / "out")
    assert [film.path.name for film in found] == ["a.mp4", "b.mp4", "missing.mp4", "c.mp4"]


def test_where_nothing_is_found_that_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no films in"):
        find_films([str(tmp_path)], tmp_path / "out")
    with pytest.raises(UsageError, match="give a folder"):
        find_films([], tmp_path / "out")
    with pytest.raises(UsageError, match="cannot be read"):
        find_films([str(tmp_path / "none.txt")], tmp_path / "out")


def test_names_collide_in_no_way(tmp_path: Path) -> None:
    names = (
        *("a/walk.mp4", "b/walk.mp4", "a/walk.mov", "a/Walk.mp4"),
        *(
            "a/caf\u00e9.mp4",
            "a/cafe\u0301.mp4",
            "a/\u6b69\u304f.mp4",
            "a/a b.mp4",
            "a/a:b.mp4",
            "a/" + "\u6b69" * 70 + ".mp4",
        ),
    )
    folders = [folder_name(str(tmp_path / name)) for name in names]
    assert len({folder.casefold() for folder in folders}) == len(names)
    assert folders[0].startswith("walk-") and folders[6].startswith("\u6b69\u304f-")
    for folder in folders:
        (tmp_path / "out" / folder).mkdir(parents=True)
    assert folder_name(str(tmp_path / names[0])) == folders[0], "the same film has the same folder"


@pytest.mark.skipif(os.name != "posix", reason="names that are no text")
def test_a_name_that_is_no_text_has_a_folder(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/\xff.mp4"
    Path(os.fsdecode(path)).write_bytes(b"film")
    (film,) = find_films([str(tmp_path)], tmp_path / "out")
    assert film.folder.encode().startswith(b"_-") and film.size_bytes == 4


@pytest.mark.parametrize("count", [1, 2, 3, 7, 20])
def test_shards_do_each_film_once(count: int) -> None:
    films = [Film(Path(f"{number}.mp4"), str(number)) for number in range(10)]
    shards = [shard_of(films, (number, count)) for number in range(1, count + 1)]
    assert sorted((film for shard in shards for film in shard), key=lambda film: int(film.folder)) == films
    assert max(map(len, shards)) - min(map(len, shards)) <= 1


def test_a_shard_is_read_strictly() -> None:
    assert parse_shard("2/4") == (2, 4)
    for wrong in ("0/4", "5/4", "2", "2/", "a/b", "-1/4", "1/0"):
        with pytest.raises(UsageError, match="--shard"):
            parse_shard(wrong)
