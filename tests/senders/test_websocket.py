"""The WebSocket server with the library's own client, and its page in a browser where there is one."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from bodycast.app.address import Address
from bodycast.app.errors import UsageError
from bodycast.app.records import FrameResult
from bodycast.app.senders.messages import HEADER, ONE, PERSON, as_binary, as_json, world_frame
from tests.sinks.results import result_of

pytest.importorskip("websockets", reason="websockets is not installed (requirements/senders.txt)")
pytest.importorskip("pythonosc", reason="python-osc is not installed (requirements/dev.txt)")

from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect

from bodycast.app.senders import websocket
from bodycast.app.senders.skeleton import matrices
from bodycast.app.senders.websocket import WebSocketSender
from tests.senders.receivers import joints_in_world, on_floor


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def sender() -> Iterator[WebSocketSender]:
    made = WebSocketSender(Address("127.0.0.1", free_port()))
    yield made
    made.close()


def client_of(sender: WebSocketSender, path: str = "/json", **more: object) -> ClientConnection:
    known = sender.client_count
    client = connect(f"ws://{sender.address}{path}", **more)  # type: ignore[arg-type]
    wait_until(lambda: sender.client_count > known)
    return client


def wait_until(holds: object, seconds: float = 5.0) -> None:
    until = time.monotonic() + seconds
    while not holds():  # type: ignore[operator]
        assert time.monotonic() < until, "did not happen in time"
        time.sleep(0.005)


def test_json_has_everybody_in_the_world(sender: WebSocketSender) -> None:
    result = on_floor(5, (3, 8))
    with client_of(sender) as client:
        sender.write(result)
        message = json.loads(client.recv(2))
    assert (message["version"], message["frame"], message["floor"]) == (1, 5, True)
    assert [person["id"] for person in message["people"]] == [3, 8]
    for row, person in enumerate(message["people"]):
        np.testing.assert_allclose(person["joints_m"], joints_in_world(result, row), atol=1e-4)
        turns = matrices(np.array(person["rotations"]))
        np.testing.assert_allclose(turns[1:], result.estimates.pose[row, 1:], atol=1e-3)
        assert person["contacts"] == [0.9, 0.8, 0.1, 0.2]


def test_binary_says_the_same(sender: WebSocketSender) -> None:
    result = on_floor(6, (3, 8))
    with client_of(sender, "/binary") as client:
        sender.write(result)
        data = client.recv(2)
    assert isinstance(data, bytes) and len(data) == 20 + 2 * 504
    head = np.frombuffer(data, HEADER, 1)[0]
    assert (head["magic"], head["frame"], head["people"], head["flags"]) == (b"BCW1", 6, 2, 1)
    people, expected = np.frombuffer(data, PERSON, offset=HEADER.itemsize), world_frame(result)
    assert people["id"].tolist() == [3, 8]
    np.testing.assert_allclose(people["joints_m"], expected.joints_m, atol=1e-6)
    np.testing.assert_allclose(people["rotations"] / ONE, expected.rotations, atol=2e-5)


@pytest.mark.parametrize("result", [on_floor(0, ()), result_of(1, people=[1])], ids=["nobody", "no world known"])
def test_what_is_not_known_is_json_all_the_same(result: FrameResult) -> None:
    message = json.loads(as_json(world_frame(result)))
    assert len(message["people"]) == len(result.estimates)
    assert message["floor"] is (result.world is not None)
    for person in message["people"]:
        assert person["contacts"] == [None] * 4
    assert len(as_binary(world_frame(result))) == 20 + 504 * len(result.estimates)


def test_ten_clients_of_which_one_is_stuck_disturb_nobody(
    sender: WebSocketSender, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nine get every frame; the one that reads nothing is dropped, and that is said once."""
    monkeypatch.setattr(websocket, "SLOW_S", 0.5)
    stuck = socket.create_connection((sender.address.host, sender.address.port))
    stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    stuck.sendall(
        b"GET /json HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    wait_until(lambda: sender.client_count == 1)
    clients = [client_of(sender, "/json" if index % 2 else "/binary") for index in range(9)]
    counts = [0] * 9

    def read(index: int) -> None:
        while True:
            try:
                clients[index].recv(1.0)
            except Exception:
                return
            counts[index] += 1

    threads = [threading.Thread(target=read, args=(index,)) for index in range(9)]
    for thread in threads:
        thread.start()
    result, writes, frames = on_floor(0, tuple(range(1, 41))), [], 0
    until = time.monotonic() + 20
    while sender.client_count == 10 and time.monotonic() < until:
        before = time.perf_counter()
        sender.write(result)
        writes.append(time.perf_counter() - before)
        frames += 1
        time.sleep(0.02)
    assert sender.client_count == 9, "the stuck one was dropped"
    for _ in range(10):
        sender.write(result)
        frames += 1
        time.sleep(0.02)
    for thread in threads:
        thread.join(5)
    stuck.close()
    assert min(counts) >= 0.95 * frames, (counts, frames)
    assert np.median(writes) < 0.02 and len(sender.warnings) == 1


def test_pages_of_other_sites_may_not_read(sender: WebSocketSender) -> None:
    with pytest.raises(InvalidStatus):
        connect(f"ws://{sender.address}/json", origin="https://example.org")  # type: ignore[arg-type]
    with client_of(sender, origin="http://localhost:5173"):
        pass
    assert sender.token == ""


def test_where_others_can_connect_a_token_is_needed() -> None:
    sender = WebSocketSender(Address("0.0.0.0", free_port()))
    try:
        place = f"127.0.0.1:{sender.address.port}"
        for path in ("/json", "/json?token=wrong"):
            with pytest.raises(InvalidStatus) as refused:
                connect(f"ws://{place}{path}")
            assert refused.value.response.status_code == 403
        with connect(f"ws://{place}/json?token={sender.token}", origin="https://example.org"):  # type: ignore[arg-type]
            wait_until(lambda: sender.client_count == 1)
        with pytest.raises(urllib.error.HTTPError):
            urllib.request.urlopen(f"http://{place}/")
        assert f"?token={sender.token}" in sender.describe()
    finally:
        sender.close()


def test_a_port_that_is_taken_is_one_line(sender: WebSocketSender) -> None:
    with pytest.raises(UsageError, match=r"--websocket 127\.0\.0\.1:\d+: "):
        WebSocketSender(sender.address)


def test_without_clients_nothing_is_made(sender: WebSocketSender) -> None:
    result = on_floor(0, (1, 2))
    before = time.thread_time()
    for _ in range(100):
        sender.write(result)
    assert (time.thread_time() - before) / 100 < 5e-5
    assert sender.latency_s is None


def test_closing_ends_clients_and_may_be_done_twice(sender: WebSocketSender) -> None:
    with client_of(sender) as client:
        sender.close()
        sender.close()
        with pytest.raises(Exception):  # noqa: B017  (closed or lost, as the system has it)
            client.recv(2)


def test_the_page_is_served_and_nothing_else(sender: WebSocketSender) -> None:
    with urllib.request.urlopen(f"http://{sender.address}/") as answer:
        assert answer.headers["Content-Type"].startswith("text/html")
        assert b"<canvas>" in answer.read()
    with pytest.raises(urllib.error.HTTPError):
        urllib.request.urlopen(f"http://{sender.address}/etc/passwd")


@pytest.mark.slow
def test_the_page_draws_people_in_a_browser(sender: WebSocketSender, tmp_path: Path) -> None:
    """Chromium: both people's colours are in the picture, the ground is what the address says."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no Chromium is installed")
    picture = tmp_path / "page.png"
    command = [browser, "--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=960,540"]
    command += ["--timeout=4000", f"--screenshot={picture}", f"--user-data-dir={tmp_path / 'profile'}"]
    running = subprocess.Popen(
        [*command, f"http://{sender.address}/?background=white&floor=1"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    result = on_floor(0, (1, 2))
    until = time.monotonic() + 60
    while running.poll() is None and time.monotonic() < until:
        sender.write(result)
        time.sleep(0.05)
    running.kill()
    import cv2

    image = cv2.imread(str(picture))
    assert image is not None
    hue = cv2.cvtColor(image, cv2.COLOR_BGR2HSV)
    strong = hue[..., 1] > 60
    for low, high in ((95, 115), (8, 22)):  # blue, orange
        assert ((hue[..., 0] >= low) & (hue[..., 0] <= high) & strong).mean() > 0.005
    assert (image[:20] > 250).all()
