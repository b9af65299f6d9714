"""A network that takes crops: its package, opened on an engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from bodycast.app.errors import RunError, UsageError
from bodycast.app.model_packages import find_package
from bodycast.app.records import Frame
from bodycast.engines.base import Engine
from bodycast.engines.errors import EngineError
from bodycast.engines.gathering import OpensEngine
from bodycast.engines.package import ModelPackage
from bodycast.engines.registry import open_engine
from bodycast.hmr.geometry.crop import CropTransform

if TYPE_CHECKING:
    from bodycast.app.estimation.gpu_crops import GpuCrops, Part
    from bodycast.engines.cuda.crops import CropsOnGpu


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
        opens: OpensEngine | None = None,
    ) -> None:
        """Open the package `spec` for `task`. check: gives height and width of its crops, or raises UsageError.
        opens: opens the engine; None: `engines.registry.open_engine`.

        Raises: UsageError where the package, the engine or the device cannot be used.
        """
        package = find_package(spec, task)
        self._input_hw = check(package)
        try:
            self._engine = (opens or open_engine)(package, engine, device, threads=threads)
        except EngineError as error:
            raise UsageError(str(error)) from error
        self._flip_test = flip_test
        self._gpu_crops: WeakKeyDictionary[Engine, GpuCrops | str] = WeakKeyDictionary()
        self.cuts_on_gpu = True
        """Whether the crops are cut on the GPU where the network runs on one. May be changed between two frames."""

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
        return self._engine.describe() + self._where_cut() + (", flip test" if self._flip_test else "")

    def close(self) -> None:
        """Release the engine. May be called twice."""
        self._engine.close()

    def _cut_on_gpu(
        self,
        frame: Frame,
        transforms: Sequence[CropTransform],
        parts: Sequence[Part] | None = None,
        mirror: bool = False,
    ) -> CropsOnGpu | None:
        """Crops on the device of the engine in use; None where they are cut on the CPU. Raises: RunError."""
        cutting = self._cutting()
        if cutting is None or isinstance(cutting, str):
            return None
        try:
            return cutting.cut(frame, transforms, self._input_hw, parts, mirror)
        except EngineError as error:
            raise RunError(f"{self._engine.label}: {error}") from error

    def _cutting(self) -> GpuCrops | str | None:
        """What cuts on the GPU of the engine in use; why nothing does; None where it has no GPU or is not to."""
        if self._engine.cuda is None or not self.cuts_on_gpu:
            return None
        if self._engine not in self._gpu_crops:
            from bodycast.app.estimation.gpu_crops import GpuCrops

            try:
                self._gpu_crops[self._engine] = GpuCrops(self._engine)
            except EngineError as error:
                self._gpu_crops[self._engine] = str(error)
        return self._gpu_crops[self._engine]

    def _where_cut(self) -> str:
        """Where the crops are cut, of a network on a GPU."""
        if self._engine.cuda is None:
            return ""
        cutting = self._cutting()
        if cutting is None:
            return ", crops cut on the CPU"
        return f", crops cut on the CPU ({cutting})" if isinstance(cutting, str) else ", crops cut on the GPU"
