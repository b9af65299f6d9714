"""`bodycast view DIR`: look at a run in 3D."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from bodycast.app.address import LOOPBACK
from bodycast.app.command_line import LEFT_OUT, parse
from bodycast.app.errors import UsageError


@dataclass(frozen=True)
class ViewRun:
    """Look at a run in 3D, in a browser: the picture, and the people in the world with a time line."""

    source: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="DIR")]
    """The folder of a run's --output, or its motion.npz."""

    host: str = LOOPBACK
    """Address to listen on; another than this machine's own lets other machines in, with a token in the address."""

    port: int = 8080
    """Port to listen on."""

    body: Annotated[Path | None, LEFT_OUT] = None
    """The body file of the run, if it was not the embedded one."""


def main(args: Sequence[str], prog: str) -> int:
    """Serve until Ctrl-C."""
    given = parse(ViewRun, args, prog)
    from bodycast.app.viewer.recorded import RecordedView
    from bodycast.hmr.body.body_model import EMBEDDED_BODY, BodyModel

    try:
        body = BodyModel.load(given.body or EMBEDDED_BODY)
    except ValueError as error:
        raise UsageError(f"--body: {error}") from error
    view = RecordedView(given.source, given.host, given.port, body)
    try:
        print(f"open {view.url} in a browser; Ctrl-C ends", flush=True)
        view.run()
    finally:
        view.close()
    return 0
