"""Presets: one word sets the model and what goes with it; explicit flags go before a preset."""

from __future__ import annotations

from dataclasses import dataclass, replace

from bodycast.app.config import MotionConfig, NetworkConfig, PeopleConfig, PresetName, RunConfig

HMR_ALONE = "hmr-swin-t-s2-lite"
"""What runs where keypoints are turned off and no model is named."""
QUICKER_KEYPOINTS = "pose-lightning"
"""What a live run's governor looks with where the preset's keypoint network is too slow."""
FIXED: PresetName = "fast"
"""What `auto` starts from, and is for anything but a live source."""


@dataclass(frozen=True, slots=True)
class Preset:
    """`model`, `keypoints`: the packages that `--model auto` and `--keypoints auto` stand for, or "none". `network`,
    `people`, `motion`: defaults of those flags."""

    model: str
    keypoints: str
    network: NetworkConfig
    people: PeopleConfig
    motion: MotionConfig


# Points on the edge of the table of accuracy against time in docs/models.md.
PRESETS: dict[PresetName, Preset] = {
    "lite": Preset("none", "pose-lightning", NetworkConfig(), PeopleConfig(detect_every=0.5), MotionConfig()),
    "fast": Preset("none", "pose-thunder", NetworkConfig(), PeopleConfig(detect_every=0.25), MotionConfig()),
    "balanced": Preset(
        "none", "pose-thunder", NetworkConfig(flip_test=True), PeopleConfig(detect_every=0.25), MotionConfig()
    ),
    "quality": Preset(
        "none",
        "pose-thunder",
        NetworkConfig(flip_test=True),
        PeopleConfig(detect_every=0.25),
        MotionConfig(smoother="diffusion"),
    ),
}


def networks_of(config: RunConfig) -> tuple[str, str]:
    """The HMR package and the keypoint package of a run, "none" where it goes without one."""
    preset, network = PRESETS[fixed(config.preset)], config.network
    model = preset.model if network.model == "auto" else network.model
    keypoints = network.keypoints
    if keypoints == "auto":  # a network of one's own runs alone: no fusion has seen its bodies
        keypoints = preset.keypoints if network.model in ("auto", "none") else "none"
    if network.model == "auto" and keypoints == "none":
        model = HMR_ALONE
    return model, keypoints


def fixed(name: PresetName) -> PresetName:
    """The preset without a governor that has the same networks and flags."""
    return FIXED if name == "auto" else name


def preset_defaults(name: PresetName) -> RunConfig:
    """The configuration of a preset: what the flags start from."""
    preset = PRESETS[fixed(name)]
    return replace(RunConfig(), preset=name, network=preset.network, people=preset.people, motion=preset.motion)
