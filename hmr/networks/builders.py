"""How the registered networks are put together: one function a family, all sizes as arguments.

An encoder's size is a published letter ("t", "h") or a size record of its family, so that tests can build the same
network at tiny widths. A decoder is a preset name or a mapping of all its sizes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from torch import Tensor, nn

from bodycast.hmr.networks.decoders.deformable import DeformableSmplDecoder
from bodycast.hmr.networks.decoders.deformable_detr_baseline import DeformableDetrHmr, resnet50
from bodycast.hmr.networks.decoders.joint_queries import JointQueryDecoder
from bodycast.hmr.networks.decoders.smpl_transformer import SmplTransformerDecoder
from bodycast.hmr.networks.encoders.common import MapNorm
from bodycast.hmr.networks.encoders.group_mix_former import GroupMixFormer, GroupMixFormerSize, group_mix_former
from bodycast.hmr.networks.encoders.mobile_net_v2 import WIDTHS as MOVENET_WIDTHS
from bodycast.hmr.networks.encoders.mobile_net_v2 import MobileNetV2
from bodycast.hmr.networks.encoders.swin import Swin, SwinSize, swin
from bodycast.hmr.networks.encoders.vit import SIZES as VIT_SIZES
from bodycast.hmr.networks.encoders.vit import ViT, ViTSize
from bodycast.hmr.networks.encoders.vmamba import VMamba, VMambaSize, vmamba
from bodycast.hmr.networks.fov_net import FovNet
from bodycast.hmr.networks.heads.cliff_regressor import CliffRegressor
from bodycast.hmr.networks.heads.pose_heatmap import COCO_KEYPOINTS, ClassicHeatmapHead, SimpleHeatmapHead
from bodycast.hmr.networks.hmr_net import HmrNet
from bodycast.hmr.networks.keypoint_fusion import KeypointFusion
from bodycast.hmr.networks.merging.mask_token_merging import TokenMergingVit
from bodycast.hmr.networks.move_net import MoveNet
from bodycast.hmr.networks.pose_net import PoseNet
from bodycast.hmr.networks.temporal.diffusion_decoder import Denoiser, DiffusionDecoder
from bodycast.hmr.networks.temporal.motion_vae import MotionVae
from bodycast.hmr.networks.temporal.window_smoother import WindowSmoother
from bodycast.hmr.networks.upsampling.jbu import MapUpsampler

IMAGE_HW = (256, 192)
SMALL_DECODER = "d3-a4x16-m128"
JOINT_QUERIES = "joint-queries"
HIERARCHICAL_FAMILIES = ("swin", "gmf", "vmamba")
"""The paper's."""
DecoderChoice = str | Mapping[str, Any]
Position = Literal["none", "sincos"]
HierarchicalSize = str | float | SwinSize | GroupMixFormerSize | VMambaSize


def hierarchical_encoder(
    family: str,
    size: HierarchicalSize,
    stages: int,
    image_hw: tuple[int, int] = IMAGE_HW,
    drop_path: float | None = None,
    norm: MapNorm = "last",
) -> nn.Module:
    """Swin, GroupMixFormer ("gmf"), VMamba or MoveNet's MobileNetV2 ("movenet"; its size may be a factor on the
    channels), cut after `stages`, with a LayerNorm on its last map or on `all`."""
    if family == "movenet":
        return MobileNetV2(movenet_width(size), stages, image_hw, norm)
    published = {"swin": swin, "gmf": group_mix_former, "vmamba": vmamba}
    if family not in published:
        raise ValueError(f"no encoder family {family!r}; there are {', '.join(published)}")
    if isinstance(size, str):
        return published[family](size, stages, image_hw, drop_path, norm)
    rate = size.drop_path if drop_path is None else drop_path
    if isinstance(size, SwinSize) and family == "swin":
        return Swin(size.dim, size.depths, size.heads, stages, image_hw, drop_path=rate, norm=norm)
    if isinstance(size, GroupMixFormerSize) and family == "gmf":
        return GroupMixFormer(size.dims, size.depths, size.mlp_ratios, stages, image_hw, drop_path=rate, norm=norm)
    if isinstance(size, VMambaSize) and family == "vmamba":
        dims = tuple(size.dim * 2**i for i in range(len(size.depths)))
        return VMamba(dims, size.depths, size.ssm_ratio, stages, image_hw, drop_path=rate, norm=norm)
    raise TypeError(f"{type(size).__name__} is no size of the family {family!r}")


