"""The motion file as a run writes it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bodycast.app.commands.recover import main
from bodycast.app.errors import RunError, UsageError
from bodycast.app.files import motion_parts
from bodycast.app.files.motion_file import ROW, TABLE, read_motion
from bodycast.app.files.motion_parts import FRAME, SMOOTHED, read_parts
from bodycast.app.sinks.finish_motion import finish_motion
from bodycast.app.sinks.motion import MotionSink
from bodycast.app.world.report import WorldReport
from bodycast.hmr.geometry.rotations import axis_angle_to_matrix
from tests.sinks.results import META, disk_of, result_of


def test_rows_hold_what_the_run_found(tmp_path: Path) -> None:
    sink = MotionSink(tmp_path / "motion.npz", META, 30.0)
    results = [result_of(0, people=[2, 1]), result_of(1), result_of(5, people=[1, 7])]
    for result in results:
        sink.write(result)
    sink.close()
    motion = read_motion(sink.path)
    assert motion.frame.tolist() == [0, 0, 5, 5]
    assert motion.person_id.tolist() == [1, 2, 1, 7]
    first, estimates = results[0], results[0].estimates
    np.testing.assert_allclose(axis_angle_to_matrix(motion.poses[0].reshape(24, 3)), estimates.pose[1], atol=1e-5)
    np.testing.assert_array_equal(motion.betas[0], estimates.betas[1])
    np.testing.assert_array_equal(motion.trans[1], estimates.transl_m[0])
    np.testing.assert_array_equal(motion.joints_3d[0], first.bodies.joints[1])
    np.testing.assert_array_equal(motion.joints_2d[0], first.bodies.joints_px[1])
    np.testing.assert_array_equal(motion.bbox_xyxy[0], first.xyxy[1])
    assert motion.time_s.tolist() == [0.0, 0.0, 5 / 30, 5 / 30]
    assert motion.focal_px == pytest.approx(first.intrinsics.focal_px)
    assert (motion.image_wh, motion.fps) == ((64, 48), 30.0)
    assert motion.meta == replace(META, frame_count=3)


def test_the_file_is_what_the_design_says(tmp_path: Path) -> None:
    sink = MotionSink(tmp_path / "motion.npz", META, 30.0)
    sink.write(result_of(0, people=[1]))
    sink.close()
    with np.load(sink.path) as archive:  # numpy's defaults refuse pickles
        assert set(archive.files) == {
            *(*TABLE, "focal_px", "image_wh", "fps", "meta", "floor", "camera_to_world", "start_s"),
        }
        shapes = {name: (archive[name].dtype, archive[name].shape) for name in archive.files}
    expected = {
        "frame": (np.dtype(np.int32), (1,)),
        "time_s": (np.dtype(np.float64), (1,)),
        "person_id": (np.dtype(np.int32), (1,)),
        "bbox_xyxy": (np.dtype(np.float32), (1, 4)),
        "score": (np.dtype(np.float32), (1,)),
        "poses": (np.dtype(np.float32), (1, 72)),
        "betas": (np.dtype(np.float32), (1, 10)),
        "trans": (np.dtype(np.float32), (1, 3)),
        "joints_3d": (np.dtype(np.float32), (1, 24, 3)),
        "joints_2d": (np.dtype(np.float32), (1, 24, 2)),
        "keypoints_2d": (np.dtype(np.float32), (1, 17, 3)),
        "contacts": (np.dtype(np.float32), (1, 4)),
        "joints_world": (np.dtype(np.float32), (1, 24, 3)),
        "trans_world": (np.dtype(np.float32), (1, 3)),
        "root_orient_world": (np.dtype(np.float32), (1, 3)),
        "floor": (np.dtype(np.float64), (4,)),
        "camera_to_world": (np.dtype(np.float64), (4, 4)),
        "start_s": (np.dtype(np.float64), ()),
    }
    assert {name: shapes[name] for name in expected} == expected
    assert (shapes["focal_px"][1], shapes["image_wh"][1], shapes["fps"][1], shapes["meta"][1]) == ((), (2,), (), ())
    assert shapes["meta"][0].kind == "U"


def test_an_unknown_rate_is_measured(tmp_path: Path) -> None:
    sink = MotionSink(tmp_path / "motion.npz", META)
    for index in range(11):
        sink.write(result_of(index, 100.0 + index * 0.04, people=[1]))
    sink.close()
    assert read_motion(sink.path).fps == pytest.approx(25.0)


def test_nobody_and_nothing_are_motion_too(tmp_path: Path) -> None:
    nobody = MotionSink(tmp_path / "nobody.npz", META, 30.0)
    nobody.write(result_of())
    nobody.close()
    assert (len(read_motion(nobody.path)), read_motion(nobody.path).meta.frame_count) == (0, 1)
    nothing = MotionSink(tmp_path / "nothing.npz", META, 30.0)
    nothing.close()
    assert (len(read_motion(nothing.path)), read_motion(nothing.path).image_wh) == (0, (0, 0))


def test_it_grows_beyond_its_first_buffer(tmp_path: Path) -> None:
    sink = MotionSink(tmp_path / "motion.npz", META, 30.0)
    for index in range(100):
        sink.write(result_of(index, people=[1, 2]))
    sink.close()
    motion = read_motion(sink.path)
    assert len(motion) == 200
    assert motion.of_person(2).frame.tolist() == list(range(100))


def test_a_joint_behind_the_camera_has_no_image(tmp_path: Path) -> None:
    result = result_of(0, people=[1])
    pixels = result.bodies.joints_px.copy()
    pixels[0, 3] = np.inf
    sink = MotionSink(tmp_path / "motion.npz", META, 30.0)
    sink.write(replace(result, bodies=replace(result.bodies, joints_px=pixels)))
    sink.close()
    assert np.isnan(read_motion(sink.path).joints_2d[0, 3]).all()


def test_broken_numbers_are_refused_and_the_rest_is_kept(tmp_path: Path) -> None:
    sink = MotionSink(tmp_path / "motion.npz", META, 30.0)
    sink.write(result_of(0, people=[1]))
    bad = result_of(1, people=[1])
    betas = np.full((1, 10), np.nan, np.float32)
    with pytest.raises(RunError, match="frame 1: betas"):
        sink.write(replace(bad, estimates=replace(bad.estimates, betas=betas)))
    with pytest.raises(RunError, match="occurs twice"):
        sink.write(result_of(2, people=[4, 4]))
    sink.close()
    assert read_motion(sink.path).frame.tolist() == [0]


def test_memory_is_not_what_grows_and_the_parts_go_at_the_end(tmp_path: Path) -> None:
    sink = MotionSink(tmp_path / "motion.npz", META, 30.0)
    for index in range(20):
        sink.write(result_of(index, people=[2, 1]))
    assert [path.name for path in tmp_path.iterdir()] == ["motion.parts"]
    sink.close()
    motion = read_motion(sink.path)
    assert motion.person_id.tolist() == [1, 2] * 20
    assert [path.name for path in tmp_path.iterdir()] == ["motion.npz"]


def test_every_frame_is_with_the_system_at_once(tmp_path: Path) -> None:
    """On a busy machine the next frame may come seconds later, and the kill before it."""
    sink = MotionSink(tmp_path / "motion.npz", META, 30.0, finish=lambda motion, _: (motion, WorldReport()))
    for index in range(5):
        sink.write(result_of(index, people=[1]))
        parts = read_parts(tmp_path / "motion.parts")
        assert (len(parts.frames), len(parts.rows), len(parts.smoothed)) == (index + 1,) * 3
    sink.close()


def test_a_killed_run_is_recovered_up_to_two_seconds_before(tmp_path: Path, repository: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path\n"
        "from bodycast.app.sinks.motion import MotionSink; from tests.sinks.results import META, result_of\n"
        "sink = MotionSink(Path(sys.argv[1]), META, 30.0)\n"
        "for index in range(100000):\n"
        "    sink.write(result_of(index, people=[1])); time.sleep(0.01)\n"
        "    print(index, flush=True)\n"
    )
    path = tmp_path / "motion.npz"
    run = subprocess.Popen([sys.executable, "-c", code, str(path)], cwd=repository, stdout=subprocess.PIPE)
    assert run.stdout is not None
    for line in run.stdout:
        if int(line) == 150:
            break
    os.kill(run.pid, signal.SIGKILL)
    written = max([150, *(int(line) for line in run.stdout.read().split())])
    run.wait()
    run.stdout.close()
    assert not path.exists()
    assert main([str(tmp_path)], "bodycast recover") == 0
    motion = read_motion(path)
    assert len(motion) >= written
    assert motion.frame.tolist() == list(range(len(motion)))
    assert [file.name for file in tmp_path.iterdir()] == ["motion.npz"]
    with pytest.raises(UsageError, match="nothing to recover"):
        main([str(tmp_path)], "bodycast recover")


@pytest.mark.parametrize("name", ["frames", "rows"])
def test_torn_records_and_the_zeros_of_a_power_cut_end_what_is_recovered(tmp_path: Path, name: str) -> None:
    sink = MotionSink(tmp_path / "motion.npz", META, 30.0)
    for index in range(10):
        sink.write(result_of(index, people=[1, 2]))
    assert sink._parts is not None
    sink._parts.flush(sync=True)
    sink._parts.close()
    path = tmp_path / "motion.parts" / name
    content = path.read_bytes()
    if name == "frames":
        path.write_bytes(content[: -FRAME.itemsize] + bytes(FRAME.itemsize) + b"torn")
    else:
        path.write_bytes(content[:-10])
    parts = read_parts(tmp_path / "motion.parts")
    assert (len(parts.frames), len(parts.rows)) == (9, 18)


@pytest.mark.parametrize("name", ["rows", "smoothed"])
@pytest.mark.parametrize("fill", [b"\x00", b"\xff"])
def test_frames_whose_rows_a_power_cut_left_empty_are_not_recovered(tmp_path: Path, name: str, fill: bytes) -> None:
    """Of pages that were not synced, any may be on the disk; 0xff in every byte is no number."""
    sink = MotionSink(tmp_path / "motion.npz", META, 30.0, finish=lambda motion, _: (motion, WorldReport()))
    for index in range(10):
        sink.write(result_of(index, people=[1, 2]))
    assert sink._parts is not None
    sink._parts.close()
    path, size = tmp_path / "motion.parts" / name, (ROW if name == "rows" else SMOOTHED).itemsize
    path.write_bytes(path.read_bytes()[: -3 * size] + fill * 3 * size)
    finish_motion(tmp_path / "motion.parts", tmp_path / "motion.npz", lambda motion, _: (motion, WorldReport()))
    assert read_motion(tmp_path / "motion.npz").frame.tolist() == [row // 2 for row in range(16)]


def test_a_full_disk_at_the_end_keeps_the_parts(tmp_path: Path) -> None:
    sink = MotionSink(tmp_path / "motion.npz", META, 30.0)
    for index in range(200):
        sink.write(result_of(index, people=[1]))
    assert sink._parts is not None
    sink._parts.flush(sync=True)
    with disk_of(50_000), pytest.raises(RunError, match=r"cannot be written .* kept: bodycast recover"):
        sink.close()
    sink.close()
    assert main([str(tmp_path)], "bodycast recover") == 0
    assert len(read_motion(sink.path)) == 200


@pytest.mark.parametrize("gone", ["removed", "replaced"])
def test_a_folder_that_goes_away_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gone: str) -> None:
    monkeypatch.setattr(motion_parts, "SYNC_S", 0.0)
    folder = tmp_path / "out"
    folder.mkdir()
    sink = MotionSink(folder / "motion.npz", META)
    sink.write(result_of(0, people=(1,)))
    if gone == "removed":
        shutil.rmtree(folder)
    else:
        folder.rename(tmp_path / "moved")
        (folder / "motion.parts").mkdir(parents=True)
        (folder / "motion.parts" / "head.json").write_text("{}")
    with pytest.raises(RunError, match="removed or renamed"):
        sink.write(result_of(1, people=(1,)))
    sink.close()
    assert not (folder / "motion.npz").exists()


def test_it_replaces_nothing_unasked(tmp_path: Path) -> None:
    (tmp_path / "motion.npz").write_text("precious")
    with pytest.raises(UsageError, match="exists"):
        MotionSink(tmp_path / "motion.npz", META)
