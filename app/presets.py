"""Presets: one word sets the model and what goes with it; explicit flags go before a preset."""

from __future__ import annotations

from dataclasses import dataclass, replace

from app.config import MotionConfig, PeopleConfig, PresetName, RunConfig


@dataclass(frozen=True, slots=True)
class Preset:
    """`model`: the package that `--model auto` stands for. `people`, `motion`: defaults of those flags."""

    model: str
    people: PeopleConfig
    motion: MotionConfig


PRESETS: dict[PresetName, Preset] = {
    "lite": Preset("hmr-swin-t-s2-lite", PeopleConfig(detect_every=1.0), MotionConfig()),
    "fast": Preset("hmr-swin-t-s2", PeopleConfig(detect_every=0.5), MotionConfig()),
    "balanced": Preset("hmr-swin-t-s3", PeopleConfig(detect_every=0.5), MotionConfig()),
    "quality": Preset("hmr-vit-s-merged", PeopleConfig(detect_every=0.25), MotionConfig()),
}


def preset_defaults(name: PresetName) -> RunConfig:
    """The configuration of a preset: what the flags start from."""
    preset = PRESETS[name]
    return replace(RunConfig(), preset=name, people=preset.people, motion=preset.motion)