def movenet_width(size: HierarchicalSize) -> float:
    """MoveNet's factor on the channels, by name or as it is. Raises: ValueError."""
    if isinstance(size, str) and size in MOVENET_WIDTHS:
        return MOVENET_WIDTHS[size]
    if isinstance(size, int | float):
        return float(size)
    raise ValueError(f"no MoveNet size {size!r}; there are {', '.join(MOVENET_WIDTHS)}")


def flat_encoder(
    size: str | ViTSize,
    image_hw: tuple[int, int] = IMAGE_HW,
    drop_path: float | None = None,
    blocks: int | None = None,
) -> ViT:
    """A ViT in HMR2.0's layout; `blocks` changes its depth (what layer merging leaves)."""
    if isinstance(size, str):
        if size not in VIT_SIZES:
            raise ValueError(f"no ViT size {size!r}; there are {', '.join(VIT_SIZES)}")
        size = VIT_SIZES[size]
    rate = size.drop_path if drop_path is None else drop_path
    depth = size.depth if blocks is None else blocks
    return ViT(size.dim, depth, size.heads, image_hw=image_hw, drop_path=rate)


def smpl_decoder(context_width: int, choice: DecoderChoice, **changes: Any) -> SmplTransformerDecoder:
    """A cross-attention decoder by preset name, or by a mapping of all its sizes."""
    if isinstance(choice, str):
        return SmplTransformerDecoder.from_preset(choice, context_width, **changes)
    return SmplTransformerDecoder(context_width, **(dict(choice) | changes))


def _joint_query_sizes(decoder: DecoderChoice) -> dict[str, Any] | None:
    """Sizes of a `JointQueryDecoder`, where that is asked for."""
    if isinstance(decoder, str):
        return {} if decoder == JOINT_QUERIES else None
    sizes = dict(decoder)
    return sizes if sizes.pop("queries", None) == "joints" else None


