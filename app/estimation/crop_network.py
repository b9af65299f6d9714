"""A network that takes crops: its package, opened on an engine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from bodycast.app.errors import UsageError
from bodycast.app.model_packages import find_package
from bodycast.engines.base import Engine
from bodycast.engines.errors import EngineError
from bodycast.engines.package import ModelPackage
from bodycast.engines.registry import open_engine


class CropNetwork:
    """A package on an engine; what the keypoint network and the HMR network share. Use it from one thread."""

    def __init__(
        self,
        spec: Path | str,
        task: str,
        check: Callable[[ModelPackage], tuple[int, int]],
        engine: str,
        device: str,
        threads: int | None,
        flip_test: bool,
    ) -> None:
        """Open the package `spec` for `task`. check: gives height and width of its crops, or raises UsageError.

        Raises: UsageError where the package, the engine or the device cannot be used.
        """
        package = find_package(spec, task)
        self._input_hw = check(package)
        try:
            self._engine = open_engine(package, engine, device, threads=threads)
        except EngineError as error:
            raise UsageError(str(error)) from error
        self._flip_test = flip_test

    @property
    def input_hw(self) -> tuple[int, int]:
        """Height and width of the crops that the network takes."""
        return self._input_hw

    @property
    def package(self) -> ModelPackage:
        """The opened package."""
        return self._engine.package

    @property
    def packages(self) -> tuple[ModelPackage, ...]:
        """The opened package alone."""
        return (self.package,)

    @property
    def engine(self) -> Engine:
        """The engine in use; its `describe()` says which, where and why."""
        return self._engine

    @property
    def label(self) -> str:
        """Package, engine and device, for the HUD."""
        return self._engine.label

    def describe(self) -> str:
        """One line for people."""
        return self._engine.describe() + (", flip test" if self._flip_test else "")

    def close(self) -> None:
        """Release the engine. May be called twice."""
        self._engine.close()
