"""Who gets through the viewer's door."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPResponse
from urllib.parse import urlsplit

import numpy as np
import pytest

from bodycast.app.address import Address
from bodycast.app.errors import UsageError
from bodycast.app.viewer.picture_feed import PictureFeed
from bodycast.app.viewer.proxy import COOKIE, ViewerProxy


def free_port() -> int:
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        return made.getsockname()[1]


@pytest.fixture
def behind() -> Iterator[int]:
    """A server that says "viser" to whoever comes, and closes."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nviser")

    threading.Thread(target=serve, daemon=True).start()
    yield server.getsockname()[1]
    server.close()


@pytest.fixture
def feed() -> PictureFeed:
    return PictureFeed()


@pytest.fixture
def proxy(behind: int, feed: PictureFeed) -> Iterator[ViewerProxy]:
    made = ViewerProxy(Address("127.0.0.1", free_port()), behind, feed.newest)
    yield made
    made.close()


@pytest.fixture
def open_proxy(behind: int, feed: PictureFeed) -> Iterator[ViewerProxy]:
    made = ViewerProxy(Address("0.0.0.0", free_port()), behind, feed.newest)
    yield made
    made.close()


def ask(proxy: ViewerProxy, path: str, **headers: str) -> tuple[HTTPResponse, bytes]:
    connection = HTTPConnection("127.0.0.1", proxy.address.port, timeout=10)
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    return answer, answer.read()


def test_this_machine_gets_the_page_and_viser_behind_it(proxy: ViewerProxy) -> None:
    answer, page = ask(proxy, "/")
    assert answer.status == 200 and b"<iframe" in page and "token" not in proxy.url
    assert ask(proxy, "/?world=1")[1] == b"viser"
    assert ask(proxy, "/assets/main.js")[1] == b"viser"


def test_other_sites_and_other_names_do_not(proxy: ViewerProxy) -> None:
    assert ask(proxy, "/", Origin="http://evil.example")[0].status == 403
    assert ask(proxy, "/?world=1", Origin="http://evil.example", Upgrade="websocket")[0].status == 403
    assert ask(proxy, "/picture", Host="rebound.example")[0].status == 403
    own = f"127.0.0.1:{proxy.address.port}"
    assert ask(proxy, "/?world=1", Origin=f"http://{own}")[1] == b"viser"


def test_other_machines_need_the_token(open_proxy: ViewerProxy) -> None:
    for path in ("/", "/?world=1", "/picture", "/assets/main.js", "/?token=wrong"):
        assert ask(open_proxy, path)[0].status == 403, path
    token = urlsplit(open_proxy.url).query
    assert len(token) > len("token=") + 12
    answer, _ = ask(open_proxy, f"/?{token}")
    assert answer.status == 200
    cookie = answer.headers["Set-Cookie"].partition(";")[0]
    assert cookie.startswith(COOKIE) and "SameSite=Strict" in answer.headers["Set-Cookie"]
    assert ask(open_proxy, "/?world=1", Cookie=cookie)[1] == b"viser"
    assert ask(open_proxy, "/?world=1", Cookie=f"{COOKIE}=wrong")[0].status == 403
    assert ask(open_proxy, "/?world=1", Cookie=cookie, Origin="http://evil.example")[0].status == 403


def test_the_newest_picture_is_given_once(proxy: ViewerProxy, feed: PictureFeed) -> None:
    import cv2

    assert ask(proxy, "/picture?after=0")[0].status == 204
    for grey in (10, 200):
        feed.put(np.full((90, 1920, 3), grey, np.uint8))
    answer, content = ask(proxy, "/picture?after=0")
    picture = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None and picture.shape == (45, 960, 3) and abs(int(picture.mean()) - 200) < 3
    assert ask(proxy, f"/picture?after={answer.headers['X-Number']}")[0].status == 204


def test_what_is_no_request_is_dropped_and_the_gate_stays_open(proxy: ViewerProxy) -> None:
    for rubbish in (b"\x16\x03\x01", b"POST / HTTP/1.1\r\n\r\n", b"x" * 40_000, b"GET /\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", proxy.address.port), timeout=10) as connection:
            connection.sendall(rubbish)
            connection.shutdown(socket.SHUT_WR)
            assert b"200" not in connection.recv(4096)
    assert ask(proxy, "/")[0].status == 200


def test_a_port_that_is_taken_is_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(UsageError, match=r"--port.*127\.0\.0\.1"):
        ViewerProxy(Address("127.0.0.1", taken.getsockname()[1]), 1, PictureFeed().newest)
