"""How far apart two sets of outputs are, in units that mean something: millimetres, degrees, pixels.

Bodies are compared through the embedded body, root at the origin: MPJPE is the mean distance of the 24 joints, PVE that
of all vertices (whatever body the package's shapes belong to: it is a yardstick here).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import numpy as np
from numpy.typing import NDArray

from bodycast.engines.package import Tensors
from bodycast.hmr.body.body_model import BodyModel
from bodycast.hmr.geometry.rotations import geodesic_distance

Floats = NDArray[np.float64]
Errors = dict[str, float]

_PRECISIONS = ("fp32", "fp16", "int8")


def _limits(**by_measure: tuple[float, float, float]) -> dict[str, dict[str, float]]:
    return {name: {m: limits[i] for m, limits in by_measure.items()} for i, name in enumerate(_PRECISIONS)}


TOLERANCES: dict[str, dict[str, dict[str, float]]] = {
    "hmr": _limits(mpjpe_worst_mm=(0.01, 1, 3), pve_worst_mm=(0.01, 1, 3)),
    "fusion": _limits(mpjpe_worst_mm=(0.01, 1, 3), pve_worst_mm=(0.01, 1, 3)),
    "smoother": _limits(mpjpe_worst_mm=(0.01, 1, 3)),
    "pose": {
        "fp32": {"confidence_worst": 1e-3, "seen_worst_px": 0.05, "keypoint_worst_px": 0.05},
        "fp16": {"confidence_worst": 0.02, "seen_worst_px": 1.0},
        "int8": {"confidence_worst": 0.1, "seen_worst_px": 3.0},
    },
    "detector": _limits(box_worst_px=(0.05, 1, 3), score_worst=(1e-3, 0.02, 0.1)),
    "segmenter": _limits(mask_worst_percent=(0.1, 2, 5)),
    "fov": _limits(fov_worst_deg=(0.01, 0.3, 1)),
}
"""task -> precision -> measure -> largest allowed value, over every row of both sets of inputs."""

SEEN = 0.1
"""Keypoints of at least this confidence are compared in every precision; others may be anywhere."""

_MOTION_JOINTS = 29
_TOP_BOXES = 20


def compare(task: str, expected: Tensors, actual: Tensors, crop_height: int = 1) -> Errors:
    """Measures by name, units in the names; "mean" measures over the rows and "worst" the worst row.

    crop_height: of the input in px, for keypoints, which are in crop heights.
    Raises: ValueError for a task without measures, or values that are not finite.
    """
    measures = {
        "hmr": _bodies,
        "fusion": _bodies,
        "smoother": _motion,
        "detector": _boxes,
        "segmenter": _masks,
        "fov": _fields_of_view,
    }
    if task != "pose" and task not in measures:
        raise ValueError(f"no parity measures for the task {task!r}")
    for name, array in actual.items():
        if not np.all(np.isfinite(array)):
            raise ValueError(f"output {name!r} has values that are not finite")
    if task == "pose":
        return _keypoints(_double(expected)["keypoints"], _double(actual)["keypoints"], crop_height)
    return measures[task](_double(expected), _double(actual))


def largest_differences(expected: Tensors, actual: Tensors) -> Errors:
    """Largest absolute difference by output name, in each output's own unit."""
    wanted, found = _double(expected), _double(actual)
    return {name: float(np.abs(found[name] - array).max(initial=0.0)) for name, array in wanted.items()}


def beyond_tolerance(task: str, precision: str, errors: Errors) -> list[str]:
    """What exceeds its tolerance, in words; empty where nothing does."""
    return [
        f"{measure} {errors[measure]:.3g}, allowed are {limit:g}"
        for measure, limit in TOLERANCES[task][precision].items()
        # Written so that a NaN fails.
        if not errors[measure] <= limit
    ]


def _bodies(expected: Mapping[str, Floats], actual: Mapping[str, Floats]) -> Errors:
    wanted, found = _posed(expected), _posed(actual)
    joints = 1e3 * np.linalg.norm(found[1] - wanted[1], axis=-1).mean(axis=1)
    vertices = 1e3 * np.linalg.norm(found[0] - wanted[0], axis=-1).mean(axis=1)
    degrees = np.degrees(geodesic_distance(expected["pose"], actual["pose"]))
    return {
        "mpjpe_mm": float(joints.mean()),
        "mpjpe_worst_mm": float(joints.max()),
        "pve_mm": float(vertices.mean()),
        "pve_worst_mm": float(vertices.max()),
        "rotation_deg": float(degrees.mean()),
        "rotation_worst_deg": float(degrees.max()),
    }


