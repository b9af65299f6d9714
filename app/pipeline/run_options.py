"""From the configuration to the options of the pipeline, of the lens and of the world."""

from __future__ import annotations

from pathlib import Path

from bodycast.app.config import RunConfig
from bodycast.app.pipeline.stages import PipelineOptions
from bodycast.app.sources.base import SourceInfo
from bodycast.app.sources.calibration import Undistorter
from bodycast.app.tracking.options import FollowOptions
from bodycast.app.world.floor_fit import FloorKnown
from bodycast.app.world.options import WorldOptions


def undistorter_of(config: RunConfig, image_wh: tuple[int, int] | None = None) -> Undistorter | None:
    """What undoes the lens distortion of `--calibration`; None: there is none. image_wh: of the source, if it is known.

    Raises: UsageError where the file cannot be read, or is of pictures of another shape.
    """
    if config.lens.calibration is None:
        return None
    from bodycast.app.sources.calibration_files import read_calibration

    calibration = read_calibration(Path(config.lens.calibration), config.lens.calibration_camera)
    if image_wh is not None:
        calibration.scaled(image_wh)
    return Undistorter(calibration)


def world_options(config: RunConfig, source: SourceInfo) -> WorldOptions:
    """What the user, or the source itself, says of camera, floor and people."""
    lens = config.lens
    lens_from = source.lens_from
    if lens.calibration is not None:
        name = "" if lens.calibration_camera is None else f", camera {lens.calibration_camera}"
        lens_from = f"calibration {Path(lens.calibration).name}{name}"
    elif lens.focal_px is not None or lens.fov_deg is not None:
        lens_from = "as given"
    return WorldOptions(
        floor=lens.floor != "none",
        known=FloorKnown(lens.camera_height, lens.floor == "level"),
        person_height_m=lens.person_height,
        hold_feet=config.motion.foot_lock,
        smooth_clip=config.motion.chosen_smoother != "none",
        lens_from=lens_from,
        live=source.live,
        stills=source.stills,
    )


def extras_folder(config: RunConfig) -> Path:
    """Where screenshots and takes go, if the user asks for them while the run goes on."""
    return config.results.output or Path("out")


def pipeline_options(config: RunConfig) -> PipelineOptions:
    """The options that concern the pipeline itself."""
    return PipelineOptions(
        detect_every_s=config.people.detect_every,
        follow=FollowOptions(max_people=config.people.max_people),
        focal_px=config.lens.focal_px,
        fov_deg=config.lens.fov_deg,
        hud=config.results.hud,
        mirror=config.results.mirror,
        draw=config.results.draw,
        max_frames=config.max_frames,
        undistort=undistorter_of(config),
        screenshots=extras_folder(config) / "screenshots",
    )
