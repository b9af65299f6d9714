"""Every network by name: `build("swin-t-s2")`.

A name stands for a builder and its arguments; keyword overrides change single arguments. What the papers leave open
(docs/papers.md) is filled here in one place: truncated encoders get the one published small decoder (d3-a4x16-m128)
with our score readout, a fixed position code on the context, and a LayerNorm on the last kept stage.

TH: Tarashima et al. 2025 (arXiv 2510.12660). FH: FastHMR, Mehraban et al. 2025 (arXiv 2510.10868). DH: Heo and Hu,
"Deformable Transformer with Feature Upsampling for HMR".
"""

from __future__ import annotations

import difflib
import inspect
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from bodycast.hmr.networks import builders
from bodycast.hmr.networks.builders import HIERARCHICAL_FAMILIES, SMALL_DECODER
from bodycast.hmr.networks.encoders.vit import SIZES as VIT_SIZES
from bodycast.hmr.networks.fov_net import FovNet
from bodycast.hmr.networks.hmr_net import HmrNet
from bodycast.hmr.networks.keypoint_fusion import KeypointFusion, example_keypoints
from bodycast.hmr.networks.merging.mask_token_merging import FASTHMR_SCHEDULE
from bodycast.hmr.networks.move_net import MoveNet
from bodycast.hmr.networks.person_detector import PersonDetector
from bodycast.hmr.networks.pose_net import PoseNet
from bodycast.hmr.networks.temporal.diffusion_decoder import DiffusionDecoder
from bodycast.hmr.networks.temporal.motion_vae import MotionVae
from bodycast.hmr.networks.temporal.window_smoother import WindowSmoother, example_window

Kind = Literal["hmr", "pose", "fusion", "temporal", "detector", "fov"]
CUTS = (2, 3, 4)
SIZES_BESIDE = {"swin": ("l",), "gmf": ("mini", "l"), "vmamba": ()}
"""Published sizes of the families beside TH's T, S and B."""
FASTHMR_BLOCKS = {"hmr2": 28, "camerahmr": 26}
"""Blocks of ViT-H's 32 that FastHMR's layer merging leaves; which ones it merges is not printed."""


@dataclass(frozen=True)
class PaperFigures:
    """What a paper prints about a network: millions of parameters, 1e9 multiply-accumulates, the rest in words."""

    source: str = ""
    parameters_m: float | None = None
    gmacs: float | None = None
    accuracy: str = ""


@dataclass(frozen=True)
class ModelSpec:
    """One registered network: how to build it and what its paper prints about it.

    kind: "hmr" (crop -> body), "pose" (crop -> heat maps), "fusion" (keypoints -> body), "temporal" (clip -> motion),
    "detector" (picture -> boxes), "fov" (picture -> field of view).
    """

    name: str
    kind: Kind
    builder: Callable[..., nn.Module]
    arguments: Mapping[str, Any]
    paper: PaperFigures = field(default_factory=PaperFigures)

    def build(self, **overrides: Any) -> nn.Module:
        """Build the network, arguments changed by keyword. TypeError names the arguments there are."""
        known = inspect.signature(self.builder).parameters
        free = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in known.values())
        unknown = sorted(set(overrides) - set(known))
        if unknown and not free:
            raise TypeError(f"{self.name} takes no {', '.join(unknown)}; it takes {', '.join(known)}")
        return self.builder(**(dict(self.arguments) | overrides))


