"""What the window shows: chosen with keys in the window's thread, read by the thread that draws."""

from __future__ import annotations

from bodycast.app.renderers.picture import DRAWS, Draw

OPACITIES = (0.25, 0.5, 0.75, 1.0)


class View:
    """`what` is drawn, at which `opacity`, `mirror`ed or not, `paused` or not."""

    def __init__(self, what: Draw = "mesh", mirror: bool = False) -> None:
        """what: that of the files, which the keys do not change."""
        self._of_files = what
        self.what: Draw = what
        self.opacity = 1.0
        self.mirror = mirror
        self.paused = False

    @property
    def as_files(self) -> bool:
        """Whether the window shows the picture that files get."""
        return self.what == self._of_files and self.opacity == 1.0

    def next(self) -> None:
        """Mesh, skeleton, both, side, and again."""
        self.what = DRAWS[(DRAWS.index(self.what) + 1) % len(DRAWS)]

    def step_opacity(self, steps: int) -> None:
        """Meshes more solid (1) or more transparent (-1)."""
        at = OPACITIES.index(self.opacity) + steps
        self.opacity = OPACITIES[min(max(at, 0), len(OPACITIES) - 1)]

    def toggle_mirror(self) -> None:
        """Selfie view, or not."""
        self.mirror = not self.mirror

    def toggle_pause(self) -> None:
        """Stand still, or go on."""
        self.paused = not self.paused
