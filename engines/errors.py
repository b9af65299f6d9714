"""Errors of packages and engines. Each message is one line: what happened, expected and actual, what to do."""

from __future__ import annotations


class EngineError(Exception):
    """An engine cannot be opened or run as asked."""


class PackageError(EngineError):
    """A model package is incomplete, damaged, or not what it says it is."""


class EngineUnavailableError(EngineError):
    """The engine, or the device it was asked to run on, is not there. The message lists what is."""


class PlanError(EngineUnavailableError):
    """No built TensorRT plan fits this machine, or one is damaged. The message says what to build."""
