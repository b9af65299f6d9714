"""What one stage hands to the next: frozen records, checked when they are made (docs/conventions.md).

Camera frame: x right, y down, z forward, metres. Boxes: xyxy in pixels of the source image. Time: seconds on a
monotonic clock, stamped at the grab; for files, the presentation timestamp. Nobody in the picture is N = 0 rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from bodycast.hmr.geometry.arrays import F32, F64, I32, U8
from bodycast.hmr.geometry.camera import Intrinsics
from bodycast.hmr.geometry.crop import CropTransform
from bodycast.hmr.geometry.ground import LEVEL


def check_array(name: str, array: NDArray[np.generic], shape: tuple[int | None, ...], dtype: type) -> None:
    """Raise ValueError with expected and actual, unless `array` has this shape (None = any size) and dtype."""
    fits = array.ndim == len(shape) and all(
        want is None or want == got for want, got in zip(shape, array.shape, strict=True)
    )
    if not fits or array.dtype != np.dtype(dtype):
        want = "x".join("N" if size is None else str(size) for size in shape)
        raise ValueError(
            f"{name}: expected {want} {np.dtype(dtype).name}, got "
            f"{'x'.join(map(str, array.shape)) or 'a scalar'} {array.dtype.name}"
        )


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture from a source. `image` (H,W,3) uint8 BGR; `index` from 0, counting dropped frames too."""

    image: U8
    index: int
    time_s: float
    intrinsics: Intrinsics | None = None

    def __post_init__(self) -> None:
        check_array("Frame.image", self.image, (None, None, 3), np.uint8)

    @property
    def image_wh(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.image.shape[1], self.image.shape[0]


@dataclass(frozen=True, slots=True)
class Detections:
    """People found in one frame. `xyxy` (N,4) float32 px, `score` (N,) float32 in 0..1."""

    xyxy: F32
    score: F32

    def __post_init__(self) -> None:
        check_array("Detections.xyxy", self.xyxy, (None, 4), np.float32)
        check_array("Detections.score", self.score, (len(self.xyxy),), np.float32)

    def __len__(self) -> int:
        return len(self.xyxy)

    @staticmethod
    def empty() -> Detections:
        """Nobody."""
        return Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32))


@dataclass(frozen=True, slots=True)
class Tracks:
    """People followed over time. `id` (N,) int32 from 1, never re-used in a run; `xyxy` (N,4) float32 px;
    `age_s` (N,) float64, seconds since the track began."""

    id: I32
    xyxy: F32
    age_s: F64

    def __post_init__(self) -> None:
        check_array("Tracks.id", self.id, (None,), np.int32)
        check_array("Tracks.xyxy", self.xyxy, (len(self.id), 4), np.float32)
        check_array("Tracks.age_s", self.age_s, (len(self.id),), np.float64)

    def __len__(self) -> int:
        return len(self.id)

    @staticmethod
    def empty() -> Tracks:
        """Nobody."""
        return Tracks(np.zeros(0, np.int32), np.zeros((0, 4), np.float32), np.zeros(0, np.float64))


class StoredElsewhere(Protocol):
    """Crops (N,h,w,3) uint8 RGB that are not in ordinary memory (engines/cuda/crops.py)."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, h, w, 3)."""
        ...

    def host(self) -> U8:
        """The crops in ordinary memory."""
        ...


def in_memory(stored: U8 | StoredElsewhere) -> U8:
    """Crops as an array; those on a GPU are fetched, once."""
    return stored if isinstance(stored, np.ndarray) else stored.host()


