"""Keep libraries from reporting their use to their makers: nothing leaves the user's machine.

Every package that is a way in (bodycast, app, engines, export, evaluation, training) calls `switch_off` when it is
imported, before any of the libraries; processes that it starts inherit the settings. What has no setting is in two more
places: `bodycast.engines.openvino_engine.import_openvino` and `bodycast.app.detectors.quiet_ultralytics`.
"""

from __future__ import annotations

import os

SETTINGS = {
    # From 1.31 on, on Linux too: notes every session in the user's cache and sends the notes some seconds later.
    "ORT_DISABLE_TELEMETRY": "1",
    # Or ultralytics looks up two public hosts, when it is imported, to see whether it can send anything.
    "YOLO_OFFLINE": "true",
    # It would install packages that it misses.
    "YOLO_AUTOINSTALL": "false",
    # Behind timm.
    "HF_HUB_DISABLE_TELEMETRY": "1",
    # Ray tells its makers what it is used for, every hour.
    "RAY_USAGE_STATS_ENABLED": "0",
    # What many libraries have agreed to read.
    "DO_NOT_TRACK": "1",
}
"""Environment variable -> the value that switches telemetry, or another call home, off."""


def switch_off() -> None:
    """Set each variable of `SETTINGS` that the user has not set themselves. Changes nothing but the environment."""
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
