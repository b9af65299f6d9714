"""run.json: what ran, with what, how fast, what was dropped, and how it ended."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import platform
import sys
import tempfile
import time
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from bodycast.app.errors import RunError, cannot_write
from bodycast.app.files.folder_lock import FolderLock
from bodycast.app.files.output_file import write_whole
from bodycast.app.files.output_folder import REPORT_FILE
from bodycast.app.governor.report import GovernorReport
from bodycast.app.pipeline.timing import StageSummary
from bodycast.app.world.report import WorldReport

if TYPE_CHECKING:
    from bodycast.app.pipeline.pipeline import RunSummary

SCHEMA_VERSION = 1
LIBRARIES = (
    "numpy",
    "opencv-python",
    "av",
    "onnxruntime",
    "onnxruntime-gpu",
    "openvino",
    "tensorrt",
    "tensorrt-rtx-cu12",
    "ultralytics",
    "moderngl",
    "pyrender",
)


@dataclass(frozen=True, slots=True)
class PartsReport:
    """What the run was made of: names for people, and the hash that says which network it was."""

    package: str
    package_sha256: str
    engine: str
    body: str
    detector: str
    smoother: str
    lag_s: float
    source: str
    source_live: bool
    source_fps: float | None
    source_frame_count: int | None
    image_wh: tuple[int, int]
    source_recorded_utc: str | None = None


@dataclass(frozen=True, slots=True)
class FramesReport:
    """`taken` from the source, `given` to the sinks; `dropped` by place. A file drops nothing anywhere."""

    taken: int
    given: int
    dropped: dict[str, int]


@dataclass(frozen=True, slots=True)
class RunReport:
    """The content of run.json. `stage_ms`: per stage p50, p95, p99 in milliseconds, and how often it ran.
    `first_frame_utc`: wall time of the first frame: when a live source gave it, or when the film says that it was
    recorded; all results start there. `people`: how many ids were given. `world`: what is known of camera, floor and
    people's heights. `governor`: what was traded, of a live run that has one. `exit_reason` is "running" until the
    run has ended: a file that still says so was left by a run that was killed."""

    configuration: dict[str, Any]
    parts: PartsReport
    exit_reason: str = "running"
    exit_code: int | None = None
    renderer: str = ""
    frames: FramesReport | None = None
    people: int = 0
    first_frame_utc: str | None = None
    world: WorldReport | None = None
    governor: GovernorReport | None = None
    seconds: float = 0.0
    stage_ms: dict[str, StageSummary] = field(default_factory=dict[str, StageSummary])
    warnings: tuple[str, ...] = ()
    hanging_threads: tuple[str, ...] = ()
    started_utc: str = field(default_factory=lambda: time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))
    versions: dict[str, str] = field(default_factory=lambda: versions())
    schema_version: int = SCHEMA_VERSION

    def write(self, path: Path) -> None:
        """Replace `path` in one step. Raises: RunError where the disk does not take it."""
        document = json.dumps(dataclasses.asdict(self), indent=2, default=str, allow_nan=False) + "\n"
        try:
            write_whole(path, lambda stream: stream.write(document.encode()))
        except OSError as error:
            raise cannot_write(path, error) from error


class ReportFile:
    """The run.json of one run: begun when the output folder is there, finished when the run has ended."""

    def __init__(self, folder: Path | None, configuration: dict[str, Any], parts: PartsReport) -> None:
        """folder: None for a run that keeps nothing; then nothing is written."""
        self.folder = folder
        self._report = RunReport(configuration, parts)
        self._begun = False
        self._lock: FolderLock | None = None

    def begin(self, lock: FolderLock | None = None) -> None:
        """Leave a report that says "running". lock: of the folder, let go when the report is finished."""
        self._begun, self._lock = True, lock
        self._write()

    def finish(
        self,
        summary: RunSummary,
        stage_ms: dict[str, StageSummary],
        warnings: tuple[str, ...],
        exit_code: int,
        world: WorldReport | None = None,
        governor: GovernorReport | None = None,
    ) -> None:
        """The whole report. Raises: RunError where the disk does not take it."""
        self._report = replace(
            self._report,
            exit_reason=summary.exit_reason,
            exit_code=exit_code,
            renderer=summary.renderer,
            people=summary.people,
            first_frame_utc=_utc(summary.first_frame_wall_s) or self._report.parts.source_recorded_utc,
            world=_finite(world),
            governor=governor,
            frames=FramesReport(summary.frames_in, summary.frames_out, summary.dropped),
            seconds=round(summary.seconds, 3),
            stage_ms=stage_ms,
            warnings=warnings,
            hanging_threads=summary.hanging,
        )
        self._write_last()

    def write_take(self, folder: Path, frames: int, seconds: float, people: int, world: WorldReport | None) -> None:
        """A take's run.json, once the run's own is finished: the run's, with the take's frames, people and world.
        Raises: RunError where the disk does not take it."""
        own = replace(
            self._report,
            frames=FramesReport(frames, frames, {}),
            seconds=round(seconds, 3),
            people=people,
            first_frame_utc=None,
            world=_finite(world) or self._report.world,
        )
        own.write(folder / REPORT_FILE)

    def write_elsewhere(self) -> str:
        """Keep the report in the folder of temporary files, where the run's own cannot be written; says where it is.
        Where that is not possible either, it is printed to stderr."""
        if self.folder is None:
            return ""
        try:
            handle, name = tempfile.mkstemp(prefix="bodycast-", suffix=f"-{REPORT_FILE}")
            os.close(handle)
            self._report.write(Path(name))
        except (OSError, RunError):
            print(json.dumps(dataclasses.asdict(self._report), default=str), file=sys.stderr)
            return ""
        return f"; {REPORT_FILE} is kept as {name}"

    def abort(self, reason: str, exit_code: int) -> None:
        """The run ended without a summary, as when it could not be started; says so if a report had been begun."""
        self._report = replace(self._report, exit_reason=reason, exit_code=exit_code)
        if self._begun:
            self._write_last()

    def _write_last(self) -> None:
        try:
            self._write()
        finally:
            if self._lock is not None:
                self._lock.release()

    def _write(self) -> None:
        if self.folder is not None:
            self._report.write(self.folder / REPORT_FILE)


def _utc(wall_s: float | None) -> str | None:
    """Milliseconds matter: recordings of several programs are put together by it."""
    if wall_s is None:
        return None
    return datetime.fromtimestamp(wall_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _finite(world: WorldReport | None) -> WorldReport | None:
    """JSON has no NaN: who stands on no floor is left out of the levels."""
    if world is None:
        return None
    return replace(world, levels_m={n: level for n, level in world.levels_m.items() if math.isfinite(level)})


def versions() -> dict[str, str]:
    """Versions of Python, the system and the libraries that are installed; imports none of them. Read once."""
    return dict(_versions())


@cache
def _versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "system": f"{sys.platform} {platform.machine()}"}
    for library in LIBRARIES:
        try:
            found[library] = metadata.version(library)
        except metadata.PackageNotFoundError:
            continue
    return found


def jsonable(value: object) -> Any:
    """A configuration (nested dataclasses, paths, tuples) as JSON's own types, flat names in their groups."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {entry.name: jsonable(getattr(value, entry.name)) for entry in dataclasses.fields(value)}
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, tuple):
        return [jsonable(entry) for entry in cast("tuple[object, ...]", value)]
    return value
