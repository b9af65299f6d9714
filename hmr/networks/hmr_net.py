"""From person crops to SMPL parameters: encoder, optional merging or upsampling, decoder.

Sources: HMR2.0 (Goel et al. 2023, arXiv 2305.20091) for the composition; truncated hierarchical encoders (Tarashima et
al. 2025, arXiv 2510.12660), FastHMR (Mehraban et al. 2025, arXiv 2510.10868) and the deformable decoder with feature
upsampling (Heo and Hu) for what takes the place of its parts. The attributes are called `backbone` and `smpl_head`, as
in HMR2.0's checkpoints, so that those load by name (hmr/checkpoints).
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from bodycast.hmr.networks.decoders.joint_queries import JointQueryDecoder
from bodycast.hmr.networks.decoders.smpl_transformer import SmplPrediction, SmplTransformerDecoder
from bodycast.hmr.networks.heads.cliff_regressor import CliffRegressor, from_camera_box_information
from bodycast.hmr.networks.layers import IMAGENET_MEAN, IMAGENET_STD
from bodycast.hmr.networks.merging.error_constrained_layer_merging import LayerMergeRecipe, merge_blocks
from bodycast.hmr.networks.merging.mask_token_merging import TokenMergingVit


class HmrNet(nn.Module):
    """One network, crop in, body out.

    Args:
        backbone: any of our encoders (`forward(images) -> list of maps`), or a `TokenMergingVit`
            (`forward(images, mask) -> tokens`).
        smpl_head: a decoder that gives an `SmplPrediction`: from one map or tokens; or, with `upsampling`, from
            the list of upsampled maps; a `JointQueryDecoder` from the list of the encoder's last maps.
        upsampling: feature upsampler, `forward(maps, images) -> list of maps`; the deformable decoder reads these.
        taps: block counts after which a ViT's maps are taken (`ViT.forward_blocks`), or numbers (from 1) of a
            hierarchical encoder's stages; the decoder then reads a list.
        image_hw: size of the crops, for a backbone that does not say it.
        pool: the backbone sees the crops averaged over `pool` x `pool` pixels (then give image_hw).

    Raises ValueError for upsampling without taps.
    """

    def __init__(
        self,
        backbone: nn.Module,
        smpl_head: nn.Module,
        *,
        upsampling: nn.Module | None = None,
        taps: Sequence[int] = (),
        image_hw: tuple[int, int] | None = None,
        pool: int = 1,
    ) -> None:
        super().__init__()
        if upsampling is not None and not taps:
            raise ValueError("upsampling needs taps: the block counts whose maps it enlarges")
        self.backbone = backbone
        self.smpl_head = smpl_head
        self.upsampling = upsampling
        self.taps = tuple(taps)
        self.image_hw: tuple[int, int] = backbone.image_hw if image_hw is None else image_hw
        self.pool = pool

    @property
    def takes_mask(self) -> bool:
        """Whether a person mask guides the token merging."""
        return isinstance(self.backbone, TokenMergingVit)

    @property
    def takes_box_info(self) -> bool:
        """Whether the decoder's query carries the box (CameraHMR, CLIFF)."""
        if isinstance(self.smpl_head, CliffRegressor):
            return True
        return isinstance(self.smpl_head, SmplTransformerDecoder) and self.smpl_head.query_input == "box_mean"

    @property
    def encoder(self) -> nn.Module:
        """The plain encoder, without the token merging around it."""
        return self.backbone.vit if isinstance(self.backbone, TokenMergingVit) else self.backbone

    def forward(self, images: Tensor, box_info: Tensor | None = None, mask: Tensor | None = None) -> SmplPrediction:
        """Recover the bodies in B crops.

        images (B, 3, H, W): RGB, ImageNet-normalised. box_info (B, 3): as the decoder asks, or None. mask (B, H, W) or
        (B, rows, columns): where the person is; only for a network with token merging, and optional there.
        """
        if mask is not None and not self.takes_mask:
            raise ValueError("this network has no token merging to guide: pass no mask")
        context = self.context(images, mask)
        return self.smpl_head(context) if box_info is None else self.smpl_head(context, box_info)

    def context(self, images: Tensor, mask: Tensor | None = None) -> Tensor | list[Tensor]:
        """What the decoder reads of B crops: a map, tokens or several maps."""
        if self.pool > 1:
            images = nn.functional.avg_pool2d(images, self.pool)
        by_joints = isinstance(self.smpl_head, JointQueryDecoder)
        if isinstance(self.backbone, TokenMergingVit):
            return [self.backbone.forward_map(images, mask)] if by_joints else self.backbone(images, mask)
        if by_joints:
            return self.backbone(images)[-len(self.smpl_head.channels) :]
        if not self.taps:
            return self.backbone(images)[-1]
        maps = self.tapped(images)
        return maps if self.upsampling is None else self.upsampling(maps, images)

    def tapped(self, images: Tensor) -> list[Tensor]:
        """The encoder's maps (B, C_i, h_i, w_i) at `taps`, not enlarged, of images as the encoder takes them."""
        if hasattr(self.backbone, "forward_blocks"):
            return self.backbone.forward_blocks(images, self.taps)
        maps = self.backbone(images)
        return [maps[stage - 1] for stage in self.taps]


