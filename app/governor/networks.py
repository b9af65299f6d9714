"""The networks of a run as the governor switches them: flip test, refinement, a quicker keypoint network, a quicker
engine of the HMR network. What is not open yet is opened in a thread of its own, where memory allows it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from bodycast.app.errors import BodycastError
from bodycast.app.governor.policy import Step, Trade

if TYPE_CHECKING:
    from bodycast.app.estimation.estimator import Estimator
    from bodycast.app.estimation.fused_estimator import FusedEstimator
    from bodycast.app.estimation.keypoints import KeypointNetwork
    from bodycast.engines.base import Engine

from bodycast.app.governor.ladder import FLIP_TEST, REFINEMENT
from bodycast.engines.errors import EngineError


class Closes(Protocol):
    """What is closed when it is not needed any more."""

    def close(self) -> None:
        """May be called twice."""
        ...


T = TypeVar("T", bound=Closes)


class State(Enum):
    """Of something that is opened when it is asked for."""

    CLOSED = "closed"
    OPENING = "opening"
    OPEN = "open"
    REFUSED = "refused"


class Spare(Generic[T]):
    """Something that is opened in the background when it is first asked for. `why`: why it cannot be."""

    def __init__(self, make: Callable[[], T], room: Callable[[], str]) -> None:
        """make: opens it, or raises BodycastError or EngineError. room: why memory does not allow it, "" where it
        does."""
        self._make, self._room = make, room
        self._lock = threading.Lock()
        self._state = State.CLOSED
        self._ended = False
        self._thing: T | None = None
        self.why = ""

    @property
    def state(self) -> State:
        """As it is now; from any thread."""
        return self._state

    @property
    def thing(self) -> T:
        """What was opened. Raises: ValueError where it is not open."""
        if self._thing is None:
            raise ValueError(f"not open: {self._state.value}")
        return self._thing

    def ask(self, wait: bool = False) -> State:
        """Begin to open it, or say how far that is. wait: until it is known."""
        with self._lock:
            if self._state is not State.CLOSED or self._ended:
                return self._state
            self.why = self._room()
            self._state = State.REFUSED if self.why else State.OPENING
        if self._state is State.OPENING:
            if wait:
                self._open()
            else:
                threading.Thread(target=self._open, name="governor opens", daemon=True).start()
        return self._state

    def _open(self) -> None:
        try:
            thing = self._make()
        except (BodycastError, EngineError) as error:
            self._refuse(str(error))
            return
        except BaseException as error:  # a library's own: the run goes on as it is, and says so
            self._refuse(f"{type(error).__name__}: {error}")
            return
        with self._lock:
            if not self._ended:
                self._thing, self._state = thing, State.OPEN
                return
        thing.close()

    def _refuse(self, why: str) -> None:
        with self._lock:
            self.why, self._state = why, State.REFUSED

    def close(self) -> None:
        """Close what is open; what still opens is closed as soon as it is open."""
        with self._lock:
            self._ended = True
            thing, self._thing = self._thing, None
        if thing is not None:
            thing.close()


class Networks:
    """Switches an estimator's networks between two frames. Used by the inference thread, but for `close`."""

    def __init__(
        self,
        estimator: Estimator | FusedEstimator,
        keypoints: Spare[KeypointNetwork] | None = None,
        engine: Spare[Engine] | None = None,
    ) -> None:
        """keypoints, engine: the quicker ones, where there are any."""
        self._estimator = estimator
        self._flip_test, self._refines = estimator.flip_test, estimator.refines
        self._spares: dict[Trade, Spare[KeypointNetwork] | Spare[Engine]] = {}
        self._keypoints, self._engine = keypoints, engine
        if keypoints is not None:
            self._spares[Trade.KEYPOINTS] = keypoints
        if engine is not None:
            self._spares[Trade.ENGINE] = engine
        self._first_keypoints = getattr(estimator, "keypoints", None)
        self._first_engine = None if self.hmr is None else self.hmr.engine

    @property
    def hmr(self) -> Estimator | None:
        """The HMR network, alone or beside keypoints."""
        return hmr_of(self._estimator)

    def ready(self, step: Step, wait: bool = False) -> State:
        """Whether a step can be taken now; begins to open what it needs."""
        spare = self._spares.get(step.trade)
        return State.OPEN if spare is None else spare.ask(wait)

    def why(self, step: Step) -> str:
        """Why it cannot be taken."""
        spare = self._spares.get(step.trade)
        return "" if spare is None else spare.why

    def apply(self, taken: Sequence[Step]) -> None:
        """Run as these steps say. What they need is open."""
        names = {step.after for step in taken}
        trades = {step.trade for step in taken}
        self._use_keypoints(Trade.KEYPOINTS in trades)
        self._use_engine(Trade.ENGINE in trades)
        self._estimator.flip_test = self._flip_test and FLIP_TEST not in names
        self._estimator.refines = self._refines and REFINEMENT not in names

    def _use_keypoints(self, quicker: bool) -> None:
        from bodycast.app.estimation.fused_estimator import FusedEstimator

        if self._keypoints is None or self._first_keypoints is None or not isinstance(self._estimator, FusedEstimator):
            return
        wanted = self._keypoints.thing if quicker else self._first_keypoints
        if wanted is not self._estimator.keypoints:
            self._estimator.use(wanted)

    def _use_engine(self, quicker: bool) -> None:
        hmr = self.hmr
        if self._engine is None or hmr is None or self._first_engine is None:
            return
        wanted = self._engine.thing if quicker else self._first_engine
        if wanted is not hmr.engine:
            hmr.use(wanted)

    def close(self) -> None:
        """Close both of each pair. May be called twice, and while one still opens."""
        for spare in self._spares.values():
            spare.close()
        for first in (self._first_keypoints, self._first_engine):
            if first is not None:
                first.close()


def hmr_of(estimator: Estimator | FusedEstimator) -> Estimator | None:
    """The HMR network of an estimator, None where it has none."""
    from bodycast.app.estimation.fused_estimator import FusedEstimator

    return estimator.hmr if isinstance(estimator, FusedEstimator) else estimator