def _flat_specs() -> Iterator[ModelSpec]:
    """HMR2.0 and CameraHMR at every ViT size, whole and merged."""
    figures = {
        "hmr2-h": PaperFigures("FH", 670.2, 122.6, "3DPW 69.8 / PA 44.4, EMDB 100.7 mm, 65.2 fps"),
        "hmr2-h-fast": PaperFigures("FH", 591.5, 52.8, "3DPW 65.8 / PA 41.2, EMDB 91.9 mm, 150 fps, with diffusion"),
        "hmr2-s": PaperFigures("TH", 23.97, 4.16, "from the sizes in the released checkpoint; nothing is printed"),
        "camerahmr-h": PaperFigures("FH", 737.1, 144.0, "with its field-of-view network; 3DPW 62.1, EMDB 73.3 mm"),
        "camerahmr-h-fast": PaperFigures("FH", 619.0, 70.7, "with its field-of-view network; EMDB 71.6 mm, 103 fps"),
    }
    for base, sizes, extra in (("hmr2", "hlbs", {}), ("camerahmr", "h", {"query_input": "box_mean"})):
        for size in sizes:
            # Only the decoder of the released HMR2.0-S is known; the others take HMR2.0's own.
            decoder = SMALL_DECODER if size == "s" else "hmr2"
            arguments = {"size": size, "decoder": decoder, **extra}
            # FastHMR merges ViT-H only; elsewhere the same share of blocks, rounded towards keeping them.
            left = math.ceil(VIT_SIZES[size].depth * FASTHMR_BLOCKS[base] / 32)
            merged = arguments | {"blocks": left, "schedule": FASTHMR_SCHEDULE}
            for name, values in ((f"{base}-{size}", arguments), (f"{base}-{size}-fast", merged)):
                yield ModelSpec(name, "hmr", builders.build_flat, values, figures.get(name, PaperFigures()))


def _decoder_specs() -> Iterator[ModelSpec]:
    """DH's networks and baselines: dense and deformable decoders, with 26 queries, and ResNet-50 networks."""
    dense = PaperFigures("DH", 725.0, None, "3DPW 66.67 / PA 41.35 mm")
    yield ModelSpec("dense26", "hmr", builders.build_flat, {"size": "h", "decoder": "dense26"}, dense)
    for name, factor, parameters, accuracy in (
        ("deformable", None, 713.0, "3DPW 69.78 / PA 44.42 mm"),
        ("deformable-x4", 4, 714.0, "3DPW 68.25 / PA 43.18 mm"),
        ("deformable-x8", 8, None, "3DPW 67.73 / PA 43.71 mm"),
        ("deformable-x16", 16, None, "3DPW 68.89 / PA 44.14 mm"),
    ):
        paper = PaperFigures("DH", parameters, None, accuracy)
        yield ModelSpec(name, "hmr", builders.build_deformable, {"size": "h", "factor": factor}, paper)
    cliff = PaperFigures("DH", 80.0, None, "3DPW 76.61 / PA 48.56 mm; its backbone is HRNet-W48, not ResNet-50")
    yield ModelSpec("cliff-r50", "hmr", builders.build_cliff, {}, cliff)
    detr = PaperFigures("DH", 89.0, None, "3DPW 102.16 / PA 65.06 mm; its width is not printed")
    yield ModelSpec("deformable-detr-r50", "hmr", builders.build_deformable_detr, {}, detr)


def _hierarchical_specs() -> Iterator[ModelSpec]:
    """The 27 truncated encoders of TH and the families' other sizes, for bodies and for 2D keypoints."""
    for prefix, kind, builder in (
        ("", "hmr", builders.build_hierarchical),
        ("pose-", "pose", builders.build_hierarchical_pose),
    ):
        for family in HIERARCHICAL_FAMILIES:
            for size in (*"tsb", *SIZES_BESIDE[family]):
                for stages in CUTS:
                    arguments = {"family": family, "size": size, "stages": stages}
                    yield ModelSpec(f"{prefix}{family}-{size}-s{stages}", kind, builder, arguments)


def _vitpose_specs() -> Iterator[ModelSpec]:
    accuracy = {"s": (73.8, 73.5), "b": (75.8, 75.5), "l": (78.3, 78.2), "h": (79.1, 78.9)}
    for size, values in accuracy.items():
        for suffix, head, ap in (("", "classic", values[0]), ("-simple", "simple", values[1])):
            paper = PaperFigures("ViTPose", None, None, f"COCO val AP {ap}")
            arguments = {"size": size, "head": head}
            yield ModelSpec(f"pose-vit-{size}{suffix}", "pose", builders.build_flat_pose, arguments, paper)


