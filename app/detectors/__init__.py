"""Where people are found in a frame."""

from bodycast.app.detectors.factory import open_detector

__all__ = ["open_detector"]
