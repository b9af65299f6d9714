"""HybrIK's analytic inverse kinematics."""

from __future__ import annotations

from functools import cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bodycast.hmr.body.inverse_kinematics import forward_kinematics, inverse_kinematics
from evaluation.goldens.record import Answers, Golden, Ours

# Upstream adds this to products of bone lengths before it divides by them.
_GUARD_M2 = 1e-8
_SPINE3_CHAIN = (9, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23)


def run(golden: Golden) -> Answers:
    """Both rules, with fitted and with given root; the dead three-children branch is not ours and not judged."""
    # float64, so that what remains is upstream's own rounding.
    rest, target, twists = (golden.array(key).astype(np.float64) for key in ("rest_joints", "target_joints", "phis"))
    solve = partial(inverse_kinematics, rest, target, twists, guard_m2=_GUARD_M2)
    chain = np.ones(24, bool)
    chain[list(_SPINE3_CHAIN)] = False
    note = "spine3 by SVD is dead code upstream: only the joints outside its chain compare"

    @cache
    def adaptive() -> NDArray[Any]:
        return solve()

    @cache
    def joints() -> NDArray[Any]:
        # Upstream puts the root where its own first joint ends up; without that output, where the rest pose has it.
        upstream = golden.outputs.get("adaptive_joints")
        root = rest[:, :1] if upstream is None else upstream[:, :1]
        return forward_kinematics(rest - rest[:, :1] + root, adaptive())[:, :24]

    return {
        "adaptive": adaptive,
        "adaptive_joints": joints,
        "adaptive_spine3_svd": lambda: Ours(adaptive(), where=chain[None, :, None, None], note=note),
        "adaptive_spine3_svd_joints": lambda: Ours(joints(), where=chain[None, :, None], note=note),
        "naive": lambda: solve(rule="naive"),
        "naive_given_root": lambda: solve(rule="naive", root_rotation=golden.array("global_orient")),
    }
