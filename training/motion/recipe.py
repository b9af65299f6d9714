"""What a motion network is trained with: a small TOML file read into closed, read-only dataclasses."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

RECIPES = Path(__file__).parent / "recipes"


@dataclass(frozen=True)
class MotionWeights:
    """Weights of the sum. velocity_target: FastHMR's velocity loss, in units of the spread (L1). joints, place: errors
    in metres at the slots that are shown; joint_step, joint_acceleration: errors of their first and second differences
    from answer to answer; feet: how far feet that stand are moved. peak_speed: by how many m/s wrists and ankles move
    slower or faster than they do, counted where they are fast; fast: how much more a row counts whose wrists or ankles
    move at 3 m/s or more."""

    velocity_target: float = 0.5
    joints: float = 60.0
    place: float = 10.0
    joint_step: float = 5.0
    joint_acceleration: float = 10.0
    feet: float = 5.0
    peak_speed: float = 0.0
    fast: float = 0.0


@dataclass(frozen=True)
class MotionRecipe:
    """One training run of a smoother. `arguments`: of the network; `rates_hz`: frame rates, one drawn per batch, 0 for
    an irregular one; `strength`: range of the error model's factors; `fast_share`: of the windows that are put where
    something moves fast; `own_share`: of the batches whose errors are those of the measured engine itself, not of one
    like it; `pair_rows`: windows of real pairs beside each batch, where the run has pairs; the learning rate falls on
    a cosine."""

    name: str
    batch: int = 24
    steps_per_rollout: int = 4
    lr: float = 1e-3
    lr_end: float = 2e-5
    warmup_steps: int = 50
    weight_decay: float = 0.01
    ema: float = 0.995
    rates_hz: tuple[float, ...] = (30.0,)
    strength: tuple[float, float] = (0.1, 1.3)
    fast_share: float = 0.0
    own_share: float = 0.0
    pair_rows: int = 0
    seed: int = 0
    arguments: dict[str, Any] = field(default_factory=dict)
    weights: MotionWeights = field(default_factory=MotionWeights)


def closed(cls: type, values: dict[str, Any], where: str) -> dict[str, Any]:
    """`values`, if they are all fields of the dataclass `cls`. Raises ValueError naming those that are not."""
    unknown = sorted(set(values) - {f.name for f in fields(cls)})
    if unknown:
        raise ValueError(f"{where}: unknown {', '.join(unknown)}; there are {', '.join(f.name for f in fields(cls))}")
    return values


def load_motion_recipe(name_or_path: str) -> MotionRecipe:
    """Read `training/motion/recipes/NAME.toml` or any TOML file. Raises ValueError naming what is wrong."""
    path = Path(name_or_path)
    if path.suffix != ".toml":
        path = RECIPES / f"{name_or_path}.toml"
    if not path.is_file():
        raise ValueError(
            f"no recipe {name_or_path!r}; there are {', '.join(sorted(p.stem for p in RECIPES.glob('*.toml')))}"
        )
    values = closed(MotionRecipe, tomllib.loads(path.read_text(encoding="utf-8")), path.name)
    weights = MotionWeights(**closed(MotionWeights, values.pop("weights", {}), f"{path.name} weights"))
    for name in ("rates_hz", "strength"):
        if name in values:
            values[name] = tuple(values[name])
    return MotionRecipe(**values, weights=weights)
