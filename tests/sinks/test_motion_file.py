"""Reading motion files: what is off is refused by name."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bodycast.app.errors import UsageError
from bodycast.app.files.motion_file import Motion, read_motion, write_motion
from bodycast.app.sinks.motion import MotionSink
from tests.sinks.results import META, result_of

Content = dict[str, np.ndarray]


@pytest.fixture()
def path(tmp_path: Path) -> Path:
    sink = MotionSink(tmp_path / "motion.npz", META, 30.0)
    for index in range(4):
        sink.write(result_of(index, people=[1, 2]))
    sink.close()
    return sink.path


def test_writing_and_reading_give_the_same(path: Path, tmp_path: Path) -> None:
    motion = read_motion(path)
    write_motion(tmp_path / "copy.npz", motion)
    copy = read_motion(tmp_path / "copy.npz")
    for name in ("frame", "time_s", "person_id", "poses", "joints_2d"):
        np.testing.assert_array_equal(getattr(copy, name), getattr(motion, name))
    assert (copy.focal_px, copy.image_wh, copy.fps, copy.meta) == (
        motion.focal_px,
        motion.image_wh,
        motion.fps,
        motion.meta,
    )


def test_people_can_be_picked(path: Path) -> None:
    motion = read_motion(path)
    assert motion.person_ids == [1, 2]
    second = motion.of_person(2)
    assert second.frame.tolist() == [0, 1, 2, 3]
    assert set(second.person_id.tolist()) == {2}
    assert len(motion.of_person(9)) == 0


def without_betas(content: Content) -> None:
    del content["betas"]


def wrong_shape(content: Content) -> None:
    content["poses"] = content["poses"].reshape(-1, 24, 3)


def wrong_dtype(content: Content) -> None:
    content["trans"] = content["trans"].astype(np.float64)


def not_finite(content: Content) -> None:
    content["joints_3d"][0, 0, 0] = np.nan


def unsorted(content: Content) -> None:
    content["frame"] = content["frame"][::-1].copy()


def newer_schema(content: Content) -> None:
    meta = json.loads(str(content["meta"]))
    content["meta"] = np.array(json.dumps({**meta, "schema_version": 99}))


def unknown_meta(content: Content) -> None:
    meta = json.loads(str(content["meta"]))
    content["meta"] = np.array(json.dumps({**meta, "surprise": 1}))


def meta_of_another_type(content: Content) -> None:
    meta = json.loads(str(content["meta"]))
    content["meta"] = np.array(json.dumps({**meta, "lag_s": "long"}))


def meta_that_is_no_json(content: Content) -> None:
    content["meta"] = np.array("{")


def no_focal(content: Content) -> None:
    content["focal_px"] = np.array(0.0, np.float32)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (without_betas, "betas missing"),
        (wrong_shape, r"poses: expected 8x72 float32, got 8x24x3"),
        (wrong_dtype, r"trans: expected 8x3 float32, got 8x3 float64"),
        (not_finite, "joints_3d: .*not finite"),
        (unsorted, "sorted by frame"),
        (newer_schema, "expected schema version 1 to 2, got 99"),
        (unknown_meta, "surprise"),
        (meta_of_another_type, "lag_s has the wrong type"),
        (meta_that_is_no_json, "not a valid motion file"),
        (no_focal, "focal_px"),
    ],
)
def test_what_is_off_is_refused_by_name(path: Path, spoil: Callable[[Content], None], message: str) -> None:
    with np.load(path) as archive:
        content = {key: archive[key] for key in archive.files}
    spoil(content)
    np.savez(path, **content)
    with pytest.raises(UsageError, match=message) as caught:
        read_motion(path)
    assert "\n" not in str(caught.value)


def test_files_of_schema_1_still_read(path: Path) -> None:
    """They have no world: what they lack is NaN, and what they have is as it was."""
    now = read_motion(path)
    later = ("keypoints_2d", "contacts", "joints_world", "trans_world", "root_orient_world", "floor", "camera_to_world")
    with np.load(path) as archive:
        content = {key: archive[key] for key in archive.files if key not in later}
    content["meta"] = np.array(json.dumps({**json.loads(str(content["meta"])), "schema_version": 1}))
    np.savez(path, **content)
    motion = read_motion(path)
    np.testing.assert_array_equal(motion.joints_3d, now.joints_3d)
    assert not motion.has_world
    for name in later[:-1]:
        assert np.isnan(getattr(motion, name)).all(), name
    np.testing.assert_array_equal(motion.camera_to_world, np.diag([1, -1, -1, 1]))
    assert motion.to_smplx(1)["transl"].shape == (4, 3)


def test_a_file_of_schema_2_needs_its_columns(path: Path) -> None:
    with np.load(path) as archive:
        content = {key: archive[key] for key in archive.files if key != "contacts"}
    np.savez(path, **content)
    with pytest.raises(UsageError, match="contacts missing"):
        read_motion(path)


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        read_motion(tmp_path / "missing.npz")
    (tmp_path / "text.npz").write_text("hello")
    with pytest.raises(UsageError, match="not a readable motion file"):
        read_motion(tmp_path / "text.npz")
    np.save(tmp_path / "array.npy", np.zeros(3))
    with pytest.raises(UsageError, match="not a readable motion file"):
        read_motion(tmp_path / "array.npy")
    np.savez(tmp_path / "pickle.npz", frame=np.array([{}], dtype=object))
    with pytest.raises(UsageError, match="Python objects"):
        read_motion(tmp_path / "pickle.npz")


def test_a_pickled_column_is_never_opened(path: Path) -> None:
    with np.load(path) as archive:
        content = {key: archive[key] for key in archive.files}
    content["frame"] = np.array([{}] * 8, dtype=object)
    np.savez(path, **content)
    with pytest.raises(UsageError, match="not a readable motion file"):
        read_motion(path)


def test_motion_checks_itself(path: Path) -> None:
    motion: Motion = read_motion(path)
    with pytest.raises(ValueError, match="ids from 1"):
        replace(motion, person_id=motion.person_id - 1)
    with pytest.raises(ValueError, match="each person once per frame"):
        replace(motion, person_id=np.ones(8, np.int32))
