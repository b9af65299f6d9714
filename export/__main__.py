"""`python -m export package CHECKPOINT --out DIR`: a training checkpoint to a model package."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from engines.errors import PackageError


def package(arguments: argparse.Namespace) -> int:
    """Write the package and print what it is and how exact it is."""
    from export.checkpoint import load_checkpoint
    from export.hmr_package import export_hmr_package
    from hmr.networks import registry
    from hmr.networks.hmr_net import ExportedHmr

    if arguments.out.exists() and not arguments.overwrite:
        raise PackageError(f"{arguments.out} exists; pass --overwrite to replace it")
    checkpoint = load_checkpoint(arguments.checkpoint)
    net = checkpoint.net
    written = export_hmr_package(
        ExportedHmr(net),
        arguments.out,
        name=arguments.name or arguments.out.name,
        architecture=checkpoint.model,
        arguments=checkpoint.arguments,
        input_hw=net.image_hw,
        body=arguments.body,
        metrics=checkpoint.metrics,
        training_data=checkpoint.training,
        licence=arguments.licence,
        paper=arguments.paper or registry.find(checkpoint.model).paper.source or "none",
        orientation_frame=arguments.orientation_frame,
        overwrite=arguments.overwrite,
    )
    size_mb = written.model_path.stat().st_size / 1e6
    print(f"{written.folder}: {checkpoint.model}, {net.image_hw[0]}x{net.image_hw[1]}, {size_mb:.1f} MB")
    for name, value in written.info.metrics.items():
        print(f"  {name}: {value:.3g}")
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(prog="python -m export", description="Weights in, model packages out.")
    commands = top.add_subparsers(dest="command", required=True)
    make = commands.add_parser("package", help="a training checkpoint to a model package")
    make.add_argument("checkpoint", type=Path, help="written by the training loop")
    make.add_argument("--out", type=Path, required=True, help="folder to write, e.g. assets/models/hmr-swin-t-s2")
    make.add_argument("--name", help="name of the package; the folder's where left out")
    make.add_argument("--body", default="bodycast-adult", help="body whose shape basis the network learned")
    make.add_argument("--licence", default="Apache-2.0", help="licence of the weights")
    make.add_argument("--paper", help="what the architecture comes from; the registry's word where left out")
    make.add_argument(
        "--orientation-frame",
        choices=("crop-ray", "camera"),
        default="crop-ray",
        help="what the root rotation is relative to: the crop's ray (trained here) or the camera (HMR2.0)",
    )
    make.add_argument("--overwrite", action="store_true", help="replace the folder if it is there")
    make.set_defaults(run=package)
    return top


def main(args: Sequence[str] | None = None) -> int:
    """Run a command; gives the exit code. Errors are one line."""
    arguments = parser().parse_args(args)
    try:
        return int(arguments.run(arguments))
    except ModuleNotFoundError as error:
        print(
            f"error: the package {error.name!r} is not installed: pip install -r requirements/export.txt",
            file=sys.stderr,
        )
    except (ValueError, OSError, PackageError) as error:
        print(f"error: {error}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
