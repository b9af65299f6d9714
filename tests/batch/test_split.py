"""Long films in fragments: where they are split, that each fragment sees the film's own frames, and that what is joined
is what one run gives."""

from __future__ import annotations

import os
from dataclasses import replace
from itertools import islice
from pathlib import Path

import av
import numpy as np
import pytest

from bodycast.app.batch import split
from bodycast.app.batch.ends import Ends
from bodycast.app.batch.films import Film
from bodycast.app.batch.join import same_people
from bodycast.app.batch.kept_stages import KeptStages
from bodycast.app.batch.marks import read_done, read_failed
from bodycast.app.batch.messages import Finished
from bodycast.app.batch.one_film import do_film
from bodycast.app.batch.progress import BatchProgress
from bodycast.app.commands.batch import parse_batch
from bodycast.app.files.motion_file import ROW, Motion, read_motion
from bodycast.app.sources import open_source
from bodycast.app.sources.base import Segment
from bodycast.app.sources.factory import DEMO_CLIP, SourceOptions
from bodycast.app.sources.video_file import picture_times
from bodycast.engines import choices
from tests.sources.clips import encode, grey, level_of


def test_a_segment_gives_the_films_own_frames_numbers_and_times(tmp_path: Path) -> None:
    film = encode(tmp_path / "film.mp4", [grey(8 * number) for number in range(30)], key_every=12)
    whole = list(open_source(str(film)))
    times = picture_times(film)
    assert len(times) == 30
    for first, count in ((0, 5), (7, 9), (12, 3), (25, 5)):
        source = open_source(str(film), SourceOptions(), Segment(first, count, times[first]))
        frames = list(source)
        assert [frame.index for frame in frames] == list(range(first, first + count))
        assert [frame.time_s for frame in frames] == [frame.time_s for frame in whole[first : first + count]]
        assert all(np.array_equal(one.image, whole[one.index].image) for one in frames)
        assert source.warnings == () and source.info.frame_count == count
    assert level_of(whole[29].image) == 232


def test_films_are_split_at_a_cut_where_one_is_near_and_overlap_elsewhere(tmp_path: Path) -> None:
    noise = np.random.default_rng(0)
    shots = [noise.integers(0, 255, (48, 64, 3), dtype=np.uint8) for _ in range(2)]
    film = encode(tmp_path / "film.mp4", [shots[0]] * 115 + [shots[1]] * 185)
    found = split.fragments_of(Film(film, "film", split_s=4.0), SourceOptions(), None)
    assert [one.folder for one in found] == [f"film/fragments/000{number}" for number in range(3)]
    stretches = [one.fragment for one in found]
    assert [(f.first, f.begin, f.end, f.last) for f in stretches if f is not None] == [
        (0, 0, 115, 115),  # a cut 15 frames after the planned border
        (115, 115, 215, 277),
        (153, 215, 300, 300),
    ]  # fmt: skip
    assert split.fragments_of(Film(film, "film", split_s=8.0), SourceOptions(), None) == ()
    assert split.fragments_of(Film(film, "film", split_s=None), SourceOptions(), None) == ()
    assert len(split.fragments_of(Film(film, "film", split_s=4.0), SourceOptions(), 150)) == 0


def test_ids_are_joined_by_the_boxes_of_the_shared_frames() -> None:
    def rows(boxes: dict[int, float], frames: range) -> np.ndarray:
        table = np.zeros(len(boxes) * len(frames), ROW)
        table["frame"] = np.repeat(list(frames), len(boxes))
        table["person_id"] = np.tile(list(boxes), len(frames))
        left = np.tile(list(boxes.values()), len(frames))
        table["bbox_xyxy"] = np.stack([left, 0 * left, left + 40, 0 * left + 100], axis=1)
        return table

    earlier = rows({3: 0.0, 5: 200.0, 8: 100.0}, range(10))
    later = rows({1: 202.0, 2: 4.0, 4: 400.0}, range(5, 20))
    assert same_people(earlier, later) == {3: 2, 5: 1}
    assert same_people(earlier, rows({1: 0.0}, range(8, 20))) == {}, "two frames say too little"


