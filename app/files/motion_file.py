"""motion.npz: a flat table with one row per person per frame, written and read in one place.

Keys, dtypes and units are those of `Motion`; `meta` is a JSON string. No pickles inside: `numpy.load` with its
defaults opens it.
"""

from __future__ import annotations

import json
import math
import zipfile
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from bodycast.app.errors import UsageError
from bodycast.app.files.npz_file import read_arrays
from bodycast.app.files.output_file import write_whole
from bodycast.app.records import F32, F64, I32, check_array
from bodycast.hmr.geometry.ground import LEVEL

SCHEMA_VERSION = 2

TABLE: dict[str, tuple[type, tuple[int, ...]]] = {
    "frame": (np.int32, ()),
    "time_s": (np.float64, ()),
    "person_id": (np.int32, ()),
    "bbox_xyxy": (np.float32, (4,)),
    "score": (np.float32, ()),
    "poses": (np.float32, (72,)),
    "betas": (np.float32, (10,)),
    "trans": (np.float32, (3,)),
    "joints_3d": (np.float32, (24, 3)),
    "joints_2d": (np.float32, (24, 2)),
    "keypoints_2d": (np.float32, (17, 3)),
    "contacts": (np.float32, (4,)),
    "joints_world": (np.float32, (24, 3)),
    "trans_world": (np.float32, (3,)),
    "root_orient_world": (np.float32, (3,)),
}
"""Column name -> dtype and shape of one row."""

SINCE_SCHEMA_2 = ("keypoints_2d", "contacts", "joints_world", "trans_world", "root_orient_world")
"""Columns that files of schema 1 lack; NaN when one of those is read."""

CLIP_KEYS = ("focal_px", "image_wh", "fps", "meta")
CLIP_KEYS_2 = ("floor", "camera_to_world")
CLIP_KEYS_OPTIONAL = ("start_s",)

ROWS_AT_A_TIME = 8192
LEAST_FPS, MOST_FPS = 0.01, 10_000.0
LONGEST_S = 30 * 24 * 3600.0
"""A month: times further apart are wrong."""

NO_FLOOR: F64 = np.full(4, np.nan)
MAY_BE_NAN = ("joints_2d", *SINCE_SCHEMA_2)

ROW = np.dtype([(name, dtype, shape) for name, (dtype, shape) in TABLE.items()])
"""One row as a numpy record, for collecting rows."""


@dataclass(frozen=True, slots=True)
class MotionMeta:
    """Where the motion comes from. `package` and `body`: names (betas mean something in that body's basis only);
    `lag_s`: how far the smoother's output is behind; `frame_count`: frames that were processed, people or not."""

    package: str
    body: str
    smoother: str
    lag_s: float
    source: str
    frame_count: int = 0
    schema_version: int = SCHEMA_VERSION


