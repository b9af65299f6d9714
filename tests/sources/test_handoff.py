"""Two policies, and nobody left waiting."""

from __future__ import annotations

import threading
import time

import pytest

from bodycast.app.sources.handoff import Handoff, WhenFull


def test_waiting_keeps_everything_in_order_when_the_reader_is_slow() -> None:
    handoff: Handoff[int] = Handoff(2, WhenFull.WAIT)

    def work() -> None:
        for item in range(20):
            handoff.put(item)
        handoff.end()

    threading.Thread(target=work, daemon=True).start()
    got: list[int] = []
    while (item := handoff.take(2.0)) is not None:
        got.append(item)
        time.sleep(0.001)
    assert got == list(range(20))
    assert handoff.dropped == 0


def test_dropping_gives_the_newest_and_counts_the_rest() -> None:
    handoff: Handoff[int] = Handoff(1, WhenFull.DROP_OLDEST)
    for item in range(10):
        assert handoff.put(item)
    assert handoff.take() == 9
    assert handoff.dropped == 9


def test_an_error_arrives_after_the_items_before_it_and_only_once() -> None:
    handoff: Handoff[int] = Handoff(4, WhenFull.WAIT)
    handoff.put(1)
    handoff.end(ValueError("broken"))
    assert handoff.take() == 1
    with pytest.raises(ValueError, match="broken"):
        handoff.take()
    assert handoff.take() is None


def test_close_frees_a_worker_that_waits_for_room() -> None:
    handoff: Handoff[int] = Handoff(1, WhenFull.WAIT)
    handoff.put(0)
    answers: list[bool] = []
    worker = threading.Thread(target=lambda: answers.append(handoff.put(1)), daemon=True)
    worker.start()
    time.sleep(0.05)
    assert worker.is_alive()
    handoff.close()
    worker.join(1.0)
    assert answers == [False]


def test_close_frees_a_reader_that_waits_for_an_item() -> None:
    handoff: Handoff[int] = Handoff(1, WhenFull.WAIT)
    answers: list[int | None] = []
    reader = threading.Thread(target=lambda: answers.append(handoff.take()), daemon=True)
    reader.start()
    time.sleep(0.05)
    assert reader.is_alive()
    handoff.close()
    reader.join(1.0)
    assert answers == [None]


def test_silence_raises_a_timeout() -> None:
    with pytest.raises(TimeoutError):
        Handoff[int](1, WhenFull.WAIT).take(0.01)


def test_a_capacity_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="capacity"):
        Handoff[int](0, WhenFull.WAIT)
