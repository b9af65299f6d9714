"""The networks of a run as the governor switches them: flip test, refinement, a quicker keypoint network, a quicker
engine of the HMR network. What is not open yet is opened in a thread of its own, where memory allows it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from bodycast.app.errors import BodycastError
from bodycast.app.governor.ladder import FLIP_TEST, REFINEMENT
from bodycast.app.governor.policy import Step, Trade
from bodycast.engines.errors import EngineError

if TYPE_CHECKING:
    from bodycast.app.estimation.keypoints import KeypointNetwork
    from bodycast.engines.base import Engine


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


class Refines(Protocol):
    """An estimator's flip test and refinement; both may be changed between two frames."""

    @property
    def flip_test(self) -> bool:
        """Whether each crop's mirror image is looked at too."""
        ...

    @flip_test.setter
    def flip_test(self, on: bool) -> None: ...

    @property
    def refines(self) -> bool:
        """Whether bodies are refined on the keypoints."""
        ...

    @refines.setter
    def refines(self, on: bool) -> None: ...


class SeesKeypoints(Protocol):
    """An estimator whose keypoint network may be changed between two frames."""

    @property
    def keypoints(self) -> KeypointNetwork:
        """In use."""
        ...

    def use_keypoints(self, keypoints: KeypointNetwork) -> None:
        """From the next frame on."""
        ...


class RunsEngine(Protocol):
    """A network whose engine may be changed between two frames."""

    @property
    def engine(self) -> Engine:
        """In use."""
        ...

    def use_engine(self, engine: Engine) -> Engine:
        """From the next frame on; gives the one before."""
        ...


class Networks:
    """Switches the networks of a run. Used by the inference thread, but for `close`."""

    def __init__(
        self,
        estimator: Refines,
        keypoints: tuple[SeesKeypoints, Spare[KeypointNetwork]] | None = None,
        engine: tuple[RunsEngine, Spare[Engine]] | None = None,
    ) -> None:
        """keypoints, engine: whose it is, and the quicker one, where there is any."""
        self._estimator = estimator
        self._flip_test, self._refines = estimator.flip_test, estimator.refines
        self._keypoints, self._engine = keypoints, engine
        self._first_keypoints = None if keypoints is None else keypoints[0].keypoints
        self._first_engine = None if engine is None else engine[0].engine

    def ready(self, step: Step, wait: bool = False) -> State:
        """Whether a step can be taken now; begins to open what it needs. wait: until that is known."""
        spare = self._spare(step)
        return State.OPEN if spare is None else spare.ask(wait)

    def why(self, step: Step) -> str:
        """Why it cannot be taken."""
        spare = self._spare(step)
        return "" if spare is None else spare.why

    def _spare(self, step: Step) -> Spare[KeypointNetwork] | Spare[Engine] | None:
        if step.trade is Trade.KEYPOINTS and self._keypoints is not None:
            return self._keypoints[1]
        return self._engine[1] if step.trade is Trade.ENGINE and self._engine is not None else None

    def apply(self, taken: Sequence[Step]) -> None:
        """Run as these steps say. What they need is open."""
        names, trades = {step.after for step in taken}, {step.trade for step in taken}
        if self._keypoints is not None and self._first_keypoints is not None:
            sees, spare = self._keypoints
            wanted = spare.thing if Trade.KEYPOINTS in trades else self._first_keypoints
            if wanted is not sees.keypoints:
                sees.use_keypoints(wanted)
        if self._engine is not None and self._first_engine is not None:
            runs, quicker = self._engine
            engine = quicker.thing if Trade.ENGINE in trades else self._first_engine
            if engine is not runs.engine:
                runs.use_engine(engine)
        self._estimator.flip_test = self._flip_test and FLIP_TEST not in names
        self._estimator.refines = self._refines and REFINEMENT not in names

    def close(self) -> None:
        """Close both of each pair. May be called twice, and while one still opens."""
        for pair in (self._keypoints, self._engine):
            if pair is not None:
                pair[1].close()
        for first in (self._first_keypoints, self._first_engine):
            if first is not None:
                first.close()
