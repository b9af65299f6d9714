"""Every network by name: `build("swin-t-s2")`.

A name stands for a builder and its arguments; keyword overrides change single arguments. What the papers leave open
(PAPERS 1.5) is filled here in one place: truncated encoders get the one published small decoder (d3-a4x16-m128) with
our score readout, a fixed position code on the context, and a LayerNorm on the last kept stage.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from hmr.networks.decoders.smpl_transformer import SmplTransformerDecoder
from hmr.networks.hmr_net import HmrNet

IMAGE_HW = (256, 192)
SMALL_DECODER = "d3-a4x16-m128"
HIERARCHICAL_FAMILIES = ("swin", "gmf", "vmamba")
CUTS = (2, 3, 4)
DecoderChoice = str | Mapping[str, Any]


@dataclass(frozen=True)
class ModelSpec:
    """One registered network: how to build it and what the papers say about it.

    kind: "hmr" (crop -> body), "pose" (crop -> heat maps) or "temporal" (clip -> motion).
    paper: where it comes from, and with which figures, in words.
    """

    name: str
    kind: str
    builder: Callable[..., nn.Module]
    arguments: Mapping[str, Any]
    paper: str
    figures: Mapping[str, float] = field(default_factory=dict)

    def build(self, **overrides: Any) -> nn.Module:
        """Build the network, arguments changed by keyword; TypeError names the arguments there are."""
        known = inspect.signature(self.builder).parameters
        unknown = sorted(set(overrides) - set(known))
        if unknown:
            raise TypeError(f"{self.name} takes no {', '.join(unknown)}; it takes {', '.join(known)}")
        return self.builder(**(dict(self.arguments) | overrides))


def hierarchical_encoder(
    family: str, size: Any, stages: int, image_hw: tuple[int, int] = IMAGE_HW, drop_path: float | None = None
) -> nn.Module:
    """Swin, GroupMixFormer or VMamba cut after `stages`; size is a published letter or a size record of the family."""
    if family == "swin":
        from hmr.networks.encoders.swin import Swin, swin

        if isinstance(size, str):
            return swin(size, stages, image_hw, drop_path)
        rate = size.drop_path if drop_path is None else drop_path
        return Swin(size.dim, size.depths, size.heads, stages, image_hw, drop_path=rate)
    if family == "gmf":
        from hmr.networks.encoders.group_mix_former import GroupMixFormer, group_mix_former

        if isinstance(size, str):
            return group_mix_former(size, stages, image_hw, drop_path)
        rate = size.drop_path if drop_path is None else drop_path
        return GroupMixFormer(size.dims, size.depths, size.mlp_ratios, stages, image_hw, drop_path=rate)
    raise ValueError(f"no encoder family {family!r}; there are {', '.join(HIERARCHICAL_FAMILIES)}")


def smpl_decoder(context_width: int, choice: DecoderChoice, **changes: Any) -> SmplTransformerDecoder:
    """A decoder by preset name, or by a mapping of all its sizes."""
    if isinstance(choice, str):
        return SmplTransformerDecoder.from_preset(choice, context_width, **changes)
    return SmplTransformerDecoder(context_width, **(dict(choice) | changes))


def build_hierarchical(
    family: str,
    size: Any,
    stages: int,
    image_hw: tuple[int, int] = IMAGE_HW,
    drop_path: float | None = None,
    decoder: DecoderChoice = SMALL_DECODER,
    score: bool = True,
    context_position: str = "sincos",
) -> HmrNet:
    """Truncated hierarchical encoder and SMPL decoder (TH)."""
    encoder = hierarchical_encoder(family, size, stages, image_hw, drop_path)
    channels = encoder.feature_info[-1][0]
    return HmrNet(encoder, smpl_decoder(channels, decoder, score=score, context_position=context_position))


def _specs() -> Iterator[ModelSpec]:
    for family in HIERARCHICAL_FAMILIES:
        for size in "tsb":
            for stages in CUTS:
                name = f"{family}-{size}-s{stages}"
                arguments = {"family": family, "size": size, "stages": stages}
                yield ModelSpec(name, "hmr", build_hierarchical, arguments, "TH")


def registry() -> dict[str, ModelSpec]:
    """All registered networks by name, in a stable order."""
    return {spec.name: spec for spec in _specs()}


def names(kind: str | None = None) -> list[str]:
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
