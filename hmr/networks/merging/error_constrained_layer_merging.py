"""Error-constrained layer merging (ECLM): fewer transformer blocks for a bounded loss of accuracy.

Sources: FastHMR (Mehraban et al. 2025, arXiv 2510.10868), section on ECLM, and Sliding Layer Merging (its
outer loop). A window of consecutive blocks slides from the top of the encoder to its bottom. As long as
collapsing the window into one block keeps the joint error (MPJPE) within a tolerance of the untouched model's,
the window grows downwards; when it no longer does, the largest window that did is collapsed for good, and the
search goes on below it. FastHMR merges away 4 of HMR2.0's 32 blocks and 6 of CameraHMR's at 0.1 mm.

The merged block. The paper's equation, theta_i + sum over k of (theta_{i+k} - theta_i), is applied to every
parameter of the block (form "equation"). For two blocks it equals the upper one, so merging a pair is dropping
the lower block; for three it is upper + middle - lower. The released code of Sliding Layer Merging updates the
lower block in place, so that the sum telescopes to the upper block's weights for any window, and it leaves the
norms of the lower block alone (form "telescoped"). Which one FastHMR ran is not known.

Where we differ, and why: the printed loop forgets a window that is still growing when it reaches block 0; here
it is collapsed like any other. Without labels, the joints of the unmerged model serve as reference (ours).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

MergeForm = Literal["equation", "telescoped"]
ErrorFunction = Callable[[nn.Module], float]


@dataclass(frozen=True)
class LayerMergeRecipe:
    """How a smaller encoder was made from a larger one; plain numbers, so that it can sit in a package.

    blocks: how many blocks the original has. windows: the collapsed ranges (lowest, highest block, inclusive,
    numbered as in the original), disjoint and rising. form: how parameters were combined. tolerance_mm: what the
    search allowed. base_error_mm, error_mm: before and after, as the error function measured.
    """

    blocks: int
    windows: tuple[tuple[int, int], ...]
    form: MergeForm = "equation"
    tolerance_mm: float | None = None
    base_error_mm: float | None = None
    error_mm: float | None = None

    def __post_init__(self) -> None:
        if self.form not in get_args(MergeForm):
            raise ValueError(f"form must be one of {get_args(MergeForm)}, got {self.form!r}")
        previous = -1
        for low, high in self.windows:
            if not previous < low < high < self.blocks:
                raise ValueError(
                    f"windows must be disjoint, rising ranges of at least two of the {self.blocks} blocks, "
                    f"got {self.windows}"
                )
            previous = high

    @property
    def blocks_left(self) -> int:
        """Blocks of the smaller encoder."""
        return self.blocks - sum(high - low for low, high in self.windows)

    def groups(self) -> list[tuple[int, int]]:
        """For each block of the smaller encoder the range of original blocks that it stands for."""
        highs = dict(self.windows)
        groups: list[tuple[int, int]] = []
        block = 0
        while block < self.blocks:
            high = highs.get(block, block)
            groups.append((block, high))
            block = high + 1
        return groups

    def to_json(self) -> dict[str, Any]:
        """Plain values for a JSON file."""
        return asdict(self) | {"windows": [list(window) for window in self.windows]}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> LayerMergeRecipe:
        """The recipe that `to_json` wrote; raises TypeError for unknown or missing fields."""
        fields = dict(values)
        fields["windows"] = tuple((int(low), int(high)) for low, high in fields["windows"])
        return cls(**fields)


@dataclass(frozen=True)
class MergeTrial:
    """One step of the search: blocks low..high were collapsed on top of what is already merged.

    error_mm: what the error function gave. excess_mm: above the untouched model. accepted: within the tolerance.
    blocks_left: of the trial model.
    """

    low: int
    high: int
    error_mm: float
    excess_mm: float
    accepted: bool
    blocks_left: int


@dataclass(frozen=True)
class MergeResult:
    """recipe: the windows found. trials: every step, in order. state_dict: of the whole smaller model."""

    recipe: LayerMergeRecipe
    trials: tuple[MergeTrial, ...]
    state_dict: dict[str, Tensor]


def merge_parameters(blocks: Sequence[Mapping[str, Tensor]], form: MergeForm = "equation") -> dict[str, Tensor]:
    """Collapse the parameters of consecutive blocks, lowest first, into one block's.

    "equation": lowest + sum of (each - lowest). "telescoped": the highest block's, with the lowest block's norms
    (every parameter whose name starts with "norm").
    """
    low, high = blocks[0], blocks[-1]
    if form == "telescoped":
        return {name: (low if name.startswith("norm") else high)[name].clone() for name in low}
    merged: dict[str, Tensor] = {}
    for name, lowest in low.items():
        if len(blocks) == 1 or not lowest.is_floating_point():
            merged[name] = high[name].clone()
            continue
        # In double precision, so that a pair gives the upper block to the last bit: low + (high - low) = high.
        base = lowest.double()
        merged[name] = (base + sum(block[name].double() - base for block in blocks[1:])).to(lowest.dtype)
    return merged


def merge_blocks(blocks: nn.ModuleList, recipe: LayerMergeRecipe) -> nn.ModuleList:
    """The blocks of the smaller encoder. Untouched ones are the same objects; collapsed ones are new."""
    if len(blocks) != recipe.blocks:
        raise ValueError(f"the recipe is for {recipe.blocks} blocks, the encoder has {len(blocks)}")
    merged: list[nn.Module] = []
    for low, high in recipe.groups():
        if low == high:
            merged.append(blocks[low])
            continue
        block = copy.deepcopy(blocks[low])
        parts = [blocks[i].state_dict() for i in range(low, high + 1)]
        block.load_state_dict(merge_parameters(parts, recipe.form))
        merged.append(block)
    return nn.ModuleList(merged)


def apply_recipe(
    state_dict: Mapping[str, Tensor], recipe: LayerMergeRecipe, prefix: str = "backbone.blocks."
) -> dict[str, Tensor]:
    """Re-create the smaller model's state dict from the original's; all keys outside the blocks are kept.

    prefix: what stands before the block number in the keys. Raises ValueError where the blocks under the prefix
    are not those that the recipe is for.
    """
    blocks: list[dict[str, Tensor]] = [{} for _ in range(recipe.blocks)]
    rest: dict[str, Tensor] = {}
    numbers: set[int] = set()
    for key, value in state_dict.items():
        number, _, name = key.removeprefix(prefix).partition(".")
        if not key.startswith(prefix):
            rest[key] = value
            continue
        numbers.add(int(number))
        if int(number) < recipe.blocks:
            blocks[int(number)][name] = value
    if numbers != set(range(recipe.blocks)):
        raise ValueError(
            f"the recipe is for {recipe.blocks} blocks; under {prefix!r} the state dict has {len(numbers)}"
        )
    for new, (low, high) in enumerate(recipe.groups()):
        merged = merge_parameters(blocks[low : high + 1], recipe.form) if low < high else blocks[low]
        rest |= {f"{prefix}{new}.{name}": value for name, value in merged.items()}
    return rest


def search_layer_merges(
    model: nn.Module,
    error_mm: ErrorFunction,
    *,
    blocks: str = "backbone.blocks",
    tolerance_mm: float = 0.1,
    form: MergeForm = "equation",
    on_trial: Callable[[MergeTrial], None] | None = None,
    progress: bool = False,
) -> MergeResult:
    """Find which blocks of `model` can be collapsed. It costs one evaluation of the model per block.

    error_mm: takes the trial model, gives its error in mm (see `label_error` and `self_error`).
    blocks: where the model keeps its list of blocks, as a dotted path.
    tolerance_mm: a trial is accepted when its error exceeds the untouched model's by less. The reference is
        never refreshed, so what earlier windows cost counts against later ones. FastHMR: 0.1 against labels.
    on_trial: called after every trial. progress: show a progress bar on the terminal.

    The model itself is left as it was: `MergeResult.state_dict` and `merged_model` give the smaller one.
    Raises ValueError for a path that holds no list of blocks, or an error that is not finite.
    """
    parent_path, _, name = blocks.rpartition(".")
    parent = model.get_submodule(parent_path)
    original = getattr(parent, name, None)
    if not isinstance(original, nn.ModuleList) or len(original) < 2:
        raise ValueError(f"{blocks!r} is not a list of at least two blocks of {type(model).__name__}")

    def measure(recipe: LayerMergeRecipe) -> float:
        setattr(parent, name, merge_blocks(original, recipe))
        try:
            error = float(error_mm(model))
        finally:
            setattr(parent, name, original)
        if not error < float("inf"):
            raise ValueError(f"the error function gave {error} mm for {recipe.blocks_left} blocks")
        return error

    search = _WindowSearch(len(original), measure, tolerance_mm, form)
    with _ProgressBar("merging layers", len(original) - 1, progress) as bar:
        for trial in search.run():
            bar.advance(f"blocks {trial.low}..{trial.high}: {trial.excess_mm:+.3f} mm, {trial.blocks_left} left")
            if on_trial is not None:
                on_trial(trial)
    recipe = search.recipe()
    state = apply_recipe(model.state_dict(), recipe, prefix=f"{blocks}.")
    return MergeResult(recipe, tuple(search.trials), state)


def merged_model(model: nn.Module, recipe: LayerMergeRecipe, blocks: str = "backbone.blocks") -> nn.Module:
    """A copy of `model` with the recipe's blocks collapsed."""
    small = copy.deepcopy(model)
    parent_path, _, name = blocks.rpartition(".")
    parent = small.get_submodule(parent_path)
    setattr(parent, name, merge_blocks(getattr(parent, name), recipe))
    return small


