"""Errors of packages and engines. Each message is one line: what happened, expected and actual, what to do."""

from __future__ import annotations

from bodycast.plain_text import message_line


def first_line(error: BaseException) -> str:
    """What another library's error says, in one line."""
    return str(error).strip().partition("\n")[0] or type(error).__name__


class EngineError(Exception):
    """An engine cannot be opened or run as asked. What a message quotes of files is made one plain, short line."""

    def __init__(self, message: object = "") -> None:
        super().__init__(message_line(message))


class PackageError(EngineError):
    """A model package is incomplete, damaged, or not what it says it is."""


class EngineUnavailableError(EngineError):
    """The engine, or the device it was asked to run on, is not there. The message lists what is."""


class CaptureError(EngineError):
    """Work on a GPU's stream cannot be recorded as a CUDA graph; it runs without one."""


class PlanError(EngineUnavailableError):
    """No built TensorRT plan fits this machine, or one is damaged. The message says what to build."""
