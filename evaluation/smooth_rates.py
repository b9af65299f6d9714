"""`python -m evaluation smooth-rates CLIPS...`: whether the diffusion smoother answers alike at every frame rate.

Every clip is seen at 15, 24, 30 and 60 frames/s and at irregular times (12 to 40 a second), and the answers about the
same instants, every third of a second, are compared with those at 30: mean distance of the joints, pelvis-aligned, mm.
Once as it is, once with the same errors on it (drawn from the error model at 120 Hz and read off at the frames' times;
without its white part, which differs from frame to frame by nature).

At a rate of which the lag is no multiple a frame waits longer than the lag, and its answer has seen more: at 15
frames/s 0.133 s for a lag of 0.1 s. "As late" is against 30 frames/s with that lag, so that only the rate differs.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bodycast.app.errors import BodycastError
from bodycast.app.smoothers.diffusion.decoder import DecodedSmoother
from bodycast.app.smoothers.diffusion.live import LONGEST_LAG_S, PACKAGE
from bodycast.hmr.body.body_model import BodyModel
from bodycast.hmr.geometry.metrics import mpjpe_mm
from evaluation.smooth_cases import motion_pieces, posed_joints, simulated, thinned
from evaluation.smooth_scores import run_smoother
from training.motion.error_model import ErrorModel
from training.motion.pairs import PairedMotion

FINE_HZ = 120.0
RATES_HZ = (15.0, 24.0, 60.0)
COMMON_S = 1 / 3
SETTLE_S = 1.0


def frames_at(paired: PairedMotion, rate_hz: float, rng: np.random.Generator) -> NDArray[np.intp]:
    """Indices of a 120 Hz clip at a rate (0: irregular); every third of a second is among them."""
    count = len(paired)
    if rate_hz:
        return np.round(np.arange(0, count, FINE_HZ / rate_hz)).astype(np.intp)
    own = np.cumsum(rng.integers(3, 11, count))
    return np.unique(np.concatenate([own[own < count], np.arange(0, count, round(FINE_HZ * COMMON_S))]))


def common_joints(
    smoother: DecodedSmoother, paired: PairedMotion, keep: NDArray[np.intp], body: BodyModel
) -> NDArray[np.float32]:
    """(Q,24,3): what is answered about every third of a second, after the first second."""
    found = run_smoother(smoother, thinned(paired, keep))
    joints = posed_joints(body, found.pose, found.betas, found.transl_m)
    wanted = np.arange(round(SETTLE_S * FINE_HZ), len(paired) - round(0.4 * FINE_HZ), round(FINE_HZ * COMMON_S))
    return joints[np.searchsorted(keep, wanted)]


def differences(paired: PairedMotion, package: str, lag_s: float, seed: int) -> dict[str, list[float]]:
    """Rate -> distances in mm from the answers at 30 frames/s."""
    body, smoother, rng = BodyModel.load(), DecodedSmoother(lag_s, live_package=package), np.random.default_rng(seed)
    shown = {hz: common_joints(smoother, paired, frames_at(paired, hz, rng), body) for hz in (30.0, *RATES_HZ, 0.0)}
    found: dict[str, list[float]] = {}
    for hz, joints in shown.items():
        if hz == 30.0:
            continue
        name = f"{hz:g}" if hz else "irregular"
        found[name] = mpjpe_mm(joints, shown[30.0], root=0).tolist()
        waits_s = wait_s(hz, lag_s) if hz else 0.0
        if wait_s(30.0, lag_s) < waits_s <= LONGEST_LAG_S:
            with closing(DecodedSmoother(waits_s, live_package=package)) as other:
                same = common_joints(other, paired, frames_at(paired, 30.0, rng), body)
            found[f"{name}, as late"] = mpjpe_mm(joints, same, root=0).tolist()
    smoother.close()
    return found


def wait_s(rate_hz: float, lag_s: float) -> float:
    """How long a frame waits at this rate, s."""
    return float(np.ceil(lag_s * rate_hz - 1e-3) / rate_hz)


def main(argv: Sequence[str]) -> int:
    """Command line. Exit code 2 for bad input."""
    parser = argparse.ArgumentParser(prog="python -m evaluation smooth-rates", description=__doc__)
    parser.add_argument("clips", nargs="+", type=Path, help="motion files")
    parser.add_argument("--smoother-package", default=PACKAGE)
    parser.add_argument("--lag", type=float, default=0.1)
    parser.add_argument("--seconds", type=float, default=3.0, help="longest piece of a clip")
    args = parser.parse_args(argv)
    body = BodyModel.load()
    try:
        model = ErrorModel.load()
        # A white part drawn 120 times a second is another one at every rate: left out, and said so above.
        variances = model.variances.copy()
        variances[:, -1] = 0
        model = replace(model, variances=variances, rest_std=np.zeros_like(model.rest_std))
        rows: dict[tuple[str, str], list[float]] = {}
        for number, piece in enumerate(motion_pieces(args.clips, FINE_HZ, args.seconds)):
            seen = simulated(piece, model, body, number)
            if seen is None or piece.duration_s < SETTLE_S + 0.8:
                continue
            clean = replace(seen, saw_pose=seen.pose, saw_transl_m=seen.transl_m, saw_betas=seen.betas)
            for kind, paired in (("clean", clean), ("with errors", seen)):
                for rate, values in differences(paired, args.smoother_package, args.lag, number).items():
                    rows.setdefault((kind, rate), []).extend(values)
        if not rows:
            raise ValueError("no piece of two seconds or more that could be shown")
    except (BodycastError, ValueError) as error:
        print(f"evaluation smooth-rates: {error}", file=sys.stderr)
        return 2
    for (kind, rate), values in rows.items():
        high = np.quantile(values, 0.9)
        print(f"{kind:<12} {rate:>11} frames/s against 30: mean {np.mean(values):5.1f} mm, 90 % below {high:5.1f} mm")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