def _posed(outputs: Mapping[str, Floats]) -> tuple[Floats, Floats]:
    pose, betas = (outputs[name].astype(np.float32) for name in ("pose", "betas"))
    posed = _body()(pose, betas, np.zeros((len(pose), 3), np.float32))
    return posed.vertices.astype(np.float64), posed.joints.astype(np.float64)


@cache
def _body() -> BodyModel:
    return BodyModel.load()


def _motion(expected: Mapping[str, Floats], actual: Mapping[str, Floats]) -> Errors:
    if "trajectory" in expected:
        return _smoothed(expected, actual)
    name = "motion" if "motion" in expected else "reconstruction"
    wanted, found = (side[name][..., : 3 * _MOTION_JOINTS] for side in (expected, actual))
    shape = (*wanted.shape[:2], _MOTION_JOINTS, 3)
    joints = 1e3 * np.linalg.norm(found.reshape(shape) - wanted.reshape(shape), axis=-1).mean(axis=(1, 2))
    return {"mpjpe_mm": float(joints.mean()), "mpjpe_worst_mm": float(joints.max())}


def _smoothed(expected: Mapping[str, Floats], actual: Mapping[str, Floats]) -> Errors:
    """Joints of a mean body in the pose, and the place of its root."""
    none = np.zeros((len(expected["pose"]), 10))
    wanted, found = (_posed({"pose": side["pose"], "betas": none})[1] for side in (expected, actual))
    roots = [side["place"] * [1, 1, 0] + [0, 0, 1] for side in (expected, actual)]
    first, second = (ray * np.exp(side["place"][:, 2:]) for ray, side in zip(roots, (expected, actual), strict=True))
    off = 1e3 * float(np.linalg.norm(second - first, axis=-1).max())
    joints = 1e3 * np.linalg.norm(found - wanted, axis=-1).mean(axis=1)
    return {"mpjpe_mm": float(joints.mean()), "mpjpe_worst_mm": float(joints.max()), "root_worst_mm": off}


def ties(keypoints: int) -> int:
    """How many places a row may be anywhere: where two cells of a map tie, the last digit says which is its peak."""
    return 1 + keypoints // 50


def _keypoints(wanted: Floats, found: Floats, crop_height: int) -> Errors:
    """Pixels of the input, the worst without `ties`; "seen": of keypoints that either side is confident of."""
    pixels = crop_height * np.linalg.norm(found[..., :2] - wanted[..., :2], axis=-1)  # (N, K)
    seen = np.maximum(wanted[..., 2], found[..., 2]) >= SEEN
    left = pixels.shape[1] - ties(pixels.shape[1])
    return {
        "keypoint_px": float(pixels.mean()),
        "keypoint_worst_px": float(np.sort(pixels, axis=1)[:, :left].max(initial=0)),
        "seen_px": float(pixels[seen].mean()) if seen.any() else 0.0,
        "seen_worst_px": float(np.sort(pixels * seen, axis=1)[:, :left].max(initial=0)),
        "confidence_worst": float(np.abs(found[..., 2] - wanted[..., 2]).max(initial=0)),
    }


def _boxes(expected: Mapping[str, Floats], actual: Mapping[str, Floats]) -> Errors:
    """The most probable boxes of every picture; the rest is thrown away by whoever reads them."""
    top = np.argsort(-expected["scores"], axis=1)[:, :_TOP_BOXES, None]
    pixels = np.abs(np.take_along_axis(actual["boxes"] - expected["boxes"], top, axis=1))
    scores = np.abs(actual["scores"] - expected["scores"])
    return {
        "box_px": float(pixels.mean()),
        "box_worst_px": float(pixels.max()),
        "score_worst": float(scores.max()),
    }


def _masks(expected: Mapping[str, Floats], actual: Mapping[str, Floats]) -> Errors:
    """Mean difference over the crop, in per cent of a whole one."""
    percent = 100 * np.abs(actual["mask"] - expected["mask"]).mean(axis=(1, 2))
    return {"mask_percent": float(percent.mean()), "mask_worst_percent": float(percent.max())}


def _fields_of_view(expected: Mapping[str, Floats], actual: Mapping[str, Floats]) -> Errors:
    degrees = np.degrees(np.abs(actual["vertical_fov"] - expected["vertical_fov"]))
    return {"fov_deg": float(degrees.mean()), "fov_worst_deg": float(degrees.max())}


def _double(tensors: Tensors) -> dict[str, Floats]:
    return {name: array.astype(np.float64) for name, array in tensors.items()}
