"""Networks that stay open leave nothing of one film in the next: results equal those of runs of their own."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from itertools import islice
from pathlib import Path

import av
import numpy as np
import pytest

from bodycast.app.batch.film_run import recover_film
from bodycast.app.batch.films import Film
from bodycast.app.batch.kept_stages import KeptStages, StagesError
from bodycast.app.batch.marks import DONE_FILE, Done, read_done
from bodycast.app.batch.one_film import reason
from bodycast.app.config import NetworkConfig, ResultsConfig, RunConfig
from bodycast.app.errors import UsageError
from bodycast.app.files.output_folder import MOTION_FILE, OVERLAY_FILE
from bodycast.app.pipeline.stages import Stages
from bodycast.app.presets import preset_defaults
from bodycast.app.sources.base import SourceInfo
from bodycast.app.sources.factory import DEMO_CLIP
from bodycast.engines import choices
from tests.sources.clips import encode

FRAMES = 6


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two short films of the demo's people, of different sizes."""
    folder = tmp_path_factory.mktemp("clips")
    with av.open(str(DEMO_CLIP)) as film:
        images = [frame.to_ndarray(format="bgr24") for frame in islice(film.decode(video=0), 40 + FRAMES)]
    small = [np.ascontiguousarray(image[::2, ::2]) for image in images]
    return [encode(folder / "one.mp4", images[:FRAMES]), encode(folder / "two.mp4", small[40:])]


def config_of(source: Path, output: Path, smoother: str = "one-euro") -> RunConfig:
    start = preset_defaults("lite")
    network = NetworkConfig(engine="onnxruntime", device="cpu")
    results = ResultsConfig(output=output, overwrite=True, renderer="none", window=False)
    motion = replace(start.motion, smoother=smoother)
    return replace(start, source=str(source), network=network, motion=motion, results=results)


def digest(folder: Path) -> str:
    return hashlib.sha256((folder / MOTION_FILE).read_bytes()).hexdigest()


@pytest.mark.parametrize("smoother", ["one-euro", "diffusion"])
def test_films_after_another_equal_films_alone(
    clips: list[Path], tmp_path: Path, smoother: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choices, "told", choices.made)  # as workers of one batch: no second measurement
    kept = KeptStages(threads=1)
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no film" * 100)
    done: list[Done] = []
    for number, clip in enumerate([clips[0], clips[1], clips[0]]):
        done.append(recover_film(config_of(clip, tmp_path / f"kept{number}", smoother), clip.stat().st_size, kept))
        with pytest.raises(UsageError):
            recover_film(config_of(broken, tmp_path / "none"), 1, kept)
    kept.close()
    alone = KeptStages(threads=1)
    recover_film(config_of(clips[1], tmp_path / "alone", smoother), clips[1].stat().st_size, alone)
    alone.close()
    assert digest(tmp_path / "kept0") == digest(tmp_path / "kept2")
    assert digest(tmp_path / "kept1") == digest(tmp_path / "alone")
    assert [one.frames for one in done] == [FRAMES] * 3 and done[0].people >= 1, "otherwise this proves nothing"
    assert set(done[0].packages) == {"pose-lightning", "keypoint-fusion", "person-detector"}
    assert not (tmp_path / "none" / DONE_FILE).exists()
    read = read_done(tmp_path / "kept0")
    assert read is not None and read.people == done[0].people
    assert read.files[MOTION_FILE].sha256 == digest(tmp_path / "kept0")
    assert not (tmp_path / "kept0" / OVERLAY_FILE).exists()


def test_networks_that_cannot_be_opened_are_no_films_fault(clips: list[Path], tmp_path: Path) -> None:
    config = config_of(clips[0], tmp_path / "out")
    with pytest.raises(StagesError, match="no-such-package"):
        recover_film(replace(config, network=NetworkConfig(keypoints="no-such-package")), 1, KeptStages(threads=1))


def test_a_reason_is_one_line_without_the_films_name(tmp_path: Path) -> None:
    film = Film(tmp_path / "a.mp4", "a")
    assert reason(UsageError(f"{film.path}: not a\n  film"), film) == "not a film"
    assert reason(ValueError(), film) == "no reason given"


def test_between_films_people_and_meshes_are_forgotten_and_nothing_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []

    class Stage:
        body_name = "body"
        warnings = ()
        packages = ()

        def __init__(self, name: str) -> None:
            self.name = name

        def reset(self) -> None:
            told.append(f"{self.name} reset")

        def close(self) -> None:
            told.append(f"{self.name} closed")

    class World:
        def fresh_lens_watch(self, live: bool) -> None:
            return None

    class Opened:
        world = World()
        body = Stage("body")
        estimator = Stage("estimator")
        stages = Stages(
            source=None,  # type: ignore[arg-type]
            detector=Stage("detector"),  # type: ignore[arg-type]
            tracker=None,  # type: ignore[arg-type]
            crop=None,  # type: ignore[arg-type]
            estimator=estimator,  # type: ignore[arg-type]
            body=body,  # type: ignore[arg-type]
            smoother=Stage("smoother"),  # type: ignore[arg-type]
            remember=lambda id, vertices, intrinsics: told.append(f"remember {len(id)} {vertices.shape[0]}"),
        )

    opened = Opened()
    calls: list[int] = []

    def open_stages(config: RunConfig, source: object, closing: object, threads: int | None) -> Opened:
        calls.append(threads or 0)
        opened.stages = replace(opened.stages, warnings=lambda: source.warnings)  # type: ignore[attr-defined]
        return opened

    monkeypatch.setattr("bodycast.app.batch.kept_stages.open_stages", open_stages)
    monkeypatch.setattr("bodycast.app.batch.kept_stages.LiveWorld", lambda body, options, lens: Stage("world"))

    class Source:
        info = SourceInfo("film", live=False, fps=30.0, frame_count=6, image_wh=(64, 48))

        def __init__(self, name: str) -> None:
            self.warnings = (f"{name} is dark",)

    kept = KeptStages(threads=3)
    first = kept.open(RunConfig(), Source("one"), None).stages  # type: ignore[arg-type]
    for stage in (first.detector, first.estimator, first.smoother):
        stage.close()
    second = kept.open(RunConfig(), Source("two"), None).stages  # type: ignore[arg-type]
    assert calls == [3], "opened once"
    assert second.warnings() == ("two is dark",)
    assert told == ["smoother reset", "remember 0 0"] * 2
    assert first.tracker is not second.tracker and second.detector.name == "detector"