@dataclass(frozen=True, slots=True)
class Motion:
    """Motion of all people of a clip, R rows sorted by frame, then person.

    `frame` (R,) int32 index in the source; `time_s` (R,) float64; `person_id` (R,) int32 from 1; `bbox_xyxy` (R,4)
    float32 px; `score` (R,) float32 0..1; `poses` (R,72) float32 axis-angle, root first, SMPL order; `betas` (R,10)
    float32; `trans` (R,3) float32 SMPL translation, camera frame, m; `joints_3d` (R,24,3) float32 camera frame, m;
    `joints_2d` (R,24,2) float32 px, NaN for a joint behind the camera; `keypoints_2d` (R,17,3) float32 px and
    confidence of COCO's keypoints as the network saw them, NaN where it sees none.

    World frame, y up, right-handed, m, floor at 0 (hmr/geometry/ground.py), NaN where there is none: `joints_world`
    (R,24,3), `trans_world` (R,3), `root_orient_world` (R,3) axis-angle, all float32. `contacts` (R,4) float32
    probability that left heel, left toe, right heel, right toe touch what carries them. `floor` (4,) float64: n.x + d
    is the height of a camera-frame point; NaN: no floor. `camera_to_world` (4,4) float64, of the first frame where the
    camera moves.

    `focal_px`, `image_wh` and `fps` hold for the clip; 0 where no frame came. `start_s`: time of the clip's first frame
    on the clock of `time_s`, whoever is in it; NaN: not known (older files).
    """

    frame: I32
    time_s: F64
    person_id: I32
    bbox_xyxy: F32
    score: F32
    poses: F32
    betas: F32
    trans: F32
    joints_3d: F32
    joints_2d: F32
    keypoints_2d: F32
    contacts: F32
    joints_world: F32
    trans_world: F32
    root_orient_world: F32
    focal_px: float
    image_wh: tuple[int, int]
    fps: float
    meta: MotionMeta
    floor: F64 = field(default_factory=NO_FLOOR.copy)
    camera_to_world: F64 = field(default_factory=LEVEL.copy)
    start_s: float = math.nan

    def __post_init__(self) -> None:
        rows = len(self.frame)
        for name, (dtype, shape) in TABLE.items():
            column = cast("NDArray[np.generic]", getattr(self, name))
            check_array(f"Motion.{name}", column, (rows, *shape), dtype)
            if name not in MAY_BE_NAN and not np.isfinite(cast("F64", column)).all():
                raise ValueError(f"Motion.{name}: holds values that are not finite (NaN or infinity)")
        check_array("Motion.floor", self.floor, (4,), np.float64)
        check_array("Motion.camera_to_world", self.camera_to_world, (4, 4), np.float64)
        if not np.isfinite(self.camera_to_world).all():
            raise ValueError("Motion.camera_to_world: holds values that are not finite (NaN or infinity)")
        if rows and (self.frame.min() < 0 or self.person_id.min() < 1):
            raise ValueError("Motion: expected frames from 0 and person ids from 1")
        if rows and (self.focal_px <= 0 or self.fps <= 0 or min(self.image_wh) <= 0):
            raise ValueError(
                f"Motion: expected focal_px, fps and image_wh above 0, got {self.focal_px}, {self.fps}, {self.image_wh}"
            )
        if not all(np.isfinite(value) and value >= 0 for value in (self.focal_px, self.fps, self.meta.lag_s)):
            raise ValueError("Motion: expected finite focal_px, fps and lag_s, 0 or more")
        if rows and not LEAST_FPS <= self.fps <= MOST_FPS:
            raise ValueError(f"Motion: expected fps of {LEAST_FPS:g} to {MOST_FPS:g}, got {self.fps:g}")
        if rows and float(np.ptp(self.time_s)) > LONGEST_S:
            raise ValueError(f"Motion.time_s: spans {float(np.ptp(self.time_s)):.3g} s, more than {LONGEST_S:g}")
        if rows and np.isfinite(self.start_s) and abs(self.start_s - float(self.time_s[0])) > LONGEST_S:
            raise ValueError(f"Motion.start_s: {self.start_s:.3g} s, the first row is at {float(self.time_s[0]):.3g} s")
        keys = self.frame.astype(np.int64) << 32 | self.person_id
        if not (np.diff(keys) > 0).all():
            raise ValueError("Motion: expected rows sorted by frame, then person, each person once per frame")

    def __len__(self) -> int:
        return len(self.frame)

    @property
    def has_world(self) -> bool:
        """Whether world coordinates are known for every row."""
        return bool(np.isfinite(self.joints_world).all())

    @property
    def person_ids(self) -> list[int]:
        """Ids that occur, ascending."""
        return [int(person) for person in np.unique(self.person_id)]

    def of_person(self, person_id: int) -> Motion:
        """The rows of one person, in time order; the clip's facts stay."""
        return self.select(self.person_id == person_id)

    def select(self, rows: NDArray[np.bool_]) -> Motion:
        """The given rows; the clip's facts stay."""
        table = self.table[rows]
        return replace(
            motion_from_rows(table, self.focal_px, self.image_wh, self.fps, self.meta),
            floor=self.floor,
            camera_to_world=self.camera_to_world,
            start_s=self.start_s,
        )

    def to_smplx(self, person_id: int | None = None) -> dict[str, F32]:
        """The arguments of an smplx SMPL layer for one person's F frames: `global_orient` (F,3), `body_pose` (F,69)
        axis-angle, `betas` (F,10), `transl` (F,3) m; float32, camera frame (y down, z forward).

        person_id: left out, the only person of the clip. Raises: ValueError where there is no such person, or more
        than one and none was named.
        """
        ids = self.person_ids
        if person_id is None and len(ids) != 1:
            raise ValueError(f"the motion has {len(ids)} people, give one of their ids: {ids}")
        chosen = ids[0] if person_id is None else person_id
        if chosen not in ids:
            raise ValueError(f"no person {chosen} in the motion; there are {ids}")
        rows = self.of_person(chosen)
        return {
            "global_orient": rows.poses[:, :3],
            "body_pose": rows.poses[:, 3:],
            "betas": rows.betas,
            "transl": rows.trans,
        }

    @property
    def table(self) -> NDArray[np.void]:
        """(R,) records of dtype ROW."""
        table = np.empty(len(self), ROW)
        for name in TABLE:
            table[name] = getattr(self, name)
        return table


