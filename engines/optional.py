"""Import libraries that not every installation has, and say what brings them."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from bodycast.engines.errors import EngineUnavailableError

_REQUIREMENTS = Path(__file__).resolve().parent.parent / "requirements"
_FROM_A_WHEEL = {
    "live.txt": "pip install --force-reinstall bodycast",
    "senders.txt": 'pip install "bodycast[live]"',
    # pip cannot let an extra take the place of a package, and the two runtimes overwrite each other.
    "gpu.txt": "pip uninstall -y onnxruntime && "
    'pip install "onnxruntime-gpu[cuda,cudnn]>=1.24,<2" "tensorrt-rtx-cu12>=1.7,<2" "cuda-bindings>=13,<14"',
}


def install_command(requirements: str, *options: str) -> str:
    """The command that installs what a requirements file names ("export.txt"), in a checkout or beside a wheel, which
    has no such files. `options`: pip's, for a checkout."""
    if (_REQUIREMENTS / requirements).is_file():
        return " ".join(("pip install", *options, f"-r requirements/{requirements}"))
    return _FROM_A_WHEEL.get(requirements, f'pip install "bodycast[{requirements.removesuffix(".txt")}]"')


def require(module: str, requirements: str) -> Any:
    """The module, untyped, since these libraries ship no or partial stubs.

    Raises: EngineUnavailableError with the command that installs it.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not module.startswith(error.name):
            raise
        # The full TensorRT is in no requirements file: it comes from an index of its own.
        full = error.name == "tensorrt"
        way = "docs/dependencies.md says where it comes from" if full else install_command(requirements)
        raise EngineUnavailableError(f"the package {error.name!r} is not installed: {way}") from error