def build_hierarchical(
    family: str,
    size: HierarchicalSize,
    stages: int,
    image_hw: tuple[int, int] = IMAGE_HW,
    drop_path: float | None = None,
    decoder: DecoderChoice = SMALL_DECODER,
    score: bool = True,
    context_position: Position = "sincos",
    pool: int = 1,
) -> HmrNet:
    """Truncated hierarchical encoder and SMPL decoder (TH).

    decoder: a preset or sizes of TH's; "joint-queries", or a mapping of its sizes with queries = "joints", is ours
    (hmr/networks/decoders/joint_queries.py): it reads the second stage's map and all coarser ones.
    pool: the encoder sees the crops averaged over `pool` x `pool` pixels, at a `pool`^2-th of the cost.
    """
    if pool < 1 or any(side % pool for side in image_hw):
        raise ValueError(f"pool must divide the crop's sides {image_hw}, got {pool}")
    encoder_hw = (image_hw[0] // pool, image_hw[1] // pool)
    sizes = _joint_query_sizes(decoder)
    if sizes is None:
        encoder = hierarchical_encoder(family, size, stages, encoder_hw, drop_path)
        head = smpl_decoder(encoder.feature_info[-1][0], decoder, score=score, context_position=context_position)
    else:
        encoder = hierarchical_encoder(family, size, stages, encoder_hw, drop_path, "all")
        head = JointQueryDecoder([channels for channels, _ in encoder.feature_info[1:]], score=score, **sizes)
    return HmrNet(encoder, head, image_hw=image_hw, pool=pool)


def build_flat(
    size: str | ViTSize,
    image_hw: tuple[int, int] = IMAGE_HW,
    drop_path: float | None = None,
    decoder: DecoderChoice = "hmr2",
    score: bool = False,
    query_input: Literal["zero", "box_mean"] = "zero",
    blocks: int | None = None,
    schedule: Sequence[int] | None = None,
) -> HmrNet:
    """HMR2.0 and CameraHMR (`query_input="box_mean"`), whole or merged.

    blocks: how many blocks layer merging left. schedule: tokens that Mask-ToMe merges in each of the first blocks.
    decoder: a preset or sizes of HMR2.0's; "joint-queries", or a mapping of its sizes with queries = "joints", is ours:
    it reads the map, on which merged tokens lie at all places that they stand for.
    """
    encoder = flat_encoder(size, image_hw, drop_path, blocks)
    channels = encoder.feature_info[-1][0]
    backbone = encoder if schedule is None else TokenMergingVit(encoder, schedule)
    sizes = _joint_query_sizes(decoder)
    if sizes is not None:
        return HmrNet(backbone, JointQueryDecoder([channels], **sizes, score=score))
    return HmrNet(backbone, smpl_decoder(channels, decoder, score=score, query_input=query_input))


def build_deformable(
    size: str | ViTSize | HierarchicalSize = "h",
    factor: int | None = 4,
    image_hw: tuple[int, int] = IMAGE_HW,
    drop_path: float | None = None,
    decoder: DecoderChoice = "paper",
    score: bool = False,
    taps: Sequence[int] | None = None,
    family: str = "vit",
    stages: int = 3,
) -> HmrNet:
    """Deformable decoder (DH) on two taps of a ViT, upsampled by `factor` (None: not upsampled).

    taps: block counts; left out, the middle and the last block, as the paper's 16 and 32 of ViT-H. family: one of
    `hierarchical_encoder` in place of the ViT, cut after `stages`; its taps are numbers of stages, the last two where
    left out.
    """
    if family == "vit":
        encoder = flat_encoder(size, image_hw, drop_path)  # type: ignore[arg-type]
        encoder.last_norm = nn.Identity()  # the taps are raw block outputs
        depth = len(encoder.blocks)
        taps = (depth // 2, depth) if taps is None else tuple(taps)
        channels = [encoder.feature_info[-1][0]] * len(taps)
    else:
        encoder = hierarchical_encoder(family, size, stages, image_hw, drop_path, "all")  # type: ignore[arg-type]
        taps = (stages - 1, stages) if taps is None else tuple(taps)
        channels = [encoder.feature_info[stage - 1][0] for stage in taps]
    if isinstance(decoder, str):
        head = DeformableSmplDecoder.from_preset(decoder, channels, score=score)
    else:
        head = DeformableSmplDecoder(channels, **(dict(decoder) | {"score": score}))
    upsampling = None if factor is None else MapUpsampler(channels, factor)
    return HmrNet(encoder, head, upsampling=upsampling, taps=taps)


def build_cliff(
    image_hw: tuple[int, int] = IMAGE_HW,
    hidden: int = 1024,
    score: bool = False,
    backbone: nn.Module | None = None,
    channels: int = 2048,
) -> HmrNet:
    """CLIFF on ResNet-50 (or a given backbone whose last map has `channels`)."""
    encoder = resnet50() if backbone is None else backbone
    return HmrNet(encoder, CliffRegressor(channels, hidden, score=score), image_hw=image_hw)


class PassImages(nn.Module):
    """An encoder that hands the images on, for decoders that bring their own."""

    def forward(self, images: Tensor) -> list[Tensor]:
        """(B, 3, H, W) -> [the same]."""
        return [images]


def build_deformable_detr(
    image_hw: tuple[int, int] = IMAGE_HW,
    width: int = 256,
    heads: int = 8,
    points: int = 4,
    layers: int = 6,
    ff_width: int = 1024,
    score: bool = False,
    backbone: nn.Module | None = None,
    backbone_channels: Sequence[int] = (512, 1024, 2048),
) -> HmrNet:
    """Deformable DETR on ResNet-50 as an HMR network, the baseline of DH."""
    network = DeformableDetrHmr(
        width=width,
        heads=heads,
        points=points,
        layers=layers,
        ff_width=ff_width,
        image_hw=image_hw,
        score=score,
        backbone=backbone,
        backbone_channels=backbone_channels,
    )
    return HmrNet(PassImages(), network, image_hw=image_hw)


def _heatmap_head(head: str, channels: int, stride: int, keypoints: int) -> nn.Module:
    if head == "classic":
        return ClassicHeatmapHead(channels, stride, keypoints)
    if head == "simple":
        return SimpleHeatmapHead(channels, stride, keypoints)
    raise ValueError(f'head must be "classic" or "simple", got {head!r}')


def build_flat_pose(
    size: str | ViTSize,
    head: str = "classic",
    image_hw: tuple[int, int] = IMAGE_HW,
    drop_path: float | None = None,
    keypoints: int = COCO_KEYPOINTS,
) -> PoseNet:
    """ViTPose."""
    encoder = flat_encoder(size, image_hw, drop_path)
    return PoseNet(encoder, _heatmap_head(head, *encoder.feature_info[-1], keypoints))


def build_hierarchical_pose(
    family: str,
    size: HierarchicalSize,
    stages: int,
    head: str = "classic",
    image_hw: tuple[int, int] = IMAGE_HW,
    drop_path: float | None = None,
    keypoints: int = COCO_KEYPOINTS,
) -> PoseNet:
    """Heat-map head on a truncated hierarchical encoder (TH); heat maps of stride 4 from any cut."""
    encoder = hierarchical_encoder(family, size, stages, image_hw, drop_path)
    return PoseNet(encoder, _heatmap_head(head, *encoder.feature_info[-1], keypoints))


def build_movenet(size: str | float = "lightning", image_hw: tuple[int, int] = (192, 192)) -> MoveNet:
    """MoveNet singlepose: "lightning", "thunder", or a factor on the channels."""
    return MoveNet(movenet_width(size), image_hw)


def build_fov(**sizes: Any) -> FovNet:
    """CameraHMR's field-of-view network; sizes as in `FovNet`."""
    return FovNet(**sizes)


def build_keypoint_fusion(**sizes: Any) -> KeypointFusion:
    """The learned fusion; sizes as in `KeypointFusion`."""
    return KeypointFusion(**sizes)


def build_motion_vae(**sizes: Any) -> MotionVae:
    """FastHMR's motion VAE; sizes as in `MotionVae`."""
    return MotionVae(**sizes)


def build_window_smoother(**sizes: Any) -> WindowSmoother:
    """The live smoother; sizes as in `WindowSmoother`."""
    return WindowSmoother(**sizes)


def build_diffusion_decoder(
    frames: int = 243,
    steps: int = 1,
    latents: int = 27,
    dim: int = 512,
    condition_width: int = 1024,
    denoiser_layers: int = 5,
    vae_encoder_layers: int = 9,
    vae_decoder_layers: int = 5,
    heads: int = 4,
    ff_width: int = 1024,
    with_vae_encoder: bool = False,
    distribution_layer: bool = False,
    motion_conditions: bool = False,
) -> DiffusionDecoder:
    """FastHMR's diffusion decoder as it runs: denoiser and VAE decoder.

    with_vae_encoder keeps the other half of the VAE, which training needs; distribution_layer: see `MotionVae`;
    motion_conditions: see `DiffusionDecoder`.
    """
    sizes = {"latents": latents, "dim": dim, "heads": heads, "ff_width": ff_width}
    layers = {"encoder_layers": vae_encoder_layers, "decoder_layers": vae_decoder_layers}
    vae = MotionVae(distribution_layer=distribution_layer, **layers, **sizes)
    denoiser = Denoiser(condition_width=condition_width, layers=denoiser_layers, **sizes)
    model = DiffusionDecoder(vae, denoiser, frames, steps, motion_conditions=motion_conditions)
    return model if with_vae_encoder else model.drop_encoder()
