"""What a run adds to its takes at its end: run.json and the two pages, so that each is a folder as `--output` makes."""

from __future__ import annotations

from collections.abc import Sequence

from bodycast.app.errors import BodycastError
from bodycast.app.files.motion_file import Motion, read_motion
from bodycast.app.files.output_folder import MOTION_FILE
from bodycast.app.pipeline.run_report import ReportFile
from bodycast.app.pipeline.sink_maker import Take
from bodycast.app.viewer.pages import LEFT_OUT, write_pages
from bodycast.hmr.body.body_model import BodyModel


def finish_takes(takes: Sequence[Take], report: ReportFile, body: BodyModel) -> list[str]:
    """Write run.json, replay.html and report.html of each; report: the run's, which has ended. Gives notes, one line
    each; Ctrl-C leaves the pages of the remaining takes out."""
    notes: list[str] = []
    stopped = False
    for take in takes:
        if not (take.folder / MOTION_FILE).is_file():
            continue  # it could not be written, which was said
        try:
            motion = read_motion(take.folder / MOTION_FILE)
            report.write_take(
                take.folder, motion.meta.frame_count, _seconds(motion), len(motion.person_ids), take.motion.world
            )
            said = [] if stopped else write_pages(take.folder, body)
        except BodycastError as error:
            said = [str(error)]
        stopped = stopped or any(LEFT_OUT in line for line in said)
        notes += [f"{take.folder.name}: {line}" for line in said]
    return notes


def _seconds(motion: Motion) -> float:
    """From a take's first frame to its last, as far as anybody was seen."""
    return float(motion.time_s[-1] - motion.start_s) if len(motion) else 0.0
