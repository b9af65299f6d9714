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
    def flip_test(self) -> bool:
        """Whether each crop's mirror image is estimated too. May be changed between two frames."""
        return self._flip_test

    @flip_test.setter
    def flip_test(self, on: bool) -> None:
        self._flip_test = on

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

    def use_engine(self, engine: Engine) -> Engine:
        """Run the same package on another engine from the next frame on; gives the one before, which stays open.

        Raises: ValueError for an engine of another package.
        """
        if engine.package.sha256 != self.package.sha256:
            raise ValueError(f"{engine.describe()}: expected the package {self.package.info.name}")
        before, self._engine = self._engine, engine
        return before

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
