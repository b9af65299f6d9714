"""The lens by what pictures show: a field-of-view network looks at the first one and at one every few seconds."""

from __future__ import annotations

import math
import threading
from collections import deque
from typing import Protocol

import numpy as np

from bodycast.app.records import U8, Frame
from bodycast.app.world.lens import SeenLens
from bodycast.hmr.geometry.camera import Intrinsics

EVERY_S = 4.0
SPREAD = 0.12
"""Standard deviation of the logarithm of the focal length that one network says: 6 degrees of 60. It does not become
less with more pictures of one place, since their errors are alike."""
KEPT = 31
"""So many answers, the newest; their median counts."""


class SeesLens(Protocol):
    """Gives a picture's focal length in px, or None where it cannot say."""

    def focal_px(self, image: U8) -> float | None:
        """Of a picture (H,W,3) BGR."""
        ...


class LensWatch:
    """Looks at frames when it is time. At once for films, so that a film always gets the same answers; beside the
    pipeline for live sources, one frame at a time. Use it from one thread."""

    def __init__(self, network: SeesLens, live: bool, stills: bool = False) -> None:
        """stills: each frame has a lens of its own; `reset` comes before each."""
        self._network = network
        self._live, self._one_lens = live, not (live or stills)
        self._next_s = -math.inf
        self._said = deque[float](maxlen=KEPT)
        self._thread: threading.Thread | None = None
        self._error: Exception | None = None

    def fresh(self, live: bool, stills: bool = False) -> LensWatch:
        """The same network on another source."""
        return LensWatch(self._network, live, stills)

    def reset(self) -> None:
        """A cut: the next picture is looked at, and what earlier ones said is of another camera. But a film has one
        lens in its results."""
        self._next_s = -math.inf
        if not self._one_lens:
            # A look that is going on still answers into the old one.
            self._said = deque[float](maxlen=KEPT)

    @property
    def seen(self) -> SeenLens | None:
        """What the pictures so far show; None: nothing yet."""
        said = list(self._said)
        return SeenLens(float(np.median(said)), SPREAD, len(said)) if said else None

    def offer(self, frame: Frame, assumed: Intrinsics) -> None:
        """Look at this frame, if it is time. Raises what the network raised."""
        if self._error is not None:
            raise self._error
        if frame.time_s < self._next_s or (self._thread is not None and self._thread.is_alive()):
            return
        self._next_s = frame.time_s + EVERY_S
        if not self._live:
            self._look(frame.image, assumed.focal_px, self._said)
            return
        self._thread = threading.Thread(
            target=self._guarded, args=(frame.image, assumed.focal_px, self._said), name="lens", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Wait for a look that is going on."""
        if self._thread is not None:
            self._thread.join(5.0)
            self._thread = None

    def _guarded(self, image: U8, assumed_px: float, said: deque[float]) -> None:
        try:
            self._look(image, assumed_px, said)
        except Exception as error:  # travels to the next offer, which raises it
            self._error = error

    def _look(self, image: U8, assumed_px: float, said: deque[float]) -> None:
        focal_px = self._network.focal_px(image)
        if focal_px is not None:
            said.append(math.log(focal_px / assumed_px))
