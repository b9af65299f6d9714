"""A recipe: what to train, on what, how long. Read from a small TOML file into a closed, read-only dataclass.

A file may begin with `base = "NAME"`: it is that recipe but for what it says itself (`phases` as a whole, the entries
of `arguments` and `weights` one by one).
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

RECIPES = Path(__file__).parent / "recipes"
TASKS = ("body", "keypoints", "upsampler")
OPTIMISERS = ("muon", "adamw")


@dataclass(frozen=True)
class Phase:
    """A stretch of training at one input size. `share` of the whole time; the learning rate (see optimiser.py) falls on
    a cosine from `lr` to `lr_end` within it. `batch`: crops of each step that this network takes. `merge`: the phase
    begins by merging layers (the recipe's `merge_tolerance_mm`) and tokens (its `schedule`)."""

    image_hw: tuple[int, int]
    share: float
    batch: int
    lr: float
    lr_end: float
    merge: bool = False


@dataclass(frozen=True)
class LossWeights:
    """Weights of the sum. Keypoint and vertex errors are L1 in metres, or in crop heights for 2D (squared where
    `squared`); rotations are squared differences of matrices (HMR2.0, arXiv 2305.20091); heat maps and parts are the
    helper task on the encoder's map, early joints what a `JointQueryDecoder` reads before the rotations, features its
    fused map beside a teacher's (`training.teacher`)."""

    joints_3d: float = 5.0
    joints_2d: float = 4.0
    vertices: float = 5.0
    root: float = 1.0
    pose: float = 1.0
    betas: float = 0.05
    camera: float = 1.0
    score: float = 0.2
    heatmap: float = 40.0
    parts: float = 2.0
    early_joints: float = 2.5
    features: float = 0.0
    squared: bool = False


@dataclass(frozen=True)
class Recipe:
    """One training run. `model` is a name of hmr.networks.registry; `freeze` names modules of it that keep still."""

    name: str
    model: str
    phases: tuple[Phase, ...]
    task: str = "body"
    arguments: dict[str, Any] = field(default_factory=dict)
    weights: LossWeights = field(default_factory=LossWeights)
    optimiser: str = "muon"
    weight_decay: float = 0.05
    warmup_steps: int = 100
    clip_norm: float = 10.0
    ramp: float = 0.4  # share of the time over which the body's terms grow from a tenth to their weight
    ema: float = 0.998
    flip: float = 0.5
    seed: int = 0
    paper: str = ""
    pool: int = 1  # the finished network takes crops `pool` times as large as the last phase's, and averages them
    freeze: tuple[str, ...] = ()
    helper: bool = True  # heat maps and parts on the encoder's map, thrown away afterwards
    needs_init: bool = False  # fine-tuning: nothing good comes of random weights
    needs_teacher: bool = False  # learns another network's map beside the labels (`weights.features`)
    needs_photos: bool = False  # learns from labelled photographs beside the crops (`training.photos`)
    schedule: tuple[int, ...] = ()  # tokens that Mask-ToMe merges in each of the first blocks
    merge_tolerance_mm: float = 0.1  # ECLM: what merging a window of layers may cost; 0 merges none
    merge_keep: float = 0.75  # share of the layers that stay at least: FastHMR keeps 26 and 28 of 32
    merge_crops: int = 256  # crops that the search for layers looks at

    def __post_init__(self) -> None:
        total = sum(p.share for p in self.phases)
        if not self.phases or abs(total - 1) > 1e-6:
            raise ValueError(f"recipe {self.name}: the phases' shares must add to 1, got {total:g}")
        for name, value, known in (("task", self.task, TASKS), ("optimiser", self.optimiser, OPTIMISERS)):
            if value not in known:
                raise ValueError(f"recipe {self.name}: {name} must be one of {', '.join(known)}, got {value!r}")
        merging = [phase.merge for phase in self.phases]
        if merging != sorted(merging):
            raise ValueError(f"recipe {self.name}: layers that are merged stay so: no phase without `merge` after one")


def _closed(cls: type, values: dict[str, Any], where: str) -> dict[str, Any]:
    known = {f.name for f in fields(cls)}
    unknown = sorted(set(values) - known)
    if unknown:
        raise ValueError(f"{where}: unknown {', '.join(unknown)}; there are {', '.join(sorted(known))}")
    return {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}


def recipe_names() -> list[str]:
    """The recipes that come with the project."""
    return sorted(p.stem for p in RECIPES.glob("*.toml"))


def _read(name_or_path: str, above: tuple[str, ...] = ()) -> tuple[Path, dict[str, Any]]:
    """The file, and its values laid over those of its base. above: the recipes that are based on it."""
    path = Path(name_or_path)
    if path.suffix != ".toml":
        path = RECIPES / f"{name_or_path}.toml"
    if not path.is_file():
        raise ValueError(f"no recipe {name_or_path!r}; there are {', '.join(recipe_names())}")
    values = tomllib.loads(path.read_text())
    base = values.pop("base", None)
    if base is None:
        return path, values
    if not isinstance(base, str) or base in above:
        raise ValueError(f"{path.name}: base: expected another recipe's name, got {base!r}")
    _, below = _read(base, (*above, base))
    for table in ("arguments", "weights"):
        if table in values:
            values[table] = below.get(table, {}) | values[table]
    return path, below | values


def load_recipe(name_or_path: str) -> Recipe:
    """Read `training/recipes/NAME.toml` or any TOML file. Raises ValueError naming what is wrong."""
    path, values = _read(name_or_path)
    phases = tuple(Phase(**_closed(Phase, p, f"{path.name} phase {i}")) for i, p in enumerate(values.pop("phases", [])))
    weights = LossWeights(**_closed(LossWeights, values.pop("weights", {}), f"{path.name} weights"))
    return Recipe(**_closed(Recipe, values, path.name), phases=phases, weights=weights)


def phase_at(recipe: Recipe, fraction: float) -> tuple[Phase, float]:
    """The phase that is on when `fraction` (0..1) of the time is spent, and the progress within it."""
    start = 0.0
    for phase in recipe.phases:
        if fraction < start + phase.share or phase is recipe.phases[-1]:
            return phase, min(1.0, max(0.0, (fraction - start) / phase.share))
        start += phase.share
    raise AssertionError("a recipe has at least one phase")
