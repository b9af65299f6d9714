"""Networks that stay open leave nothing of one film in the next: results equal those of runs of their own."""

from __future__ import annotations

import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

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
from bodycast.app.pipeline.build import OpenedStages
from bodycast.app.pipeline.stages import Stages
from bodycast.app.presets import preset_defaults
from bodycast.app.sources.base import SourceInfo
from bodycast.app.sources.factory import DEMO_CLIP
from bodycast.engines import choices
from bodycast.engines.base import Engine
from bodycast.engines.gathering import SharedEngines
from bodycast.engines.registry import open_engine
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


@pytest.mark.parametrize("keypoints", ["pose-lightning", "none"])
def test_films_side_by_side_equal_films_alone(
    clips: list[Path], tmp_path: Path, keypoints: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`none`: the HMR network alone. Together with others a crop may differ in its last bits."""
    monkeypatch.setattr(choices, "told", choices.made)
    rows: list[int] = []

    def watched(*args: Any, **options: Any) -> Engine:
        engine = open_engine(*args, **options)
        run = engine._run
        engine._run = lambda inputs: (rows.append(len(inputs["crops"])), run(inputs))[1]  # type: ignore[method-assign]
        return engine

    shared, opening = SharedEngines(watched, wait_s=1.0), threading.Lock()
    both_open = threading.Barrier(2)

    class Beside(KeptStages):
        def open(self, *args: Any) -> OpenedStages:
            opened = super().open(*args)
            both_open.wait(60)
            return opened

    def film(name: str, clip: Path, kept: KeptStages) -> Path:
        config = config_of(clip, tmp_path / name)
        config = replace(config, network=replace(config.network, keypoints=keypoints))
        recover_film(config, clip.stat().st_size, kept)
        kept.close()
        return tmp_path / name / MOTION_FILE

    def beside(number: int) -> Path:
        return film(f"beside{number}", clips[number], Beside(1, None, shared.open, opening))

    alone = [film(f"alone{number}", clip, KeptStages(1)) for number, clip in enumerate(clips)]
    with ThreadPoolExecutor(2) as threads:
        together = list(threads.map(beside, range(2)))
    assert max(rows) > 1 and rows.count(max(rows)) >= FRAMES // 2, "else nothing went together"
    for one, other in zip(alone, together, strict=True):
        with np.load(one) as expected, np.load(other) as motion:
            assert expected.files == motion.files and len(expected["person_id"]) >= FRAMES
            for column in expected.files:
                if expected[column].dtype.kind == "f":
                    np.testing.assert_allclose(motion[column], expected[column], rtol=0, atol=1e-3, err_msg=column)
                else:
                    np.testing.assert_array_equal(motion[column], expected[column], err_msg=column)


class Stage:
    """Says in `told` what is done to it."""

    body_name = "body"
    warnings = ()
    packages = ()

    def __init__(self, name: str, told: list[str]) -> None:
        self.name, self._told = name, told

    def reset(self) -> None:
        self._told.append(f"{self.name} reset")

    def close(self) -> None:
        self._told.append(f"{self.name} closed")


class DarkSource:
    info = SourceInfo("film", live=False, fps=30.0, frame_count=6, image_wh=(64, 48))

    def __init__(self, name: str) -> None:
        self.warnings = (f"{name} is dark",)


def stages_that_tell(told: list[str], source: DarkSource) -> SimpleNamespace:
    """As `open_stages` gives them, of stages that do nothing."""
    body, estimator, smoother = (Stage(name, told) for name in ("body", "estimator", "smoother"))
    stages = Stages(
        source=None,  # type: ignore[arg-type]
        detector=Stage("detector", told),  # type: ignore[arg-type]
        tracker=None,  # type: ignore[arg-type]
        crop=None,  # type: ignore[arg-type]
        estimator=estimator,  # type: ignore[arg-type]
        body=body,  # type: ignore[arg-type]
        smoother=smoother,  # type: ignore[arg-type]
        warnings=lambda: source.warnings,
        remember=lambda id, vertices, intrinsics: told.append(f"remember {len(id)} {vertices.shape[0]}"),
    )
    world = SimpleNamespace(fresh_lens_watch=lambda info: None)
    return SimpleNamespace(stages=stages, estimator=estimator, body=body, world=world)


def test_between_films_people_and_meshes_are_forgotten_and_nothing_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    calls: list[int] = []

    def open_stages(
        config: RunConfig, source: DarkSource, closing: object, threads: int | None, engines: object
    ) -> SimpleNamespace:
        calls.append(threads or 0)
        return stages_that_tell(told, source)

    monkeypatch.setattr("bodycast.app.batch.kept_stages.open_stages", open_stages)
    monkeypatch.setattr("bodycast.app.batch.kept_stages.LiveWorld", lambda body, options, lens: Stage("world", told))
    kept = KeptStages(threads=3)
    first = kept.open(RunConfig(), DarkSource("one"), None).stages  # type: ignore[arg-type]
    for stage in (first.detector, first.estimator, first.smoother):
        stage.close()
    second = kept.open(RunConfig(), DarkSource("two"), None).stages  # type: ignore[arg-type]
    assert calls == [3], "opened once"
    assert second.warnings() == ("two is dark",)
    assert told == ["smoother reset", "remember 0 0"] * 2
    assert first.tracker is not second.tracker and second.detector.name == "detector"
