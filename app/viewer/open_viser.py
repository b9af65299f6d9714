"""viser behind its reverse proxy."""

from __future__ import annotations

import io
from contextlib import redirect_stdout
from typing import Any

from bodycast.app.address import LOOPBACK, Address
from bodycast.app.errors import UsageError, require
from bodycast.app.viewer.proxy import Picture, ViewerProxy

DEFAULT_PORT = 8080


class OpenViser:
    """A viser server on this machine alone, and the reverse proxy that browsers connect to."""

    def __init__(self, host: str, port: int, picture: Picture) -> None:
        """Raises: UsageError where viser is missing or the port cannot be had."""
        if not 1 <= port <= 65535:
            raise UsageError(f"--port {port}: ports are 1 to 65535")
        viser = require("viser", "view.txt")
        with redirect_stdout(io.StringIO()):  # viser prints its own address, which nobody is to open
            self.server: Any = viser.ViserServer(host=LOOPBACK, port=0, label="Bodycast", verbose=False)
        try:
            self._proxy = ViewerProxy(Address(host, port), self.server.get_port(), picture)
        except UsageError:
            self._stop_viser()
            raise

    @property
    def url(self) -> str:
        """What to open in a browser."""
        return self._proxy.url

    def close(self) -> None:
        """End both. May be called twice."""
        self._proxy.close()
        self._stop_viser()

    def _stop_viser(self) -> None:
        server, self.server = self.server, None
        if server is not None:
            with redirect_stdout(io.StringIO()):  # viser says goodbye
                server.stop()
