"""How an HMR engine errs over time, measured from pairs of truth and estimate, and drawn again for any motion.

An error is 75 numbers a frame: for each joint the axis-angle (rad) of true^T @ estimated, then the errors of x/z, y/z
and log z of the translation. It is taken apart as
    error(t) = mean + pose part(t) + amplitude(t) * (sum over components of processes(t)) + white rest(t):
- the pose part is a ridge regression on the true pose (networks shrink what they are unsure of towards the average);
- components are principal directions of what is left; each is a sum of Ornstein-Uhlenbeck processes with the time
  constants `TAUS_S` (infinite: constant over a clip; 0: white), whose variances are fitted to its autocovariance, so
  that errors can be drawn at any frame rate and across gaps;
- the amplitude is log-normal and slow: errors come in bad stretches.
Apart from that there are events: bodies turned about (front taken for back), mirrored bodies (left and right swapped)
and frames in which nothing is seen. They are counted, and left out of the fit, which is about ordinary errors.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from bodycast.hmr.body.body_model import mirror_pose
from bodycast.hmr.geometry.rotations import axis_angle_to_matrix, geodesic_distance, matrix_to_axis_angle
from bodycast.npz import read_npz
from training.motion.pairs import PairedMotion

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
Rng = np.random.Generator

ERROR_MODEL = Path(__file__).resolve().parents[2] / "assets" / "motion" / "hmr-swin-t-s2-errors.npz"
TAUS_S = (np.inf, 1.0, 0.25, 0.06, 0.0)
WIDTH = 75
POSE_FEATURES = 24
COMPONENTS = 32
RIDGE = 0.05
AMPLITUDE_TAU_S = 0.5
EVENT_SPREAD = 0.5
SEEN_SCORE = 0.5
TURNED_RAD = np.deg2rad(75.0)
LIMB_OF_JOINT = tuple(1 if j in (1, 2, 4, 5, 7, 8, 10, 11) else 0 for j in range(24))


@dataclass(frozen=True)
class ErrorModel:
    """Parameters, float32. P components, Q pose features. `package`: of the engine that was measured.

    mean (75,); feature_mean (144,), feature_basis (Q,144), pose_gain (Q,75); basis (P,75), variances (P, 5 time
    constants); rest_std (75,); log_amplitude_std (); turns_per_s, turn_s, flips_per_s, flip_s, blanks_per_s,
    blank_s (): rate and mean length of events; beta_std (10,) and beta_noise_std (10,): error of shape per clip and per
    frame.
    """

    package: NDArray[np.str_]
    mean: F32
    feature_mean: F32
    feature_basis: F32
    pose_gain: F32
    basis: F32
    variances: F32
    rest_std: F32
    log_amplitude_std: F32
    turns_per_s: F32
    turn_s: F32
    flips_per_s: F32
    flip_s: F32
    blanks_per_s: F32
    blank_s: F32
    beta_std: F32
    beta_noise_std: F32

    def save(self, path: Path) -> None:
        """Write as .npz."""
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(path, **{field.name: getattr(self, field.name) for field in fields(self)})

    @staticmethod
    def load(path: Path = ERROR_MODEL) -> ErrorModel:
        """Read what `save` wrote. Raises ValueError naming the command that makes it."""
        if not path.is_file():
            raise ValueError(f"{path}: no error model; make it with python -m training.motion.measure")
        arrays = read_npz(path)
        return ErrorModel(**{field.name: arrays[field.name] for field in fields(ErrorModel)})


def errors_of(pose: F32, transl_m: F32, saw_pose: F32, saw_transl_m: F32) -> F32:
    """(..., 75) errors of estimates (..., 24, 3, 3) and (..., 3) against the truth; see the module."""
    turns = matrix_to_axis_angle(pose.swapaxes(-1, -2) @ saw_pose)
    place = place_of(saw_transl_m) - place_of(transl_m)
    return np.concatenate([turns.reshape(*turns.shape[:-2], 72), place], -1).astype(np.float32)


def place_of(transl_m: F32) -> F32:
    """(..., 3) metres -> x/z, y/z, log z."""
    z = np.maximum(transl_m[..., 2:], np.float32(0.05))
    return np.concatenate([transl_m[..., :2] / z, np.log(z)], -1)


def from_place(place: F32) -> F32:
    """Inverse of `place_of`."""
    z = np.exp(place[..., 2:])
    return np.concatenate([place[..., :2] * z, z], -1)


def with_errors(pose: F32, transl_m: F32, errors: F32) -> tuple[F32, F32]:
    """The estimates that have these errors (..., 75)."""
    turns = axis_angle_to_matrix(errors[..., :72].reshape(*errors.shape[:-1], 24, 3)).astype(np.float32)
    return pose @ turns, from_place(place_of(transl_m) + errors[..., 72:])


def _features(pose: F32) -> F32:
    """(..., 144): the first two columns of every joint's rotation, the root's in the camera frame."""
    return np.ascontiguousarray(pose[..., :2]).reshape(*pose.shape[:-3], 144)


@dataclass(frozen=True)
class Strength:
    """Factors on a model's errors, each a number or (B,): 1 is the measured engine. `events`: on the rate of events.
    `legs_cut` (B,) bool: the picture ends at the hips, so the legs' errors are `CUT_FACTOR` times as large."""

    bias: float | F32 = 1.0
    noise: float | F32 = 1.0
    depth: float | F32 = 1.0
    events: float = 1.0
    legs_cut: NDArray[np.bool_] | None = None


