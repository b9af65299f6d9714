"""Several callers on one engine: requests that wait at the same time go through the network in one call.

For films that are done side by side in one process (app/batch): each has its own thread and its own `Engine`, and all
of them share the network behind.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from time import monotonic
from typing import Protocol

import numpy as np

from bodycast.engines.base import Engine, EngineInput, GraphTensor, arrays_of
from bodycast.engines.errors import EngineError
from bodycast.engines.package import ModelPackage, Tensors
from bodycast.engines.registry import open_engine

WAIT_S = 0.002
"""How long a request waits, while the network is free, for callers that were active of late."""
RECENT_S = 0.2


class OpensEngine(Protocol):
    """What `registry.open_engine` and `SharedEngines.open` have in common."""

    def __call__(self, package: ModelPackage, engine: str, device: str, *, threads: int | None) -> Engine:
        """An open engine; the caller closes it. Raises: EngineError."""
        ...


class SharedEngines:
    """Opens each network once, for all who ask for it. Used from any thread."""

    def __init__(self, opens: OpensEngine = open_engine, wait_s: float = WAIT_S) -> None:
        """opens: opens the engine behind. wait_s: see `WAIT_S`."""
        self._opens, self._wait_s = opens, wait_s
        self._lock = threading.Lock()
        self._gatherings: dict[tuple[str, str, str, int | None], _Gathering] = {}

    def open(self, package: ModelPackage, engine: str, device: str, *, threads: int | None) -> Engine:
        """An engine of the caller's own, with the network of all who asked for the same. It takes arrays, also where
        the network runs on a GPU. The network is closed with the last of them.

        Raises: EngineError where it cannot be opened.
        """
        key = package.sha256, engine, device, threads
        with self._lock:
            gathering = self._gatherings.get(key)
            if gathering is None:
                behind = self._opens(package, engine, device, threads=threads)
                gathering = self._gatherings[key] = _Gathering(behind, self._wait_s)
            gathering.callers += 1
        return _Caller(gathering, lambda: self._leave(key, gathering)).open()

    def _leave(self, key: tuple[str, str, str, int | None], gathering: _Gathering) -> None:
        with self._lock:
            gathering.callers -= 1
            if gathering.callers:
                return
            del self._gatherings[key]
        gathering.close()


class _Request:
    """One caller's inputs, and what becomes of them."""

    def __init__(self, caller: int, inputs: Mapping[str, EngineInput], rows: int) -> None:
        self.caller, self.inputs, self.rows = caller, inputs, rows
        self.done = threading.Event()
        self.outputs: Tensors = {}
        self.error: BaseException | None = None


class _Gathering:
    """The network, in a thread of its own: whatever thread a driver's context belongs to, it is always this one."""

    def __init__(self, engine: Engine, wait_s: float) -> None:
        self.engine = engine
        self.callers = 0
        info = engine.package.info
        # What has no rows is the same for a whole call: such requests go one by one.
        self._joins = all(spec.batched for spec in (*info.inputs, *info.outputs))
        self._wait_s = wait_s
        self._changed = threading.Condition()
        self._waiting: deque[_Request] = deque()
        self._seen_s: dict[int, float] = {}
        self._ended = False
        self._thread = threading.Thread(target=self._loop, name="gathering", daemon=True)
        self._thread.start()

    def run(self, request: _Request) -> Tensors:
        """What the network says to this request. Raises: what the network raises, or EngineError after the end."""
        with self._changed:
            if self._ended:
                raise EngineError(f"{self.engine.label}: closed")
            self._seen_s[request.caller] = monotonic()
            self._waiting.append(request)
            self._changed.notify_all()
        request.done.wait()
        if request.error is not None:
            raise request.error
        return request.outputs

    def forget(self, caller: int) -> None:
        """Nobody waits for this caller any more."""
        with self._changed:
            self._seen_s.pop(caller, None)
            self._changed.notify_all()

    def close(self) -> None:
        """End the thread, after what waits, and close the engine."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        self._thread.join()
        self.engine.close()

    def _loop(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._ended)
                if not self._waiting:
                    return
                self._changed.wait_for(self._is_complete, self._wait_s)
                requests = self._take()
            self._serve(requests)

    def _is_complete(self) -> bool:
        """Whether nobody else is to be expected soon."""
        since_s = monotonic() - RECENT_S
        active = sum(seen_s >= since_s for seen_s in self._seen_s.values())
        rows = sum(request.rows for request in self._waiting)
        return self._ended or not self._joins or len(self._waiting) >= active or rows >= self.engine.max_batch

    def _take(self) -> list[_Request]:
        """The requests of the next call, in their order: as many as it takes in one go, at least one."""
        taken = [self._waiting.popleft()]
        rows = taken[0].rows
        while self._joins and self._waiting and rows + self._waiting[0].rows <= self.engine.max_batch:
            taken.append(self._waiting.popleft())
            rows += taken[-1].rows
        return taken

    def _serve(self, requests: Sequence[_Request]) -> None:
        try:
            if len(requests) == 1:
                requests[0].outputs = self.engine.run(requests[0].inputs)
            else:
                self._run_joined(requests)
        except BaseException as error:  # whatever it is, nobody is left waiting
            if len(requests) > 1:
                # Whose it is shows when each runs alone.
                for request in requests:
                    self._serve([request])
                return
            requests[0].error = error
        for request in requests:
            request.done.set()

    def _run_joined(self, requests: Sequence[_Request]) -> None:
        inputs = [arrays_of(request.inputs) for request in requests]
        outputs = self.engine.run({name: np.concatenate([one[name] for one in inputs]) for name in inputs[0]})
        begin = 0
        for request in requests:
            rows = slice(begin, begin + request.rows)
            request.outputs = {name: array[rows] for name, array in outputs.items()}
            begin = rows.stop


class _Caller(Engine):
    """One caller's engine: checks what it is given in the caller's own thread, so that mistakes stay theirs."""

    def __init__(self, gathering: _Gathering, leave: Callable[[], None]) -> None:
        behind = gathering.engine
        super().__init__(behind.package, behind.device, threads=behind.threads)
        self.name, self.reason = behind.name, behind.reason
        self.notes = (*behind.notes, "shared by the films of its process")
        self._gathering, self._leave = gathering, leave

    @property
    def max_batch(self) -> int:
        """Of the network behind."""
        return self._gathering.engine.max_batch

    def _open(self) -> tuple[tuple[GraphTensor, ...], tuple[GraphTensor, ...]]:
        info = self.package.info  # the graph itself was compared when the network was opened
        inputs, outputs = (
            tuple(GraphTensor(spec.name, spec.dtype, spec.shape) for spec in specs)
            for specs in (info.inputs, info.outputs)
        )
        return inputs, outputs

    def _run(self, inputs: Mapping[str, EngineInput]) -> Tensors:
        rows = max((len(inputs[spec.name]) for spec in self.package.info.inputs if spec.batched), default=1)
        return self._gathering.run(_Request(id(self), inputs, rows))

    def _close(self) -> None:
        self._gathering.forget(id(self))
        self._leave()