@dataclass(frozen=True, slots=True)
class CropBatch:
    """One crop per track. `stored` (N,h,w,3) uint8 RGB at the network's input size (256x192 or 192x144), an array or
    crops on a GPU; `transforms`: N source-image <-> crop maps; `id` (N,) int32. `also`: crops of the same people for
    another network. `masks` (N,h,w) uint8, 255 on the person, for networks that take masks."""

    stored: U8 | StoredElsewhere
    transforms: tuple[CropTransform, ...]
    id: I32
    also: CropBatch | None = None
    masks: U8 | None = None

    def __post_init__(self) -> None:
        if isinstance(self.stored, np.ndarray):
            check_array("CropBatch.pixels", self.stored, (len(self.id), None, None, 3), np.uint8)
        elif self.stored.shape[0] != len(self.id):
            raise ValueError(f"CropBatch: expected {len(self.id)} crops, got {self.stored.shape[0]}")
        check_array("CropBatch.id", self.id, (None,), np.int32)
        if len(self.transforms) != len(self.id):
            raise ValueError(f"CropBatch: expected {len(self.id)} transforms, got {len(self.transforms)}")
        if self.also is not None and len(self.also) != len(self):
            raise ValueError(f"CropBatch: expected {len(self)} crops for the other network, got {len(self.also)}")
        if self.masks is not None:
            check_array("CropBatch.masks", self.masks, self.stored.shape[:3], np.uint8)

    def __len__(self) -> int:
        return len(self.id)

    @property
    def pixels(self) -> U8:
        """The crops as an array; those on a GPU are fetched, once."""
        return in_memory(self.stored)

    @property
    def hw(self) -> tuple[int, int]:
        """Height and width of a crop; fetches nothing."""
        return self.stored.shape[1], self.stored.shape[2]

    @staticmethod
    def joined(parts: Sequence[CropBatch], id: I32) -> CropBatch:
        """The crops of one or more, in order, under new ids."""
        others = [part.also for part in parts if part.also is not None]
        masks = [part.masks for part in parts if part.masks is not None]
        return CropBatch(
            np.concatenate([part.pixels for part in parts]),
            tuple(transform for part in parts for transform in part.transforms),
            id,
            CropBatch.joined(others, id) if others else None,
            np.concatenate(masks) if masks else None,
        )

    def one(self, row: int) -> CropBatch:
        """A batch of one crop."""
        only = slice(row, row + 1)
        also = None if self.also is None else self.also.one(row)
        masks = None if self.masks is None else self.masks[only]
        return CropBatch(self.pixels[only], self.transforms[only], self.id[only], also, masks)


_NO_KEYPOINTS: F32 = np.zeros((0, 0, 3), np.float32)


def _no_keypoints() -> F32:
    return _NO_KEYPOINTS


@dataclass(frozen=True, slots=True)
class BodyEstimates:
    """Bodies in one frame. `id` (N,) int32; `pose` (N,24,3,3) float32 rotations, root first, SMPL order;
    `betas` (N,10) float32; `transl_m` (N,3) float32 SMPL translation in the camera frame; `score` (N,) float32
    in 0..1; `token` (N,C) float32 per-person feature, C = 0 where the engine gives none; `keypoints` (N,K,3) float32
    x, y in px of the source image and confidence 0..1 of the keypoints that the network sees: COCO's 17, or SMPL's 24
    joints, or K = 0 where it sees none. A person who was not looked at in this frame has confidence 0."""

    id: I32
    pose: F32
    betas: F32
    transl_m: F32
    score: F32
    token: F32
    keypoints: F32 = field(default_factory=_no_keypoints)

    def __post_init__(self) -> None:
        count = len(self.id)
        if self.keypoints is _NO_KEYPOINTS:
            object.__setattr__(self, "keypoints", np.zeros((count, 0, 3), np.float32))
        check_array("BodyEstimates.keypoints", self.keypoints, (count, None, 3), np.float32)
        check_array("BodyEstimates.id", self.id, (None,), np.int32)
        check_array("BodyEstimates.pose", self.pose, (count, 24, 3, 3), np.float32)
        check_array("BodyEstimates.betas", self.betas, (count, 10), np.float32)
        check_array("BodyEstimates.transl_m", self.transl_m, (count, 3), np.float32)
        check_array("BodyEstimates.score", self.score, (count,), np.float32)
        check_array("BodyEstimates.token", self.token, (count, None), np.float32)

    def __len__(self) -> int:
        return len(self.id)

    @staticmethod
    def empty(token_width: int = 0) -> BodyEstimates:
        """Nobody."""
        return BodyEstimates(
            id=np.zeros(0, np.int32),
            pose=np.zeros((0, 24, 3, 3), np.float32),
            betas=np.zeros((0, 10), np.float32),
            transl_m=np.zeros((0, 3), np.float32),
            score=np.zeros(0, np.float32),
            token=np.zeros((0, token_width), np.float32),
        )

    @staticmethod
    def joined(parts: Sequence[BodyEstimates]) -> BodyEstimates:
        """The people of one or more, in order; tokens of one width. Who has no keypoints has some of confidence 0."""
        points = max(part.keypoints.shape[1] for part in parts)
        keypoints = [
            part.keypoints if part.keypoints.shape[1] == points else np.zeros((len(part), points, 3), np.float32)
            for part in parts
        ]
        return BodyEstimates(
            np.concatenate([part.id for part in parts]),
            np.concatenate([part.pose for part in parts]),
            np.concatenate([part.betas for part in parts]),
            np.concatenate([part.transl_m for part in parts]),
            np.concatenate([part.score for part in parts]),
            np.concatenate([part.token for part in parts]),
            np.concatenate(keypoints),
        )

    def select(self, rows: NDArray[np.bool_] | NDArray[np.intp]) -> BodyEstimates:
        """The given rows, ids with them."""
        return BodyEstimates(
            self.id[rows],
            self.pose[rows],
            self.betas[rows],
            self.transl_m[rows],
            self.score[rows],
            self.token[rows],
            self.keypoints[rows],
        )

    def followed_by(self, other: BodyEstimates) -> BodyEstimates:
        """The rows of both, this one's first."""
        return BodyEstimates.joined([self, other])


