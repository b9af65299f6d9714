"""No smoothing."""

from __future__ import annotations

from bodycast.app.records import BodyEstimates


class NoSmoother:
    """`Smoother` that passes everything on."""

    @property
    def name(self) -> str:
        """`none`."""
        return "none"

    @property
    def lag_s(self) -> float:
        """0."""
        return 0.0

    def describe(self) -> str:
        """See `Smoother.describe`."""
        return self.name

    def update(self, estimates: BodyEstimates, time_s: float) -> BodyEstimates:
        """The estimates as they are."""
        return estimates

    def reset(self) -> None:
        """Nothing to forget."""

    def close(self) -> None:
        """Nothing to release."""
