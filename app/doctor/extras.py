"""The doctor on what is asked for by a flag alone: the viewer, senders, files of other programs."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass

from bodycast.app.doctor.findings import Finding, first_line, installed_version
from bodycast.app.files.blender import WAY_OUT
from bodycast.engines.optional import install_command


@dataclass(frozen=True, slots=True)
class Extra:
    """`package`, which `module` is imported from, brings `what`; `requirements` names the file that installs it."""

    name: str
    package: str
    module: str
    what: str
    requirements: str


EXTRAS = (
    Extra("viewer", "viser", "viser", "bodycast view, run --view", "view.txt"),
    Extra("WebSocket, OBS", "websockets", "websockets", "run --websocket", "senders.txt"),
    Extra("virtual camera", "pyvirtualcam", "pyvirtualcam", "run --virtual-camera (GPL-2.0)", "virtual-camera.txt"),
    Extra("C3D files", "ezc3d", "ezc3d", "convert OUT.c3d", "biomechanics.txt"),
)


def check_extras() -> Iterator[Finding]:
    """Each is imported: one that is installed need not load."""
    yield Finding("VMC, VRChat", "ok", "built in (OSC over UDP): run --vmc, --vrchat")
    for extra in EXTRAS:
        yield _finding(extra)
    blender = shutil.which("blender")
    if blender is None:
        yield Finding("Blender", "note", "not found: convert OUT.fbx, OUT.usd", WAY_OUT)
    else:
        yield Finding("Blender", "ok", f"{blender}: convert OUT.fbx, OUT.usd")


def _finding(extra: Extra) -> Finding:
    from importlib import import_module

    version = installed_version(extra.package)
    if not version:
        missing = f"{extra.package} is not installed: {extra.what}"
        return Finding(extra.name, "note", missing, install_command(extra.requirements))
    try:
        import_module(extra.module)
    # Compiled modules raise what they like where a library of the system is missing.
    except Exception as error:
        mend = install_command(extra.requirements, "--force-reinstall")
        return Finding(extra.name, "problem", f"{extra.package} {version}: {first_line(error)}", mend)
    return Finding(extra.name, "ok", f"{extra.package} {version}: {extra.what}")
