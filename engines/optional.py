"""Import libraries that not every installation has."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from bodycast.engines.errors import EngineUnavailableError

_PIP = "pip install -r requirements/"


def require(module: str, requirements: str) -> Any:
    """The module, untyped, since these libraries ship no or partial stubs.

    Raises: EngineUnavailableError naming the requirements file that brings it.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not module.startswith(error.name):
            raise
        # The full TensorRT is in no requirements file: it comes from an index of its own.
        way = "docs/dependencies.md says where it comes from" if error.name == "tensorrt" else _PIP + requirements
        raise EngineUnavailableError(f"the package {error.name!r} is not installed: {way}") from error
