"""The training loop: one stream of batches, one or more networks, a time budget, checkpoints, curves."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from bodycast.hmr.body.body_files import load_body_arrays
from bodycast.hmr.body.body_model import EMBEDDED_BODY
from training import distributed
from training.batch import Batch
from training.config import Phase, Recipe, phase_at
from training.core import Clock, Entry, Timer, load_checkpoint, save_checkpoint, train
from training.crop_set import Crops, CropSet, mean_parameters
from training.initialise import helper_from, weights_from
from training.logbook import Logbook
from training.losses import Truth
from training.photos.photo_source import PhotoCrops, WithPhotos
from training.running_means import RunningMeans
from training.sources import BatchFeed, SetSource, Source, StreamSource, crops_from_stream
from training.teacher import load_teacher
from training.trainee import Trainee
from training.validate import good_batches


@dataclass(frozen=True)
class RunOptions:
    """Where and how long. `minutes` is the whole training, over all resumed runs, checks on the way counted in.

    train: folders of crops; or stream: a pack that `workers` processes render from, of which the device keeps the
    latest `pool` crops. test: folder of crops, or None to render `test_crops` from the pack. init: checkpoint for all
    recipes, or for each by its name. teacher: checkpoint of a network whose maps are learned (`training.teacher`).
    photos: labelled photographs (`training.photos.label`) that are `photo_share` of every batch.
    steps: stop after so many, if the time allows; epochs: after so many times all crops of sets on disk, likewise.
    body: file of the body that crops are labelled with (SMPL's, converted); the embedded one where None.
    """

    train: Path | tuple[Path, ...] | None
    test: Path | None
    out: Path
    minutes: float
    device: str = "cpu"
    threads: int | None = None
    validate_every_s: float = 300.0
    validate_limit: int = 320
    resume: bool = True
    stream: Path | None = None
    workers: int = 1
    pool: int = 4096
    batch: int | None = None
    augmentation: str = "colour"
    compiled: bool = False
    tensorboard: bool = True
    init: dict[str, Path] = field(default_factory=dict)
    teacher: Path | None = None
    test_crops: int = 512
    photos: Path | None = None
    photo_share: float = 0.5
    steps: int | None = None
    epochs: float | None = None
    body: Path | None = None


class Training:
    """One run of one or more recipes. Networks may differ in size, schedule and optimiser; they share the crops."""

    def __init__(self, recipes: list[Recipe], options: RunOptions) -> None:
        if options.threads:
            torch.set_num_threads(options.threads)
        if len({recipe.name for recipe in recipes}) < len(recipes):
            raise ValueError("a recipe is given twice")
        self.options = options
        self.recipes = recipes
        self.device = distributed.start(options.device)
        options.out.mkdir(parents=True, exist_ok=True)
        self.fraction = 0.0
        self.body_file = options.body or EMBEDDED_BODY
        self.body_name = load_body_arrays(self.body_file).name
        self.clock = Clock(
            options.minutes, steps=options.steps, agree=lambda seconds: distributed.from_first(seconds, self.device)
        )
        self.failures: dict[str, str] = {}
        self.means = {recipe.name: RunningMeans() for recipe in recipes}
        self.source, self.test = self._open_data()
        try:
            self._check_bodies()
            self.clock.most_steps = self._steps()
            known = self.source.sets if isinstance(self.source, SetSource) else [self.test]
            mean = mean_parameters(known)
            self.trainees = [Trainee(recipe, mean, self.device, options.compiled, self.body_file) for recipe in recipes]
            self._initialise()
            first = distributed.rank() == 0
            self.log = Logbook(options.out, tensorboard=options.tensorboard and first)
            if options.resume and self._checkpoint.is_file():
                self._restore()
                if first:
                    self.log.load(self.clock.minutes)
            elif first:
                self.log.clear()
        except BaseException:
            self.source.close()
            raise
        # A resumed run must not begin with the crops it has seen, nor two processes learn from the same ones.
        seed = recipes[0].seed + self.trainees[0].steps + 7919 * distributed.rank()
        if isinstance(self.source, SetSource):
            self.source.seed = seed
        self.feed = BatchFeed(self._beside_photos(seed), self.device, options.augmentation, seed, recipes[0].flip)

    def _open_data(self) -> tuple[Source, Crops]:
        """Where crops to learn from come from, and the crops to score on."""
        options = self.options
        test = None if options.test is None else CropSet(options.test)
        if options.stream is None:
            folders = (options.train,) if isinstance(options.train, Path) else options.train or ()
            if not folders or test is None:
                raise ValueError(
                    "expected folders of crops to train and to test on, or a pack to render from: --stream"
                )
            return SetSource(folders, self.device, self.recipes[0].seed), test
        from training.synthetic.stream import RenderedStream

        if test is None:
            with RenderedStream(options.stream, split="test", seed=0, workers=min(4, options.workers)) as stream:
                test = crops_from_stream(stream.arrays(32), options.test_crops)
        # Another seed after every stop: a resumed run goes on with new people.
        seed = (time.time_ns() // 1_000_000_000 + 7919 * distributed.rank()) % 2**31
        stream = RenderedStream(options.stream, split="train", seed=seed, workers=options.workers)
        at_least = max(512, 2 * self._largest_batch())
        return StreamSource(stream.arrays(64), self.device, options.pool, seed, stream.close, at_least), test

    def _check_bodies(self) -> None:
        """Raise ValueError where crops are labelled with another body than the one that is to be learned."""
        if not isinstance(self.source, SetSource) and self.options.body is not None:
            raise ValueError("--body: rendered crops are of the embedded body; give sets of `as_crops --body`")
        sets = [*self.source.sets, self.test] if isinstance(self.source, SetSource) else []
        for crops in sets:
            if isinstance(crops, CropSet) and crops.meta.get("body", EMBEDDED_BODY.stem) != self.body_name:
                raise ValueError(
                    f"{crops.folder} is labelled with the body {crops.meta.get('body', EMBEDDED_BODY.stem)}, this run "
                    f"learns {self.body_name}: give --body its file, or make the set anew (as_crops --body)"
                )

    def _steps(self) -> int | None:
        """The most steps, from steps and epochs."""
        options = self.options
        if options.epochs is None:
            return options.steps
        if not isinstance(self.source, SetSource):
            raise ValueError("--epochs counts the crops of sets on disk: give --train, or --steps with --stream")
        steps = math.ceil(options.epochs * self.source.seen / self._largest_batch())
        return steps if options.steps is None else min(steps, options.steps)

    def _beside_photos(self, seed: int) -> Source:
        """The source of crops, with photographs in its batches where there are some."""
        if self.options.photos is None:
            return self.source
        height = max(phase.image_hw[0] for recipe in self.recipes for phase in recipe.phases)
        return WithPhotos(
            self.source, PhotoCrops(self.options.photos, self.device, seed, height), self.options.photo_share
        )

    def _largest_batch(self) -> int:
        return max(self.options.batch or phase.batch for recipe in self.recipes for phase in recipe.phases)

    def _initialise(self) -> None:
        for trainee in self.trainees:
            name = trainee.recipe.name
            path = self.options.init.get(name) or self.options.init.get("")
            if path is not None:
                weights, words = weights_from(trainee.net, path)
                trainee.start_from(weights)
                if helper_from(trainee.helper, path):
                    words += ", helper heads"
                print(f"{name}: {words}", flush=True)
            elif trainee.recipe.needs_init and not (self.options.resume and self._checkpoint.is_file()):
                raise ValueError(f"recipe {name} goes on from trained weights: give --init {name}=CHECKPOINT")
            if trainee.recipe.needs_photos and self.options.photos is None:
                raise ValueError(f"recipe {name} learns from labelled photographs too: give --photos FILE")
            if trainee.recipe.needs_teacher and self.options.teacher is None:
                raise ValueError(f"recipe {name} learns from another network: give --teacher CHECKPOINT")
            if trainee.recipe.needs_teacher:
                trainee.learn_from(load_teacher(self.options.teacher))

    @property
    def _checkpoint(self) -> Path:
        return self.options.out / "last.pt"

    def _restore(self) -> None:
        state = load_checkpoint(self._checkpoint)
        stored = {part["recipe"]: part for part in state["trainees"]}
        if set(stored) != {recipe.name for recipe in self.recipes}:
            raise ValueError(
                f"{self._checkpoint} is a run of {', '.join(stored)}, not of "
                f"{', '.join(r.name for r in self.recipes)}; give another --out, or --fresh to begin anew"
            )
        for trainee in self.trainees:
            trainee.restore(stored[trainee.recipe.name])
            self.means[trainee.recipe.name].restore(state.get("means", {}).get(trainee.recipe.name, {}))
        self.clock.spent_s = float(state["spent_s"])
        steps = max(trainee.steps for trainee in self.trainees)
        print(
            f"resuming after {self.clock.minutes:.1f} of {self.options.minutes:g} minutes, step {steps}",
            flush=True,
        )

    def _save(self) -> None:
        means = {name: mean.read() for name, mean in self.means.items()}
        save_checkpoint(
            self._checkpoint,
            {"spent_s": self.clock.spent_s, "means": means, "trainees": [t.state() for t in self.trainees]},
        )

    def run(self) -> dict[str, dict[str, float]]:
        """Train until the budget is spent; returns the final scores on the whole test set by recipe name.

        Networks that failed are in `failures` and miss in the result. Raises the last one's error when all have.
        """
        budget = self.options.minutes * 60
        columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
        try:
            with Progress(*columns, disable=not sys.stderr.isatty() or distributed.rank() > 0) as progress:
                bar = progress.add_task("training", total=budget, completed=self.clock.spent_s)
                self._loop(lambda text: progress.update(bar, completed=self.clock.spent_s, description=text))
        finally:
            self.source.close()
        if distributed.rank() > 0:
            return {}
        self._save()
        return self._finish()

    def _loop(self, report: Callable[[str], None]) -> None:
        phases: dict[str, Phase] = {}

        def step(fraction: float) -> None:
            self.fraction = fraction
            self._enter_phases(phases)
            self._step(phases)

        every_s = self.options.validate_every_s
        timers = (
            Timer(lambda: self._look(report), 2.0),
            Timer(self._note_losses, max(5.0, 60 * self.options.minutes / 100)),
            Timer(self._check, every_s, self.clock.spent_s + every_s),
        )
        # Process 0 keeps the time, so that all change phases, and stop, at the same step.
        train(self.clock, step, lambda: max(trainee.steps for trainee in self.trainees), timers)

    def _enter_phases(self, phases: dict[str, Phase]) -> None:
        """Enter the phases that begin now; `phases`: each network's, brought up to date."""
        for trainee in self._active():
            phase, _ = phase_at(trainee.recipe, self.fraction)
            if phases.get(trainee.recipe.name) is not phase:
                phases[trainee.recipe.name] = phase
                self._guarded(trainee, lambda t=trainee, p=phase: t.enter(p, lambda: self._calibration(t, p)))

    def _check(self) -> None:
        if distributed.rank() == 0:
            self._publish(self._validate())
            self._save()

    def _active(self) -> list[Trainee]:
        return [trainee for trainee in self.trainees if trainee.recipe.name not in self.failures]

    def _step(self, phases: dict[str, Phase]) -> None:
        """One step of every network on the same crops."""
        active = self._active()
        counts = {
            t.recipe.name: max(1, (self.options.batch or phases[t.recipe.name].batch) // distributed.world())
            for t in active
        }
        batches = self.feed.next(max(counts.values()), [t.image_hw for t in active])
        truth: Truth | None = None
        for trainee in active:
            name = trainee.recipe.name
            count, batch = counts[name], batches[trainee.image_hw]
            truth = trainee.task.truth(batch) if truth is None else truth
            part = None if truth is None else Truth(*(values[:count] for values in truth))
            _, within = phase_at(trainee.recipe, self.fraction)
            scale = min(1.0, 0.1 + 0.9 * self.fraction / max(trainee.recipe.ramp, 1e-9))
            step = (trainee, batch.first(count), phases[name], within, scale, part)
            self._guarded(trainee, lambda s=step: self.means[s[0].recipe.name].add(s[0].step(*s[1:])))

    def _guarded(self, trainee: Trainee, action: Callable[[], None]) -> None:
        """Run `action`; a network that fails is left out from here on, loudly, as long as others go on. With several
        processes nothing is caught: the others could not know."""
        try:
            action()
        except (RuntimeError, ValueError, FloatingPointError) as error:
            name = trainee.recipe.name
            self.failures[name] = f"{type(error).__name__}: {error}"
            if distributed.world() > 1 or not self._active():
                raise
            entry: Entry = {
                "recipe": name, "minutes": self.clock.minutes, "step": trainee.steps, "failed": self.failures[name],
            }  # fmt: skip
            self.log.add(entry)
            print(f"{name} FAILED at step {trainee.steps} and is left out: {error}", file=sys.stderr, flush=True)
            trainee.gradients.zero()

    def _look(self, report: Callable[[str], None]) -> None:
        """Read the losses; on a GPU the one place that waits for it."""
        words = []
        for trainee in self._active():
            self._guarded(trainee, trainee.check)
            total = self.means[trainee.recipe.name].read().get("total", float("nan"))
            words.append(f"{trainee.recipe.name} {total:.3f}")
        report(f"step {max(t.steps for t in self.trainees)} {', '.join(words)}")

    def _note_losses(self) -> None:
        """Between the checks, so that short runs have a curve too."""
        if distributed.rank() == 0:
            for trainee in self._active():
                self.log.add(self._entry(trainee))

    def _entry(self, trainee: Trainee) -> Entry:
        """Where a network is, and its losses."""
        return {
            "recipe": trainee.recipe.name, "minutes": self.clock.minutes, "step": trainee.steps,
            "crops": self.source.seen, "height": trainee.image_hw[0], "lr": trainee.rate,
            **self.means[trainee.recipe.name].read(),
        }  # fmt: skip

    def _calibration(self, trainee: Trainee, phase: Phase) -> Iterable[Batch]:
        """Good crops that layer merging is judged on: of the training data, as FastHMR's are not."""
        left = trainee.recipe.merge_crops
        while left > 0:
            batch = self.source.draw(self._largest_batch(), phase.image_hw)
            rows = batch.score > 0.5
            if batch.known is not None:
                rows &= (batch.known.pose > 0.5) & (batch.known.betas > 0.5)
            good = batch.map(lambda tensor, rows=rows: tensor[rows])
            left -= max(1, len(good))
            if len(good):
                yield good

    def _scores(self, trainee: Trainee) -> dict[str, float]:
        """Of the network as it learns, on some of the crops."""
        return trainee.task.score(trainee.ema, good_batches(self.test, trainee.image_hw, self.options.validate_limit))

    def _final_scores(self, trainee: Trainee) -> dict[str, float]:
        """Of the finished network, on all of them."""
        image_hw = tuple(trainee.package_arguments()["image_hw"])
        return trainee.task.score(trainee.finished(), good_batches(self.test, image_hw))

    def _validate(self) -> dict[str, dict[str, float]]:
        """Score, log and draw all networks."""
        results: dict[str, dict[str, float]] = {}
        for trainee in self._active():
            scores = results[trainee.recipe.name] = self._scores(trainee)
            entry = {**self._entry(trainee), **scores}
            self.log.add(entry)
            shown = {k: float(f"{v:.4g}") for k, v in entry.items() if isinstance(v, float) and "mean_pose" not in k}
            print(trainee.recipe.name, "step", trainee.steps, shown, flush=True)
        self.log.draw()
        return results

    def _finish(self) -> dict[str, dict[str, float]]:
        self._validate()
        results = {trainee.recipe.name: self._final_scores(trainee) for trainee in self._active()}
        self.log.close()
        self._publish(results)
        return results

    def _publish(self, scores: dict[str, dict[str, float]]) -> None:
        """Write the networks as the exporter reads them."""
        for trainee in self._active():
            name = trainee.recipe.name
            save_checkpoint(self.options.out / f"{name}.pt", self._finished(trainee, scores[name]))
            self.log.write_scores(name, scores[name])

    def _finished(self, trainee: Trainee, scores: dict[str, float]) -> dict[str, Any]:
        """What the exporter reads: weights in half precision, how to build the network, where it comes from."""
        # Running statistics stay as they are: their squares may leave half precision's range.
        learned = {name for name, _ in trainee.ema.named_parameters()}
        weights = {k: v.detach().cpu() for k, v in trainee.ema.state_dict().items()}
        return {
            "model": trainee.recipe.model,
            "arguments": trainee.package_arguments(),
            "layer_merge": trainee.layer_merge,
            "body": self.body_name,
            "helper": {k: v.detach().half().cpu() for k, v in trainee.helper.state_dict().items()},  # for --init
            "state_dict": {k: v.half() if k in learned else v.clone() for k, v in weights.items()},
            "metrics": scores,
            "training": {
                "recipe": trainee.recipe.name, "task": trainee.recipe.task, "minutes": self.clock.minutes,
                "steps": trainee.steps, "crops": self.source.seen, "device": self.options.device,
            },
        }  # fmt: skip
