"""`bodycast cameras`: the cameras of this machine, a line each."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import tyro

from bodycast.app.command_line import parse


@dataclass(frozen=True)
class Cameras:
    """List the cameras of this machine: the number that `bodycast run` takes, the name, and the sizes and frame rates
    for --camera-size and --camera-fps (on Linux, whose drivers tell). No camera is started."""

    json: tyro.conf.FlagCreatePairsOff[bool] = False
    """As JSON: index, name, path, modes (null: not known)."""


def main(args: Sequence[str], prog: str = "bodycast cameras") -> int:
    """Print them; gives the exit code: 1 where there is none."""
    given = parse(Cameras, args, prog)
    from bodycast.app.sources.camera_list import camera_line, list_cameras
    from bodycast.app.sources.camera_modes import camera_modes, mode_lines

    devices = list_cameras()
    modes = [camera_modes(device.path) for device in devices]
    if given.json:
        rows = zip(devices, modes, strict=True)
        print(json.dumps([asdict(one) | {"modes": has and [asdict(mode) for mode in has]} for one, has in rows]))
    elif devices:
        for device, has in zip(devices, modes, strict=True):
            print(camera_line(device))
            for line in mode_lines(has or ()):
                print(f"     {line}")
    else:
        print("no camera; files and streams work: bodycast run FILE|URL")
    return 0 if devices else 1
