"""Networks, detector and smoother that are opened for a worker's first film and stay open for the others."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import replace
from typing import Any, cast

import numpy as np

from bodycast.app.config import RunConfig
from bodycast.app.detectors.base import Detector
from bodycast.app.errors import UsageError
from bodycast.app.pipeline.build import OpenedStages, WarningSource, open_stages
from bodycast.app.pipeline.run_options import world_options
from bodycast.app.pipeline.stages import EstimatesBodies
from bodycast.app.smoothers.base import Smoother
from bodycast.app.tracking import open_tracker
from bodycast.app.world.live import LiveWorld
from bodycast.engines.gathering import OpensEngine
from bodycast.hmr.geometry.camera import Intrinsics


class StagesError(UsageError):
    """The networks cannot be opened: no film of the batch can be done."""


class _StaysOpen:
    """A stage that a pipeline does not close at its end."""

    def __init__(self, stage: object) -> None:
        self._stage = stage

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stage, name)

    def close(self) -> None:
        """`KeptStages.close` does."""


class _CurrentSource:
    """The source of the film in flight, for warnings of stages that outlive it."""

    def __init__(self, source: WarningSource) -> None:
        self.now = source

    def __getattr__(self, name: str) -> Any:
        return getattr(self.now, name)


class KeptStages:
    """Gives `build_run` its stages. All films must have the same configuration, apart from source and output."""

    def __init__(
        self,
        threads: int | None = None,
        on_open: Callable[[], None] | None = None,
        engines: OpensEngine | None = None,
        opening: AbstractContextManager[object] | None = None,
    ) -> None:
        """threads, engines: as in `open_stages`. on_open: called once, when the networks are open. opening: held
        meanwhile, where several threads open theirs."""
        self._threads = threads
        self._on_open = on_open
        self._engines, self._opening = engines, opening or nullcontext()
        self._closing = ExitStack()
        self._kept: OpenedStages | None = None
        self._source: _CurrentSource | None = None

    def open(self, config: RunConfig, source: WarningSource, opened: ExitStack) -> OpenedStages:
        """The stages as if they had just been opened for `source`. Raises: StagesError."""
        del opened  # nothing of these is closed after a film
        if self._kept is None or self._source is None:
            self._source = _CurrentSource(source)
            with self._opening:
                self._kept = self._open(config, self._source)
        self._source.now = source
        kept = self._kept
        stages, estimator, body = kept.stages, kept.estimator, kept.body
        stages.smoother.reset()
        # Ids begin anew in every film: nobody's mesh is remembered as another one's person mask.
        nobody = np.zeros(0, np.int32), np.zeros((0, 1, 3), np.float32)
        stages.remember(*nobody, Intrinsics.default(source.info.image_wh))
        world = LiveWorld(body, world_options(config, source.info), kept.world.fresh_lens_watch(source.info))
        fresh = replace(
            stages,
            source=source,
            tracker=open_tracker(config.people.max_people),
            detector=cast(Detector, _StaysOpen(stages.detector)),
            estimator=cast(EstimatesBodies, _StaysOpen(stages.estimator)),
            smoother=cast(Smoother, _StaysOpen(stages.smoother)),
            world=world,
            # The world that came with the stages has seen no film and has nothing to say.
            warnings=lambda: (*stages.warnings(), *world.warnings),
        )
        return OpenedStages(fresh, estimator, body, world)

    def _open(self, config: RunConfig, source: _CurrentSource) -> OpenedStages:
        try:
            current = cast(WarningSource, source)
            kept = open_stages(config, current, self._closing, threads=self._threads, engines=self._engines)
        except UsageError as error:
            raise StagesError(str(error)) from error
        if self._on_open is not None:
            self._on_open()
        return kept

    @property
    def packages(self) -> dict[str, str]:
        """Name -> SHA-256 of the packages that are open, the detector's included where it is one."""
        if self._kept is None:
            return {}
        from bodycast.app.detectors.package_detector import PackageDetector

        packages = list(self._kept.estimator.packages)
        detector = self._kept.stages.detector
        if isinstance(detector, PackageDetector):
            packages.append(detector.package)
        return {package.info.name: package.sha256 for package in packages}

    @property
    def worn(self) -> bool:
        """Whether an engine has given values that are not finite: another film should not begin with its count."""
        return self._kept is not None and bool(self._kept.estimator.warnings)

    def close(self) -> None:
        """Close all of them. May be called twice."""
        self._kept = None
        self._closing.close()
