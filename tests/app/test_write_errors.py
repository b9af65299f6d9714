"""The reason why a file could not be written is told, and what helps against that one."""

from __future__ import annotations

import errno
import os

import pytest

from bodycast.app.errors import cannot_write


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.ENOSPC, "free some space"),
        (errno.EACCES, "no permission"),
        (errno.EROFS, "read-only"),
        (errno.EFBIG, "ulimit -f"),
        (errno.ENOENT, "its folder is gone"),
        (errno.EIO, "write elsewhere"),
    ],
)
def test_each_reason_has_its_way_out(number: int, said: str) -> None:
    text = str(cannot_write("out/motion.npz", OSError(number, os.strerror(number)), "an earlier part is kept"))
    assert text.startswith(f"out/motion.npz: cannot be written ({os.strerror(number)}); an earlier part is kept; ")
    assert said in text and ("free some space" in text) == (number == errno.ENOSPC)


def test_a_reason_that_nobody_foresaw_is_told_as_it_is() -> None:
    assert str(cannot_write("a.mp4", ValueError("what."))) == "a.mp4: cannot be written (what)"
