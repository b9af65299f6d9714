"""The program on pictures that never end, the demo film over and over: through a pipe, and as a network camera."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import IO

REPOSITORY = Path(__file__).resolve().parents[1]
HEADER = "YUV4MPEG2 W{0} H{1} F{2}:1 Ip A1:1 C420jpeg\n"
RATE = 30


def demo_pictures(width: int) -> tuple[tuple[int, int], list[bytes]]:
    """The demo film's pictures at this width, as planes of YUV 4:2:0; and their size (width, height)."""
    import av

    from bodycast.app.sources.factory import DEMO_CLIP

    pictures: list[bytes] = []
    size = (0, 0)
    with av.open(str(DEMO_CLIP)) as film:
        shown = film.streams.video[0]
        size = width, round(Fraction(width * shown.height, shown.width) / 2) * 2
        for frame in film.decode(shown):
            pictures.append(frame.reformat(*size, format="yuv420p").to_ndarray().tobytes())
    return size, pictures


def start_run(source: str | Path, output: Path, flags: Sequence[str], said: IO[str]) -> subprocess.Popen[bytes]:
    """`bodycast run` without a window. said: where its stderr goes."""
    command = [sys.executable, "-m", "bodycast", "run", str(source), "--no-window", "--output", str(output), *flags]
    return subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.DEVNULL, stderr=said)


@dataclass
class FedRun:
    """A run on a pipe, which takes pictures as fast as the program does. `count`: pictures that went in."""

    folder: Path
    flags: Sequence[str]
    size: tuple[int, int]
    pictures: Sequence[bytes]
    count: int = field(default=0, init=False)

    @property
    def output(self) -> Path:
        """The run's results."""
        return self.folder / "out"

    @property
    def errors(self) -> str:
        """What the program has said on stderr."""
        return (self.folder / "stderr.txt").read_text(errors="replace")

    def __enter__(self) -> FedRun:
        pipe = self.folder / "pictures"
        os.mkfifo(pipe)
        with (self.folder / "stderr.txt").open("w") as said:
            self.process = start_run(pipe, self.output, self.flags, said)
        # Opening a pipe waits for its reader: for ever, where the program ends before.
        while True:
            try:
                handle = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
                break
            except OSError:
                if self.process.poll() is not None:
                    raise RuntimeError(f"the run did not begin: {self.errors}") from None
                time.sleep(0.02)
        os.set_blocking(handle, True)
        self._pipe = os.fdopen(handle, "wb", buffering=0)
        self._pipe.write(HEADER.format(*self.size, RATE).encode())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.wait()
        self._pipe.close()

    def feed(self) -> Iterator[int]:
        """Write pictures; gives their count after each. Ends where the program takes no more."""
        while True:
            rest = memoryview(b"FRAME\n" + self.pictures[self.count % len(self.pictures)])
            try:
                while rest:
                    rest = rest[self._pipe.write(rest) :]
            except BrokenPipeError:
                return
            self.count += 1
            yield self.count

    def finish(self, limit_s: float = 600.0) -> int:
        """Say that there is no more, and wait for the program's end; gives its exit code."""
        self._pipe.close()
        return self.process.wait(limit_s)

    def resident_mb(self) -> float:
        """Resident memory of the program now."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) / 1024


@contextmanager
def camera(width: int, rate: float) -> Iterator[str]:
    """A network camera on this machine that sends `rate` JPEGs a second; gives its address."""
    import cv2
    import numpy as np

    (wide, high), pictures = demo_pictures(width)
    planes = [np.frombuffer(picture, np.uint8).reshape(high * 3 // 2, wide) for picture in pictures]
    jpegs = [cv2.imencode(".jpg", cv2.cvtColor(plane, cv2.COLOR_YUV2BGR_I420))[1].tobytes() for plane in planes]

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
            self.end_headers()
            began_s, count = time.monotonic(), 0
            try:
                while True:
                    jpeg = jpegs[count % len(jpegs)]
                    head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
                    self.wfile.write(head.encode() + jpeg + b"\r\n")
                    count += 1
                    time.sleep(max(0.0, began_s + count / rate - time.monotonic()))
            except OSError:  # the program went away
                self.close_connection = True

        def log_message(self, format: str, *args: object) -> None:
            del format, args

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/"
    finally:
        server.shutdown()
        server.server_close()
