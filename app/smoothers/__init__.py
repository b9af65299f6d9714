"""Smoothers filter bodies over time (`base.Smoother`); `open_smoother` makes one by name."""

from __future__ import annotations

from bodycast.app.smoothers.factory import SMOOTHER_NAMES, open_smoother

__all__ = ["SMOOTHER_NAMES", "open_smoother"]
