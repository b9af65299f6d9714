"""`bodycast cameras`: the cameras of this machine, a line each."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import tyro

from bodycast.app.command_line import parse


@dataclass(frozen=True)
class Cameras:
    """List the cameras of this machine: the number that `bodycast run` takes, and the name. No camera is started."""

    json: tyro.conf.FlagCreatePairsOff[bool] = False
    """As JSON: index, name, path."""


def main(args: Sequence[str], prog: str = "bodycast cameras") -> int:
    """Print them; gives the exit code: 1 where there is none."""
    given = parse(Cameras, args, prog)
    from bodycast.app.sources.camera_list import camera_line, list_cameras

    devices = list_cameras()
    if given.json:
        print(json.dumps([asdict(device) for device in devices]))
    elif devices:
        print("\n".join(map(camera_line, devices)))
    else:
        print("no camera; files and streams work: bodycast run FILE|URL")
    return 0 if devices else 1
