"""What a reader of somebody else's files says when they are not what they should be."""

from __future__ import annotations


class DatasetError(ValueError):
    """A data set, or a file of it, that cannot be used; the message is one line that says why and what to do."""