def _movenet_specs() -> Iterator[ModelSpec]:
    """MoveNet, and its encoder cut after each stage under the decoders of the hierarchical networks (TH's idea)."""
    for name, side in (("lightning", 192), ("thunder", 256)):
        paper = PaperFigures("MoveNet singlepose v4, Google")
        yield ModelSpec(
            f"movenet-{name}", "pose", builders.build_movenet, {"size": name, "image_hw": (side, side)}, paper
        )
        for stages in CUTS:
            arguments = {"family": "movenet", "size": name, "stages": stages}
            yield ModelSpec(f"mobile-{name}-s{stages}", "hmr", builders.build_hierarchical, arguments)


def _fusion_specs() -> Iterator[ModelSpec]:
    yield ModelSpec("keypoint-fusion", "fusion", builders.build_keypoint_fusion, {})


def _temporal_specs() -> Iterator[ModelSpec]:
    vae = PaperFigures("FH", None, None, "AMASS reconstruction 3.6 mm")
    yield ModelSpec("motion-vae", "temporal", builders.build_motion_vae, {}, vae)
    all_encoder = {"variant": "all_encoder", "distribution_layer": True, "decoder_layers": 9}
    yield ModelSpec("motion-vae-all-encoder", "temporal", builders.build_motion_vae, all_encoder)
    decoder = PaperFigures("FH", 29.5, 6.8, "8211 fps; 3DPW 62.2, EMDB 71.6 mm on CameraHMR")
    yield ModelSpec("diffusion-decoder", "temporal", builders.build_diffusion_decoder, {}, decoder)
    yield ModelSpec("window-smoother", "temporal", builders.build_window_smoother, {})


def _detector_specs() -> Iterator[ModelSpec]:
    yield ModelSpec("person-detector", "detector", PersonDetector, {})


def _fov_specs() -> Iterator[ModelSpec]:
    paper = PaperFigures("FH", 66.7, 21.5, "the difference of its CameraHMR rows; 333 fps")
    yield ModelSpec("camerahmr-fov", "fov", builders.build_fov, {}, paper)


def registry() -> dict[str, ModelSpec]:
    """All registered networks by name, in a stable order."""
    people = (_flat_specs, _decoder_specs, _hierarchical_specs, _vitpose_specs, _movenet_specs)
    groups = (*people, _fusion_specs, _temporal_specs, _detector_specs, _fov_specs)
    return {spec.name: spec for group in groups for spec in group()}


def names(kind: Kind | None = None) -> list[str]:
    """Registered names, of one kind or all."""
    return [name for name, spec in registry().items() if kind is None or spec.kind == kind]


def find(name: str) -> ModelSpec:
    """The entry of that name. Raises KeyError that lists near names."""
    specs = registry()
    if name not in specs:
        near = difflib.get_close_matches(name, specs, n=5, cutoff=0.4)
        hint = f"near names: {', '.join(near)}" if near else f"there are {', '.join(specs)}"
        raise KeyError(f"no network {name!r}; {hint}")
    return specs[name]


def build(name: str, **overrides: Any) -> nn.Module:
    """Build a network by name, e.g. `build("swin-t-s2", image_hw=(192, 144))`.

    Raises KeyError for an unknown name and TypeError for an argument that its builder does not take.
    """
    return find(name).build(**overrides)


def example_inputs(model: nn.Module, batch: int = 1) -> tuple[Tensor, ...]:
    """Random inputs of the right shapes for a registered network, on the current default device."""
    if isinstance(model, KeypointFusion):
        return example_keypoints(model, batch)
    if isinstance(model, HmrNet | PoseNet | MoveNet | PersonDetector | FovNet):
        images = torch.randn(batch, 3, *model.image_hw)
        box = isinstance(model, HmrNet) and model.takes_box_info
        return (images, torch.randn(batch, 3)) if box else (images,)
    if isinstance(model, DiffusionDecoder):
        return (torch.randn(batch, model.frames, model.denoiser.condition_width),)
    if isinstance(model, MotionVae):
        return (torch.randn(batch, 243, model.features),)
    if isinstance(model, WindowSmoother):
        return example_window(model, batch)
    raise TypeError(f"no example inputs for a {type(model).__name__}")
