"""The vertical as walls, doors and posts show it: where the picture's upright edges meet.

Edges that are vertical in the world lie in planes through the camera that all hold the vertical direction (Barnard
1983; Coughlan and Yuille 1999 for pictures of rooms and streets). Line segments come from OpenCV's detector (von Gioi
et al. 2010). The direction that most upright edges agree on, by length, is found on a grid of pitch and roll and
refined by weighted least squares. Edges in the middle of the picture agree with any pitch; so how sharply the agreement
peaks says how much is known, and a picture whose edges agree on nothing says nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from bodycast.app.records import F32, F64, U8
from bodycast.app.world.floor_fit import Vertical
from bodycast.hmr.geometry.camera import Intrinsics
from bodycast.hmr.geometry.ground import up_of

WIDTH_PX = 640
"""Pictures are searched at this width."""
LOOK_EVERY_S, LOOKS = 2.0, 4
LEAST_LENGTH = 0.06
"""Shortest edge, in picture heights."""
LEANS_RAD = np.radians(35.0)
"""Edges that lean more in the picture are not upright."""
AGREES_RAD = np.radians(1.5)
"""An edge agrees with a direction that its plane misses by less."""
USUAL_ROLL_RAD = np.radians(4.0)
"""Cameras are held about level."""
MOST_PITCH_RAD, MOST_ROLL_RAD = np.radians(40.0), np.radians(12.0)
LEAST_AGREEMENT, LEAST_PEAK, LEAST_SHARE = 0.8, 0.4, 0.5
"""Length of edges that must agree, in picture heights a look, by how much more than on the usual other pitch, and as
which share of all upright edges."""
LEAST_EDGE_RAD, LEAST_SPREAD_RAD = np.radians(0.4), 0.012
"""Of one edge, and of all: nobody builds straighter."""
SAME_LENS = 0.01
"""A focal length that differs by less, as a logarithm, has the same answer: live it moves a little in every frame."""
_STEP = 1e-5
_PITCHES_RAD: F64 = np.radians(np.arange(-40.0, 40.5, 1.0))
_ROLLS_RAD: F64 = np.radians(np.arange(-12.0, 12.5, 1.0))


@dataclass(frozen=True)
class _Look:
    """`edges` (S,2,2) ends in px from the principal point; `length` (S,) in picture heights; `turn` (3,3) this camera
    frame -> the first one's."""

    edges: F64
    length: F64
    turn: F64


class Verticals:
    """Upright edges of a few pictures. Use it from one thread."""

    def __init__(self) -> None:
        self._looks: list[_Look] = []
        self._next_s = -np.inf
        self._known: tuple[int, float, Vertical | None] = (0, 1.0, None)

    def reset(self) -> None:
        """A cut: another camera."""
        self.__init__()

    def update(self, image: U8, time_s: float, xyxy: F32, turn: F64, intrinsics: Intrinsics) -> None:
        """Look at a picture (h,w,3) BGR where one is due. xyxy: (N,4) px boxes of people, who are left out."""
        if len(self._looks) >= LOOKS or time_s < self._next_s:
            return
        self._next_s = time_s + LOOK_EVERY_S
        edges = upright_edges(image, xyxy)
        if len(edges):
            length = np.linalg.norm(edges[:, 1] - edges[:, 0], axis=1) / image.shape[0]
            self._looks.append(_Look(edges - np.array([intrinsics.cx, intrinsics.cy]), length, turn))

    def vertical(self, focal_px: float) -> Vertical | None:
        """What the edges say under a focal length; None: nothing."""
        if not self._looks:
            return None
        looks, focal, known = self._known
        if looks != len(self._looks) or abs(math.log(focal_px / focal)) > SAME_LENS:
            known = _agreed(self._looks, focal_px)
            self._known = len(self._looks), focal_px, known
        return known


def upright_edges(image: U8, xyxy: F32) -> F64:
    """(S,2,2) ends, px, of the line segments of a picture (h,w,3) BGR that are upright and not on people."""
    scale = min(WIDTH_PX / image.shape[1], 1.0)
    grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    small = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else grey
    found = cast(NDArray[np.float32] | None, cv2.createLineSegmentDetector().detect(small)[0])
    if found is None:
        return np.zeros((0, 2, 2))
    edges = (found.reshape(-1, 2, 2).astype(np.float64) + 0.5) / scale - 0.5
    way = edges[:, 1] - edges[:, 0]
    upright = np.abs(np.arctan2(way[:, 0], np.abs(way[:, 1]))) < LEANS_RAD
    long = np.linalg.norm(way, axis=1) > LEAST_LENGTH * image.shape[0]
    middle = edges.mean(axis=1)
    on_people = np.zeros(len(edges), np.bool_)
    for x0, y0, x1, y1 in xyxy.astype(np.float64):
        on_people |= (middle[:, 0] > x0) & (middle[:, 0] < x1) & (middle[:, 1] > y0) & (middle[:, 1] < y1)
    return edges[upright & long & ~on_people]


