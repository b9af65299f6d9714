"""The pages that a run leaves in its folder: replay.html and report.html."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bodycast.app.errors import BodycastError
from bodycast.app.files.motion_file import read_motion
from bodycast.app.files.output_file import write_whole
from bodycast.app.files.output_folder import MOTION_FILE, OVERLAY_FILE, REPLAY_PAGE, REPORT_FILE, REPORT_PAGE
from bodycast.app.viewer.replay import replay_page
from bodycast.app.viewer.report import report_page
from bodycast.app.viewer.scene import Scene
from bodycast.hmr.body.body_model import EMBEDDED_BODY, BodyModel

LEFT_OUT = "left out by Ctrl-C"


def write_pages(folder: Path, body: BodyModel) -> list[str]:
    """Make them from the run's other files, in bounded time. A page that cannot be made is a note, one line, and never
    an error: the run's results are there. body: that of the run."""
    notes: list[str] = []
    try:
        scene = _scene(folder, body)
        run: dict[str, Any] = json.loads((folder / REPORT_FILE).read_text(encoding="utf-8"))
        _write(folder / REPORT_PAGE, report_page(run, scene))
        if scene is None:
            notes.append(f"{REPLAY_PAGE}: left out, as nobody was seen")
        else:
            _write(folder / REPLAY_PAGE, _replay(folder, scene, str(run["parts"]["source"]), body))
    except KeyboardInterrupt:
        notes.append(f"{REPLAY_PAGE}, {REPORT_PAGE}: {LEFT_OUT}")
    except Exception as error:
        reason = error if isinstance(error, BodycastError | OSError) else f"{type(error).__name__}: {error}"
        notes.append(f"{REPLAY_PAGE}, {REPORT_PAGE}: not made ({reason}); the other results are whole")
    return notes


def _scene(folder: Path, body: BodyModel) -> Scene | None:
    motion = read_motion(folder / MOTION_FILE)
    return Scene.of(motion, body) if len(motion) else None


def _replay(folder: Path, scene: Scene, title: str, body: BodyModel) -> bytes:
    overlay = folder / OVERLAY_FILE
    embedded = body.name == EMBEDDED_BODY.stem
    note = "" if embedded else f"this page holds the body {body.name!r}: its licence says who may have it"
    return replay_page(scene, title, overlay if overlay.is_file() else None, note).content


def _write(path: Path, content: bytes) -> None:
    write_whole(path, lambda stream: stream.write(content))
