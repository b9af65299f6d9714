"""Opening devices that hang."""

from __future__ import annotations

import threading

import pytest

from bodycast.app.sources.threaded import MOST_WARNINGS, SourceLog, call_bounded


def test_a_device_that_opens_too_late_is_released() -> None:
    may_open = threading.Event()
    released: list[str] = []
    done = threading.Event()

    def release(device: str) -> None:
        released.append(device)
        done.set()

    def open_slowly() -> str:
        may_open.wait(5.0)
        return "device"

    with pytest.raises(TimeoutError):
        call_bounded(open_slowly, 0.05, release)
    assert released == []
    may_open.set()
    assert done.wait(2.0)
    assert released == ["device"]


def test_what_opens_or_fails_in_time_comes_back_as_it_is() -> None:
    def refuse() -> str:
        raise PermissionError("not yours")

    assert call_bounded(lambda: "device", 2.0, lambda device: None) == "device"
    with pytest.raises(PermissionError, match="not yours"):
        call_bounded(refuse, 2.0, lambda device: None)


def test_warnings_stay_bounded() -> None:
    log = SourceLog()
    for index in range(3 * MOST_WARNINGS):
        log.warn(f"connection lost after frame {index // 2}")
    assert len(log.warnings) == MOST_WARNINGS
    assert len(set(log.warnings)) == MOST_WARNINGS