CUT_FACTOR = 1.6
_HALF_TURN = np.diag([-1.0, 1.0, -1.0]).astype(np.float32)


def draw_errors(
    model: ErrorModel, rng: Rng, pose: F32, time_s: F64, strength: Strength | None = None, vary: bool = False
) -> tuple[F32, NDArray[np.bool_], NDArray[np.bool_]]:
    """Errors for motions: pose (B,T,24,3,3), time_s (B,T) -> errors (B,T,75), mirrored (B,T), blank (B,T).

    Where `mirrored`, the engine sees left and right swapped; where `blank`, nothing. vary: for each row, let the mean
    and the pose part be those of an engine that errs as much, but in other directions, and joints err more or less.
    """
    strength = strength or Strength()
    batch, frames = time_s.shape

    def factor(value: float | F32) -> F32:
        return np.broadcast_to(np.asarray(value, np.float32).reshape(-1, 1, 1), (batch, 1, 1))

    bias, noise, depth = factor(strength.bias), factor(strength.noise), factor(strength.depth)
    code = (_features(pose) - model.feature_mean) @ model.feature_basis.T
    errors = bias * (model.mean + code @ model.pose_gain)
    if vary:
        errors *= rng.standard_normal((batch, 1, WIDTH), np.float32)
    amplitude = np.exp(model.log_amplitude_std * _process(rng, time_s, 1, AMPLITUDE_TAU_S) - model.log_amplitude_std**2)
    turned = _events(rng, time_s, float(model.turns_per_s) * strength.events, float(model.turn_s))
    moving = np.zeros((batch, frames, len(model.basis)), np.float32)
    for k, tau in enumerate(TAUS_S):
        part = _process(rng, time_s, len(model.basis), tau) * np.sqrt(model.variances[:, k])
        moving += part * (bias if tau == np.inf else noise * amplitude)
    errors = errors + moving @ model.basis
    errors += noise * amplitude * model.rest_std * rng.standard_normal(errors.shape, np.float32)
    if vary:
        factors = np.exp(0.35 * rng.standard_normal((batch, 1, 24), np.float32))
        errors[..., :72] *= np.repeat(factors, 3, axis=-1)
    if strength.legs_cut is not None:
        legs = np.repeat(np.array(LIMB_OF_JOINT, bool), 3)
        errors[..., :72] *= np.where(strength.legs_cut[:, None, None] & legs, CUT_FACTOR, 1).astype(np.float32)
    errors[..., 74:] *= depth
    # A half turn about the body's own long axis, added to the root's error.
    half = matrix_to_axis_angle(axis_angle_to_matrix(errors[..., :3]) @ _HALF_TURN)
    errors[..., :3] = np.where(turned[..., None], half, errors[..., :3])
    mirrored = _events(rng, time_s, float(model.flips_per_s) * strength.events, float(model.flip_s))
    blank = _events(rng, time_s, float(model.blanks_per_s) * strength.events, float(model.blank_s))
    return errors.astype(np.float32), mirrored, blank


