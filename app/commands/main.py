"""The program `bodycast`: the run, and the tools around it. Each is imported only when it is called."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Annotated, Literal

import tyro

from bodycast import __version__
from bodycast.app.command_line import LEFT_OUT, parse
from bodycast.app.commands import run
from bodycast.app.files.joint_names import NamesOf

PROG = "bodycast"


@dataclass(frozen=True)
class ConvertBody:
    """Convert a body file once: SMPL's .pkl (nothing in it is executed) or a .npz, to Bodycast's .npz."""

    source: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="BODY")]
    """SMPL's .pkl, or a .npz in SMPL's layout."""

    target: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="OUT")]
    """The .npz to write."""

    overwrite: tyro.conf.FlagCreatePairsOff[bool] = False
    """Replace the target if it is there."""


@dataclass(frozen=True)
class ExportMotion:
    """Convert motion.npz for other programs: .glb, .vrma, .bvh, .csv, .npz, .trc, .c3d, .json, .obj, .ply, and through
    Blender .fbx and .usd."""

    source: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="MOTION")]
    """The motion.npz of a run."""

    target: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="OUT")]
    """The file to write; its ending says the format. Folders are made."""

    format: Annotated[Literal["smpl", "amass", "phalp", "csv", "angles"] | None, LEFT_OUT] = None
    """Where an ending has several: .npz smpl (as it is where left out), amass or phalp; .csv csv or angles."""

    names: NamesOf = "smpl"
    """What the bones are called, in .bvh, .glb, .fbx and .usd."""

    fps: Annotated[float | None, LEFT_OUT] = None
    """Frames per second of formats without time stamps; the film's where left out."""

    up: Literal["y", "z"] = "y"
    """Which axis is up, where the format leaves it open."""

    start: Annotated[Literal["common", "person"] | None, LEFT_OUT] = None
    """When files of one person start: with the film, for all people, or where the person comes. Left out: person for
    .npz smpl, else common."""

    blender: Annotated[str | None, LEFT_OUT] = None
    """Blender, or a Python that has bpy, for .fbx and .usd; found on the path where left out."""

    person_id: Annotated[int | None, LEFT_OUT] = None
    """Only this person; everybody where left out (.bvh and .npz hold one person a file)."""

    body: Annotated[Path | None, LEFT_OUT] = None
    """The body file of the run, for .glb, if it was not the embedded one."""

    centimetres: tyro.conf.FlagCreatePairsOff[bool] = False
    """Scale a .bvh to centimetres."""

    overwrite: tyro.conf.FlagCreatePairsOff[bool] = False
    """Replace the target if it is there."""


def convert_body(args: Sequence[str], prog: str) -> int:
    """`convert-body IN OUT.npz`."""
    given = parse(ConvertBody, args, prog)
    from bodycast.app.errors import UsageError
    from bodycast.app.files.body_conversion import convert_body as convert
    from bodycast.hmr.body.body_files import BodyFileError

    try:
        convert(given.source, given.target, given.overwrite)
    except BodyFileError as error:
        raise UsageError(str(error)) from error
    print(given.target)
    return 0


def export_motion(args: Sequence[str], prog: str) -> int:
    """`convert motion.npz OUT`."""
    given = parse(ExportMotion, args, prog)
    from bodycast.app.files.motion_export import export_motion as export

    written = export(
        given.source,
        given.target,
        person_id=given.person_id,
        overwrite=given.overwrite,
        centimetres=given.centimetres,
        body=given.body,
        format=given.format,
        names=given.names,
        fps=given.fps,
        up=given.up,
        blender=given.blender,
        start=given.start,
    )
    print("\n".join(map(str, written)))
    return 0


def doctor(args: Sequence[str], prog: str) -> int:
    """`doctor`."""
    from bodycast.app.doctor.report import main

    return main(args, prog)


def get(args: Sequence[str], prog: str) -> int:
    """`get detector`, `get hmr2`."""
    if not args or args[0] in ("-h", "--help"):
        print(f"usage: {prog} WHAT [OPTIONS]\n\n  detector   YOLO11n, as a detector package (AGPL-3.0)")
        print("  hmr2       HMR2.0's published checkpoint, for bodycast import (non-commercial data)")
        return 0 if args else 2
    if args[0] == "hmr2":
        from bodycast.app.commands.get_hmr2 import main as get_hmr2

        return get_hmr2(args[1:], f"{prog} hmr2")
    if args[0] != "detector":
        from bodycast.app.errors import UsageError

        raise UsageError(f"nothing to get by the name {args[0]!r}; there are: detector, hmr2")
    from bodycast.app.commands.get_detector import main

    return main(args[1:], f"{prog} detector")


