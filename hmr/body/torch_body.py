"""The same body as `body_model`, in torch: differentiable, for training and for export.

Source: SMPL, Loper et al., SIGGRAPH Asia 2015, section 3. Equal to the numpy body to 1e-5 m, held by a test.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from bodycast.hmr.body.body_files import BodyArrays, load_body_arrays
from bodycast.hmr.body.body_model import EMBEDDED_BODY
from bodycast.hmr.body.joints import NUM_BETAS, NUM_JOINTS, PARENTS


def forward_kinematics(pose: Tensor, joints_rest: Tensor) -> tuple[Tensor, Tensor]:
    """Global rotations (N,24,3,3) and places (N,24,3) of the joints.

    pose: (N,24,3,3) rotation of each joint relative to its parent. joints_rest: (N,24,3), metres. The root stays at its
    rest place.
    """
    rotations = [pose[:, 0]]
    places = [joints_rest[:, 0]]
    for joint in range(1, NUM_JOINTS):
        parent = int(PARENTS[joint])
        offset = joints_rest[:, joint] - joints_rest[:, parent]
        rotations.append(rotations[parent] @ pose[:, joint])
        places.append(places[parent] + (rotations[parent] @ offset[..., None])[..., 0])
    return torch.stack(rotations, dim=1), torch.stack(places, dim=1)


class TorchBody(nn.Module):
    """A body in SMPL's layout without trainable parameters. `forward(pose, betas, transl)` -> (vertices, joints)."""

    v_template: Tensor
    shapedirs: Tensor
    joints_template: Tensor
    joint_shapedirs: Tensor
    weights: Tensor
    faces: Tensor
    posedirs: Tensor | None

    def __init__(self, arrays: BodyArrays) -> None:
        super().__init__()
        self.name = arrays.name
        vertex_count = len(arrays.v_template)
        regressor = arrays.J_regressor.astype(np.float64)
        joint_shapedirs = np.einsum("jv,vck->jck", regressor, arrays.shapedirs.astype(np.float64))
        tables = {
            "v_template": arrays.v_template,
            "shapedirs": arrays.shapedirs.reshape(vertex_count * 3, NUM_BETAS).T,
            "joints_template": (regressor @ arrays.v_template).astype(np.float32),
            "joint_shapedirs": joint_shapedirs.reshape(NUM_JOINTS * 3, NUM_BETAS).T.astype(np.float32),
            "weights": arrays.weights,
            "faces": arrays.faces.astype(np.int64),
        }
        for name, table in tables.items():
            self.register_buffer(name, torch.tensor(table), persistent=False)
        posedirs = arrays.posedirs
        flat = None if posedirs is None else torch.tensor(posedirs.reshape(vertex_count * 3, -1).T)
        self.register_buffer("posedirs", flat, persistent=False)

    @classmethod
    def load(cls, path: str | Path = EMBEDDED_BODY) -> TorchBody:
        """Read a body file; raises `BodyFileError` as `BodyModel.load` does."""
        return cls(load_body_arrays(Path(path)))

    def joints(self, betas: Tensor) -> Tensor:
        """(N,24,3) joints of the rest pose, metres, for betas (N,10)."""
        return self.joints_template + (betas @ self.joint_shapedirs).reshape(-1, NUM_JOINTS, 3)

    def posed_joints(self, pose: Tensor, betas: Tensor, transl: Tensor) -> Tensor:
        """(N,24,3) joints alone, for losses that do not need the surface."""
        return forward_kinematics(pose, self.joints(betas))[1] + transl[:, None]

    def forward(self, pose: Tensor, betas: Tensor, transl: Tensor) -> tuple[Tensor, Tensor]:
        """Pose N bodies: vertices (N,V,3) and joints (N,24,3), metres.

        pose: (N,24,3,3) rotation matrices relative to the parent joint. betas: (N,10). transl: (N,3), metres.
        """
        count = pose.shape[0]
        if pose.shape[1:] != (NUM_JOINTS, 3, 3) or betas.shape != (count, NUM_BETAS) or transl.shape != (count, 3):
            raise ValueError(
                f"expected pose (N, {NUM_JOINTS}, 3, 3), betas (N, {NUM_BETAS}), transl (N, 3), got "
                f"{tuple(pose.shape)}, {tuple(betas.shape)}, {tuple(transl.shape)}"
            )
        shaped = self.v_template + (betas @ self.shapedirs).reshape(count, -1, 3)
        if self.posedirs is not None:
            bend = (pose[:, 1:] - torch.eye(3, dtype=pose.dtype, device=pose.device)).reshape(count, -1)
            shaped = shaped + (bend @ self.posedirs).reshape(count, -1, 3)
        joints_rest = self.joints(betas)
        turns, places = forward_kinematics(pose, joints_rest)
        shifts = places - (turns @ joints_rest[..., None])[..., 0] + transl[:, None]
        motions = torch.cat([turns, shifts[..., None]], dim=3).reshape(count, NUM_JOINTS, 12)
        blended = (self.weights @ motions).reshape(count, -1, 3, 4)
        vertices = (blended[..., :3] @ shaped[..., None])[..., 0] + blended[..., 3]
        return vertices, places + transl[:, None]