@cache
def _grid() -> F64:
    """(P * R,3) directions that are tried, pitch by pitch."""
    return np.array([up_of(float(pitch), float(roll)) for pitch in _PITCHES_RAD for roll in _ROLLS_RAD])


def _agreed(looks: list[_Look], focal_px: float) -> Vertical | None:
    normals, length = _planes(looks, focal_px)
    pitches, rolls = _PITCHES_RAD, _ROLLS_RAD
    agreement = _agreement(normals, length, _grid()).reshape(len(pitches), len(rolls)) / len(looks)
    likely = np.exp(-0.5 * np.square(rolls / USUAL_ROLL_RAD))
    pitch, roll = divmod(int((agreement * likely).argmax()), len(rolls))
    usual = float(np.median(agreement[:, roll]))
    needed = max(LEAST_AGREEMENT, usual + LEAST_PEAK, LEAST_SHARE * float(length.sum()) / len(looks))
    if agreement[pitch, roll] < needed:
        return None
    angles, precision = _refined(normals, length, float(pitches[pitch]), float(rolls[roll]))
    if abs(angles[0]) > MOST_PITCH_RAD or abs(angles[1]) > MOST_ROLL_RAD:
        return None
    # Edges of one look err together with those of the next, and edges of one wall with each other.
    covariance: F64 = np.linalg.inv(precision / len(looks)) + np.eye(2) * LEAST_SPREAD_RAD**2
    return Vertical(up_of(*angles), np.linalg.inv(covariance).astype(np.float64))


def _refined(normals: F64, length: F64, pitch_rad: float, roll_rad: float) -> tuple[tuple[float, float], F64]:
    """Pitch and roll, rad, from a first guess, and their precision (2,2) as if every edge erred by itself."""
    information: F64 = np.eye(2)
    off: F64 = np.zeros(len(normals))
    for _ in range(5):
        up = up_of(pitch_rad, roll_rad)
        slopes = np.stack([up_of(pitch_rad + _STEP, roll_rad) - up, up_of(pitch_rad, roll_rad + _STEP) - up]) / _STEP
        off = (normals @ up).astype(np.float64)
        weight = length / (1 + np.square(off / AGREES_RAD)) ** 2
        jacobian: F64 = normals @ slopes.T
        information = (jacobian.T @ (jacobian * weight[:, None]) + np.eye(2) * 1e-6).astype(np.float64)
        wanted: F64 = (jacobian.T @ (weight * off)).astype(np.float64)
        pitch_step, roll_step = np.linalg.solve(information, wanted).tolist()
        pitch_rad, roll_rad = pitch_rad - pitch_step, roll_rad - roll_step
    agree = np.abs(off) < AGREES_RAD
    spread = float(np.sqrt((length[agree] * np.square(off[agree])).sum() / max(float(length[agree].sum()), 1e-9)))
    precision: F64 = information / max(spread, LEAST_EDGE_RAD) ** 2
    return (pitch_rad, roll_rad), precision


def _planes(looks: list[_Look], focal_px: float) -> tuple[F64, F64]:
    """(S,3) unit normals of the planes through the camera and the edges, first camera frame, and (S,) lengths."""
    found: list[F64] = []
    for look in looks:
        rays = np.concatenate([look.edges / focal_px, np.ones((*look.edges.shape[:2], 1))], axis=-1)
        normal = np.cross(rays[:, 0], rays[:, 1])
        found.append((normal / np.linalg.norm(normal, axis=1, keepdims=True)) @ look.turn.T)
    return np.concatenate(found), np.concatenate([look.length for look in looks])


def _agreement(normals: F64, length: F64, up: F64) -> F64:
    """(G,) length of the edges that agree with each direction (G,3)."""
    # In single precision and in place: a tenth of the time, which a live frame has to wait for.
    off = (normals / AGREES_RAD).astype(np.float32) @ up.T.astype(np.float32)
    np.square(off, out=off)
    np.subtract(1, off, out=off)
    np.maximum(off, 0, out=off)
    return (length.astype(np.float32) @ off).astype(np.float64)
