"""Which photographs are held out: a tenth, by their names alone, the same for everything that learns from them."""

from __future__ import annotations

import hashlib

HELD_OUT_ONE_IN = 10


def held_out(file_name: str) -> bool:
    """Whether the picture `file_name` (its bare name, without folders) is for scoring only and never learned from."""
    name = file_name.replace("\\", "/").rpartition("/")[2]
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") % HELD_OUT_ONE_IN == 0