def motion_from_rows(
    rows: NDArray[np.void], focal_px: float, image_wh: tuple[int, int], fps: float, meta: MotionMeta
) -> Motion:
    """Sort (R,) records of dtype ROW by frame, then person, and check them. Raises ValueError."""
    rows = rows[np.lexsort((rows["person_id"], rows["frame"]))]
    columns = {name: np.ascontiguousarray(rows[name]) for name in TABLE}
    return Motion(
        **columns,  # pyright: ignore[reportArgumentType]  checked by Motion itself
        focal_px=focal_px,
        image_wh=image_wh,
        fps=fps,
        meta=meta,
    )


def write_motion(path: Path, motion: Motion) -> None:
    """Write all or nothing: a crash or a full disk leaves the file that was there before. Raises OSError."""
    content: dict[str, NDArray[np.generic]] = {name: getattr(motion, name) for name in TABLE}
    content["focal_px"] = np.array(motion.focal_px, np.float32)
    content["image_wh"] = np.array(motion.image_wh, np.int32)
    content["fps"] = np.array(motion.fps, np.float64)
    content["floor"], content["camera_to_world"] = motion.floor, motion.camera_to_world
    content["start_s"] = np.array(motion.start_s, np.float64)
    content["meta"] = np.array(json.dumps(asdict(motion.meta)))
    write_whole(path, lambda stream: np.savez(stream, allow_pickle=False, **content))


@dataclass(frozen=True)
class MotionFacts:
    """What holds for a clip, as `Motion` has it."""

    focal_px: float
    image_wh: tuple[int, int]
    fps: float
    meta: MotionMeta
    floor: F64
    camera_to_world: F64
    start_s: float = math.nan


def write_motion_rows(path: Path, rows: NDArray[np.void], facts: MotionFacts) -> None:
    """The same from (R,) records of dtype ROW, sorted by frame, then person, mapped from the disk: a column and some
    thousand rows at a time, so that memory stays flat. Raises OSError."""
    write_whole(path, lambda stream: _write_columns(stream, rows, facts))


