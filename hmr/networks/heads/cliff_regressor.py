"""CLIFF's iterative regressor: pooled features, box information and the current estimate in, a correction
out.

Sources: HMR (Kanazawa et al. 2018) for the three-iteration regressor and CLIFF (Li et al. 2022, arXiv
2208.00571) for the box information, which tells the network where in the picture the crop was and how large.

Layout: the regressor works in SPIN's 6D layout, a 3x2 matrix per joint read row by row (numbers 0, 2, 4 are
the first column), because that is what released weights and the public mean pose use. What it returns is in
the row layout of everything else here.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bodycast.hmr.networks.decoders.smpl_transformer import (
    BETAS,
    JOINTS,
    MEAN_CAMERA,
    SmplPrediction,
    camera_box_information,
)
from bodycast.hmr.networks.rotation import identity_6d, rotmat_from_6d, sixd_from_columns, sixd_to_columns


def box_information(box_center_px: Tensor, box_size_px: Tensor, image_wh: Tensor, focal_px: Tensor) -> Tensor:
    """CLIFF's normalised box information (B, 3) from box centres (B, 2), sizes (B,), image sizes (B, 2) as
    width and height, and focal lengths (B,), all in pixels.

    Offsets of the centre from the image's centre are scaled by 2.8 / f; the size becomes (b - 0.24 f) / (0.06
    f).
    """
    return from_camera_box_information(camera_box_information(box_center_px, box_size_px, image_wh, focal_px))


def from_camera_box_information(box_info: Tensor) -> Tensor:
    """CLIFF's box information (B, 3) from CameraHMR's (B, 3), offsets and size over the focal length: packages take the
    latter, whatever the network reads."""
    return torch.cat((box_info[:, :2] * 2.8, (box_info[:, 2:] - 0.24) / 0.06), dim=1)


class CliffRegressor(nn.Module):
    """Two linear layers (no activation between them, as released) and three readouts, applied `iterations`
    times.

    channels: of the pooled features (2048 for ResNet-50). hidden: width of the two layers.
    """

    init_pose: Tensor
    init_shape: Tensor
    init_cam: Tensor

    def __init__(self, channels: int = 2048, hidden: int = 1024, iterations: int = 3, score: bool = False) -> None:
        super().__init__()
        self.iterations = iterations
        self.fc1 = nn.Linear(channels + 3 + JOINTS * 6 + BETAS + 3, hidden)
        self.drop1 = nn.Dropout()
        self.fc2 = nn.Linear(hidden, hidden)
        self.drop2 = nn.Dropout()
        self.decpose = nn.Linear(hidden, JOINTS * 6)
        self.decshape = nn.Linear(hidden, BETAS)
        self.deccam = nn.Linear(hidden, 3)
        self.decscore = nn.Linear(hidden, 1) if score else None
        for readout in (self.decpose, self.decshape, self.deccam):
            nn.init.xavier_uniform_(readout.weight, gain=0.01)
            nn.init.zeros_(readout.bias)
        rest = sixd_to_columns(identity_6d(JOINTS).unflatten(0, (JOINTS, 6))).flatten()
        self.register_buffer("init_pose", rest.unsqueeze(0))
        self.register_buffer("init_shape", torch.zeros(1, BETAS))
        self.register_buffer("init_cam", torch.tensor([MEAN_CAMERA]))

    def forward(self, features: Tensor, box_info: Tensor) -> SmplPrediction:
        """features (B, channels), or a map (B, channels, H, W), which is averaged; box_info (B, 3)."""
        if features.dim() == 4:
            features = features.mean(dim=(2, 3))
        batch = features.shape[0]
        pose = self.init_pose.expand(batch, -1)
        shape = self.init_shape.expand(batch, -1)
        camera = self.init_cam.expand(batch, -1)
        token = features
        for _ in range(self.iterations):
            state = torch.cat((features, box_info.to(features.dtype), pose, shape, camera), dim=1)
            token = self.drop2(self.fc2(self.drop1(self.fc1(state))))
            pose = pose + self.decpose(token)
            shape = shape + self.decshape(token)
            camera = camera + self.deccam(token)
        pose6d = sixd_from_columns(pose.unflatten(-1, (JOINTS, 6)))
        return SmplPrediction(
            pose6d=pose6d,
            rotmat=rotmat_from_6d(pose6d),
            betas=shape,
            camera=camera,
            token=token,
            score=None if self.decscore is None else self.decscore(token).sigmoid().squeeze(-1),
        )
