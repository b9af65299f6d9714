"""Where a person's box is, how it moves, which meshes it believes. Boxes are (4,) float64 xyxy px."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np

from bodycast.app.records import F32, F64
from bodycast.app.tracking.options import FollowOptions
from bodycast.hmr.geometry import boxes
from bodycast.hmr.geometry.suppression import covered_share


def _no_history() -> deque[tuple[float, F64]]:
    return deque[tuple[float, F64]](maxlen=120)


@dataclass(slots=True, eq=False)
class BoxMotion:
    """`box` is where the person is at `time_s`; `history` holds the boxes of the last `memory_s`; `velocity` (4,) px/s
    of centre and size. `believed_s`: when a mesh was last believed. `detected_s`, `detected_box`: when and where the
    detector last agreed."""

    time_s: float
    box: F64
    detected_s: float
    detected_box: F64
    velocity: F64 = field(default_factory=lambda: np.zeros(4))
    believed_s: float = -np.inf
    history: deque[tuple[float, F64]] = field(default_factory=_no_history)

    def remember(self, time_s: float, box: F64, memory_s: float) -> None:
        """The person is at `box` at `time_s`."""
        self.time_s, self.box = time_s, box
        self.history.append((time_s, box))
        while len(self.history) > 1 and time_s - self.history[0][0] > memory_s:
            self.history.popleft()

    def move_to(self, box: F64, time_s: float, options: FollowOptions) -> None:
        """The person was at `box` at `time_s`: known, not to be judged."""
        self.remember(time_s, box, options.memory_s)
        if len(self.history) > 1:
            self._update_velocity(box, time_s, options)

    def box_at(self, time_s: float) -> F64:
        """The remembered box nearest in time."""
        if not self.history:
            return self.box
        return min(self.history, key=lambda entry: abs(entry[0] - time_s))[1]

    def predicted(self, time_s: float, options: FollowOptions) -> F64:
        """The box at `time_s`, at most a quarter of its size away and a tenth larger or smaller."""
        ahead_s = min(max(time_s - self.time_s, 0.0), options.max_predict_s)
        centre, size = box_centre(self.box), box_size(self.box)
        step = np.clip(self.velocity[:2] * ahead_s, -0.25 * size, 0.25 * size)
        grown = size + np.clip(self.velocity[2:] * ahead_s, -0.1 * size, 0.1 * size)
        return np.concatenate([centre + step - 0.5 * grown, centre + step + 0.5 * grown])

    def move_to_mesh(self, mesh: F64, time_s: float, image_wh: tuple[int, int], options: FollowOptions) -> bool:
        """Take the mesh's box, padded and clipped, if it can be believed; gives whether it is."""
        seen = boxes.clip(boxes.pad(mesh, options.padding), image_wh).astype(np.float64)
        first = len(self.history) <= 1
        if not self._believable(seen, first, options.min_size_px):
            self.stay()
            return False
        self.believed_s = time_s
        if not first:
            # A wrong mesh makes a wrong crop, and that the next wrong mesh: the box follows no faster than people move.
            reach = options.max_edge_speed * (time_s - self.history[-2][0]) * float(box_size(self.box).max())
            seen = np.clip(seen, self.box - reach, self.box + reach)
            self._update_velocity(seen, time_s, options)
        self.box = seen
        self.history[-1] = (time_s, seen)
        return True

    def stay(self) -> None:
        """No mesh to believe in: stay, or take the detector's box if it is newer than the last good mesh."""
        self.velocity = np.zeros(4)
        if self.detected_s > self.believed_s:
            self.box = self.detected_box

    def detected(self, found: F64, time_s: float) -> None:
        """The detector agrees: the person was at `found` at `time_s`, perhaps a little ago."""
        self.detected_s, self.detected_box = time_s, self.moved_since(found, time_s)

    def agrees(self, found: F64, time_s: float, options: FollowOptions) -> bool:
        """Whether a detection at `time_s` lies where the meshes had the person then."""
        then = self.box_at(time_s)
        overlap = float(boxes.iou_matrix(found[None], then[None])[0, 0])
        inside = float(covered_share(found[None], then[None])[0, 0])
        # A box within the mesh's may be the part of a person that can be seen, unless it is a small part of the mesh.
        return overlap >= options.drift_iou or (inside > 0.8 and overlap > options.match_iou)

    def moved_since(self, found: F64, time_s: float) -> F64:
        """A box of the frame at `time_s`, moved as the person has moved since."""
        return found + np.tile(box_centre(self.box) - box_centre(self.box_at(time_s)), 2)

    def _believable(self, mesh: F64, first: bool, min_size_px: float) -> bool:
        """Neither jumped nor collapsed nor exploded since the last box; the first one follows a detector's box,
        which may be far looser than a mesh."""
        if not np.all(np.isfinite(mesh)) or not np.all(box_size(mesh) >= min_size_px):
            return False
        width, height = box_size(mesh)
        ratio = float(boxes.area(mesh)) / max(float(boxes.area(self.box)), 1.0)
        limit = 6.0 if first else 3.0
        jump = np.abs(box_centre(mesh) - box_centre(self.box)).max() / box_size(self.box).max()
        return 1 / 6 <= height / width <= 8 and 1 / limit <= ratio <= limit and bool(jump <= 0.5)

    def _update_velocity(self, seen: F64, time_s: float, options: FollowOptions) -> None:
        """Exponential average, in time, of the velocity of centre and size."""
        before_s, before = self.history[-2]
        elapsed_s = time_s - before_s
        if elapsed_s <= 0 or elapsed_s > options.max_predict_s:
            self.velocity = np.zeros(4)
            return
        change = np.concatenate([box_centre(seen) - box_centre(before), box_size(seen) - box_size(before)])
        weight = 1.0 - float(np.exp(-elapsed_s / options.velocity_s))
        self.velocity = self.velocity + weight * (change / elapsed_s - self.velocity)


def touches_border(box: F64, image_wh: tuple[int, int], border: float) -> bool:
    """Whether a box reaches the picture's border, or nearly."""
    edge = border * np.array(image_wh)
    return bool((box[:2] <= edge).any() or (box[2:] >= np.array(image_wh) - edge).any())


def in_picture(box: F64, image_wh: tuple[int, int], min_size_px: float) -> bool:
    """Whether enough of the box is in the picture to look at."""
    seen = boxes.clip(box, image_wh).astype(np.float64)
    return bool(np.all(box_size(seen) >= min_size_px)) and float(boxes.area(seen)) > 0.05 * float(boxes.area(box))


def same_body(one: tuple[F64, F32], other: tuple[F64, F32], min_iou: float, max_apart: float) -> bool:
    """Whether two meshes lie on one person. Each: box (4,) xyxy and joints (24,2), px. The boxes overlap by `min_iou`
    or more, and the joints are apart by less than `max_apart` of the first box's diagonal in the mean."""
    (box, joints_px), (other_box, other_joints_px) = one, other
    if float(boxes.iou_matrix(box[None], other_box[None])[0, 0]) < min_iou:
        return False
    apart = float(np.linalg.norm(joints_px - other_joints_px, axis=1).mean())
    return apart < max_apart * float(np.linalg.norm(box_size(box)))


def box_centre(box: F64) -> F64:
    """(4,) xyxy -> (2,)."""
    return 0.5 * (box[:2] + box[2:])


def box_size(box: F64) -> F64:
    """(4,) xyxy -> (2,) wh."""
    return box[2:] - box[:2]