def observe(
    model: ErrorModel,
    rng: Rng,
    pose: F32,
    transl_m: F32,
    time_s: F64,
    strength: Strength | None = None,
    vary: bool = False,
) -> tuple[F32, F32, NDArray[np.bool_]]:
    """What the engine would see of motions in the camera frame: pose (B,T,24,3,3), transl_m (B,T,3), time_s (B,T) ->
    the same two estimated, and seen (B,T). Arguments as those of `draw_errors`."""
    errors, mirrored, blank = draw_errors(model, rng, pose, time_s, strength, vary)
    shown = np.where(mirrored[..., None, None, None], _swapped(pose), pose)
    saw_pose, saw_transl = with_errors(shown, transl_m, errors)
    return saw_pose.astype(np.float32), saw_transl.astype(np.float32), ~blank


def _swapped(pose: F32) -> F32:
    """Left and right swapped in the body, the trunk facing where it faced."""
    out = mirror_pose(pose)
    out[..., 0, :, :] = pose[..., 0, :, :]
    return out


def _process(rng: Rng, time_s: F64, width: int, tau_s: float) -> F32:
    """(B,T,width) samples with unit variance and autocorrelation exp(-|dt| / tau_s)."""
    batch, frames = time_s.shape
    if tau_s == np.inf:
        return np.broadcast_to(rng.standard_normal((batch, 1, width), np.float32), (batch, frames, width))
    noise = rng.standard_normal((batch, frames, width), np.float32)
    if tau_s == 0:
        return noise
    keep = np.exp(-np.diff(time_s, axis=1) / tau_s).astype(np.float32)[..., None]
    for t in range(1, frames):
        noise[:, t] = keep[:, t - 1] * noise[:, t - 1] + np.sqrt(1 - keep[:, t - 1] ** 2) * noise[:, t]
    return noise


def _events(rng: Rng, time_s: F64, per_s: float, mean_s: float) -> NDArray[np.bool_]:
    """(B,T) True during events that begin `per_s` times a second on average and last `mean_s`; some clips have many and
    most have few."""
    on = np.zeros(time_s.shape, bool)
    length = np.diff(time_s, axis=1, prepend=time_s[:, :1])
    rate = per_s * rng.gamma(EVENT_SPREAD, 1 / EVENT_SPREAD, len(time_s))
    now = rng.random(len(time_s)) < np.minimum(rate * mean_s, 0.5)
    for t in range(time_s.shape[1]):
        stay = np.exp(-length[:, t] / max(mean_s, 1e-6))
        start = -np.expm1(-rate * length[:, t])
        now = rng.random(len(now)) < np.where(now, stay, start)
        on[:, t] = now
    return on


