"""What can go wrong with an export although everything that was asked for is in order."""

from __future__ import annotations


class WorkError(ValueError):
    """The work itself failed: a graph that does not compute what torch does, a precision beyond its tolerance."""
