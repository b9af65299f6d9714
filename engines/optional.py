"""Import libraries that not every installation has."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from engines.errors import EngineUnavailableError


def require(module: str, requirements: str) -> Any:
    """The module, untyped, since these libraries ship no or partial stubs.

    Raises: EngineUnavailableError naming the requirements file that brings it.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not module.startswith(error.name):
            raise
        raise EngineUnavailableError(
            f"the package {error.name!r} is not installed: pip install -r requirements/{requirements}"
        ) from error
