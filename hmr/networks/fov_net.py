"""The vertical field of view of a whole picture.

Source: HumanFoV of CameraHMR (Patel and Black 2024, arXiv 2411.08128): HRNet-W48 on the whole picture, fitted into a
square of 256 px with white beyond it, the mean of its map, two linear layers. As released there is nothing between
the two layers (dropout apart), and of the two numbers the second is the vertical field of view in radians; the
file's `fc2` is not used.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from bodycast.hmr.networks.encoders.hrnet import MODULES, HrNet

FOV_SIDE = 256
VERTICAL = 1
"""Which of the two numbers."""


class FovNet(nn.Module):
    """Normalised white-padded pictures (B, 3, H, W) to the vertical field of view (B,) of what is inside, rad.

    width, modules: of HRNet. hidden: width of the layer between.
    """

    def __init__(
        self,
        width: int = 48,
        hidden: int = 1024,
        image_hw: Sequence[int] = (FOV_SIDE, FOV_SIDE),
        modules: Sequence[int] = MODULES,
    ) -> None:
        super().__init__()
        self.image_hw = (int(image_hw[0]), int(image_hw[1]))
        self.backbone = HrNet(width, modules)
        self.fc1 = nn.Linear(self.backbone.channels, hidden)
        self.drop2 = nn.Dropout()
        self.fc3 = nn.Linear(hidden, 2)
        nn.init.xavier_uniform_(self.fc3.weight, gain=0.1)

    def forward(self, images: Tensor) -> Tensor:
        """See the class."""
        pooled = self.backbone(images).mean(dim=(2, 3))
        return self.fc3(self.drop2(self.fc1(pooled)))[:, VERTICAL]
