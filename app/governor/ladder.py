"""The steps of a run, in order: which there are depends on its networks and on what it draws."""

from __future__ import annotations

import math
from dataclasses import dataclass

from bodycast.app.governor.policy import Measured, Share, Step, Trade

DETECTOR_SHARE = 0.25
"""Of the time that the detector may take once its interval is traded."""
INTERVALS_S = (0.5, 1.0)
OVERLAY_SCALES = (0.75, 0.5)
CROP_SHARES = (1 / 2, 1 / 3)

FLIP_TEST, REFINEMENT = "no flip test", "no refinement"
SHARE_STEP = "25 % of the time"


@dataclass(frozen=True, slots=True)
class Tradable:
    """What a run has that can be traded. `refinement_share`: of the time of crops and networks, as measured.
    `keypoints`, `engine`: the one in use and the quicker one; None: there is no other."""

    detect_every_s: float
    draws: bool
    flip_test: bool = False
    refinement_share: float = 0.0
    refines: bool = False
    keypoints: tuple[str, str] | None = None
    engine: tuple[str, str] | None = None
    keypoints_share: float = 0.6
    engine_share: float = 0.3


def ladder(has: Tradable) -> tuple[Step, ...]:
    """The steps, in the order of `Trade`."""
    usual_s = has.detect_every_s
    steps = [Step(Trade.DETECTOR, SHARE_STEP, f"{usual_s:g} s", _over_share, back=usual_s)]
    for interval_s in INTERVALS_S:
        if interval_s > usual_s:
            names = f"{interval_s:g} s", f"{usual_s:g} s"
            steps.append(Step(Trade.DETECTOR, *names, _rarer(interval_s), interval_s, back=usual_s))
            usual_s = interval_s
    if has.draws:
        steps += [Step(Trade.OVERLAY, "3/4", "full", _fixed(0.3), OVERLAY_SCALES[0])]
        steps += [Step(Trade.OVERLAY, "1/2", "3/4", _fixed(0.3), OVERLAY_SCALES[1])]
    if has.flip_test:
        steps.append(Step(Trade.REFINEMENT, FLIP_TEST, "flip test", _fixed(0.45)))
    if has.refines:
        steps.append(Step(Trade.REFINEMENT, REFINEMENT, "refinement", _fixed(has.refinement_share)))
    if has.keypoints is not None:
        before, after = has.keypoints
        steps.append(Step(Trade.KEYPOINTS, after, before, _fixed(has.keypoints_share)))
    if has.engine is not None:
        before, after = has.engine
        steps.append(Step(Trade.ENGINE, after, before, _fixed(has.engine_share)))
    steps += [Step(Trade.CROPS, "every 2nd frame", "every frame", _crops(CROP_SHARES[0]), CROP_SHARES[0])]
    steps += [Step(Trade.CROPS, "every 3rd frame", "every 2nd frame", _crops(CROP_SHARES[1]), CROP_SHARES[1])]
    return tuple(steps)


def looked_at(people: int, share: float) -> int:
    """How many of so many people go through the networks in one frame: at least one."""
    return min(people, max(1, math.ceil(people * share - 1e-9)))


def _fixed(share: float) -> Share:
    return lambda measured: share


def _over_share(measured: Measured) -> float:
    share = measured.detector_s * measured.detections
    return 0.0 if share <= DETECTOR_SHARE else 1 - DETECTOR_SHARE / share


def _rarer(interval_s: float) -> Share:
    return lambda measured: max(0.0, 1 - 1 / (interval_s * measured.detections)) if measured.detections > 0 else 0.0


def _crops(share: float) -> Share:
    """One person is looked at in every frame; a crowd takes turns."""
    return lambda measured: (
        max(0.0, 1 - looked_at(round(measured.people), share) / measured.looked) if measured.looked > 1 else 0.0
    )
