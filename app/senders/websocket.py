"""People in the world for web pages and scripts: a WebSocket server, and a page that draws them, as for OBS.

The server has a thread with an event loop. Each client has a place for one message, the newest; a client that does not
read gets nothing more, is dropped after SLOW_S, and disturbs nobody.
"""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
import time
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from bodycast.app.address import Address
from bodycast.app.errors import require
from bodycast.app.records import FrameResult
from bodycast.app.senders.messages import as_binary, as_json, world_frame
from bodycast.app.server_thread import ServerThread

if TYPE_CHECKING:
    from websockets.asyncio.server import ServerConnection
    from websockets.http11 import Request, Response

SLOW_S = 5.0
"""A client that takes nothing for so long is dropped."""
MOST_CLIENTS = 32
PAGE = Path(__file__).with_name("page.html")
FORMATS = {"/json": as_json, "/binary": as_binary}
PAGE_POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src ws: wss:"

# Browsers say which page asks. Pages of other sites must not read along: pages of this machine alone may.
LOCAL_PAGES = re.compile(r"https?://(localhost|127\.0\.0\.1|\[::1\])(:\d+)?")


class _Client:
    """One client's newest message, and the event that says that there is one."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.event = asyncio.Event()
        self.message: tuple[str | bytes, float] = ("", 0.0)

    def put(self, message: str | bytes, grabbed_s: float) -> None:
        """Replace the message that waits."""
        self.message = message, grabbed_s
        self.event.set()


class WebSocketSender:
    """`Sender`: everybody in the world, to every client. `token`: what addresses must carry, where other machines can
    connect."""

    def __init__(self, address: Address, clock: Callable[[], float] = time.monotonic) -> None:
        """Starts the server. Raises: UsageError where websockets is missing or the port cannot be had."""
        self._library = require("websockets", "senders.txt")
        self.warnings: list[str] = []
        self.address = address
        self.token = "" if address.is_loopback else secrets.token_urlsafe(12)
        self._clock = clock
        self._clients: set[_Client] = set()
        self._latency_s: float | None = None
        self._page = PAGE.read_bytes()
        self._server = ServerThread("websocket", self._serve)
        self._server.start(f"--websocket {address}")

    needs_picture = False

    @property
    def name(self) -> str:
        """For messages."""
        return "websocket"

    @property
    def latency_s(self) -> float | None:
        """See `Sender`."""
        return self._latency_s if self._clients else None

    @property
    def client_count(self) -> int:
        """How many are connected."""
        return len(self._clients)

    def describe(self) -> str:
        """See `Sender`."""
        token = f"?token={self.token}" if self.token else ""
        return f"WebSocket ws://{self.address}/json{token} and /binary, page http://{self.address}/{token}"

    def write(self, result: FrameResult) -> None:
        """Hand one frame to the clients."""
        wanted = {client.path for client in tuple(self._clients)}
        if not wanted:
            return
        frame = world_frame(result)
        messages = {path: FORMATS[path](frame) for path in wanted}
        self._server.loop.call_soon_threadsafe(self._publish, messages, result.frame.time_s)

    def idle(self) -> None:
        """Clients see by the messages that stay away that nothing comes."""

    def recentre(self) -> None:
        """The world has its own middle."""

    def close(self) -> None:
        """May be called twice."""
        self._server.close()

    # -- the server's thread

    async def _serve(self) -> None:
        from websockets.asyncio.server import serve

        quiet = logging.getLogger("bodycast.websocket")  # a client's bad request is no matter for the terminal
        quiet.addHandler(logging.NullHandler())
        quiet.propagate = False
        limits: dict[str, Any] = {"max_size": 1024, "max_queue": 4, "compression": None, "close_timeout": 1}
        host, port = self.address.host, self.address.port
        origins = None if self.token else [LOCAL_PAGES, None]
        # The token, where there is one, is what says that a page may read.
        async with serve(
            self._attend, host, port, origins=origins, process_request=self._answer, logger=quiet, **limits
        ):
            self._server.started()
            await self._server.stop.wait()

    def _answer(self, connection: ServerConnection, request: Request) -> Response | None:
        """The page, an error, or None for a client of a known path."""
        from websockets.datastructures import Headers
        from websockets.http11 import Response

        url = urlsplit(request.path)
        given = parse_qs(url.query).get("token", [""])[0]
        if self.token and not secrets.compare_digest(given.encode(), self.token.encode()):
            return connection.respond(HTTPStatus.FORBIDDEN, "the address lacks the token that bodycast run printed\n")
        if url.path in FORMATS:
            full = len(self._clients) >= MOST_CLIENTS
            return connection.respond(HTTPStatus.SERVICE_UNAVAILABLE, "too many clients\n") if full else None
        if url.path != "/":
            return connection.respond(HTTPStatus.NOT_FOUND, "there are /, /json and /binary\n")
        headers = Headers(
            {
                "Content-Type": "text/html; charset=utf-8",
                "Content-Length": str(len(self._page)),
                "Content-Security-Policy": PAGE_POLICY,
                "Connection": "close",
            }
        )
        return Response(200, "OK", headers, self._page)

    async def _attend(self, connection: ServerConnection) -> None:
        client = _Client(urlsplit(connection.request.path if connection.request else "").path)
        self._clients.add(client)
        sending = asyncio.create_task(self._feed(connection, client))
        try:
            async for _ in connection:  # what clients say is not asked for
                pass
        except self._library.exceptions.ConnectionClosed:
            pass
        finally:
            self._clients.discard(client)
            sending.cancel()

    async def _feed(self, connection: ServerConnection, client: _Client) -> None:
        """Send the newest message whenever there is a new one."""
        while True:
            await client.event.wait()
            client.event.clear()
            message, grabbed_s = client.message
            try:
                async with asyncio.timeout(SLOW_S):
                    await connection.send(message)
            except TimeoutError:
                if not self.warnings:
                    self.warnings.append(f"--websocket: a client that took nothing for {SLOW_S:g} s was dropped")
                connection.transport.abort()
                return
            except self._library.exceptions.ConnectionClosed:
                return
            self._latency_s = self._clock() - grabbed_s

    def _publish(self, messages: dict[str, str | bytes], grabbed_s: float) -> None:
        for client in self._clients:
            if client.path in messages:
                client.put(messages[client.path], grabbed_s)
