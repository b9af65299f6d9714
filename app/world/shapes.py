"""One body a person: betas belong to an id, so that bones do not breathe."""

from __future__ import annotations

import numpy as np

from bodycast.app.records import F32
from bodycast.hmr.body.body_model import BodyModel

FAR = 0.6
"""A beta of one frame that is farther from the mean so far moves it no more than this."""
LEAST_SCORE = 0.05


class RunningShape:
    """The mean of a person's betas so far, weighted by score; one wild frame moves it little."""

    def __init__(self) -> None:
        self._betas: F32 | None = None
        self._weight = 0.0

    @property
    def betas(self) -> F32:
        """(10,) the mean so far; zeros before the first."""
        return np.zeros(10, np.float32) if self._betas is None else self._betas

    def add(self, betas: F32, score: float) -> F32:
        """Take betas (10,) of a frame; gives the mean (10,)."""
        if self._betas is None:
            self._betas, self._weight = betas.astype(np.float32).copy(), max(score, LEAST_SCORE)
        elif score > LEAST_SCORE:
            self._weight += score
            step = np.clip(betas - self._betas, -FAR, FAR) * np.float32(score / self._weight)
            self._betas = (self._betas + step).astype(np.float32)
        return self._betas


def clip_shape(betas: F32, score: F32) -> F32:
    """(10,) of a whole life, from betas (F,10) and scores (F,): a mean of those near the median."""
    weight = np.maximum(score, 1e-3)[:, None]
    middle = np.median(betas, axis=0)
    near = np.clip(betas - middle, -FAR, FAR)
    return (middle + (near * weight).sum(axis=0) / weight.sum()).astype(np.float32)


def body_height_m(body: BodyModel, betas: F32) -> float:
    """Height of the standing rest pose, m, for betas (10,)."""
    y = body.rest_vertices(betas[None])[0, :, 1]
    return float(y.max() - y.min())


def with_height(body: BodyModel, betas: F32, height_m: float) -> F32:
    """(10,) the betas nearest to these whose body is `height_m` tall."""
    betas = betas.astype(np.float32)
    for _ in range(3):
        now = body_height_m(body, betas)
        grows = np.array([body_height_m(body, betas + step) - now for step in np.eye(10, dtype=np.float32)])
        betas = betas + (grows * (height_m - now) / max(float(grows @ grows), 1e-9)).astype(np.float32)
    return betas
