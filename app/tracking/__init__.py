"""Trackers give boxes stable ids (`base.Tracker`); `open_tracker` makes one."""

from __future__ import annotations

from bodycast.app.tracking.factory import open_tracker

__all__ = ["open_tracker"]
