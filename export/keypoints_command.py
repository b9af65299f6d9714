"""`bodycast export keypoints FILE --kind KIND --out DIR`: a 2D-pose file of the user's to a model package."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from bodycast.engines.package_writer import check_package_target
from bodycast.export.command_line import Parser

KINDS = ("rtmpose", "vitpose", "movenet", "yolo-pose")
JOINT_SETS = ("coco-17", "halpe-26", "coco-wholebody-133")


def main(argv: Sequence[str]) -> int:
    """Write the package and print how exact it is."""
    given = parser().parse_args(argv)
    hw = _size(given.input)
    check_package_target(given.out, given.overwrite)
    from bodycast.export.keypoint_package import KeypointOptions, export_keypoints, open_keypoints
    from bodycast.export.parity_command import print_report

    file = open_keypoints(given.file, given.kind, joints=given.joints, input_hw=hw)
    licence = given.licence or ("AGPL-3.0" if given.kind == "yolo-pose" else "unknown")
    options = KeypointOptions(given.name or given.out.resolve().name, licence, given.overwrite)
    written, report = export_keypoints(file, given.out, options)
    size_mb = sum((written.folder / name).stat().st_size for name in written.files) / 1e6
    height, width = file.input_hw
    print(f"{written.folder}: {given.kind}, {file.joint_set}, {height}x{width}, {size_mb:.1f} MB; licence: {licence}")
    print_report(written.info.name, report)
    return 0


def parser() -> Parser:
    """The command line."""
    make = Parser(
        prog="bodycast export keypoints",
        description="A 2D-pose file to a model package of task pose: crops in, keypoints out (docs/export.md).",
    )
    make.add_argument("file", type=Path, metavar="FILE", help="an ONNX file; for yolo-pose also ultralytics' .pt")
    make.add_argument("--kind", choices=KINDS, required=True, help="what its outputs are")
    make.add_argument("--joints", choices=JOINT_SETS, help="which keypoints; the file's number of them decides")
    make.add_argument("--input", metavar="HxW", help="size of the crop, where the file leaves it free (256x192)")
    make.add_argument("--out", type=Path, required=True, help="folder to write")
    make.add_argument("--name", help="name of the package; the folder's where left out")
    make.add_argument("--licence", help="of the weights; unknown where left out, AGPL-3.0 for yolo-pose")
    make.add_argument("--overwrite", action="store_true", help="replace the folder if it is there")
    return make


def _size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    if match is None or not (0 < int(match[1]) <= 2048 and 0 < int(match[2]) <= 2048):
        raise ValueError(f"--input {text}: expected HxW of at most 2048 pixels, e.g. 256x192")
    return int(match[1]), int(match[2])