@dataclass(frozen=True, slots=True)
class PosedBodies:
    """Skinned bodies in the camera frame. `vertices` (N,V,3) float32 m, `joints` (N,24,3) float32 m,
    `joints_px` (N,24,2) float32 px in the source image."""

    vertices: F32
    joints: F32
    joints_px: F32

    def __post_init__(self) -> None:
        check_array("PosedBodies.vertices", self.vertices, (None, None, 3), np.float32)
        check_array("PosedBodies.joints", self.joints, (len(self.vertices), 24, 3), np.float32)
        check_array("PosedBodies.joints_px", self.joints_px, (len(self.vertices), 24, 2), np.float32)

    def select(self, rows: NDArray[np.bool_] | NDArray[np.intp]) -> PosedBodies:
        """The given rows."""
        return PosedBodies(self.vertices[rows], self.joints[rows], self.joints_px[rows])

    def followed_by(self, other: PosedBodies) -> PosedBodies:
        """The rows of both, this one's first."""
        return PosedBodies(
            np.concatenate([self.vertices, other.vertices]),
            np.concatenate([self.joints, other.joints]),
            np.concatenate([self.joints_px, other.joints_px]),
        )


@dataclass(frozen=True, slots=True)
class FrameWorld:
    """`contacts` (N,4) float32 probabilities: left heel, left toe, right heel, right toe. `floor` (4,) float64: n.x + d
    is a camera-frame point's height, m; NaN: none. `camera_to_world` (4,4) float64; NaN: not known. `turn` (3,3)
    float64: this frame's camera frame -> the first one's; NaN: the camera moves, and how is not known. `focal_ratio`:
    focal length of the placed people over the one that was assumed before.
    """

    contacts: F32
    floor: F64
    camera_to_world: F64
    turn: F64 = field(default_factory=lambda: np.eye(3))
    focal_ratio: float = 1.0

    def __post_init__(self) -> None:
        check_array("FrameWorld.turn", self.turn, (3, 3), np.float64)
        check_array("FrameWorld.contacts", self.contacts, (None, 4), np.float32)
        check_array("FrameWorld.floor", self.floor, (4,), np.float64)
        check_array("FrameWorld.camera_to_world", self.camera_to_world, (4, 4), np.float64)

    @staticmethod
    def unknown(people: int) -> FrameWorld:
        """No floor: a level camera at the origin of the world, feet not judged."""
        return FrameWorld(np.full((people, 4), np.nan, np.float32), np.full(4, np.nan), LEVEL.copy())


@dataclass(frozen=True, slots=True)
class FrameResult:
    """A frame and its people, from the estimator to the sinks: each stage gives a new one with what it adds.

    `estimates`, `bodies` and `xyxy` (N,4) float32 px have the same rows. Up to backfill (app/tracking/backfill.py)
    `estimates.id` are track keys and tentative tracks are among the rows; from there on they are the ids that users
    see. The smoother replaces `estimates` and `bodies`. `overlay` (H,W,3) uint8 BGR is the frame's picture, from the
    drawing on with meshes. `dropped`: frames that were dropped so far, known at the drawing. `stage_s`: seconds per
    stage, by name; all records of a frame share it. `world`: where the people stand, once that is known; `smoothed`:
    the same people before they were put there; `view`: what the window shows, where that is another picture.
    """

    frame: Frame
    estimates: BodyEstimates
    bodies: PosedBodies
    xyxy: F32
    intrinsics: Intrinsics
    overlay: U8
    dropped: int = 0
    stage_s: dict[str, float] = field(default_factory=dict[str, float])
    world: FrameWorld | None = None
    smoothed: BodyEstimates | None = None
    view: U8 | None = None

    def __post_init__(self) -> None:
        check_array("FrameResult.xyxy", self.xyxy, (len(self.estimates), 4), np.float32)
        if len(self.bodies.vertices) != len(self.estimates):
            raise ValueError(
                f"FrameResult: {len(self.estimates)} estimates but {len(self.bodies.vertices)} posed bodies"
            )

    def select(self, rows: NDArray[np.bool_] | NDArray[np.intp]) -> FrameResult:
        """The same frame with the given rows of its people."""
        people = self.estimates.select(rows), self.bodies.select(rows), self.xyxy[rows]
        return replace(self, estimates=people[0], bodies=people[1], xyxy=people[2])

    def with_people(self, estimates: BodyEstimates, bodies: PosedBodies, xyxy: F32) -> FrameResult:
        """The same frame with more people, behind those that it has."""
        return replace(
            self,
            estimates=self.estimates.followed_by(estimates),
            bodies=self.bodies.followed_by(bodies),
            xyxy=np.concatenate([self.xyxy, xyxy]),
        )