def test_a_film_fails_where_a_fragment_does_and_is_joined_when_all_are_done(tmp_path: Path) -> None:
    film = Film(tmp_path / "a.mp4", "a", split_s=60.0)
    stretch = split.Fragment(0, 0, 0, 5, 5, 0)
    parts = tuple(replace(film, folder=f"a/fragments/{n}", fragment=replace(stretch, number=n)) for n in range(2))
    for error in ("", "it is dark"):
        ends = Ends(tmp_path, "settings", BatchProgress([film]))
        assert ends(film, Finished(then=parts)) == parts
        assert ends(parts[1], Finished(error)) == ()
        then = ends(parts[0], Finished())
        assert [len(one.joins) for one in then] == ([] if error else [2])
    failed = read_failed(tmp_path / "a")
    assert failed is not None and failed.error == "it is dark"


@pytest.mark.slow
def test_two_people_over_two_borders_are_those_of_one_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(split, "OVERLAP_S", 1.0)
    whole, joined, output = run_both(DEMO_CLIP, slice(0, 130), tmp_path, monkeypatch)
    assert len(whole.person_ids) == 2, "otherwise this proves little"
    assert np.array_equal(whole.frame, joined.frame) and np.array_equal(whole.person_id, joined.person_id)
    assert np.array_equal(whole.time_s, joined.time_s) and whole.meta == joined.meta
    # Where people stand is worked out from the whole film in both cases, from poses that differ a little.
    root_m = [motion.joints_3d - motion.joints_3d[:, :1] for motion in (whole, joined)]
    away_m = np.linalg.norm(root_m[0] - root_m[1], axis=-1)
    away_px = np.linalg.norm(whole.joints_2d - joined.joints_2d, axis=-1)
    place_m = np.linalg.norm(whole.joints_3d - joined.joints_3d, axis=-1)
    assert float(np.median(away_m)) < 0.02 and float(np.percentile(away_m, 95)) < 0.15
    assert float(np.median(away_px)) < 1.0 and float(np.median(place_m)) < 0.1
    times = [overlay_times(output / name / "overlay.mp4") for name in ("whole", "split")]
    assert times[0] == times[1] and len(times[0]) == 130
    assert not (output / "split" / "fragments").exists()
    done = read_done(output / "split")
    assert done is not None and done.frames == 130 and done.people == 2


def run_both(clip: Path, frames: slice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Motion, Motion, Path]:
    """The same film in one run and in fragments of two seconds."""
    monkeypatch.setattr(choices, "told", choices.made)
    with av.open(str(clip)) as film:
        pictures = [frame.to_ndarray(format="bgr24")[::4, ::4] for frame in islice(film.decode(video=0), frames.stop)]
    path = encode(tmp_path / "film.mp4", pictures[frames])
    flags = ["x", "--renderer", "cpu", "--preset", "lite", "--engine", "onnxruntime", "--device", "cpu"]
    config, kept, output = parse_batch(flags, "batch").run_config(), KeptStages(1), tmp_path / "out"
    assert do_film(Film(path, "whole"), config, output, kept) == Finished()
    film = Film(path, "split", split_s=2.0)
    planned = do_film(film, config, output, kept)
    assert isinstance(planned, Finished) and len(planned.then) == 3
    ends = Ends(output, "settings", BatchProgress([film]))
    waiting = list(ends(film, planned))
    while waiting:
        one = waiting.pop(0)
        message = do_film(one, config, output, kept)
        assert message == Finished(), message
        waiting += ends(one, Finished())
    kept.close()
    return read_motion(output / "whole" / "motion.npz"), read_motion(output / "split" / "motion.npz"), output


def overlay_times(path: Path) -> list[float | None]:
    with av.open(os.fspath(path)) as film:
        return [frame.time for frame in film.decode(video=0)]