def cameras(args: Sequence[str], prog: str) -> int:
    """`cameras`."""
    from bodycast.app.commands.cameras import main

    return main(args, prog)


def bench(args: Sequence[str], prog: str) -> int:
    """`bench`."""
    from bodycast.app.commands.bench import main

    return main(args, prog)


def export(args: Sequence[str], prog: str) -> int:
    """`export`."""
    main = import_module("bodycast.export.__main__").main
    return int(main(args, prog))


def batch(args: Sequence[str], prog: str) -> int:
    """`batch FILMS`."""
    from bodycast.app.commands.batch import main

    return main(args, prog)


def import_checkpoint(args: Sequence[str], prog: str) -> int:
    """`import CHECKPOINT`."""
    from bodycast.app.commands.import_command import main

    return main(args, prog)


def evaluate(args: Sequence[str], prog: str) -> int:
    """`evaluate world`."""
    from bodycast.app.commands.evaluate import main

    return main(args, prog)


def recover(args: Sequence[str], prog: str) -> int:
    """`recover DIR`."""
    from bodycast.app.commands.recover import main

    return main(args, prog)


def licences(args: Sequence[str], prog: str) -> int:
    """`licences`."""
    from bodycast.app.commands.licences import main

    return main(args, prog)


def view(args: Sequence[str], prog: str) -> int:
    """`view DIR`."""
    from bodycast.app.commands.view import main

    return main(args, prog)


@dataclass(frozen=True, slots=True)
class Command:
    """A sub-command: the line that the overview shows, and what runs it with its arguments and its full name."""

    summary: str
    run: Callable[[Sequence[str], str], int]


COMMANDS: dict[str, Command] = {
    "run": Command("recover people from a camera, a video or a stream (the same as run_webcam.py)", run.main),
    "view": Command("look at a run in 3D, in a browser", view),
    "batch": Command("recover people from many films, with networks that stay open", batch),
    "cameras": Command("list the cameras of this machine", cameras),
    "doctor": Command("say what can run on this machine, and why the rest cannot", doctor),
    "convert": Command("convert motion.npz for Blender, Unity, OpenSim and others", export_motion),
    "convert-body": Command("convert SMPL's .pkl to the .npz that --body takes", convert_body),
    "import": Command("make a model package of an official checkpoint", import_checkpoint),
    "get": Command("fetch a network once: get detector, get hmr2", get),
    "licences": Command("list the licences of what a run would use", licences),
    "recover": Command("finish the files of a run that was killed", recover),
    "evaluate": Command("score motion files against their truth: evaluate world", evaluate),
    "bench": Command("time the stages of a run, and the networks on every engine, on this machine", bench),
    "export": Command("make model packages and TensorRT plans, and measure how exact they are", export),
}


def overview() -> str:
    """The text of `bodycast --help`."""
    rows = "\n".join(f"  {name:<15}{command.summary}" for name, command in COMMANDS.items())
    return f"usage: {PROG} COMMAND [OPTIONS]\n\n{rows}\n\n`{PROG} COMMAND --help` says more about each."


def main(args: Sequence[str] | None = None) -> int:
    """Run the sub-command that the arguments name; gives the exit code."""
    arguments = list(sys.argv[1:] if args is None else args)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(overview())
        return 0 if arguments else 2
    if arguments[0] == "--version":
        print(f"{PROG} {__version__}")
        return 0
    name, rest = arguments[0], arguments[1:]
    command = COMMANDS.get(name)
    if command is None:
        print(f"{PROG}: unknown command {name!r}; there are {', '.join(COMMANDS)}", file=sys.stderr)
        return 2
    prog = f"{PROG} {name}"
    if name in ("run", "export"):
        return command.run(rest, prog)
    debug = "--debug" in rest
    return run.guarded(lambda: command.run([word for word in rest if word != "--debug"], prog), prog, debug)


if __name__ == "__main__":
    sys.exit(main())
