"""Bodies from crops: every HmrNet, whole or merged, with any decoder."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from bodycast.hmr.body.body_model import EMBEDDED_BODY
from bodycast.hmr.body.torch_body import TorchBody
from bodycast.hmr.networks.decoders.joint_queries import JointQueryDecoder
from bodycast.hmr.networks.hmr_net import HmrNet
from bodycast.hmr.networks.layers import tokens_to_map
from bodycast.hmr.networks.merging.mask_token_merging import TokenMergingVit, unmerge_tokens
from training.batch import Batch
from training.config import Recipe
from training.losses import HelperHeads, HmrLoss, SurfaceBody, Truth
from training.network_inputs import box_information, person_mask
from training.tasks.base import Task
from training.teacher import Teacher, feature_loss
from training.validate import score_batches


class BodyTask(Task):
    """SMPL parameters by the losses of HMR2.0, with heat maps and parts on the encoder's map as helper task."""

    main_score = "mpjpe_mm"

    def __init__(self, recipe: Recipe, body: Path = EMBEDDED_BODY) -> None:
        super().__init__(recipe, body)
        self.criterion = HmrLoss(recipe.weights, SurfaceBody(TorchBody.load(body)))
        self.teacher: Teacher | None = None

    def prepare(self, net: nn.Module) -> None:
        assert isinstance(net, HmrNet)
        # A frozen encoder's map cannot learn, and an encoder without a map has none.
        if self.recipe.helper and hasattr(net.backbone, "feature_info") and "backbone" not in self.recipe.freeze:
            own = isinstance(net.smpl_head, JointQueryDecoder)
            channels = net.smpl_head.map_width if own else net.backbone.feature_info[-1][0]
            self.helper = HelperHeads(channels, heatmaps=not own)

    def fast_modules(self, net: nn.Module) -> list[nn.Module]:
        slow = self.slow_modules(net)
        return [child for child in net.children() if not any(child is other for other in slow)] + [self.helper]

    def slow_modules(self, net: nn.Module) -> list[nn.Module]:
        head = net.get_submodule("smpl_head")
        # 256 normalised features a joint bear the encoder's rate.
        return [] if isinstance(head, JointQueryDecoder) else [head]

    def predict(self, net: nn.Module, batch: Batch) -> Any:
        assert isinstance(net, HmrNet)
        helps = isinstance(self.helper, HelperHeads)
        if isinstance(net.smpl_head, JointQueryDecoder):
            prediction, seen = net.smpl_head.read(net.context(batch.images, person_mask(net, batch)))
            distilled = None if self.teacher is None else feature_loss(seen.finest, self.teacher(batch.images))
            return prediction, self.helper(seen.finest, seen.heatmaps) if helps else None, seen.joints, distilled
        context, feature_map = _features(net, batch, helps)
        box = box_information(net, batch)
        prediction = net.smpl_head(context) if box is None else net.smpl_head(context, box)
        return prediction, self.helper(feature_map) if helps else None, None, None

    def truth(self, batch: Batch) -> Truth:
        return self.criterion.labels(batch)

    def loss(
        self, predicted: Any, batch: Batch, truth: Truth | None, body_scale: float
    ) -> tuple[Tensor, dict[str, Tensor]]:
        prediction, helper, early, distilled = predicted
        return self.criterion(prediction, helper, batch, body_scale, truth, early, distilled)

    def score(self, net: nn.Module, batches: Iterable[Batch]) -> dict[str, float]:
        return score_batches(net, batches, TorchBody.load(self.body_file))


def _features(net: HmrNet, batch: Batch, with_map: bool) -> tuple[Any, Tensor | None]:
    """What the decoder reads, and the encoder's last map (B,C,h,w) for the helper heads."""
    backbone, images = net.backbone, batch.images
    if isinstance(backbone, TokenMergingVit):
        mask = person_mask(net, batch)
        if not with_map:
            return backbone(images, mask), None
        merged = backbone.forward_merged(images, mask)
        assert merged.source is not None
        return merged.tokens, tokens_to_map(unmerge_tokens(merged.tokens, merged.source), backbone.grid_hw)
    if net.taps:
        maps = net.tapped(images)
        return (maps if net.upsampling is None else net.upsampling(maps, images)), maps[-1]
    feature_map = backbone(images)[-1]
    return feature_map, feature_map
