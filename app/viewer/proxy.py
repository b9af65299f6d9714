"""The reverse proxy of the viewer: one address for the page, the picture and viser, which itself is on loopback alone.

viser lets in whoever asks. This server lets in pages of its own address, and, where other machines can connect, only
those who carry the token. Connections to viser are passed on byte by byte, with little held in between.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from bodycast.app.address import LOOPBACK, Address
from bodycast.app.server_thread import ServerThread

PAGE = Path(__file__).with_name("page") / "view.html"
COOKIE = "bodycast-view"
MOST_HEAD = 16_384
HEAD_S, PICTURE_S = 10.0, 1.0
PIECE = 65_536
MOST_CONNECTIONS = 200
POLICY = "default-src 'self'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src blob: data:"

Picture = Callable[[int], tuple[int, bytes] | None]
"""A number that the browser has -> the newest picture's number and JPEG, None where it is the same."""


@dataclass(frozen=True)
class _Request:
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str] = field(default_factory=dict[str, str])

    @staticmethod
    def parse(head: bytes) -> _Request:
        """Raises: ValueError for what is no HTTP request."""
        first, *lines = head.decode("latin-1").split("\r\n")
        method, target, _ = first.split(" ")
        if method != "GET":
            raise ValueError(method)
        url = urlsplit(target)
        pairs = (line.partition(":") for line in lines if line)
        return _Request(url.path, parse_qs(url.query), {name.strip().lower(): text.strip() for name, _, text in pairs})

    @property
    def cookie(self) -> str:
        jar = SimpleCookie()
        with suppress(CookieError):
            jar.load(self.headers.get("cookie", ""))
        return jar[COOKIE].value if COOKIE in jar else ""


class ViewerProxy:
    """Serves from a thread of its own until `close`. `url`: what to open, token and all."""

    def __init__(self, address: Address, viser_port: int, picture: Picture) -> None:
        """Raises: UsageError where the port cannot be had."""
        self.address = address
        self._token = "" if address.is_loopback else secrets.token_urlsafe(12)
        self._viser_port = viser_port
        self._picture = picture
        self._open = 0
        self._server = ServerThread("viewer", self._serve)
        self._server.start(f"--host, --port: {address}")

    @property
    def url(self) -> str:
        """The page's address."""
        return f"http://{self.address}/" + (f"?token={self._token}" if self._token else "")

    def close(self) -> None:
        """May be called twice."""
        self._server.close()

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._attend, self.address.host, self.address.port, limit=MOST_HEAD)
        self._server.started()
        await self._server.stop.wait()
        server.close()
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _attend(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        try:
            if self._open <= MOST_CONNECTIONS:
                await self._answer(reader, writer)
        except (OSError, ValueError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # a browser that went away, or something that is none
        except asyncio.CancelledError:
            if not self._server.stop.is_set():  # else asyncio would print what it takes for an error
                raise
        finally:
            self._open -= 1
            writer.transport.abort() if self._server.stop.is_set() else writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(HEAD_S):
            head = await reader.readuntil(b"\r\n\r\n")
        request = _Request.parse(head[:-4])
        if refusal := self._refusal(request):
            await _respond(writer, HTTPStatus.FORBIDDEN, "text/plain", refusal.encode())
        elif request.path == "/picture":
            await self._send_picture(request, writer)
        elif request.path == "/" and "world" not in request.query and "upgrade" not in request.headers:
            cookie = {"Set-Cookie": f"{COOKIE}={self._token}; HttpOnly; SameSite=Strict; Path=/"} if self._token else {}
            await _respond(
                writer,
                HTTPStatus.OK,
                "text/html; charset=utf-8",
                PAGE.read_bytes(),
                {"Content-Security-Policy": POLICY, "Referrer-Policy": "no-referrer", **cookie},
            )
        else:
            await self._pass_on(head, reader, writer)

    def _refusal(self, request: _Request) -> str:
        """Why a request is not answered; empty where it is."""
        host = request.headers.get("host", "")
        origin = request.headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != host:
            return "pages of other sites may not look\n"
        if not self._token:
            # A name of somebody else's that leads to this machine is not this machine's name.
            name = urlsplit(f"//{host}").hostname or ""
            return "" if Address(name, 0).is_loopback else "this viewer is for this machine\n"
        given = request.query.get("token", [request.cookie])[0]
        if secrets.compare_digest(given.encode(), self._token.encode()):
            return ""
        return "the address lacks the token that bodycast printed\n"

    async def _send_picture(self, request: _Request, writer: asyncio.StreamWriter) -> None:
        """The newest picture; waits a moment for one that the browser does not have."""
        after = request.query.get("after", ["0"])[0]
        number = int(after) if after.isascii() and after.isdigit() else 0
        deadline_s = self._server.loop.time() + PICTURE_S
        while (found := await asyncio.to_thread(self._picture, number)) is None:
            if self._server.loop.time() > deadline_s:
                await _respond(writer, HTTPStatus.NO_CONTENT, "text/plain", b"")
                return
            await asyncio.sleep(0.015)
        await _respond(writer, HTTPStatus.OK, "image/jpeg", found[1], {"X-Number": str(found[0])})

    async def _pass_on(self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """viser answers each connection's first request only, or takes it as a WebSocket."""
        viser_reader, viser_writer = await asyncio.open_connection(LOOPBACK, self._viser_port, limit=PIECE)
        try:
            viser_writer.write(head)
            both = [asyncio.create_task(_copy(reader, viser_writer)), asyncio.create_task(_copy(viser_reader, writer))]
            try:
                await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in both:
                    task.cancel()
                await asyncio.gather(*both, return_exceptions=True)
        finally:
            viser_writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A reader that is slow stops the writer: nothing piles up."""
    while piece := await reader.read(PIECE):
        writer.write(piece)
        await writer.drain()


async def _respond(
    writer: asyncio.StreamWriter, status: HTTPStatus, kind: str, content: bytes, more: dict[str, str] | None = None
) -> None:
    headers = {
        "Content-Type": kind,
        "Content-Length": str(len(content)),
        "Cache-Control": "no-store",
        "Connection": "close",
        **(more or {}),
    }
    lines = "".join(f"{name}: {text}\r\n" for name, text in headers.items())
    writer.write(f"HTTP/1.1 {status.value} {status.phrase}\r\n{lines}\r\n".encode("latin-1") + content)
    await writer.drain()
