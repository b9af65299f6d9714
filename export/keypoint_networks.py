"""Our keypoint networks and the fusion as exportable modules."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bodycast.engines.package import BATCH, TensorSpec
from bodycast.export.exportable import HMR_OUTPUTS, POSE_OUTPUTS, Exportable
from bodycast.hmr.networks.keypoint_fusion import BODY_WIDTH, KeypointFusion
from bodycast.hmr.networks.move_net import ExportedMoveNet, MoveNet

FUSION_OUTPUTS = {
    **{name: HMR_OUTPUTS[name] for name in ("pose", "betas", "camera")},
    "spread": ("m", "how far each joint may be off, relative to the pelvis (scale of a Laplace distribution)"),
    "score": HMR_OUTPUTS["score"],
}


class ExportedFusion(nn.Module):
    """Keypoints and geometry, and what else the network reads, in; the outputs of FUSION_OUTPUTS out."""

    def __init__(self, net: KeypointFusion) -> None:
        super().__init__()
        self.net = net

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """See the class."""
        body = self.net(*inputs)
        return body.rotmat, body.betas, body.camera, body.spread_m, torch.sigmoid(body.score)


def movenet_exportable(net: MoveNet) -> Exportable:
    """Crops in, COCO's 17 keypoints out."""
    crops = TensorSpec("crops", "uint8", (BATCH, *net.image_hw, 3), "1", "RGB crops")
    module = ExportedMoveNet(net)
    return Exportable(
        module, "pose", (crops,), POSE_OUTPUTS, normalisation="in-graph", crop_rule="padded", joint_set="coco-17"
    )


def fusion_exportable(net: KeypointFusion) -> Exportable:
    """Keypoints in, a body out."""
    keypoints = net.keypoints
    inputs = [
        TensorSpec("keypoints", "float32", (BATCH, keypoints, 3), *POSE_OUTPUTS["keypoints"]),
        TensorSpec(
            "geometry",
            "float32",
            (BATCH, 3),
            "1",
            "crop's centre from the principal point and its height, over the focal",
        ),
    ]
    if net.body:
        shape = (BATCH, BODY_WIDTH + 1)
        inputs.append(TensorSpec("body", "float32", shape, "1", "an HMR network's body, then 1; zeros for none"))
    return Exportable(
        ExportedFusion(net),
        "fusion",
        tuple(inputs),
        FUSION_OUTPUTS,
        crop_rule="padded",
        focal_convention="weak-perspective-crop",
        joint_set="coco-17",
    )
