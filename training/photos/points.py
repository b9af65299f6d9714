"""From BlazePose's 33 landmarks to the points of our bodies: joints lie inside, landmarks on the skin and the clothes.

A joint is taken as an affine combination of landmarks, the same in the picture and in space: a place to start from
plus shares of two or three directions, of the torso (middle of the hips to that of the shoulders) above all. The shares
were fitted robustly on 374 rendered people (train split of the second version), whose joints are known, labelled by the
same teachers: median distance of shoulders 0.10 torso lengths before and 0.05 after, hips 0.12 and 0.11, of the collars
0.04, the neck 0.04, the middle of the spine 0.07, feet 0.11, hands 0.08.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bodycast.hmr.body.joints import NUM_JOINTS, Joint
from bodycast.hmr.body.surface_joints import POINT_NAMES

F64 = NDArray[np.float64]

NOSE, EARS, SHOULDERS, HIPS = 0, (7, 8), (11, 12), (23, 24)
SAME: dict[str, int] = {
    "nose": 0, "left_eye": 2, "right_eye": 5, "left_ear": 7, "right_ear": 8, "left_wrist": 15, "right_wrist": 16,
    "left_knee": 25, "right_knee": 26, "left_heel": 29, "right_heel": 30, "left_big_toe": 31, "right_big_toe": 32,
}  # fmt: skip
"""Points that are landmarks as they are."""
HIP, SHOULDER = (-0.014, -0.06), (-0.02, -0.088)
"""Shares of the way to the other side's landmark and of the torso."""
ELBOW, ANKLE = -0.05, -0.02
"""Shares of the way back to shoulder and knee."""
PELVIS, SPINE3 = 0.148, 0.737
"""Shares of the torso above the middle of the hips."""
NECK = (0.049, 0.189)
"""From the middle of the shoulders: shares of the torso and of the way to the middle of the ears."""
HEAD = (-0.093, -0.258)
"""From the middle of the ears: shares of the torso and of the way to the nose."""
COLLAR = (0.391, -0.028)
"""From the middle of the shoulders: shares of the way to the side's shoulder and of the torso."""
FOOT = (-0.2, 0.78)
"""From the ankle: shares of the ways to heel and toe."""
HAND = 1.1
"""From the wrist: share of the way to the middle of two knuckles."""
TRUST: dict[str, float] = {
    "left_hip": 0.6, "right_hip": 0.6, "pelvis": 0.6, "spine3": 0.3, "left_collar": 0.4, "right_collar": 0.4,
    "neck": 0.5, "head": 0.5, "left_foot": 0.7, "right_foot": 0.7, "left_hand": 0.7, "right_hand": 0.7,
}  # fmt: skip
"""Weight of a point whose definition is not the teachers'; the others have 1."""


def body_points(landmarks: NDArray[Any], weight: NDArray[Any]) -> tuple[F64, F64]:
    """Landmarks (N,33,D) and weights (N,33) -> places of POINT_NAMES (N,35,D) and weights (N,35); the weight of a
    combination is the smallest of its parts'. What no landmark tells has weight 0."""
    x = np.asarray(landmarks, np.float64)
    w = np.asarray(weight, np.float64)
    places = np.zeros((len(x), len(POINT_NAMES), x.shape[2]))
    weights = np.zeros((len(x), len(POINT_NAMES)))

    def put(name: str, place: F64, *parts: int) -> None:
        at = POINT_NAMES.index(name)
        places[:, at] = place
        weights[:, at] = TRUST.get(name, 1.0) * w[:, list(parts)].min(axis=1)

    shoulders, hips, ears = (x[:, list(pair)].mean(axis=1) for pair in (SHOULDERS, HIPS, EARS))
    torso = shoulders - hips
    for name, landmark in SAME.items():
        put(name, x[:, landmark], landmark)
    put("pelvis", hips + PELVIS * torso, *HIPS, *SHOULDERS)
    put("spine3", hips + SPINE3 * torso, *HIPS, *SHOULDERS)
    put("neck", shoulders + NECK[0] * torso + NECK[1] * (ears - shoulders), *SHOULDERS, *EARS)
    put("head", ears + HEAD[0] * torso + HEAD[1] * (x[:, NOSE] - ears), *EARS, NOSE)
    for number, side in enumerate(("left", "right")):
        own, other = number, 1 - number
        for name, pair, shares in (("hip", HIPS, HIP), ("shoulder", SHOULDERS, SHOULDER)):
            start = x[:, pair[own]]
            put(f"{side}_{name}", start + shares[0] * (x[:, pair[other]] - start) + shares[1] * torso, pair[own])
        shoulder, elbow, wrist, knee, ankle, heel, toe = (base + own for base in (11, 13, 15, 25, 27, 29, 31))
        put(f"{side}_collar", shoulders + COLLAR[0] * (x[:, shoulder] - shoulders) + COLLAR[1] * torso, *SHOULDERS)
        put(f"{side}_elbow", x[:, elbow] + ELBOW * (x[:, shoulder] - x[:, elbow]), elbow)
        put(f"{side}_ankle", x[:, ankle] + ANKLE * (x[:, knee] - x[:, ankle]), ankle)
        foot = x[:, ankle] + FOOT[0] * (x[:, heel] - x[:, ankle]) + FOOT[1] * (x[:, toe] - x[:, ankle])
        put(f"{side}_foot", foot, ankle, heel, toe)
        knuckles = (x[:, 17 + own] + x[:, 19 + own]) / 2
        put(f"{side}_hand", x[:, wrist] + HAND * (knuckles - x[:, wrist]), wrist, 17 + own, 19 + own)
    return places, weights


def joints_in_space(space: NDArray[Any], weight: NDArray[Any]) -> tuple[F64, F64]:
    """Landmarks in space (N,33,3) and weights -> joints (N,24,3) from the pelvis, m, and weights (N,24): 0 for all of a
    person whose pelvis no landmark tells, since losses compare relative to it."""
    places, weights = body_points(space, weight)
    joints = places[:, :NUM_JOINTS] - places[:, [Joint.PELVIS]]
    return joints, weights[:, :NUM_JOINTS] * (weights[:, [Joint.PELVIS]] > 0)
