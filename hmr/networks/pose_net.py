"""2D keypoints from a crop: encoder and heat-map head.

Source: ViTPose (Xu et al. 2022, arXiv 2204.12484), whose attribute names are kept (`backbone`, `keypoint_head`); on
truncated hierarchical encoders as in Tarashima et al. 2025 (arXiv 2510.12660).
"""

from __future__ import annotations

from torch import Tensor, nn


class PoseNet(nn.Module):
    """Crop in, heat maps out; `hmr/networks/heads/udp_decoding.py` reads keypoints from them."""

    def __init__(self, backbone: nn.Module, keypoint_head: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.keypoint_head = keypoint_head

    @property
    def image_hw(self) -> tuple[int, int]:
        """Height and width of the crops, px."""
        height, width = self.backbone.image_hw
        return int(height), int(width)

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images (B, 3, H, W) -> heat maps (B, keypoints, H / 4, W / 4)."""
        return self.keypoint_head(self.backbone(images)[-1])
