"""What some networks take beside the crops: where the person is, and where in the picture the crop was cut."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from bodycast.hmr.networks.decoders.smpl_transformer import camera_box_information
from bodycast.hmr.networks.heads import cliff_regressor
from bodycast.hmr.networks.hmr_net import HmrNet
from training.batch import Batch


def box_information(net: HmrNet, batch: Batch) -> Tensor | None:
    """(B,3) as the network's decoder asks for it, or None where it takes none."""
    if not net.takes_box_info:
        return None
    box = batch.centre_px, batch.size_px, batch.image_wh, batch.focal_px
    if isinstance(net.smpl_head, cliff_regressor.CliffRegressor):
        return cliff_regressor.box_information(*box)
    return camera_box_information(*box)


def person_mask(net: HmrNet, batch: Batch) -> Tensor | None:
    """(B,h,w) where the person is, at the images' size as the program gives it (Mask-ToMe), or None where the network
    merges no tokens. A crop without a labelled person protects nothing."""
    if not net.takes_mask:
        return None
    return F.interpolate((batch.parts > 0).float().unsqueeze(1), net.image_hw, mode="nearest")[:, 0]


def run_network(net: nn.Module, batch: Batch):
    """A network's prediction for a batch, with all that it takes."""
    if not isinstance(net, HmrNet):
        return net(batch.images)
    return net(batch.images, box_information(net, batch), person_mask(net, batch))
