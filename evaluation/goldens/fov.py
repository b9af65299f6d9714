"""CameraHMR's field-of-view network, whole: map, its mean, the vertical field of view."""

from __future__ import annotations

from functools import cache

from torch import Tensor

from bodycast.hmr.networks.fov_net import FovNet
from evaluation.goldens.record import Answers, Golden
from evaluation.goldens.sizes import count_indices


def run(golden: Golden) -> Answers:
    """Sizes from the tensors' shapes."""
    images = golden.tensor("images")

    @cache
    def net() -> FovNet:
        width = len(golden.weight("backbone.transition1.0.0.weight"))
        modules = [count_indices(golden.state, rf"^backbone\.stage{stage}\.(\d+)\.") for stage in (2, 3, 4)]
        made = FovNet(width, len(golden.weight("fc1.weight")), tuple(images.shape[2:]), modules)
        counters = {key: value for key, value in made.state_dict().items() if key.endswith("num_batches_tracked")}
        made.load_state_dict(counters | golden.state_tensors(""))
        return made.eval()

    @cache
    def seen() -> Tensor:
        return net().backbone(images)

    return {
        "map": seen,
        "pooled": lambda: seen().mean(dim=(2, 3)),
        "vertical_fov": lambda: net()(images)[:, None],
    }
