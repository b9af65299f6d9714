"""The stages that a pipeline is made of, and its options. Tests put fakes here; `build.py` puts the real ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from bodycast.app.detectors.base import Detector
from bodycast.app.records import F32, I32, BodyEstimates, CropBatch, Frame, Tracks
from bodycast.app.renderers.base import Renderer
from bodycast.app.renderers.picture import Draw
from bodycast.app.sinks.base import Sink
from bodycast.app.smoothers.base import Smoother
from bodycast.app.sources.base import Source
from bodycast.app.tracking.base import Tracker
from bodycast.app.tracking.options import FollowOptions
from bodycast.app.world.frame_world import PlacesPeople
from bodycast.hmr.body.body_model import BodyOutput
from bodycast.hmr.geometry.camera import Intrinsics


class EstimatesBodies(Protocol):
    """The estimator, as the pipeline sees it (app/estimation/estimator.py)."""

    @property
    def input_hw(self) -> tuple[int, int]:
        """Height and width of the crops that it takes."""
        ...

    def crop(self, frame: Frame, tracks: Tracks, input_hw: tuple[int, int] | None = None) -> CropBatch:
        """Crops of all tracks as it takes them."""
        ...

    def estimate(self, crops: CropBatch, intrinsics: Intrinsics, image_wh: tuple[int, int]) -> BodyEstimates:
        """One body per crop, in their order and with their ids; a crop whose output is not finite has no row."""
        ...

    @property
    def label(self) -> str:
        """The first package, engine and device, for the HUD."""
        ...

    def describe(self) -> str:
        """Packages, engines, devices and why they were chosen, one line."""
        ...

    def close(self) -> None:
        """Release the engine. May be called twice."""
        ...


class FrameSettings(Protocol):
    """What holds for one frame (app/governor/governor.py)."""

    @property
    def detect_every_s(self) -> float:
        """The detector's usual interval is at least this."""
        ...

    @property
    def detect_least_s(self) -> float:
        """Every interval of the detector is at least this."""
        ...

    @property
    def crop_share(self) -> float:
        """Of the people who go through the networks in a frame."""
        ...

    @property
    def overlay_scale(self) -> float:
        """Of the resolution at which meshes are drawn."""
        ...

    @property
    def networks(self) -> int:
        """Counts the changes of networks."""
        ...


class Governs(Protocol):
    """The governor, as the pipeline sees it. `settings`, `drawn` and `hud` from any thread, the rest from the inference
    thread."""

    @property
    def settings(self) -> FrameSettings:
        """What holds now."""
        ...

    def before_frame(self) -> FrameSettings:
        """What holds for the next frame. May switch networks."""
        ...

    def after_frame(self, seconds: float, stage_s: Mapping[str, float], people: int, looked: int) -> None:
        """What a frame cost before its drawing; people followed, and sent through the networks."""
        ...

    def detected(self, seconds: float) -> None:
        """The detector has finished, after so long."""
        ...

    def drawn(self, seconds: float, latency_s: float) -> None:
        """A frame is drawn, so long after it was grabbed."""
        ...

    def hud(self) -> Sequence[str]:
        """What is traded, and the last change; nothing while nothing is."""
        ...

    def close(self) -> None:
        """Close the networks that it has opened. May be called twice."""
        ...


class PosesBodies(Protocol):
    """The body, as the pipeline sees it (hmr/body/body_model.py)."""

    def __call__(self, pose: F32, betas: F32, transl: F32) -> BodyOutput:
        """Vertices (N,V,3) and joints (N,24,3) for poses (N,24,3,3), betas (N,10), translations (N,3)."""
        ...


class Window(Sink, Protocol):
    """A sink on the screen. Made, fed and closed in the thread that runs the pipeline."""

    def poll(self) -> None:
        """Handle keys and the close button while no frame comes."""
        ...


CropsPeople = Callable[[Frame, Tracks, tuple[int, int]], CropBatch]
RemembersMeshes = Callable[[I32, F32, Intrinsics], None]
"""Given the tracks' ids (N,), their meshes (N,V,3) m in the frame that was just estimated, and its camera."""


def nothing_to_remember(id: I32, vertices: F32, intrinsics: Intrinsics) -> None:
    """`Stages.remember` for estimators that look at each frame alone."""


MakesWindow = Callable[[Callable[[], None], Callable[[str], None]], Window]
"""Given what to call when the user quits, and when they press another key."""


@dataclass(frozen=True, slots=True)
class Stages:
    """All parts, open and checked, except those that must be made later: the renderer owns a GL context, so the
    drawing thread makes it; the window belongs to the program's main thread; sinks create files, so they are made
    when all else stands. `world` None: people stay where the smoother has them. `make_renderer` None: nobody looks at
    the picture, nothing is drawn.
    `warnings`: what the stages have to say beside their results, one line each, so far. `remember`: told of every
    frame's meshes (the estimator, for the next frame's person masks). `governor`: of a live run; None: nothing is
    traded."""

    source: Source
    detector: Detector
    tracker: Tracker
    crop: CropsPeople
    estimator: EstimatesBodies
    body: PosesBodies
    smoother: Smoother
    world: PlacesPeople | None = None
    make_renderer: Callable[[], Renderer] | None = None
    make_sinks: Callable[[], Sequence[Sink]] = tuple
    make_window: MakesWindow | None = None
    warnings: Callable[[], Sequence[str]] = tuple
    remember: RemembersMeshes = nothing_to_remember
    governor: Governs | None = None


@dataclass(frozen=True, slots=True)
class PipelineOptions:
    """detect_every_s: the detector's usual interval. focal_px, fov_deg (diagonal): what is known of the camera; they go
    before what the source says. draw_queue, sink_queue: frames that may wait (one, for a live source's drawing
    and window). join_s: how long threads may take to finish their files once the run is to stop. step_s: how
    long one frame may take a thread before the run ends with an error. backfill_s: how long a file's frames are
    held for backfill (app/tracking/backfill.py); live frames are not held. mirror: the window shows the picture
    mirrored left-right. draw: what is drawn of people. max_frames: how many frames are taken from the source at most;
    None: all. undistort: what makes of each frame the picture that everything else sees, with its intrinsics; None:
    nothing. screenshots: folder for them.
    """

    detect_every_s: float = 0.5
    follow: FollowOptions = field(default_factory=FollowOptions)
    focal_px: float | None = None
    fov_deg: float | None = None
    hud: bool = True
    draw_queue: int = 2
    sink_queue: int = 6
    join_s: float = 10.0
    step_s: float = 120.0
    backfill_s: float = 2.0
    mirror: bool = False
    draw: Draw = "mesh"
    max_frames: int | None = None
    undistort: Callable[[Frame], Frame] | None = None
    screenshots: Path = Path("screenshots")
