"""Several callers on one engine: who gets which rows, whose error it is, who waits for whom."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx", reason="tiny graphs are made with onnx (requirements/export.txt)")

from bodycast.engines import gathering
from bodycast.engines.base import Engine, GraphTensor
from bodycast.engines.errors import EngineError
from bodycast.engines.gathering import SharedEngines
from bodycast.engines.package import ModelPackage, Tensor, Tensors
from tests.tiny_packages import affine_package

BROKEN = -1.0


class GatedEngine(Engine):
    """Computes 2 x + 1 once `gate` is open, remembers batch sizes, fails for inputs with BROKEN."""

    name = "gated"

    def __init__(self, package: ModelPackage) -> None:
        super().__init__(package)
        self.batches: list[int] = []
        self.gate = threading.Event()
        self.gate.set()
        self.closed = 0
        self.threads_seen: set[int] = set()

    def _open(self) -> tuple[tuple[GraphTensor, ...], tuple[GraphTensor, ...]]:
        y, z = GraphTensor("y", "float32", ("b", 3)), GraphTensor("z", "float32", ("b",))
        return (GraphTensor("x", "float32", ("b", 3)),), (z, y)

    def _run(self, inputs: Mapping[str, Tensor]) -> Tensors:  # type: ignore[override]
        self.batches.append(len(inputs["x"]))
        self.threads_seen.add(threading.get_ident())
        assert self.gate.wait(30)
        if (inputs["x"] == BROKEN).any():
            raise EngineError("broken")
        y = 2 * inputs["x"] + 1
        return {"y": y, "z": y.sum(axis=1)}

    def _close(self) -> None:
        self.closed += 1


class Shared:
    """Callers on one gated engine, and threads to call from."""

    def __init__(self, folder: Path, wait_s: float = 0.002) -> None:
        self.package = affine_package(folder)
        self.behind = GatedEngine(self.package)
        self.opened = 0
        self.shared = SharedEngines(self._opens, wait_s)
        self.threads = ThreadPoolExecutor(16)

    def _opens(self, package: ModelPackage, engine: str, device: str, *, threads: int | None) -> Engine:
        self.opened += 1
        return self.behind.open()

    def caller(self) -> Engine:
        return self.shared.open(self.package, "auto", "cpu", threads=1)

    def ask(self, caller: Engine, *values: float) -> Future[Tensors]:
        """One row for each value."""
        return self.threads.submit(caller.run, {"x": np.repeat(np.array(values, np.float32)[:, None], 3, axis=1)})

    def ask_behind_a_gate(self, asks: Callable[[], list[Future[Tensors]]], first: Engine) -> list[Future[Tensors]]:
        """What waits while the engine is busy with a first call. Batches are remembered from there on."""
        self.behind.gate.clear()
        before = self.ask(first, 100.0)
        wait_for(lambda: len(self.behind.batches) > 0 and not before.done())
        self.behind.batches.clear()
        futures = asks()
        time.sleep(0.1)  # all of them have come
        self.behind.gate.set()
        before.result(30)
        return futures


def wait_for(condition: Callable[[], bool]) -> None:
    end_s = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end_s, "it never came"
        time.sleep(0.005)


def rows_of(future: Future[Tensors]) -> list[float]:
    outputs = future.result(30)
    np.testing.assert_array_equal(outputs["z"], outputs["y"].sum(axis=1))
    return outputs["y"][:, 0].tolist()


def test_requests_that_wait_at_the_same_time_are_one_call_and_everybody_gets_their_rows(tmp_path: Path) -> None:
    world = Shared(tmp_path / "p")
    callers = [world.caller() for _ in range(4)]
    assert world.opened == 1
    world.behind.batches.clear()
    futures = world.ask_behind_a_gate(
        lambda: [world.ask(caller, *range(10 * n, 10 * n + n)) for n, caller in enumerate(callers) if n], callers[0]
    )
    for n, future in enumerate(futures, start=1):
        assert rows_of(future) == [2.0 * value + 1 for value in range(10 * n, 10 * n + n)]
    assert world.behind.batches == [6]
    assert len(world.behind.threads_seen) == 2, "opened here, and run in one thread of its own"


def test_a_call_has_as_many_rows_as_the_engine_takes(tmp_path: Path) -> None:
    world = Shared(tmp_path / "p")
    callers = [world.caller() for _ in range(4)]
    world.behind.batches.clear()
    asks = [list(range(9)), list(range(20, 26)), list(range(40, 60))]  # the last one is split by the caller's engine
    futures = world.ask_behind_a_gate(
        lambda: [world.ask(caller, *values) for caller, values in zip(callers[1:], asks, strict=True)], callers[0]
    )
    for future, values in zip(futures, asks, strict=True):
        assert rows_of(future) == [2.0 * value + 1 for value in values]
    assert max(world.behind.batches) <= 16 and sum(world.behind.batches) == 35


def test_an_error_goes_to_whom_it_belongs_and_the_others_go_on(tmp_path: Path) -> None:
    world = Shared(tmp_path / "p")
    good, bad, other = (world.caller() for _ in range(3))
    world.behind.batches.clear()
    one, two = world.ask_behind_a_gate(lambda: [world.ask(bad, BROKEN), world.ask(good, 3.0)], other)
    with pytest.raises(EngineError, match="broken"):
        one.result(30)
    assert rows_of(two) == [7.0]
    world.behind.batches.clear()
    with pytest.raises(EngineError, match=r"expected x float32 \(N, 3\)"):
        good.run({"x": np.zeros((1, 4), np.float32)})
    assert world.behind.batches == [], "a mistake is seen in the caller's own thread"
    assert rows_of(world.ask(bad, 1.0)) == [3.0], "and nobody is shut out"


def test_nobody_waits_for_callers_that_have_gone_or_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gathering, "RECENT_S", 0.0)
    world = Shared(tmp_path / "p", wait_s=3600.0)
    one, two = world.caller(), world.caller()
    assert rows_of(world.ask(one, 1.0)) == [3.0], "nobody was active of late"
    monkeypatch.setattr(gathering, "RECENT_S", 3600.0)
    waits = world.ask(two, 2.0)
    time.sleep(0.05)
    assert not waits.done(), "the first one may come at any time"
    one.close()
    assert rows_of(waits) == [5.0]


def test_the_engine_is_closed_with_the_last_caller_and_opened_anew(tmp_path: Path) -> None:
    world = Shared(tmp_path / "p")
    one, two = world.caller(), world.caller()
    assert one.describe() == "tiny on gated (cpu): asked for; shared by the films of its process"
    one.close()
    one.close()
    with pytest.raises(EngineError, match="not open"):
        one.run({"x": np.zeros((1, 3), np.float32)})
    assert world.behind.closed == 0
    assert two.run({"x": np.zeros((0, 3), np.float32)})["y"].shape == (0, 3)
    two.close()
    assert world.behind.closed == 1
    assert rows_of(world.ask(world.caller(), 4.0)) == [9.0] and world.opened == 2


def test_many_calls_from_many_threads_come_back_to_their_callers(tmp_path: Path) -> None:
    world = Shared(tmp_path / "p")

    def film(number: int) -> bool:
        caller = world.caller()
        try:
            return all(rows_of_array(caller, 1000 * number + step, step % 5 + 1) for step in range(50))
        finally:
            caller.close()

    def rows_of_array(caller: Engine, value: int, count: int) -> bool:
        outputs = caller.run({"x": np.full((count, 3), value, np.float32)})
        return len(outputs["y"]) == count and bool((outputs["y"] == 2 * value + 1).all())

    assert all(world.threads.map(film, range(8)))
    assert world.behind.closed == world.opened
