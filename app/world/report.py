"""What a run has found out about camera, floor and people, for run.json and for people to read."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

from bodycast.app.world.floor_fit import FloorFit
from bodycast.app.world.lens import LensEstimate
from bodycast.app.world.options import WorldOptions
from bodycast.hmr.geometry.camera import fov_from_focal


@dataclass(frozen=True)
class WorldReport:
    """Focal length px, its relative standard deviation and where it is from. Pitch (the camera looks down) and roll,
    degrees, height above the floor, m, with standard deviations (of pitch in degrees, of the height relative); None
    without a floor. `heights_m`: of everybody, by id. `levels_m`: of who stands higher or lower than the floor."""

    focal_px: float = 0.0
    focal_spread: float = 0.0
    focal_from: str = ""
    fov_deg: float = 0.0
    camera_moves: bool = False
    has_world: bool = True
    pitch_deg: float | None = None
    roll_deg: float | None = None
    camera_height_m: float | None = None
    pitch_spread_deg: float | None = None
    camera_height_spread: float | None = None
    heights_m: dict[int, float] = field(default_factory=dict[int, float])
    levels_m: dict[int, float] = field(default_factory=dict[int, float])

    def lines(self) -> list[str]:
        """A line each for lens, floor and people."""
        found: list[str] = []
        if self.focal_px > 0:
            unsure = f", within {self.focal_spread:.0%}" if self.focal_spread else ""
            found.append(f"lens: {self.focal_px:.0f} px, {self.fov_deg:.0f} degrees ({self.focal_from}{unsure})")
        if not self.has_world:
            found.append("floor: none, the camera moves: world coordinates are off")
        elif self.camera_height_m is None or self.pitch_deg is None or self.roll_deg is None:
            found.append("floor: none, nobody's feet were seen to stand")
        else:
            found.append(
                f"floor: camera {self.camera_height_m:.2f} m above it{_within(self.camera_height_spread)}, "
                f"looking {_down(self.pitch_deg)}, rolled {self.roll_deg:+.0f} degrees"
            )
        people = [f"{person}: {height:.2f} m{self._level(person)}" for person, height in self.heights_m.items()]
        if people:
            found.append("height of " + ", ".join(people))
        return found

    def _level(self, person: int) -> str:
        level = self.levels_m.get(person, 0.0)
        if math.isnan(level):
            return " (on no floor)"
        return f" (standing {level:+.1f} m from the floor)" if level else ""


def _within(spread: float | None) -> str:
    return f" within {spread:.0%}" if spread else ""


def _down(pitch_deg: float) -> str:
    if abs(pitch_deg) < 0.5:
        return "straight ahead"
    return f"{abs(pitch_deg):.0f} degrees {'down' if pitch_deg > 0 else 'up'}"


def lens_report(focal_px: float, image_wh: tuple[int, int], lens: LensEstimate, options: WorldOptions) -> WorldReport:
    """What is known of the lens."""
    if focal_px <= 0:
        return WorldReport()
    found = [_counted(lens.pictures, "picture"), _counted(lens.walks, "walk")]
    walks = "the usual lens" + "".join(f", and {text}" for text in found if text)
    return WorldReport(
        focal_px=round(focal_px, 1),
        focal_spread=0.0 if options.lens_from else round(lens.spread, 3),
        focal_from=options.lens_from or walks,
        fov_deg=round(math.degrees(float(fov_from_focal(focal_px, image_wh))), 1),
    )


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'s' if count > 1 else ''}" if count else ""


def floor_report(report: WorldReport, fit: FloorFit | None) -> WorldReport:
    """The same with what is known of the floor."""
    if fit is None or fit.floor is None:
        return report
    return replace(
        report,
        pitch_deg=round(math.degrees(fit.floor.pitch_rad), 2),
        roll_deg=round(math.degrees(fit.floor.roll_rad), 2),
        camera_height_m=round(fit.floor.height_m, 3),
        pitch_spread_deg=round(math.degrees(fit.pitch_spread), 2),
        camera_height_spread=round(fit.height_spread, 3),
    )
