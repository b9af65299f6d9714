"""OSC as others read it: python-osc and, where it is installed, osc4py3."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("pythonosc", reason="python-osc is not installed (requirements/dev.txt)")

from bodycast.app.senders.osc import MOST_BYTES, Bundle, Message, bundles
from tests.senders.receivers import messages_of

LAYOUT: tuple[Message, ...] = (
    ("/a", (1, 2.0, "text")),
    ("/longer/address", ("four", 3.0, 4.0, 7)),
    ("/none", ()),
)


def test_python_osc_reads_what_is_written() -> None:
    assert messages_of(Bundle(LAYOUT).packed(np.array([0.5, -1.5, 2.25]), [5, -6])) == [
        ("/a", [5, 0.5, "text"]),
        ("/longer/address", ["four", -1.5, 2.25, -6]),
        ("/none", []),
    ]


def test_numbers_of_one_frame_do_not_change_what_was_packed_before() -> None:
    bundle = Bundle(LAYOUT)
    first = bundle.packed(np.array([1.0, 2.0, 3.0]))
    bundle.packed(np.array([4.0, 5.0, 6.0]))
    assert messages_of(first)[1] == ("/longer/address", ["four", 2.0, 3.0, 7])


def test_messages_are_spread_over_datagrams_that_fit_and_keep_their_order() -> None:
    layout: list[Message] = [(f"/message/{index:03}", (0.0,) * 12) for index in range(60)]
    parts = bundles(layout)
    packed = [part.packed(np.zeros(part.float_count)) for part in parts]
    assert all(len(data) <= MOST_BYTES for data in packed) and len(packed) == 4
    assert [address for data in packed for address, _ in messages_of(data)] == [address for address, _ in layout]


def test_a_bundle_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="1472"):
        Bundle([("/x", (0.0,) * 400)])
