"""`bodycast import CHECKPOINT`: an official checkpoint to a model package that `bodycast run` takes."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from bodycast.app.command_line import LEFT_OUT, parse
from bodycast.app.errors import RunError, UsageError, require
from bodycast.app.model_packages import model_folders
from bodycast.engines.errors import EngineError, EngineUnavailableError, PackageError
from bodycast.engines.package_writer import check_replaceable, check_writable

if TYPE_CHECKING:
    from bodycast.export.import_checkpoint import Imported, Merging

_FAST = "-fast"


@dataclass(frozen=True)
class ImportCheckpoint:
    """Make a model package of a published checkpoint (HMR2.0, CameraHMR and its field-of-view network, ViTPose, Swin,
    GroupMixFormer, VMamba)."""

    checkpoint: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="CHECKPOINT")]
    """The file: .ckpt, .pth, .pt or .safetensors. Nothing in it is executed."""

    model: Annotated[str | None, tyro.conf.arg(name="as", help_behavior_hint="")] = None
    """Registered network that it fills (hmr2-h, camerahmr-h, camerahmr-fov, pose-vit-b, ...); by its keys where left
    out."""

    layout: Annotated[str | None, LEFT_OUT] = None
    """Layout of the file (docs/export.md lists them); by the network where left out."""

    eclm: Annotated[int | None, LEFT_OUT] = None
    """Merge layers until so many are left (FastHMR: 28 for hmr2-h, 26 for camerahmr-h), chosen on painted figures."""

    recipe: Annotated[Path | None, LEFT_OUT] = None
    """Merge layers as this JSON file says, in place of --eclm."""

    tokens: Annotated[str | None, LEFT_OUT] = None
    """Merge tokens: fasthmr, or how many in each of the first blocks: 40,40,22."""

    masks: Annotated[Literal["silhouette", "segmenter", "none"] | None, LEFT_OUT] = None
    """Person masks that guide --tokens in a run: the silhouette in the frame before (where left out), a segmenter
    package, or none; --masks of bodycast run goes before it."""

    precision: Literal["fp32", "fp16", "int8"] = "fp32"
    """Of the arithmetic: fp16 for GPUs, fp32 or int8 for CPUs."""

    exact_merging: tyro.conf.FlagCreatePairsOff[bool] = False
    """In fp16 and int8, what decides which tokens merge stays fp32."""

    accept_error: tyro.conf.FlagCreatePairsOff[bool] = False
    """Write the package even where an engine is beyond the tolerance."""

    name: Annotated[str | None, LEFT_OUT] = None
    """Name of the package; the network's where left out, with -fast where something is merged."""

    out: Annotated[Path | None, LEFT_OUT] = None
    """Folder to write; where left out, the user's models folder, where --model NAME finds it."""

    tensorrt: Annotated[Literal["full", "rtx"] | None, LEFT_OUT] = None
    """Build the TensorRT plan for this machine's GPU too: full TensorRT, or TensorRT for RTX."""

    overwrite: tyro.conf.FlagCreatePairsOff[bool] = False
    """Replace the package if it is there."""


def main(args: Sequence[str], prog: str) -> int:
    """Run the command; gives the exit code. Raises: UsageError, RunError."""
    given = parse(ImportCheckpoint, args, prog)
    for module in ("torch", "onnx", "onnxscript"):
        require(module, "export.txt")
    if given.eclm is not None and given.recipe is not None:
        raise UsageError("--eclm and --recipe both say which layers merge: give one")
    if given.masks is not None and given.tokens is None:
        raise UsageError(f"--masks {given.masks} guides the merging of tokens: give --tokens too")
    if not given.checkpoint.is_file():
        raise UsageError(f"no checkpoint {given.checkpoint}")
    from bodycast.export.errors import WorkError

    try:
        return _run(given)
    except (WorkError, EngineError) as error:
        if isinstance(error, EngineUnavailableError):
            raise UsageError(_one_line(error)) from error
        raise RunError(_one_line(error)) from error
    except (ValueError, KeyError, PackageError) as error:
        raise UsageError(_one_line(error)) from error
    except ImportError as error:
        raise UsageError(_one_line(error)) from error
    except OSError as error:
        full = "the disk is full: make room, or give a folder elsewhere (TMPDIR for the trial)"
        raise RunError(full if error.errno == errno.ENOSPC else _one_line(error)) from error


def _run(given: ImportCheckpoint) -> int:
    from bodycast.export.import_checkpoint import import_checkpoint, model_of
    from bodycast.export.network_package import Options

    merging = _merging(given)
    model = given.model or model_of(given.checkpoint)
    name = given.name or (given.out.resolve().name if given.out else model + (_FAST if merging else ""))
    out = given.out or model_folders()[0] / name
    if given.overwrite:
        check_replaceable(out)
    elif out.exists():
        raise UsageError(f"{out} exists; pass --overwrite to replace it")
    check_writable(out)
    options = Options(
        precision=given.precision,
        exact_merging=given.exact_merging,
        accept_error=given.accept_error,
        overwrite=given.overwrite,
    )
    done = import_checkpoint(
        given.checkpoint, out, model=model, layout=given.layout, merging=merging, options=options, name=name
    )
    _print(done)
    code = _plan(done, given.tensorrt) if given.tensorrt else 0
    print(_how_to_run(done, given.out is None, given.tensorrt))
    return code


def _merging(given: ImportCheckpoint) -> Merging:
    from bodycast.export.import_checkpoint import Merging
    from bodycast.export.source import read_recipe, read_schedule

    return Merging(
        keep=given.eclm,
        recipe=read_recipe(given.recipe) if given.recipe else None,
        schedule=read_schedule(given.tokens) if given.tokens else None,
        masks=given.masks or "silhouette",
    )


def _print(done: Imported) -> None:
    from bodycast.export.import_checkpoint import parity_line
    from bodycast.export.parity_command import print_report

    info = done.package.info
    size_mb = sum((done.package.folder / name).stat().st_size for name in done.package.files) / 1e6
    print(f"{done.package.folder}: {info.architecture}, {info.precision}, {size_mb:.1f} MB; {info.training_data}")
    print_report(info.name, done.report)
    print(parity_line(done.report))
    if done.merging is not None:
        print(done.merging)


def _plan(done: Imported, runtime: Literal["full", "rtx"]) -> int:
    from bodycast.export.tensorrt_command import main as build

    return build([str(done.package.folder), "--runtime", {"full": "tensorrt", "rtx": "rtx"}[runtime]])


def _how_to_run(done: Imported, installed: bool, tensorrt: Literal["full", "rtx"] | None) -> str:
    """The command that shows the network live."""
    info = done.package.info
    spec = done.package.folder.name if installed else str(done.package.folder)
    engine = {None: "", "full": " --engine tensorrt", "rtx": " --engine tensorrt-rtx"}[tensorrt]
    if info.task == "pose":
        return f"bodycast run 0 --keypoints {spec}{engine}"
    if info.task == "fov":
        return f"bodycast run 0 --fov-network {spec}"
    body = " --body smpl.npz" if info.body.startswith("smpl") else ""
    return f"bodycast run 0 --model {spec}{body}{engine}"


def _one_line(error: BaseException) -> str:
    """The error's text without line breaks; of a KeyError without its quotes."""
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    return " ".join(text.split())
