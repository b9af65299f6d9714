"""Packages that only some readers need."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from training.datasets.errors import DatasetError


def require(module: str) -> ModuleType:
    """Import `module`; where it is missing, say which requirements file brings it. Raises: DatasetError."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not module.startswith(error.name):
            raise
        raise DatasetError(
            f"the package {error.name!r} is not installed: pip install -r requirements/train.txt"
        ) from error
