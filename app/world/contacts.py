"""Which feet touch the floor: a small network over half a second of one person's motion.

What one camera sees well goes in: how soles and root move across the picture, in metres at the person's distance, and
how high the soles are below the root. A network of three layers, trained on rendered motion capture, whose contacts are
known, as the program's own networks see it (training/contacts). With no frames to come, as live, it takes the past
alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from bodycast.app.records import F32, F64
from bodycast.app.world.person_series import NEAREST_M, PersonSeries
from bodycast.npz import read_npz

WEIGHTS_FILE = Path(__file__).resolve().parents[2] / "assets" / "motion" / "foot-contacts.npz"
PAST_S = (-0.4, -0.2, -0.1, -0.05)
AHEAD_S = (0.05, 0.1, 0.2)
_SIGNALS = 4 * 2 + 2 + 4
FEATURES = _SIGNALS * (len(PAST_S) + len(AHEAD_S)) + 4 + 2 + 1
"""Numbers that the network takes."""


@dataclass(frozen=True)
class Signals:
    """What is kept of each frame, F of them: `across` (F,5,2) soles and root over their depth, times the root's depth
    in this frame gives metres; `heights_m` (F,4) of the soles above the root; `depth_m` (F,); `seen` (F,2)."""

    across: F32
    heights_m: F32
    depth_m: F32
    seen: F32

    @staticmethod
    def of(person: PersonSeries, up: F64) -> Signals:
        """up: (3,) unit vector, camera frame."""
        points = np.concatenate([person.soles_m, person.root_m[:, None]], axis=1)
        across = points[..., :2] / np.maximum(points[..., 2:], NEAREST_M)
        heights = (person.soles_m - person.root_m[:, None]) @ up.astype(np.float32)
        depth = np.maximum(person.root_m[:, 2], NEAREST_M)
        return Signals(across.astype(np.float32), heights.astype(np.float32), depth, person.seen)


def features(time_s: F64, signals: Signals, rows: slice, *, ahead: bool) -> F32:
    """(R,FEATURES) of the frames `rows` of a person; ahead: whether later frames are known."""
    now_s = time_s[rows]
    moving = np.concatenate([signals.across.reshape(len(time_s), -1), signals.heights_m], axis=1)
    here, depth = moving[rows], signals.depth_m[rows, None]
    parts = [here[:, 10:], signals.seen[rows], np.full((len(now_s), 1), float(ahead), np.float32)]
    offsets = np.array((*PAST_S, *AHEAD_S) if ahead else PAST_S)
    then = _at(time_s, moving, (now_s[:, None] + offsets).ravel()).reshape(len(now_s), len(offsets), -1)
    then[..., :10] = (then[..., :10] - here[:, None, :10]) * depth[:, None]
    missing = len(PAST_S) + len(AHEAD_S) - len(offsets)
    unknown = np.zeros((len(now_s), missing * _SIGNALS), np.float32)
    return np.concatenate([*parts, then.reshape(len(now_s), -1), unknown], axis=1).astype(np.float32)


def _at(time_s: F64, columns: F32, at_s: F64) -> F32:
    """The columns (F,C) at other times (R,), linear between frames, held at the ends."""
    if len(time_s) == 1:
        return np.repeat(columns, len(at_s), axis=0)
    after = np.clip(np.searchsorted(time_s, at_s), 1, len(time_s) - 1)
    span = np.maximum(time_s[after] - time_s[after - 1], 1e-6)
    share = np.clip((at_s - time_s[after - 1]) / span, 0, 1).astype(np.float32)[:, None]
    return (columns[after - 1] + share * (columns[after] - columns[after - 1])).astype(np.float32)


class ContactNetwork:
    """The trained network: (R,FEATURES) -> (R,4) probability of contact, left heel, left toe, right heel, right toe."""

    def __init__(self, weights: Path = WEIGHTS_FILE) -> None:
        """Raises: OSError, NpzError, KeyError where the file is not the network's."""
        stored = read_npz(weights)
        self._layers = [
            (stored[f"weight_{n}"].astype(np.float32), stored[f"bias_{n}"].astype(np.float32)) for n in range(3)
        ]
        self._mean, self._scale = stored["mean"].astype(np.float32), stored["scale"].astype(np.float32)

    def __call__(self, inputs: F32) -> F32:
        """Probabilities."""
        values = (inputs - self._mean) * self._scale
        for number, (weight, bias) in enumerate(self._layers):
            values = values @ weight + bias
            if number < len(self._layers) - 1:
                values = np.maximum(values, 0)
        return (1 / (1 + np.exp(-np.clip(values, -30, 30)))).astype(np.float32)


@cache
def contact_network() -> ContactNetwork:
    """The embedded network, read once."""
    return ContactNetwork()


def contacts_of(person: PersonSeries, up: F64, *, ahead: bool = True) -> F32:
    """(F,4) probability 0..1 that each sole point touches the floor or whatever carries it; 0 for feet not seen."""
    inputs = features(person.time_s, Signals.of(person, up), slice(None), ahead=ahead)
    return contact_network()(inputs) * np.repeat(np.minimum(2 * person.seen, 1), 2, axis=1)
