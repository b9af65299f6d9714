"""Delayed one-euro estimates for people who are too new for the network: those of the output's time."""

from __future__ import annotations

from dataclasses import replace

from bodycast.app.records import F32, BodyEstimates
from bodycast.app.smoothers.person_memory import Flags

_KEEP_S = 0.6


class FirstFrames:
    """Keeps filtered bodies of new people until they are due."""

    def __init__(self) -> None:
        self._past: dict[int, list[tuple[float, F32, F32]]] = {}

    def clear(self) -> None:
        """Forget everybody."""
        self._past.clear()

    def update(self, calm: BodyEstimates, new: Flags, time_s: float, about_s: float) -> BodyEstimates:
        """`calm`, in copies, with the pose and translation that each new person of (N,) had nearest to `about_s`."""
        pose, transl_m = calm.pose.copy(), calm.transl_m.copy()
        for row in new.nonzero()[0].tolist():
            past = self._past.setdefault(int(calm.id[row]), [])
            past.append((time_s, calm.pose[row], calm.transl_m[row]))
            _, pose[row], transl_m[row] = min(past, key=lambda entry: abs(entry[0] - about_s))
        for person in [person for person, past in self._past.items() if time_s - past[-1][0] > _KEEP_S]:
            del self._past[person]
        return replace(calm, pose=pose, transl_m=transl_m)
