"""The sinks of a run, made when the pipeline asks for them: files, senders, takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bodycast.app.config import RunConfig
from bodycast.app.files.output_folder import MOTION_FILE, OVERLAY_FILE, make_output_folder
from bodycast.app.pipeline.run_options import extras_folder
from bodycast.app.pipeline.run_report import PartsReport, ReportFile
from bodycast.app.senders.base import Sender
from bodycast.app.sinks.base import Sink
from bodycast.app.sinks.take import TakeSink
from bodycast.app.sources.image_folder import VIDEO_SUFFIXES
from bodycast.app.world.options import WorldOptions
from bodycast.app.world.report import WorldReport

if TYPE_CHECKING:
    from bodycast.app.files.motion_file import MotionMeta
    from bodycast.app.sinks.finish_motion import Finishes
    from bodycast.app.sinks.motion import MotionSink
    from bodycast.app.sources.threaded import ThreadedSource


@dataclass(frozen=True, slots=True)
class Take:
    """One take's folder, and the sink that writes its motion."""

    folder: Path
    motion: MotionSink


class SinkMaker:
    """Makes the folder and the files' sinks, when the pipeline asks for them."""

    def __init__(
        self,
        report: ReportFile,
        config: RunConfig,
        source: ThreadedSource,
        parts: PartsReport,
        finish: Finishes,
        options: WorldOptions,
        senders: Sequence[Sender],
    ) -> None:
        """finish: what is done with a whole motion whose future is known, with these options. senders: open already."""
        self._report = report
        self._config = config
        self._source = source
        self._parts = parts
        # What comes live is kept as it was sent; a film is worked out once more with its future known. Pictures
        # of scenes of their own have neither a future nor one camera.
        self._finish = None if parts.source_live or source.info.stills else finish
        self._finish_with = asdict(options)
        self._senders = senders
        self._warnings: list[Sequence[str]] = []
        self._motion: MotionSink | None = None
        self.takes: list[Take] = []
        """Those that the user recorded, in order."""

    @property
    def world(self) -> WorldReport | None:
        """What the whole motion says of camera, floor and people; None before the end, or for a live source."""
        return None if self._motion is None else self._motion.world

    def warnings(self) -> list[str]:
        """What the sinks have to say so far."""
        lines = (*self._warnings, *(sender.warnings for sender in self._senders))
        return [line for more in lines for line in more]

    def make(self) -> list[Sink]:
        """The sinks that write into `--output`; a video only where something is drawn; the senders; the takes.

        Raises: UsageError, RunError.
        """
        sinks: list[Sink] = [*self._senders]
        folder = self._report.folder
        if folder is not None:
            self._report.begin(make_output_folder(folder))
            files, self._motion = self._make_files(folder)
            sinks += files
        if self._config.results.window:
            takes = TakeSink(extras_folder(self._config) / "takes", self._make_take)
            self._warnings.append(takes.warnings)
            sinks.append(takes)
        return sinks

    def _make_take(self, folder: Path) -> list[Sink]:
        sinks, motion = self._make_files(folder)
        self.takes.append(Take(folder, motion))
        return sinks

    def _make_files(self, folder: Path) -> tuple[list[Sink], MotionSink]:
        """Sinks for film and motion in `folder`, which is there."""
        from bodycast.app.sinks.motion import MotionSink
        from bodycast.app.sinks.video import VideoSink

        fps = self._source.info.fps
        motion = MotionSink(
            folder / MOTION_FILE,
            self._meta(),
            fps,
            finish=self._finish,
            body=self._config.network.body,
            finish_with=self._finish_with,
        )
        sinks: list[Sink] = [motion]
        if self._config.results.renderer != "none":
            video = VideoSink(folder / OVERLAY_FILE, fps, self._source.info.image_wh, sound_of=self._sound_of())
            self._warnings.append(video.warnings)
            sinks.append(video)
        return sinks, motion

    def _sound_of(self) -> Path | None:
        """The film that the run reads from its first picture on, if it is one."""
        path = Path(self._config.source)
        film = not self._parts.source_live and not self._source.info.stills and path.suffix.lower() in VIDEO_SUFFIXES
        return path if film and path.is_file() else None

    def _meta(self) -> MotionMeta:
        from bodycast.app.files.motion_file import MotionMeta

        return MotionMeta(
            package=self._parts.package,
            body=self._parts.body,
            smoother=self._parts.smoother,
            lag_s=self._parts.lag_s,
            source=self._parts.source,
        )
