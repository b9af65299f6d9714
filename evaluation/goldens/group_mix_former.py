"""GroupMixFormer goldens against `hmr/networks/encoders/group_mix_former.py`."""

from __future__ import annotations

from functools import cache, partial

from torch import Tensor

from bodycast.hmr.networks.encoders import official_keys
from bodycast.hmr.networks.encoders.group_mix_former import GroupMixFormer
from evaluation.goldens.record import Answers, Golden
from evaluation.goldens.sizes import count_per_stage, hidden_ratio, with_absent_biases


def run(golden: Golden) -> Answers:
    """Raw maps (B, C, H, W) per stage; all sizes from the tensors' shapes."""
    depths = count_per_stage(golden.state, r"^groupmixformer_backbone\.(\d+)\.gma_stage\.(\d+)\.")
    stages = range(len(depths))

    @cache
    def maps() -> list[Tensor]:
        images = golden.tensor("img")
        fc1 = [golden.weight(f"groupmixformer_backbone.{i}.gma_stage.0.mlp.fc1.weight") for i in stages]
        net = GroupMixFormer(
            dims=tuple(len(golden.weight(f"patch_embed_layers.{i}.norm.weight")) for i in stages),
            depths=depths,
            mlp_ratios=tuple(hidden_ratio(weight) for weight in fc1),
            stages=len(depths),
            image_hw=(images.shape[-2], images.shape[-1]),
            norm="none",
        ).eval()
        state = official_keys.group_mix_former(golden.state_tensors(), net)
        net.load_state_dict(with_absent_biases(state, net))
        return net(images)

    return {f"stage{i}": partial(lambda i: maps()[i], i) for i in stages}
