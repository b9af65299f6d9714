"""From samples and predictions to the points that a protocol compares, and their errors."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bodycast.app.errors import UsageError
from bodycast.app.pipeline.build import load_body
from bodycast.hmr.body.body_model import BodyModel
from bodycast.hmr.body.surface_joints import POINT_NAMES
from bodycast.hmr.geometry.metrics import acceleration_error_mm, mpjpe_mm, pa_mpjpe_mm, pve_mm
from bodycast.npz import read_npy
from evaluation.body_errors import ROWS_AT_ONCE, posed_rows
from evaluation.predictions import Predictions
from training.datasets.joint_sets import JOINT_SETS
from training.datasets.sample import PersonSample
from training.datasets.smpl_files import SmplFiles

F64 = NDArray[np.float64]

# Human3.6M's regressor gives 17 joints, the left leg before the right; LSP's 14 of them, right ankle to head.
REGRESSED_14 = (6, 5, 4, 1, 2, 3, 16, 15, 14, 11, 12, 13, 8, 10)
REGRESSED_PELVIS = 0
LSP_NAMES = (
    *("right_ankle", "right_knee", "right_hip", "left_hip", "left_knee", "left_ankle"),
    *("right_wrist", "right_elbow", "right_shoulder", "left_shoulder", "left_elbow", "left_wrist"),
)
# The other two of the 14 by data set: Human3.6M has recorded joints for them.
NECK_AND_HEAD = {"h36m-17": ("neck_h36m", "head_h36m"), "spin-24": ("neck_lsp", "head_h36m")}
HIPS = (1, 2)
SMPL_VERTICES = 6890


@dataclass(frozen=True)
class Compared:
    """Points (N,K,3) and the root (N,3) that they are aligned at, m; vertices (N,V,3) relative to the same, or None."""

    points: F64
    root: F64
    vertices: F64 | None = None


@dataclass(frozen=True)
class Truth:
    """Where true vertices come from: SMPL's files, or nowhere."""

    smpl: SmplFiles | None


@dataclass(frozen=True)
class PointRule:
    """Which points are compared. `joints`: "lsp14", "smpl24" or "limbs12"; `regressor` (17,6890) for lsp14."""

    joints: str
    body: BodyModel
    regressor: F64 | None

    @classmethod
    def make(cls, joints: str, regressor: Path | None, body_spec: str, body_name: str) -> PointRule:
        """Raises: UsageError where the 14 joints are asked for without their regressor, or not for SMPL."""
        matrix = None
        if joints == "lsp14":
            if not body_name.startswith("smpl-"):
                raise UsageError(
                    f"the 14 joints are regressed from SMPL's vertices, the predictions are of the body {body_name!r}: "
                    "score with --joints smpl24 or limbs12, which do not compare with the papers' numbers"
                )
            if regressor is None:
                raise UsageError("the 14 joints need Human3.6M's regressor: --regressor J_regressor_h36m.npy")
            matrix = _read_regressor(regressor)
        return cls(joints, load_body(body_spec, body_name, False), matrix)

    def predicted(self, predictions: Predictions, rows: NDArray[np.intp]) -> Compared:
        """Of predicted rows."""
        vertices, joints = posed_rows(predictions, rows, self.body)
        if self.regressor is not None:
            return _regressed(self.regressor, vertices)
        if self.joints == "smpl24":
            root = joints[:, HIPS, :].mean(1)
            return Compared(joints.astype(np.float64), root, vertices - root[:, None])
        points = predictions.points_3d[rows][:, [POINT_NAMES.index(name) for name in LSP_NAMES]].astype(np.float64)
        return Compared(points, points[:, 2:4].mean(1))

    def true(self, samples: list[PersonSample], truth: Truth) -> Compared:
        """Of samples, in their order."""
        parts = [self._true_of(s, *body) for s, body in zip(samples, _true_bodies(samples, truth), strict=True)]
        vertices = [part.vertices[0] for part in parts if part.vertices is not None]
        return Compared(
            np.concatenate([part.points for part in parts]),
            np.concatenate([part.root for part in parts]),
            np.stack(vertices) if len(vertices) == len(parts) else None,
        )

    def _true_of(self, sample: PersonSample, vertices: F64 | None, joints: F64 | None) -> Compared:
        """Of one sample, its true vertices (1,V,3) and joints (1,24,3) at hand where there are any."""
        if self.joints == "lsp14":
            if sample.dataset == "human36m":
                return _recorded(sample)
            if vertices is None or self.regressor is None:
                raise UsageError(
                    f"{sample.dataset}: the true 14 joints are regressed from SMPL's vertices: give --smpl"
                )
            return _regressed(self.regressor, vertices)
        if self.joints == "smpl24":
            if sample.joints_3d is None or sample.joints_3d.joint_set != "smpl-24":
                raise UsageError(f"{sample.dataset} has no SMPL joints: score with --joints limbs12")
            points = sample.joints_3d.m[None]
            root = points[:, HIPS, :].mean(1)
            if vertices is None or joints is None:
                return Compared(points, root)
            return Compared(points, root, vertices - joints[:, HIPS, :].mean(1)[:, None])
        points = _named(sample, LSP_NAMES)
        return Compared(points, points[:, 2:4].mean(1))


def _read_regressor(path: Path) -> F64:
    try:
        matrix = read_npy(path).astype(np.float64)
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: not a readable regressor ({error})") from error
    if matrix.shape != (17, SMPL_VERTICES):
        raise UsageError(f"{path}: expected Human3.6M's regressor (17, {SMPL_VERTICES}), got {matrix.shape}")
    return matrix


