"""`bodycast export tensorrt PACKAGE`: build TensorRT plans for this machine's GPU, or ahead of time for others."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter

from bodycast.engines.errors import PlanError
from bodycast.engines.package import ModelPackage, load_package
from bodycast.export.command_line import Parser
from bodycast.export.tensorrt_plan import LIBRARIES, BuildOptions, build_plan, plan_path_shown, supported_capabilities


def main(argv: Sequence[str] | None = None) -> int:
    """Build a plan for each compute capability; the exit code is 1 if one of them failed, the others are kept."""
    arguments = parser().parse_args(argv)
    package = load_package(arguments.package)
    failed = 0
    for capability in arguments.compute_capability or _capabilities_here(arguments.runtime):
        options = BuildOptions(
            compute_capability=capability,
            runtime=arguments.runtime,
            batches=(arguments.min_batch, arguments.opt_batch, arguments.max_batch),
            workspace_mib=arguments.workspace,
            beside=arguments.beside,
            rebuild=arguments.rebuild,
        )
        try:
            _build(package, options)
        except PlanError as error:
            failed += 1
            print(f"error: {error}", file=sys.stderr)
    return 1 if failed else 0


def _build(package: ModelPackage, options: BuildOptions) -> None:
    shown = _Bar(f"{package.info.name}, {options.compute_capability}")
    start = perf_counter()
    try:
        plan = build_plan(package, options, shown.update)
    finally:
        shown.clear()
    least, best, most = options.batches
    print(
        f"{plan_path_shown(plan)}: {plan.key.library} {plan.key.version}, compute capability "
        f"{plan.key.compute_capability}, {plan.key.precision}, batch {least}/{best}/{most}, "
        f"{plan.size_bytes / 1e6:.1f} MB, {perf_counter() - start:.1f} s"
    )
    if plan.key.precision.endswith("fp16-products"):
        print("  matrix products in fp16: this GPU generation has no others in TensorRT for RTX")


def _capabilities_here(runtime: str) -> list[str]:
    from bodycast.engines.devices import cuda_devices, cuda_gpus

    able = supported_capabilities(runtime)
    here = sorted({gpu.compute_capability for gpu in cuda_gpus()}, key=float)
    if here:
        return here
    raise PlanError(
        f"no GPU here ({cuda_devices()[1]}): say for which to build, --compute-capability, one or more of "
        f"{', '.join(able)}"
    )


class _Bar:
    """One line that is written over, on a terminal only."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._on = sys.stderr.isatty()
        self._width = 0

    def update(self, phase: str, part: float) -> None:
        """Show the phase and how far it is."""
        if self._on:
            text = f"{self._title}: {phase} {part:4.0%}"[:110]
            print("\r" + text.ljust(self._width), end="", file=sys.stderr, flush=True)
            self._width = len(text)

    def clear(self) -> None:
        """Take the line away."""
        if self._on and self._width:
            print("\r" + " " * self._width + "\r", end="", file=sys.stderr, flush=True)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = Parser(prog="bodycast export tensorrt", description=__doc__.partition(": ")[2])
    top.add_argument("package", type=Path, help="folder of a model package")
    top.add_argument(
        "--runtime",
        choices=tuple(LIBRARIES),
        default="rtx",
        help="rtx: TensorRT for RTX, builds with no GPU; tensorrt: the full library, builds on the GPU that runs it",
    )
    top.add_argument(
        "--compute-capability",
        nargs="+",
        metavar="X.Y",
        help="GPU generations to build for, e.g. 7.5 8.6 8.9 12.0; this machine's GPUs where left out",
    )
    top.add_argument("--min-batch", type=int, default=1, help="fewest people in one run")
    top.add_argument("--opt-batch", type=int, default=4, help="people in one run that kernels are chosen for")
    top.add_argument("--max-batch", type=int, default=16, help="most people in one run; more are split")
    top.add_argument("--workspace", type=int, metavar="MIB", help="device memory for scratch, MiB; all where left out")
    top.add_argument("--beside", action="store_true", help="put plans into the package's folder, to ship them with it")
    top.add_argument("--rebuild", action="store_true", help="build again what is there already")
    return top