def _write_columns(stream: BinaryIO, rows: NDArray[np.void], facts: MotionFacts) -> None:
    clip = {
        "focal_px": np.array(facts.focal_px, np.float32),
        "image_wh": np.array(facts.image_wh, np.int32),
        "fps": np.array(facts.fps, np.float64),
        "floor": facts.floor,
        "camera_to_world": facts.camera_to_world,
        "start_s": np.array(facts.start_s, np.float64),
        "meta": np.array(json.dumps(asdict(facts.meta))),
    }
    with zipfile.ZipFile(stream, "w", allowZip64=True) as archive:
        for name, (dtype, shape) in TABLE.items():
            header = {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": (len(rows), *shape)}
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array_header_1_0(member, header)
                for begin in range(0, len(rows), ROWS_AT_A_TIME):
                    member.write(np.ascontiguousarray(rows[begin : begin + ROWS_AT_A_TIME][name]).tobytes())
        for name, value in clip.items():
            with archive.open(f"{name}.npy", "w") as member:
                np.lib.format.write_array(member, value, allow_pickle=False)


def read_motion(path: str | Path) -> Motion:
    """Read and check a motion file.

    Raises: UsageError, one line that names the key at fault, for a missing file, another kind of file, a missing or
    misshapen column, or a schema that this version does not know.
    """
    first = [name for name in TABLE if name not in SINCE_SCHEMA_2]
    later = (*SINCE_SCHEMA_2, *CLIP_KEYS_2, *CLIP_KEYS_OPTIONAL)
    content = read_arrays(Path(path), (*first, *CLIP_KEYS), "motion", "give a run's motion.npz", later)
    try:
        return _from_content(content)
    except (ValueError, TypeError, RecursionError) as error:
        raise UsageError(f"{path}: not a valid motion file ({error}); write it again with this version") from error


def _from_content(content: dict[str, NDArray[np.generic]]) -> Motion:
    """Raises ValueError or TypeError for content that is off."""
    for key in ("focal_px", "fps"):
        if content[key].shape != ():
            raise ValueError(f"{key}: expected one number, got shape {content[key].shape}")
    check_array("image_wh", content["image_wh"], (2,), np.int32)
    width, height = content["image_wh"].tolist()
    meta = _parse_meta(str(content["meta"]))
    if meta.schema_version == 1:
        rows = len(content["frame"])
        for name in SINCE_SCHEMA_2:
            content[name] = np.full((rows, *TABLE[name][1]), np.nan, np.float32)
        content["floor"], content["camera_to_world"] = NO_FLOOR.copy(), LEVEL.copy()
        meta = replace(meta, schema_version=SCHEMA_VERSION)
    missing = [name for name in (*SINCE_SCHEMA_2, *CLIP_KEYS_2) if name not in content]
    if missing:
        raise ValueError(f"{', '.join(missing)} missing")
    return Motion(
        **{name: content[name] for name in TABLE},  # pyright: ignore[reportArgumentType]  checked by Motion itself
        focal_px=float(content["focal_px"].item()),
        image_wh=(width, height),
        fps=float(content["fps"].item()),
        meta=meta,
        floor=cast("F64", content["floor"]),
        camera_to_world=cast("F64", content["camera_to_world"]),
        start_s=float(content["start_s"].item()) if "start_s" in content else math.nan,
    )


def _parse_meta(text: str) -> MotionMeta:
    parsed: object = json.loads(text)
    if not isinstance(parsed, dict):
        raise ValueError(f"meta: expected a JSON object, got {type(parsed).__name__}")
    values = cast("dict[str, object]", parsed)
    version = values.get("schema_version")
    if version not in range(1, SCHEMA_VERSION + 1):
        raise ValueError(f"meta: expected schema version 1 to {SCHEMA_VERSION}, got {version}")
    known = {entry.name for entry in fields(MotionMeta)}
    if set(values) != known:
        raise ValueError(f"meta: expected the keys {sorted(known)}, got {sorted(values)}")
    kinds: dict[str, type | tuple[type, ...]] = {"lag_s": (int, float), "frame_count": int, "schema_version": int}
    for key, value in values.items():
        if not isinstance(value, kinds.get(key, str)):
            raise ValueError(f"meta: {key} has the wrong type, got {value!r}")
    return MotionMeta(**values)  # pyright: ignore[reportArgumentType]  the types were checked above
