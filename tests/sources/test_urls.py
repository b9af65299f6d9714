"""What people see of an address holds no secret."""

from __future__ import annotations

import pytest

from bodycast.app.sources.urls import public_url


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("rtsp://admin:secret@camera/stream", "rtsp://camera/stream"),
        ("http://camera/cgi?user=admin&password=secret", "http://camera/cgi?user=...&password=..."),
        ("https://a:b@host:8080/x?token=secret#t", "https://host:8080/x?token=...#t"),
        ("rtsp://camera/1?channel", "rtsp://camera/1?channel"),
        ("films/what?a=b.mp4", "films/what?a=b.mp4"),
        ("0", "0"),
    ],
)
def test_user_password_and_query_are_left_out(url: str, shown: str) -> None:
    assert public_url(url) == shown
