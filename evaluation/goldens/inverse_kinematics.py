"""HybrIK's analytic inverse kinematics."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluation.goldens.record import Golden, Ours
from hmr.body.inverse_kinematics import forward_kinematics, inverse_kinematics

# Upstream divides by (length product + 1e-8), so a root turned by short hip bones comes out scaled; a pose whose
# stored root is further than this from orthonormal is upstream's error, not a value to match.
_ROOT_ORTHONORMAL = 5e-5
_SPINE3_CHAIN = (9, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23)


def run(golden: Golden) -> dict[str, NDArray[Any] | Ours]:
    """Both rules, with fitted and with given root; the dead three-children branch is not ours and not judged."""
    # float64, so that what remains is upstream's own rounding.
    rest, target, twists = (golden.inputs[key].astype(np.float64) for key in ("rest_joints", "target_joints", "phis"))
    adaptive = inverse_kinematics(rest, target, twists)
    placed = rest - rest[:, :1] + golden.outputs["adaptive_joints"][:, :1]
    joints = forward_kinematics(placed, adaptive)[:, :24]
    root = golden.intermediates["root_closed_form"]
    orthonormal = np.abs(root.swapaxes(-1, -2) @ root - np.eye(3)).max(axis=(-1, -2)) < _ROOT_ORTHONORMAL
    chain = np.ones(24, bool)
    chain[list(_SPINE3_CHAIN)] = False
    note = "spine3 by SVD is dead code upstream: only the joints outside its chain compare"
    return {
        "adaptive": adaptive,
        "adaptive_joints": joints,
        "adaptive_spine3_svd": Ours(adaptive, where=chain[None, :, None, None], note=note),
        "adaptive_spine3_svd_joints": Ours(joints, counted=False, note=note),
        "naive": Ours(
            inverse_kinematics(rest, target, twists, rule="naive"),
            where=orthonormal[:, None, None, None],
            note="upstream's root is not orthonormal in the other poses",
        ),
        "naive_given_root": inverse_kinematics(
            rest, target, twists, rule="naive", root_rotation=golden.inputs["global_orient"]
        ),
    }
