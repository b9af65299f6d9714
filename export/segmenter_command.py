"""`bodycast export segmenter FILE --out DIR`: a network that cuts people out, to a package for Mask-ToMe's masks."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bodycast.engines.package_writer import check_package_target
from bodycast.export.command_line import Parser

if TYPE_CHECKING:
    from bodycast.engines.package import ModelPackage
    from bodycast.export.parity import ParityReport


def main(argv: Sequence[str]) -> int:
    """Write the package and print how exact it is."""
    given = parser().parse_args(argv)
    hw = _size(given.input)
    check_package_target(given.out, given.overwrite)
    from bodycast.export.parity_command import print_report

    written, report = _yolo(given, hw) if given.file.suffix == ".pt" else _mask_file(given, hw)
    info = written.info
    height, width = info.inputs[0].shape[1:3]
    size_mb = sum((written.folder / name).stat().st_size for name in written.files) / 1e6
    print(f"{written.folder}: {info.architecture}, {height}x{width}, {size_mb:.1f} MB; licence: {info.licence}")
    print_report(info.name, report)
    return 0


def parser() -> Parser:
    """The command line."""
    make = Parser(
        prog="bodycast export segmenter",
        description="A network that cuts people out, to a model package of task segmenter: crops in, masks out "
        "(docs/export.md).",
    )
    make.add_argument(
        "file",
        type=Path,
        metavar="FILE",
        help="YOLO-seg weights (.pt), or an ONNX file that gives a mask of one picture",
    )
    make.add_argument("--input", metavar="HxW", help="size of the crop, where the file leaves it free (256x192)")
    make.add_argument(
        "--pixels",
        choices=("unit", "signed", "imagenet", "bytes"),
        default="unit",
        help="of an ONNX file, what it takes: 0..1, -1..1, ImageNet's mean and deviation, or 0..255",
    )
    make.add_argument(
        "--activation",
        choices=("none", "sigmoid", "softmax"),
        default="none",
        help="of an ONNX file, what makes shares of 0..1 of its output",
    )
    make.add_argument("--out", type=Path, required=True, help="folder to write")
    make.add_argument("--name", help="name of the package; the folder's where left out")
    make.add_argument("--licence", help="of the weights; unknown where left out, AGPL-3.0 for YOLO")
    make.add_argument("--overwrite", action="store_true", help="replace the folder if it is there")
    return make


def _yolo(given: argparse.Namespace, hw: tuple[int, int] | None) -> tuple[ModelPackage, ParityReport]:
    from bodycast.export.network_package import Options, Words, export_package
    from bodycast.export.yolo_segmenter import segmenter_exportable

    hw = hw or (256, 192)
    words = Words(
        name=given.name or given.out.resolve().name,
        architecture=given.file.stem,
        arguments={"input_hw": list(hw)},
        licence=given.licence or "AGPL-3.0",
        training_data="COCO, by Ultralytics" if given.file.stem.startswith("yolo") else "unknown",
        paper="Ultralytics YOLO",
    )
    return export_package(segmenter_exportable(given.file, hw), given.out, words, Options(overwrite=given.overwrite))


def _mask_file(given: argparse.Namespace, hw: tuple[int, int] | None) -> tuple[ModelPackage, ParityReport]:
    from bodycast.export.segmenter_package import MaskOptions, export_mask_file, open_mask_file

    options = MaskOptions(given.name or given.out.resolve().name, given.licence or "unknown", given.overwrite)
    return export_mask_file(open_mask_file(given.file, given.pixels, given.activation, hw), given.out, options)


def _size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    if match is None or not (0 < int(match[1]) <= 2048 and 0 < int(match[2]) <= 2048):
        raise ValueError(f"--input {text}: expected HxW of at most 2048 pixels, e.g. 256x192")
    return int(match[1]), int(match[2])