def label_error(predict: Callable[[nn.Module], Tensor], target_m: Tensor, root: int = 0) -> ErrorFunction:
    """MPJPE in mm against labelled joints.

    predict: gives a model's joints (F, J, 3) in metres for the calibration frames; the caller chooses frames,
    joints and batch size. target_m: (F, J, 3). Both are compared relative to joint `root`.
    """
    target = target_m - target_m[:, root : root + 1]

    def error(model: nn.Module) -> float:
        joints = predict(model)
        if joints.shape != target.shape:
            raise ValueError(f"predicted joints {tuple(joints.shape)}, labels {tuple(target.shape)}")
        joints = joints - joints[:, root : root + 1]
        return 1000.0 * float((joints - target.to(joints)).norm(dim=-1).mean())

    return error


def self_error(model: nn.Module, predict: Callable[[nn.Module], Tensor], root: int = 0) -> ErrorFunction:
    """MPJPE in mm against the joints that the unmerged `model` predicts now: needs no labels.

    Its reference error is 0 and every change counts as a loss, also one that labels would call a gain: choose a
    larger tolerance than against labels.
    """
    with torch.no_grad():
        return label_error(predict, predict(model).clone(), root)


class _WindowSearch:
    """The sliding window. `run` yields every trial; `recipe` gives what was committed."""

    def __init__(
        self,
        blocks: int,
        measure: Callable[[LayerMergeRecipe], float],
        tolerance_mm: float,
        form: MergeForm,
    ) -> None:
        self.blocks = blocks
        self.measure = measure
        self.tolerance_mm = tolerance_mm
        self.form: MergeForm = form
        self.trials: list[MergeTrial] = []
        self.windows: tuple[tuple[int, int], ...] = ()
        self.base_error_mm = measure(LayerMergeRecipe(blocks, (), form))
        self.error_mm = self.base_error_mm

    def run(self) -> Iterator[MergeTrial]:
        """Slide over all blocks, one trial at a time."""
        high = self.blocks - 1
        pending: MergeTrial | None = None  # the largest accepted window that ends at `high`
        for low in range(high - 1, -1, -1):
            trial = self._try(low, high)
            self.trials.append(trial)
            yield trial
            if trial.accepted:
                pending = trial
                continue
            if pending is not None:
                self._commit(pending)
                pending = None
            high = low  # the next window starts below what was committed, or one block lower
        if pending is not None:
            self._commit(pending)

    def recipe(self) -> LayerMergeRecipe:
        """What was committed so far."""
        return LayerMergeRecipe(
            self.blocks, self.windows, self.form, self.tolerance_mm, self.base_error_mm, self.error_mm
        )

    def _try(self, low: int, high: int) -> MergeTrial:
        candidate = LayerMergeRecipe(self.blocks, ((low, high), *self.windows), self.form)
        error = self.measure(candidate)
        excess = error - self.base_error_mm
        return MergeTrial(low, high, error, excess, excess < self.tolerance_mm, candidate.blocks_left)

    def _commit(self, trial: MergeTrial) -> None:
        self.windows = ((trial.low, trial.high), *self.windows)
        self.error_mm = trial.error_mm


class _ProgressBar:
    """rich's progress bar, imported when one is shown; nothing otherwise."""

    def __init__(self, title: str, total: int, shown: bool) -> None:
        self._title, self._total = title, total
        self._bar = None
        if shown:
            from rich.progress import Progress

            self._bar = Progress()

    def __enter__(self) -> _ProgressBar:
        if self._bar is not None:
            self._bar.start()
            self._task = self._bar.add_task(self._title, total=self._total)
        return self

    def advance(self, text: str) -> None:
        """One step done; `text` says what came out of it."""
        if self._bar is not None:
            self._bar.update(self._task, advance=1, description=f"{self._title}: {text}")

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()
