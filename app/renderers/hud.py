"""The lines of text over the picture: is it live, how late is it, what is running."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from bodycast.app.records import U8

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_REFERENCE_HEIGHT_PX = 720
_TEXT_BGR, _MUTED_BGR, _WARN_BGR = (245, 245, 245), (190, 190, 190), (90, 190, 255)
_RECORD_BGR = (90, 90, 255)
# Above these the number is drawn in the warning colour: the picture no longer feels live.
_SLOW_LATENCY_S = 0.15
_SLOW_FPS = 20.0


@dataclass(frozen=True, slots=True)
class HudStatus:
    """What the HUD says. `latency_s`: capture to display, None for a file (it has no capture time); `people`: their
    ids; `dropped`: frames so far; `notes`: one line each, for what the user should know (a software renderer, a weak
    detector); `sending`: each sender's name and how long its last frame took from the grab until it was sent, None: not
    known; `recording`: the take's name; `paused`: the picture stands; `traded`: what is less than was asked for, to
    keep up, one line each."""

    fps: float
    latency_s: float | None
    people: tuple[int, ...] = ()
    dropped: int = 0
    detector: str = ""
    engine: str = ""
    smoother: str = ""
    renderer: str = ""
    notes: tuple[str, ...] = ()
    sending: tuple[tuple[str, float | None], ...] = ()
    recording: str = ""
    paused: bool = False
    traded: tuple[str, ...] = ()


Line = tuple[str, tuple[int, int, int]]

KEYS = (
    "space: pause   m: mesh, skeleton, both, side   + -: opacity   x: mirror",
    "s: screenshot   r: record a take   c: centre the avatar   h: hide   q: quit",
)


class Hud:
    """Draws a `HudStatus`, small at first; `toggle` (the h key) shows all of it, nothing, and the small one again."""

    def __init__(self, visible: bool = True) -> None:
        self.visible = visible
        self._full = False

    def toggle(self) -> None:
        """Small, full, hidden, and again."""
        self.visible, self._full = not (self.visible and self._full), self.visible and not self._full

    def draw(self, picture: U8, status: HudStatus) -> U8:
        """A new (H,W,3) uint8 BGR picture with the HUD in its upper left corner, or `picture` itself where hidden."""
        if not self.visible:
            return picture
        out = picture.copy()
        scale = max(picture.shape[0] / _REFERENCE_HEIGHT_PX, 0.4)
        size, step, margin = 0.5 * scale, round(21 * scale), round(10 * scale)
        lines = hud_lines(status, self._full)
        width = max(cv2.getTextSize(text, _FONT, size, 1)[0][0] for text, _ in lines) + 2 * margin
        # Darkened, not covered: the picture behind stays readable.
        panel = out[: step * len(lines) + margin, :width]
        np.right_shift(panel, 1, out=panel)
        for row, (text, colour) in enumerate(lines):
            cv2.putText(out, text, (margin, step * (row + 1)), _FONT, size, colour, 1, cv2.LINE_AA)
        return out


def hud_lines(status: HudStatus, full: bool = True) -> list[Line]:
    """The HUD as (text, BGR colour) lines: speed first, then what is sent and recorded, then notes; `full`: what runs,
    and the keys."""
    slow = status.fps < _SLOW_FPS or (status.latency_s or 0) > _SLOW_LATENCY_S
    latency = "" if status.latency_s is None else f"   latency {status.latency_s * 1e3:.0f} ms"
    ids = ": " + ", ".join(map(str, status.people)) if status.people else ""
    dropped = f"   dropped {status.dropped}" if status.dropped else ""
    people = f"people {len(status.people)}{ids}{dropped}"
    speed = f"{status.fps:.1f} fps{latency}", _WARN_BGR if slow else _TEXT_BGR
    lines: list[Line] = [speed, (people, _TEXT_BGR)] if full else [(f"{speed[0]}   {people}", speed[1])]
    if status.sending:
        sent = (name if late_s is None else f"{name} {late_s * 1e3:.0f} ms" for name, late_s in status.sending)
        lines.append((f"sends {', '.join(sent)}", _TEXT_BGR))
    if status.recording:
        lines.append((f"recording {status.recording}   r: stop", _RECORD_BGR))
    if status.paused:
        lines.append(("paused   space: go on", _WARN_BGR))
    lines.extend((_shortened(line, MOST_TRADED), _WARN_BGR) for line in status.traded)
    for label in ("engine", "detector", "smoother", "renderer") if full else ():
        value = str(getattr(status, label))
        if value:
            lines.append((f"{label} {_shortened(value)}", _MUTED_BGR))
    lines.extend((_shortened(note), _WARN_BGR) for note in status.notes)
    lines.extend((keys, _MUTED_BGR) for keys in (KEYS if full else ("h: more",)))
    return lines


MOST_TRADED = 96
"""Characters of a line about what is traded: all that can be is named in so many."""


def _shortened(text: str, limit: int = 64) -> str:
    """OpenCV's font knows ASCII only, and a line must not run over the picture."""
    plain = text.encode("ascii", "replace").decode()
    return plain if len(plain) <= limit else plain[: limit - 3] + "..."
