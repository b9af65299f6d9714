"""The lens in a run and in the Python API: who says it, what is undone, what is written about it."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

import bodycast
from bodycast.app.commands import run as cli
from bodycast.app.config import LensConfig, RunConfig
from bodycast.app.pipeline.run_options import world_options
from bodycast.app.records import U8
from bodycast.app.sources.base import SourceInfo
from bodycast.app.world.lens import usual_lens
from tests.sources.clips import encode
from tests.sources.test_lens_metadata import FOCAL_35, SHORT, tiff

REPOSITORY = Path(__file__).resolve().parents[2]
FILM = REPOSITORY / "assets" / "demo" / "outdoors.mp4"
WH = (1280, 720)
CAMERA = {"K": [[1000, 0, 640], [0, 1000, 360], [0, 0, 1]], "dist": [-0.25, 0.08, 0, 0], "size": WH}
STATES_NOTHING = SourceInfo("film", False, 30.0, None, WH)
STATES_LENS = replace(STATES_NOTHING, lens_from="metadata of the film")


@pytest.fixture(scope="module")
def pictures() -> list[U8]:
    """(8,H,W,3) uint8 BGR."""
    capture = cv2.VideoCapture(str(FILM))
    return [np.asarray(capture.read()[1], np.uint8) for _ in range(8)]


def camera_file(folder: Path, **changes: object) -> Path:
    path = folder / "camera.json"
    path.write_text(json.dumps({**CAMERA, **changes}))
    return path


def photograph(path: Path, image: U8, focal_35_mm: int) -> Path:
    plain = bytes(cv2.imencode(".jpg", image)[1])
    block = b"Exif\0\0" + tiff({FOCAL_35: (SHORT, focal_35_mm)})
    path.write_bytes(plain[:2] + b"\xff\xe1" + (len(block) + 2).to_bytes(2, "big") + block + plain[2:])
    return path


@pytest.mark.parametrize(
    ("lens", "source", "said"),
    [
        (LensConfig(), STATES_NOTHING, ""),
        (LensConfig(), STATES_LENS, "metadata of the film"),
        (LensConfig(fov_deg=80.0), STATES_LENS, "as given"),
        (LensConfig(focal_px=900.0), STATES_NOTHING, "as given"),
        (LensConfig(calibration=Path("here/cam.yml")), STATES_LENS, "calibration cam.yml"),
        (LensConfig(calibration=Path("c.toml"), calibration_camera="a"), STATES_LENS, "calibration c.toml, camera a"),
    ],
)
def test_who_says_the_lens(lens: LensConfig, source: SourceInfo, said: str) -> None:
    assert world_options(RunConfig(lens=lens), source).lens_from == said


def test_a_tracker_gives_the_undistorted_picture_and_its_camera(tmp_path: Path, pictures: list[U8]) -> None:
    with bodycast.Tracker(preset="lite", calibration=camera_file(tmp_path)) as tracker:
        assert tracker.image is None and tracker.camera is None
        tracker(pictures[0])
        image, camera = tracker.image, tracker.camera
        assert image is not None and camera is not None
        assert image.shape == pictures[0].shape and (image != pictures[0]).any()
        assert 750 <= camera.focal_px < 1000 and (camera.cx, camera.cy) == (640, 360)
        with pytest.raises(bodycast.BodycastError, match="another aspect ratio"):
            tracker(np.ascontiguousarray(pictures[0][:, :900]))
    with bodycast.Tracker(preset="lite") as tracker:
        tracker(pictures[0])
        assert tracker.image is pictures[0] and tracker.camera == usual_lens(WH)


def test_an_overlay_takes_the_lens_that_a_tracker_assumes(pictures: list[U8]) -> None:
    people = bodycast.recover(pictures[0], preset="lite")
    with bodycast.Overlay("cpu") as overlay:
        assert (overlay(pictures[0], people) == overlay(pictures[0], people, usual_lens(WH))).all()


def test_a_photograph_is_seen_through_the_lens_of_its_exif(tmp_path: Path, pictures: list[U8]) -> None:
    path = photograph(tmp_path / "photo.jpg", pictures[0], 35)
    focal_px = 35 / math.hypot(36, 24) * math.hypot(*WH)
    with bodycast.track(path, preset="lite") as frames:
        assert next(frames).camera.focal_px == pytest.approx(focal_px)
    with bodycast.track(path, preset="lite", fov_deg=80) as frames:
        assert next(frames).camera.focal_px == pytest.approx(0.5 * math.hypot(*WH) / math.tan(math.radians(40)))
    with bodycast.track(path, preset="lite", calibration=camera_file(tmp_path, dist=[])) as frames:
        assert next(frames).camera.focal_px == 1000


def test_pictures_of_several_lenses_are_written_as_each_was_seen(tmp_path: Path, pictures: list[U8]) -> None:
    folder, out = tmp_path / "photos", tmp_path / "out"
    folder.mkdir()
    photograph(folder / "1.jpg", pictures[0], 28)
    photograph(folder / "2.jpg", np.asarray(cv2.resize(pictures[0], (640, 360)), np.uint8), 50)
    seen = {frame.index: frame.people for frame in bodycast.track(folder, preset="lite")}
    assert len(seen) == 2 and all(seen.values())
    arguments = [str(folder), "--preset", "lite", "--no-window", "--output", str(out), "--renderer", "none"]
    assert cli.main(arguments) == 0
    motion = bodycast.read_motion(out / "motion.npz")
    for frame, joints_px in zip(motion.frame.tolist(), motion.joints_2d, strict=True):
        off = [float(np.abs(person.joints_px - joints_px).max()) for person in seen[frame]]
        assert min(off) < 3, "pixels of that picture"


def test_a_run_says_where_its_lens_is_from(
    tmp_path: Path, pictures: list[U8], capsys: pytest.CaptureFixture[str]
) -> None:
    film, out = encode(tmp_path / "film.mp4", pictures), tmp_path / "out"
    arguments = [str(film), "--preset", "lite", "--no-window", "--output", str(out), "--renderer", "cpu"]
    assert cli.main([*arguments, "--calibration", str(camera_file(tmp_path))]) == 0
    assert "(calibration camera.json)" in capsys.readouterr().out
    report = json.loads((out / "run.json").read_text())
    assert report["world"]["focal_from"] == "calibration camera.json"
    assert report["stage_ms"]["undistort"]["count"] == 8

    motion = bodycast.read_motion(out / "motion.npz")
    assert motion.focal_px == pytest.approx(report["world"]["focal_px"], abs=0.1)
    overlay = cv2.VideoCapture(str(out / "overlay.mp4")).read()[1]
    assert overlay.shape == pictures[0].shape and overlay[2, 640].max() < 40, "black, where the lens saw nothing"


def test_a_calibration_that_does_not_fit_is_refused_before_anything_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = camera_file(tmp_path, size=[720, 1280])
    arguments = ["demo", "--no-window", "--output", str(tmp_path / "out"), "--calibration", str(path)]
    assert cli.main(arguments) == 2
    error = capsys.readouterr().err
    assert "calibrated at 720x1280, the picture is 1280x720" in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()