def with_merging(net: HmrNet, recipe: LayerMergeRecipe | None = None, schedule: Sequence[int] | None = None) -> HmrNet:
    """A copy of a flat-ViT network with blocks collapsed (ECLM) and, or, tokens merged (Mask-ToMe).

    recipe: which blocks to collapse (`search_layer_merges`); schedule: tokens to merge in each of the first blocks.
    Weights are carried over. Raises ValueError where the encoder is no flat ViT or a schedule is already there.
    """
    small = copy.deepcopy(net)
    vit = small.encoder
    if not hasattr(vit, "blocks"):
        raise ValueError(f"merging needs a flat ViT; {type(vit).__name__} needs its full grid")
    if recipe is not None:
        vit.blocks = merge_blocks(vit.blocks, recipe)
    if schedule is not None:
        if small.takes_mask:
            raise ValueError("this network merges tokens already")
        small.backbone = TokenMergingVit(vit, schedule)
    return small


OUTPUTS = ("pose", "betas", "camera", "score", "token")
KEYPOINTS = "keypoints"
"""The outputs of an exported graph, in its order: pose (N, 24, 3, 3), betas (N, 10), camera (N, 3) s, tx, ty, score
(N,) in 0..1, token (N, C); and of networks with heat maps keypoints (N, 24, 3), see `SmplPrediction`."""


class ExportedHmr(nn.Module):
    """What goes into a model package: uint8 crops in, named outputs out, normalisation inside.

    A network without a score readout reports 1 for everybody. `input_names` lists the positional inputs: `crops`, then
    `masks` where `with_mask`, then `box_info` where the decoder takes it.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, net: HmrNet, with_mask: bool = False) -> None:
        super().__init__()
        if with_mask and not net.takes_mask:
            raise ValueError("with_mask needs a network with token merging")
        self.net = net
        self.with_mask = with_mask
        mean, std = torch.tensor(IMAGENET_MEAN), torch.tensor(IMAGENET_STD)
        self.register_buffer("scale", (1 / (255 * std)).view(3, 1, 1), persistent=False)
        self.register_buffer("shift", (mean / std).view(3, 1, 1), persistent=False)

    @property
    def input_names(self) -> tuple[str, ...]:
        """Names of the inputs, in the order `forward` takes them."""
        box = ("box_info",) if self.net.takes_box_info else ()
        return ("crops", *(("masks",) if self.with_mask else ()), *box)

    @property
    def output_names(self) -> tuple[str, ...]:
        """Names of the outputs, in the order `forward` gives them."""
        return (*OUTPUTS, KEYPOINTS) if isinstance(self.net.smpl_head, JointQueryDecoder) else OUTPUTS

    def forward(self, crops: Tensor, *extra: Tensor) -> tuple[Tensor, ...]:
        """Recover N bodies.

        crops (N, H, W, 3) uint8 RGB; masks (N, H, W) uint8, non-zero where the person is; box_info (N, 3) float, for
        every network alike CameraHMR's (`camera_box_information`): CLIFF's is computed from it here.
        """
        # Normalised plane by plane: along the last axis it costs ONNX Runtime ten times as much. Cast first: TensorRT
        # transposes no bytes.
        images = crops.to(self.scale.dtype).permute(0, 3, 1, 2) * self.scale - self.shift
        inputs = dict(zip(self.input_names[1:], extra, strict=True))
        masks = inputs.get("masks")
        mask = None if masks is None else masks.to(images.dtype)  # TensorRT compares no uint8
        box = inputs.get("box_info")
        if box is not None and isinstance(self.net.smpl_head, CliffRegressor):
            box = from_camera_box_information(box)
        prediction = self.net(images, box, mask)
        score = prediction.score
        if score is None:
            score = torch.ones_like(prediction.camera[:, 0])
        given = (prediction.rotmat, prediction.betas, prediction.camera, score, prediction.token)
        return given if prediction.keypoints is None else (*given, prediction.keypoints)
