"""From the configuration to open, checked stages. Everything that can be wrong is found before a file is made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from bodycast.app.config import RunConfig
from bodycast.app.errors import UsageError
from bodycast.app.files.output_folder import check_output_folder, texts_of
from bodycast.app.governor.factory import is_governed, open_governor
from bodycast.app.governor.report import GovernorReport
from bodycast.app.model_packages import unreadable_packages
from bodycast.app.pipeline.pose_only import PoseOnly, pose_only_note
from bodycast.app.pipeline.run_options import pipeline_options, undistorter_of, world_options
from bodycast.app.pipeline.run_report import PartsReport, ReportFile, jsonable
from bodycast.app.pipeline.sink_maker import SinkMaker, Take
from bodycast.app.pipeline.stages import MakesWindow, PipelineOptions, Stages, Window
from bodycast.app.pipeline.waiting import SOURCE_S, STAGES_S, waited
from bodycast.app.presets import fixed, networks_of
from bodycast.app.renderers.base import Renderer
from bodycast.app.senders.factory import open_senders
from bodycast.app.sources.base import Source, SourceInfo
from bodycast.app.sources.urls import public_url
from bodycast.app.world.live import LiveWorld
from bodycast.app.world.offline import place_motion
from bodycast.app.world.options import WorldOptions
from bodycast.app.world.report import WorldReport
from bodycast.hmr.body.body_files import BodyFileError
from bodycast.hmr.body.body_model import EMBEDDED_BODY, BodyModel

if TYPE_CHECKING:
    from bodycast.app.estimation.estimator import Estimator
    from bodycast.app.estimation.fused_estimator import FusedEstimator
    from bodycast.app.sinks.finish_motion import Finishes
    from bodycast.app.sources.threaded import ThreadedSource
    from bodycast.engines.gathering import OpensEngine

DEMO_OUTPUT = Path("out") / "demo"


@dataclass(frozen=True, slots=True)
class BuiltRun:
    """Stages and options for `Pipeline`, what they are called, the report that goes with them, what is sent where."""

    stages: Stages
    options: PipelineOptions
    parts: PartsReport
    report: ReportFile
    world: Callable[[], WorldReport]
    body: BodyModel
    sends: tuple[str, ...] = ()
    governor: Callable[[], GovernorReport] | None = None
    takes: Callable[[], Sequence[Take]] = tuple[Take]


def build_run(
    config: RunConfig,
    *,
    check_display: bool = True,
    opens: OpensStages | None = None,
    source: ThreadedSource | None = None,
) -> BuiltRun:
    """Open source, network, body, detector, tracker and smoother. The caller runs them in a `Pipeline`, which closes
    them; where one cannot be opened, those before it are closed. check_display: whether a window can be opened is not
    known yet. opens: gives the stages instead of `open_stages`, as a batch does, whose networks stay open. source: an
    open one, instead of the configuration's.

    Raises: UsageError, one line, whatever is wrong with the command line or a file that it names.
    """
    output = resolve_output(config)
    if config.results.window and check_display:
        _check_display()
    with ExitStack() as opened:
        source = source or _waited_source(config)
        opened.callback(source.close)
        is_governed(config, source.info.live)
        undistorter_of(config, source.info.image_wh)  # refused before the networks are opened
        opened_stages = waited(lambda: (opens or open_stages)(config, source, opened), "opening the networks", STAGES_S)
        parts = _parts_report(source.info, opened_stages)
        looked_at = is_looked_at(config, output)
        governor = open_governor(
            config, source.info, opened_stages.estimator, opened_stages.stages.detector, draws=looked_at
        )
        if governor is not None:
            opened.callback(governor.close)
        if not source.info.live:
            config = replace(config, preset=fixed(config.preset))
        configuration = jsonable(replace(config, source=public_url(config.source)))
        report = ReportFile(output, configuration, parts)
        senders = open_senders(config.send, opened_stages.body, source.info, opened)
        world = world_options(config, source.info)
        finish = _placing(opened_stages, world)
        sinks = SinkMaker(report, config, source, parts, finish, world, senders)
        stages = replace(
            opened_stages.stages,
            make_renderer=_renderer_maker(config, opened_stages.body) if looked_at else None,
            make_sinks=sinks.make,
            make_window=_window_maker() if config.results.window else None,
            warnings=lambda: (*opened_stages.stages.warnings(), *sinks.warnings()),
            governor=governor,
        )
        opened.pop_all()
    return BuiltRun(
        stages,
        pipeline_options(config),
        parts,
        report,
        lambda: sinks.world or opened_stages.world.report(),
        opened_stages.body,
        tuple(sender.describe() for sender in senders),
        None if governor is None else governor.report,
        lambda: sinks.takes,
    )


def _waited_source(config: RunConfig) -> ThreadedSource:
    from bodycast.app.sources import open_source

    shown = public_url(config.source)
    return waited(lambda: open_source(config.source, config.capture), f"{shown}: the first picture", SOURCE_S)


def is_looked_at(config: RunConfig, output: Path | None) -> bool:
    """Whether anybody sees the drawn picture, live or later."""
    kept = output is not None and config.results.renderer != "none"
    return config.results.window or config.send.virtual_camera or config.send.view or kept


class WarningSource(Source, Protocol):
    """A source that says what went wrong without ending the run."""

    @property
    def warnings(self) -> Sequence[str]:
        """One line each, so far."""
        ...


@dataclass(frozen=True, slots=True)
class OpenedStages:
    """The stages that turn frames into people, and of two of them what only their own classes know."""

    stages: Stages
    estimator: Estimator | FusedEstimator
    body: BodyModel
    world: LiveWorld


OpensStages = Callable[[RunConfig, WarningSource, ExitStack], OpenedStages]
"""Gives stages for the frames of a source; what is to be closed after the run goes on the stack."""


def open_stages(
    config: RunConfig,
    source: WarningSource,
    opened: ExitStack,
    lag_s: float | None = None,
    threads: int | None = None,
    engines: OpensEngine | None = None,
) -> OpenedStages:
    """Open network, body, smoother, detector and tracker for the frames of `source`; `opened` closes them.

    lag_s: goes before the configuration's. threads: CPU threads of network and detector; None: their own choice.
    engines: see `open_estimator`.
    Raises: UsageError.
    """
    from bodycast.app.detectors import open_detector
    from bodycast.app.estimation.fov import open_lens_watch
    from bodycast.app.estimation.gpu_body import posing_of
    from bodycast.app.smoothers import open_smoother
    from bodycast.app.tracking import open_tracker

    motion = config.motion
    if motion.offline and source.info.live:
        raise UsageError("--offline is for files: a camera's people would be seen two seconds late; use --lag")
    estimator = open_estimator(config, threads, engines=engines)
    opened.callback(estimator.close)
    estimator.cuts_on_gpu = config.network.gpu_crops
    body = load_body(config.network.body, estimator.body_name, config.network.pose_only)
    posing, skinned_on_cpu = posing_of(body, estimator.engine, opened)
    lag_s = motion.lag if lag_s is None else lag_s
    tokens = estimator.package.info.name, estimator.token_width
    smoother = open_smoother(motion.chosen_smoother, lag_s, motion.offline, tokens)
    opened.callback(smoother.close)
    # --engine is about the network; a detector package runs on whatever is quickest on the same device.
    detector = open_detector(config.people.detector, device=config.network.device, threads=threads)
    opened.callback(detector.close)
    notes = pose_only_note(estimator.body_name, body.name)
    passed_over = (*unreadable_packages(), *skinned_on_cpu)
    watch = open_lens_watch(config.lens.fov_network, source.info, config.network.device, threads, opened)
    world = LiveWorld(body, world_options(config, source.info), watch)
    stages = Stages(
        source=source,
        detector=detector,
        tracker=open_tracker(config.people.max_people),
        crop=estimator.crop,
        estimator=PoseOnly(estimator) if notes else estimator,
        body=posing,
        smoother=smoother,
        world=world,
        warnings=lambda: (*notes, *passed_over, *estimator.warnings, *source.warnings, *world.warnings),
        remember=estimator.remember,
    )
    return OpenedStages(stages, estimator, body, world)


def _parts_report(source: SourceInfo, opened: OpenedStages) -> PartsReport:
    from bodycast.app.estimation.gpu_body import skinned_where

    estimator, body = opened.estimator, opened.body
    detector, smoother = opened.stages.detector, opened.stages.smoother
    return PartsReport(
        package=estimator.package.info.name,
        package_sha256=estimator.package.sha256,
        engine=estimator.describe() + skinned_where(opened.stages.body),
        body=body.name,
        detector=detector.describe(),
        smoother=smoother.name,
        lag_s=smoother.lag_s,
        source=source.name,
        source_live=source.live,
        source_fps=source.fps,
        source_frame_count=source.frame_count,
        image_wh=source.image_wh,
        source_recorded_utc=source.recorded_utc or None,
    )


def resolve_output(config: RunConfig) -> Path | None:
    """Where the results go. The demo without a window has a folder of its own; a run that would neither show nor
    keep anything is refused.

    Raises: UsageError.
    """
    output = config.results.output
    if output is None and not config.results.window and not config.send.anything:
        if config.source != "demo":
            raise UsageError("nothing would be shown or kept: there is no window, so add --output DIR")
        output = DEMO_OUTPUT
    if output is not None:
        check_output_folder(output, config.results.overwrite, texts_of(config))
    return output


def load_body(spec: str, wanted: str, pose_only: bool) -> BodyModel:
    """The body that the network's shapes belong to, `wanted` by name; `spec` is `--body`.

    Raises: UsageError where the file cannot be used, or is another body and `pose_only` is not set.
    """
    try:
        body = BodyModel.load(EMBEDDED_BODY if spec == "auto" else Path(spec))
    except BodyFileError as error:
        raise UsageError(f"--body: {error}") from error
    if body.name != wanted and not pose_only:
        way_out = "--body auto" if spec != "auto" and wanted == EMBEDDED_BODY.stem else f"--body with the {wanted} file"
        raise UsageError(
            f"the model's shapes belong to the body {wanted!r}, this is {body.name!r}: give {way_out}, "
            "or --pose-only to keep the poses on an average shape"
        )
    return body


def open_estimator(
    config: RunConfig,
    threads: int | None = None,
    look_turned: bool = True,
    engines: OpensEngine | None = None,
) -> Estimator | FusedEstimator:
    """The networks of a run, opened. look_turned: see `KeypointNetwork`. engines: opens the engines of the keypoint and
    the HMR network, where several runs share them. Raises: UsageError."""
    from bodycast.app.estimation.estimator import Estimator

    network = config.network
    model, keypoints = networks_of(config)
    if network.masks not in ("auto", "none") and model == "none":
        raise UsageError(f"--masks {network.masks} is for a --model that takes masks; no HMR network runs here")
    if keypoints == "none":
        return Estimator(
            model,
            network.engine,
            network.device,
            threads=threads,
            flip_test=network.flip_test,
            refine_keypoints=network.refine_keypoints,
            masks=network.masks,
            opens=engines,
        )
    from bodycast.app.estimation.fused_estimator import FusedEstimator
    from bodycast.app.estimation.keypoints import KeypointNetwork

    with ExitStack() as opened:
        engine, device = network.engine, network.device
        seen = KeypointNetwork(
            keypoint_package(keypoints),
            engine,
            device,
            threads=threads,
            flip_test=network.flip_test,
            look_turned=look_turned,
            opens=engines,
        )
        opened.callback(seen.close)
        hmr = None
        if model != "none":
            hmr = Estimator(
                model,
                engine,
                device,
                threads=threads,
                flip_test=network.flip_test,
                refine_keypoints=False,
                masks=network.masks,
                opens=engines,
            )
            opened.callback(hmr.close)
        fused = FusedEstimator(
            seen, None, hmr, device=device, threads=threads, refine_keypoints=network.refine_keypoints
        )
        opened.pop_all()
    return fused


def keypoint_package(spec: str) -> Path | str:
    """A package's folder or name; of a YOLO-pose weight file the package that it is converted to, once.

    Raises: UsageError.
    """
    if not spec.lower().endswith(".pt"):
        return spec
    from bodycast.app.estimation.yolo_pose import yolo_pose_package

    return yolo_pose_package(Path(spec))


def _check_display() -> None:
    from bodycast.app.sinks.window import display_problem

    problem = display_problem()
    if problem is not None:
        raise UsageError(str(problem))


def _placing(opened: OpenedStages, world: WorldOptions) -> Finishes:
    return partial(
        place_motion,
        body=opened.body,
        options=world,
        seen_lens=lambda: opened.world.seen_lens,
        vertical=opened.world.vertical,
    )


def _renderer_maker(config: RunConfig, body: BodyModel) -> Callable[[], Renderer]:
    def make() -> Renderer:
        from bodycast.app.renderers.factory import open_renderer

        # In a window the user can ask for the meshes at any time.
        no_meshes = config.results.draw == "skeleton" and not config.results.window
        return open_renderer("none" if no_meshes else config.results.renderer, body.faces)

    return make


def _window_maker() -> MakesWindow:
    def make(on_quit: Callable[[], None], on_key: Callable[[str], None]) -> Window:
        from bodycast.app.sinks.window import WindowSink

        return WindowSink(on_quit=on_quit, on_key=on_key)

    return make
