"""Bodies that nobody can have are left out and counted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bodycast.app.estimation.finite_rows import FiniteRows
from bodycast.app.records import BodyEstimates


def test_absurd_bodies_are_left_out_and_counted() -> None:
    count = 6
    bodies = BodyEstimates(
        np.arange(1, count + 1, dtype=np.int32),
        np.tile(np.eye(3, dtype=np.float32), (count, 24, 1, 1)),
        np.zeros((count, 10), np.float32),
        np.tile(np.array([0, 0, 5], np.float32), (count, 1)),
        np.ones(count, np.float32),
        np.zeros((count, 0), np.float32),
    )
    bodies.pose[1, 3] *= 1e20
    bodies.betas[2, 4] = -1e30
    bodies.transl_m[3, 0] = 1e12
    bodies.pose[4, 0] = 0
    rows = FiniteRows()
    assert rows.believable(bodies).id.tolist() == [1, 6]
    assert rows.warnings == ("4 bodies were left out: their pose, shape or place cannot be",)
    usual = replace(bodies.select(np.array([0, 5])), betas=np.full((2, 10), 5, np.float32))
    assert rows.believable(usual) is usual
