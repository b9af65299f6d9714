"""What the user says of camera, floor and people."""

from __future__ import annotations

from dataclasses import dataclass, field

from bodycast.app.world.floor_fit import SIZE_SPREAD, FloorKnown

KNOWN_SIZE_SPREAD = 0.01


@dataclass(frozen=True)
class WorldOptions:
    """`floor`: whether one is looked for. `known`: of the camera. `person_height_m`: of everybody. `hold_feet`: feet
    that touch something stay where they do. `smooth_clip`: leaps of limbs are left out, and poses of a recorded clip
    smoothed. `lens_from`: who said the focal length; empty: nobody, so that it is estimated. `live`: nothing is worked
    out once more at the end, so the lens is estimated while people are followed. `stills`: each frame is a scene and a
    lens of its own.
    """

    floor: bool = True
    known: FloorKnown = field(default_factory=FloorKnown)
    person_height_m: float | None = None
    hold_feet: bool = True
    smooth_clip: bool = True
    lens_from: str = ""
    live: bool = False
    stills: bool = False

    @property
    def size_spread(self) -> float:
        """How unsure people's sizes are, see FloorSamples."""
        if self.person_height_m is not None:
            return KNOWN_SIZE_SPREAD
        return SIZE_SPREAD
