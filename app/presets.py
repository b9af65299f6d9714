"""Presets: one word sets the model and what goes with it; explicit flags go before a preset."""

from __future__ import annotations

from dataclasses import dataclass, replace

from app.config import MotionConfig, NetworkConfig, PeopleConfig, PresetName, RunConfig


@dataclass(frozen=True, slots=True)
class Preset:
    """`model`: the package that `--model auto` stands for. `network`, `people`, `motion`: defaults of those flags."""

    model: str
    network: NetworkConfig
    people: PeopleConfig
    motion: MotionConfig


PRESETS: dict[PresetName, Preset] = {
    # Its heat maps are too coarse: limbs moved onto them come out no better (docs/models.md).
    "lite": Preset("hmr-swin-t-s2-lite", NetworkConfig(fit=False), PeopleConfig(detect_every=0.5), MotionConfig()),
    "fast": Preset("hmr-swin-t-s3", NetworkConfig(), PeopleConfig(detect_every=0.25), MotionConfig()),
    "balanced": Preset("hmr-swin-t-s3", NetworkConfig(mirror=True), PeopleConfig(detect_every=0.25), MotionConfig()),
    "quality": Preset(
        "hmr-swin-t-s3", NetworkConfig(mirror=True), PeopleConfig(detect_every=0.25), MotionConfig(smoother="diffusion")
    ),
}


def preset_defaults(name: PresetName) -> RunConfig:
    """The configuration of a preset: what the flags start from."""
    preset = PRESETS[name]
    return replace(RunConfig(), preset=name, network=preset.network, people=preset.people, motion=preset.motion)