def _regressed(regressor: F64, vertices: NDArray[np.floating]) -> Compared:
    joints = np.einsum("jv,nvc->njc", regressor, vertices.astype(np.float64))
    root = joints[:, REGRESSED_PELVIS]
    return Compared(joints[:, REGRESSED_14, :], root, vertices - root[:, None])


def _true_bodies(samples: list[PersonSample], truth: Truth) -> list[tuple[F64 | None, F64 | None]]:
    """True vertices (1,V,3) and joints (1,24,3) of each sample, None where SMPL's files or the labels are missing.

    Bodies of one gender are posed together, which is several times quicker.
    """
    result: list[tuple[F64 | None, F64 | None]] = [(None, None)] * len(samples)
    if truth.smpl is None:
        return result
    genders: dict[str, list[int]] = {}
    for index, sample in enumerate(samples):
        body = sample.body or ""
        if sample.pose is not None and sample.betas is not None and body.startswith("smpl-"):
            genders.setdefault(body.removeprefix("smpl-"), []).append(index)
    for gender, rows in genders.items():
        pose, betas = (np.stack([getattr(samples[row], name) for row in rows]) for name in ("pose", "betas"))
        moves = [samples[row].transl_m for row in rows]
        transl = np.stack([np.zeros(3) if move is None else move for move in moves])
        posed = truth.smpl.body(gender)(pose, betas, transl)
        for at, row in enumerate(rows):
            result[row] = posed.vertices[at : at + 1].astype(np.float64), posed.joints[at : at + 1].astype(np.float64)
    return result


def _named(sample: PersonSample, names: tuple[str, ...]) -> F64:
    """(1,K,3) joints of a sample by name. Raises: UsageError where one is not labelled."""
    joints = sample.joints_3d
    if joints is None:
        raise UsageError(f"{sample.key}: no joints in space")
    table = JOINT_SETS[joints.joint_set]
    index = [table.index(name) if name in table else -1 for name in names]
    if min(index) < 0 or not joints.valid[index].all():
        raise UsageError(f"{sample.key}: not all of {', '.join(names)} are labelled")
    return joints.m[index][None]


def _recorded(sample: PersonSample) -> Compared:
    """Human3.6M's recorded joints as LSP's 14, aligned at the recorded pelvis."""
    joint_set = "" if sample.joints_3d is None else sample.joints_3d.joint_set
    points = _named(sample, (*LSP_NAMES, *NECK_AND_HEAD.get(joint_set, ())))
    return Compared(points, _named(sample, ("pelvis",))[:, 0])


def score_samples(
    predictions: Predictions,
    samples: list[PersonSample],
    rule: PointRule,
    truth: Truth,
    fps: float,
    frame_step: int,
) -> dict[str, float]:
    """Mean errors over all predicted samples; annotation ids are places in `samples`."""
    row_of = {int(i): row for row, i in enumerate(predictions.annotation_id) if predictions.valid[row]}
    wanted = [index for index in range(len(samples)) if index in row_of]
    if not wanted:
        raise UsageError("no sample of the protocol was predicted")
    errors: dict[str, list[NDArray]] = {"mpjpe_mm": [], "pa_mpjpe_mm": [], "pve_mm": []}
    ours: dict[int, F64] = {}
    theirs: dict[int, F64] = {}
    for start in range(0, len(wanted), ROWS_AT_ONCE):
        part = wanted[start : start + ROWS_AT_ONCE]
        found = rule.predicted(predictions, np.array([row_of[i] for i in part]))
        expected = rule.true([samples[i] for i in part], truth)
        p, t = found.points - found.root[:, None], expected.points - expected.root[:, None]
        errors["mpjpe_mm"].append(mpjpe_mm(p, t))
        errors["pa_mpjpe_mm"].append(pa_mpjpe_mm(p, t))
        meshes = (found.vertices, expected.vertices)
        if meshes[0] is not None and meshes[1] is not None and meshes[0].shape == meshes[1].shape:
            errors["pve_mm"].append(pve_mm(meshes[0], meshes[1]))
        ours |= dict(zip(part, p, strict=True))
        theirs |= dict(zip(part, t, strict=True))
    result = {"samples": float(len(samples)), "predicted": float(len(wanted)), "joints": float(len(ours[wanted[0]]))}
    result |= {name: float(np.concatenate(values).mean()) for name, values in errors.items() if values}
    runs = _runs([samples[i] for i in wanted], wanted, frame_step)
    accelerations = [
        acceleration_error_mm(np.stack([ours[i] for i in run]), np.stack([theirs[i] for i in run])) for run in runs
    ]
    if accelerations:
        mean = float(np.concatenate(accelerations).mean())
        result["acceleration_mm_per_frame2"] = mean
        result["acceleration_m_s2"] = mean / 1000.0 * (fps / frame_step) ** 2
    return result


def _runs(samples: list[PersonSample], indices: list[int], frame_step: int) -> list[list[int]]:
    """Indices of neighbouring frames of one person, three or more."""
    order = sorted(
        zip(samples, indices, strict=True), key=lambda pair: (pair[0].sequence, pair[0].subject, pair[0].frame)
    )
    runs: list[list[int]] = []
    for _, group in groupby(order, key=lambda pair: (pair[0].sequence, pair[0].subject)):
        last = None
        for sample, index in group:
            if last is None or sample.frame != last + frame_step:
                runs.append([])
            runs[-1].append(index)
            last = sample.frame
    return [run for run in runs if len(run) >= 3]