def fit(pairs: list[PairedMotion], package: str) -> ErrorModel:
    """Measure an engine's errors on clips. Raises ValueError where there are fewer than two or they are too short."""
    if len(pairs) < 2 or min(len(pair) for pair in pairs) < 16:
        raise ValueError(f"an error model needs at least two clips of 16 frames or more, got {len(pairs)}")
    fps = float(pairs[0].fps)
    raw = [errors_of(p.pose, p.transl_m, p.saw_pose, p.saw_transl_m) for p in pairs]
    turned = [np.linalg.norm(e[:, :3], axis=1) > TURNED_RAD for e in raw]
    flipped = [_is_flipped(pair) & ~turn for pair, turn in zip(pairs, turned, strict=True)]
    blank = [pair.score < SEEN_SCORE for pair in pairs]
    good = [~(turn | flip | dark) for turn, flip, dark in zip(turned, flipped, blank, strict=True)]
    pairs, raw, good = zip(*((p, e, g) for p, e, g in zip(pairs, raw, good, strict=True) if g.sum() > 2), strict=True)
    features = [_features(p.pose) for p in pairs]
    every = np.concatenate([f[g] for f, g in zip(features, good, strict=True)])
    target = np.concatenate([e[g] for e, g in zip(raw, good, strict=True)])
    feature_mean, mean = every.mean(0), target.mean(0)
    _, scale, rows = np.linalg.svd(every - feature_mean, full_matrices=False)
    basis = rows[:POSE_FEATURES]
    code = (every - feature_mean) @ basis.T
    ridge = RIDGE * float(scale[0]) ** 2
    gain = np.linalg.solve(code.T @ code + ridge * np.eye(POSE_FEATURES), code.T @ (target - mean))
    left = [e - mean - (f - feature_mean) @ basis.T @ gain for e, f in zip(raw, features, strict=True)]
    residual = np.concatenate([e[g] for e, g in zip(left, good, strict=True)])
    _, _, directions = np.linalg.svd(residual, full_matrices=False)
    directions = directions[:COMPONENTS]
    scores = [np.where(g[:, None], e @ directions.T, np.nan) for e, g in zip(left, good, strict=True)]
    moving = np.concatenate([s - np.nanmean(s, 0) for s in scores])
    spread = np.nanmean(moving**4, 0) / np.nanmean(moving**2, 0) ** 2
    betas = [p.saw_betas - p.betas for p in pairs]
    flat = {
        "mean": mean, "feature_mean": feature_mean, "feature_basis": basis, "pose_gain": gain, "basis": directions,
        "variances": np.stack([_variances([s[:, k] for s in scores], fps) for k in range(COMPONENTS)]),
        "rest_std": (residual - residual @ directions.T @ directions).std(0),
        "log_amplitude_std": np.sqrt(np.clip(np.log(np.median(spread) / 3) / 4, 0, 0.3)),
        "beta_std": np.stack([b.mean(0) for b in betas]).std(0),
        "beta_noise_std": np.concatenate([b - b.mean(0) for b in betas]).std(0),
    }  # fmt: skip
    flat |= dict(zip(("turns_per_s", "turn_s"), _rate(turned, fps), strict=True))
    flat |= dict(zip(("flips_per_s", "flip_s"), _rate(flipped, fps), strict=True))
    flat |= dict(zip(("blanks_per_s", "blank_s"), _rate(blank, fps), strict=True))
    return ErrorModel(package=np.array(package), **{name: np.asarray(v, np.float32) for name, v in flat.items()})


def _is_flipped(pair: PairedMotion) -> NDArray[np.bool_]:
    """(T,) True where the estimate's limbs fit the mirrored body clearly better than the body."""
    limbs = [1, 2, 4, 5, 16, 17, 18, 19]
    own = geodesic_distance(pair.pose[:, limbs], pair.saw_pose[:, limbs]).mean(1)
    other = geodesic_distance(_swapped(pair.pose)[:, limbs], pair.saw_pose[:, limbs]).mean(1)
    return other < 0.7 * own


def _rate(events: list[NDArray[np.bool_]], fps: float) -> tuple[float, float]:
    """Beginnings per second and mean length, s."""
    starts = sum(int(e[0]) + int((np.diff(e.astype(np.int8)) > 0).sum()) for e in events)
    frames = sum(int(e.sum()) for e in events)
    return starts * fps / sum(map(len, events)), (frames / starts / fps) if starts else 0.1


def _variances(series: list[F32], fps: float) -> F64:
    """Variances (5,) of the processes of TAUS_S whose sum has the autocovariance of `series`, about 0 and pooled; by
    non-negative least squares."""
    lags = np.unique(np.round(np.array([0, 1, 2, 3, 5, 8, 12, 20, 30, 45]) * fps / 30).astype(int))
    lags = lags[lags < max(map(len, series)) - 4]
    measured = np.array(
        [np.nanmean(np.concatenate([s[: len(s) - lag] * s[lag:] for s in series if len(s) > lag])) for lag in lags]
    )
    finite = [tau for tau in TAUS_S if 0 < tau < np.inf]
    curves = [np.ones(len(lags)), *(np.exp(-lags / fps / tau) for tau in finite), (lags == 0).astype(float)]
    design = np.stack(curves, 1)
    return nnls(design, measured)[0]
