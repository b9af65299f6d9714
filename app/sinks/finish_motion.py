"""From a run's parts to motion.npz: at the end of the run, or when a killed run is recovered."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bodycast.app.files.motion_file import Motion, MotionFacts, motion_from_rows, write_motion, write_motion_rows
from bodycast.app.files.motion_parts import Parts, read_parts
from bodycast.app.world.report import WorldReport
from bodycast.hmr.geometry.ground import LEVEL

Finishes = Callable[[Motion, NDArray[np.void]], tuple[Motion, WorldReport]]
"""The whole motion and its smoothed rows -> the motion as it is kept, and what was found out (app/world/offline.py)."""

MOST_ROWS = 400_000
"""A motion of more rows (4 hours of one person) stays as it was seen: to work it out once more takes it all in
memory."""


def finish_motion(folder: Path, target: Path, finish: Finishes | None) -> WorldReport | None:
    """Write `target` from the parts in `folder`, and remove them. finish: see MotionSink.

    Raises: UsageError for a folder without parts; OSError where the disk does not take the file: the parts stay.
    """
    parts = read_parts(folder)
    report: WorldReport | None = None
    if finish is not None and 0 < len(parts.rows) <= MOST_ROWS and len(parts.smoothed) == len(parts.rows):
        motion, report = finish(_motion_of(parts), np.array(parts.smoothed))
        write_motion(target, motion)
    else:
        write_motion_rows(target, parts.rows, _facts(parts))
    del parts  # the mapped files are closed before they are removed, which Windows insists on
    shutil.rmtree(folder, ignore_errors=True)
    return report


def _facts(parts: Parts) -> MotionFacts:
    known = parts.camera_to_world
    world = LEVEL.copy() if known is None else known
    start_s = float(parts.frames["time_s"][0]) if len(parts.frames) else math.nan
    return MotionFacts(parts.focal_px, parts.image_wh, parts.fps, parts.meta, parts.floor, world, start_s)


def _motion_of(parts: Parts) -> Motion:
    facts = _facts(parts)
    motion = motion_from_rows(np.array(parts.rows), facts.focal_px, facts.image_wh, facts.fps, facts.meta)
    return replace(motion, floor=facts.floor, camera_to_world=facts.camera_to_world, start_s=facts.start_s)
