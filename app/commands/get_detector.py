"""`bodycast get detector`: fetch YOLO11n once and make a detector package of it.

The package runs through the engines: a live run then needs neither torch nor ultralytics. The weights are
Ultralytics' and under AGPL-3.0, which the package says. What was fetched is held against its SHA-256 where that is
known, before anything reads it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from bodycast.app.command_line import LEFT_OUT, parse
from bodycast.app.errors import RunError, UsageError, require
from bodycast.app.model_packages import bodycast_home
from bodycast.engines.errors import PackageError

KNOWN_SHA256 = {
    "yolo11n.pt": "0ebbc80d4a7680d14987a577cd21342b65ecfd94632bd9a8da63ae6417644ee1",
    "yolo11s.pt": "85a76fe86dd8afe384648546b56a7a78580c7cb7b404fc595f97969322d502d5",
    "yolo11m.pt": "d5ffc1a674953a08e11a8d21e022781b1b23a19b730afc309290bd9fb5305b95",
}
"""Of Ultralytics' releases 8.3 and 8.4, as the projects that use them have written them down."""


@dataclass(frozen=True)
class GetDetector:
    """Fetch a YOLO detector once (AGPL-3.0) and convert it to a package that `--detector auto` then takes."""

    model: str = "yolo11n.pt"
    """A name that Ultralytics publishes (yolo11n.pt, yolo11s.pt, ...), or a .pt file on this machine."""

    output: Annotated[Path | None, LEFT_OUT] = None
    """Folder of the package; where left out, the user's models folder, where it is found by itself."""

    input: str = "384x640"
    """Height x width of the pictures that the detector sees; multiples of 32."""

    sha256: Annotated[str | None, LEFT_OUT] = None
    """What the file's SHA-256 must be; where left out, the known one of yolo11n.pt, yolo11s.pt and yolo11m.pt."""

    overwrite: tyro.conf.FlagCreatePairsOff[bool] = False
    """Replace the package if it is there."""


def main(args: Sequence[str], prog: str) -> int:
    """Run the command; gives the exit code. Raises: UsageError, RunError."""
    given = parse(GetDetector, args, prog)
    written = get_detector(given.model, given.output, parse_hw(given.input), given.sha256, overwrite=given.overwrite)
    print(f"{written}: ready; --detector auto takes it from now on" if given.output is None else str(written))
    print("The weights are Ultralytics', under AGPL-3.0.")
    return 0


def get_detector(
    model: str,
    output: Path | None = None,
    input_hw: tuple[int, int] = (384, 640),
    sha256: str | None = None,
    *,
    overwrite: bool = False,
) -> Path:
    """Fetch (unless `model` is a file) and convert; gives the package's folder. sha256: see `check_sha256`.

    Raises: UsageError (packages of requirements/export.txt missing, unusable model, folder exists), RunError (fetch,
    another file than it should be).
    """
    for module in ("torch", "ultralytics", "onnx", "onnxscript"):
        require(module, "export.txt")
    name = Path(model).stem
    out = output or bodycast_home() / "models" / name
    if out.exists() and not overwrite:
        raise UsageError(f"{out} exists; pass --overwrite to replace it")
    if Path(model).is_file():
        weights = Path(model)
        if sha256 is not None:
            check_sha256(weights, sha256)
    else:
        weights = fetch(model)
        check_sha256(weights, sha256 or KNOWN_SHA256.get(weights.name))
    from bodycast.export.detector_package import export_detector_package

    try:
        export_detector_package(weights, out, name=name, input_hw=input_hw, overwrite=overwrite)
    except (ValueError, PackageError) as error:
        raise UsageError(str(error)) from error
    return out


def fetch(model: str) -> Path:
    """Download published weights into the user's folder, once. Raises: UsageError (no such name), RunError."""
    if Path(model).name != model or not model.endswith(".pt"):
        raise UsageError(f"no file {model}; give a .pt file, or a name that Ultralytics publishes such as yolo11n.pt")
    target = bodycast_home() / "downloads" / model
    if target.is_file():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    downloads: Any = require("ultralytics.utils.downloads", "export.txt")
    print(f"fetching {model} from github.com/ultralytics/assets")
    try:
        found = Path(downloads.attempt_download_asset(str(target)))
    except Exception as error:  # requests, urllib and ultralytics each raise their own
        raise RunError(f"{model} could not be fetched: {_plain(error)}") from error
    if not found.is_file():
        raise RunError(f"{model} could not be fetched; is the network there, and does Ultralytics publish this name?")
    return found


def check_sha256(weights: Path, sha256: str | None) -> None:
    """Raises: RunError unless the file is what it should be; where that is not known (None), that is printed."""
    with weights.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    if sha256 is None:
        print(f"{weights.name}: sha256 {digest} (not checked: no hash is known of it)")
    elif digest != sha256.lower():
        raise RunError(
            f"{weights}: its sha256 is {digest}, not {sha256}: it is damaged, or not what was asked for. Remove it to "
            f"fetch it again, or, where you trust it: --sha256 {digest}"
        )


def parse_hw(text: str) -> tuple[int, int]:
    """ "384x640" -> (384, 640). Raises: UsageError."""
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    if match is None:
        raise UsageError(f"--input {text!r}: expected HEIGHTxWIDTH such as 384x640")
    return int(match[1]), int(match[2])


def _plain(error: Exception) -> str:
    """The first line of an error, without the pictures that ultralytics puts before it."""
    return str(error).partition("\n")[0].encode("ascii", "ignore").decode().strip()
