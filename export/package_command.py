"""`bodycast export package CHECKPOINT_OR_MODEL --out DIR`: weights to a model package with its parity report."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bodycast.engines.package import ModelPackage
from bodycast.engines.package_writer import check_package_target
from bodycast.export.command_line import Parser

if TYPE_CHECKING:
    from bodycast.export.network_package import Options, Words
    from bodycast.export.parity import ParityReport
    from bodycast.export.source import Source


def main(argv: Sequence[str]) -> int:
    """Write the package and print what it is and how exact it is."""
    given = parser().parse_args(argv)
    if (given.source is None) == (given.detector is None):
        parser().error("give a checkpoint or a model's name, or --detector FILE.pt")
    check_package_target(given.out, given.overwrite)
    if given.frames < 1:
        raise ValueError(f"--frames {given.frames}: a window has at least one frame")
    from bodycast.export.network_package import Options

    options = Options(
        precision=given.precision,
        store=given.store,
        accept_error=given.accept_error,
        overwrite=given.overwrite,
        exact_merging=given.exact_merging,
        torch_program=given.torch_program,
    )
    written, report = _detector(given, options) if given.detector else _network(given, options)
    _print(written, report)
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    make = Parser(
        prog="bodycast export package",
        description="Weights to a model package: ONNX graph, metadata, golden tensors, parity report (docs/export.md).",
    )
    make.add_argument(
        "source",
        nargs="?",
        metavar="CHECKPOINT_OR_MODEL",
        help="our checkpoint, a published one (with --model), or a registered network's name (random weights)",
    )
    make.add_argument("--out", type=Path, required=True, help="folder to write, e.g. assets/models/hmr-swin-t-s2-lite")
    make.add_argument("--detector", type=Path, metavar="FILE.pt", help="an ultralytics detector instead of a network")
    make.add_argument("--input", metavar="HxW", default="384x640", help="size of the detector's picture")
    network = make.add_argument_group("network")
    network.add_argument("--model", help="registered network that a published checkpoint fills")
    network.add_argument("--layout", help="layout of the published checkpoint; guessed from the model where it can be")
    network.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="e.g. image_hw=[192,144]")
    network.add_argument("--merge-recipe", type=Path, metavar="FILE", help="collapse blocks as this JSON recipe says")
    network.add_argument("--merge-tokens", metavar="SCHEDULE", help="fasthmr, or tokens merged per block: 40,40,22")
    network.add_argument("--with-mask", action="store_true", help="person masks as an input that guides token merging")
    network.add_argument("--frames", type=int, default=243, help="window of a motion VAE")
    precision = make.add_argument_group("precision")
    precision.add_argument("--precision", choices=("fp32", "fp16", "int8"), default="fp32", help="of the arithmetic")
    precision.add_argument("--store", choices=("fp32", "fp16"), default="fp32", help="of the weights on disk")
    precision.add_argument(
        "--exact-merging", action="store_true", help="fp16, int8: what decides which tokens merge stays fp32"
    )
    precision.add_argument("--accept-error", action="store_true", help="write it even beyond the tolerance")
    make.add_argument("--torch-program", action="store_true", help="add a torch.export program, for the torch engine")
    words = make.add_argument_group("what package.json says")
    words.add_argument("--name", help="name of the package; the folder's where left out")
    words.add_argument("--body", help="body whose shape basis the network learned")
    words.add_argument("--licence", help="licence of the weights")
    words.add_argument("--paper", help="what the architecture comes from; the registry's word where left out")
    words.add_argument(
        "--orientation-frame",
        choices=("crop-ray", "camera"),
        help="what the root rotation is relative to: the crop's ray (trained here) or the camera (HMR2.0)",
    )
    make.add_argument("--overwrite", action="store_true", help="replace the folder if it is there")
    return make


def _network(given: argparse.Namespace, options: Options) -> tuple[ModelPackage, ParityReport]:
    from bodycast.export.exportable import exportable
    from bodycast.export.network_package import export_package
    from bodycast.export.source import open_source, read_arguments, read_recipe, read_schedule

    source = open_source(
        given.source,
        model=given.model,
        layout=given.layout,
        arguments=read_arguments(given.set),
        recipe=read_recipe(given.merge_recipe) if given.merge_recipe else None,
        schedule=read_schedule(given.merge_tokens) if given.merge_tokens else None,
    )
    item = exportable(source.net, with_mask=given.with_mask, frames=given.frames)
    return export_package(item, given.out, _words(given, source), options)


def _words(given: argparse.Namespace, source: Source) -> Words:
    from bodycast.export.network_package import Words
    from bodycast.hmr.networks import registry

    return Words(
        name=given.name or given.out.resolve().name,
        architecture=source.model,
        arguments=source.arguments,
        licence=given.licence or source.licence,
        training_data=source.training,
        paper=given.paper or registry.find(source.model).paper.source or "none",
        body=given.body or source.body,
        orientation_frame=given.orientation_frame or source.orientation_frame,
        metrics=source.metrics,
        recipe=source.recipe,
        masks="silhouette" if given.with_mask else "none",
        tokens_of=source.tokens_of,
    )


def _detector(given: argparse.Namespace, options: Options) -> tuple[ModelPackage, ParityReport]:
    from bodycast.export.detector_package import export_detector_package
    from bodycast.export.parity import read_report

    if not given.detector.is_file():
        raise ValueError(f"no file {given.detector}; `bodycast get detector` fetches one")
    height, _, width = given.input.partition("x")
    if not (height.isdigit() and width.isdigit()):
        raise ValueError(f"--input {given.input}: expected HxW, e.g. 384x640")
    written = export_detector_package(
        given.detector,
        given.out,
        name=given.name or given.out.resolve().name,
        input_hw=(int(height), int(width)),
        options=options,
    )
    return written, read_report(written)


def _print(written: ModelPackage, report: ParityReport) -> None:
    from bodycast.export.parity_command import print_report

    info = written.info
    size_mb = sum((written.folder / name).stat().st_size for name in written.files) / 1e6
    print(f"{written.folder}: {info.architecture}, {info.precision}, {size_mb:.1f} MB; training: {info.training_data}")
    print_report(info.name, report)
