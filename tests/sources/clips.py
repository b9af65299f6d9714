"""Films, cameras and servers for the tests of the sources, all made on the spot."""

from __future__ import annotations

import http.server
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from bodycast.app.records import U8

TICKS = Fraction(1, 10_000)


def grey(level: int, wh: tuple[int, int] = (64, 48)) -> U8:
    """A picture of one brightness: enough to recognise a frame after lossy coding when levels are 8 apart."""
    return np.full((wh[1], wh[0], 3), level, np.uint8)


def level_of(image: U8) -> int:
    """The brightness of a picture, rounded to the nearest 8."""
    return round(float(image.mean()) / 8) * 8


def encode(
    path: Path,
    images: Sequence[U8],
    times_s: Sequence[float] | None = None,
    *,
    fps: int = 25,
    key_every: int = 5,
    options: dict[str, str] | None = None,
    aspect: Fraction | None = None,
) -> Path:
    """Write a film with PyAV; the container is that of the suffix."""
    with av.open(str(path), "w", options=options or {}) as container:
        stream = container.add_stream("libx264", rate=fps, options={"preset": "ultrafast", "crf": "10", "bf": "0"})
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = TICKS
        stream.codec_context.gop_size = key_every
        if aspect is not None:
            stream.codec_context.sample_aspect_ratio = aspect
        for index, image in enumerate(images):
            picture = av.VideoFrame.from_ndarray(image, format="bgr24").reformat(format="yuv420p")
            time_s = index / fps if times_s is None else times_s[index]
            picture.pts, picture.time_base = round(time_s / TICKS), TICKS
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return path


def turn_in_header(path: Path, matrix: tuple[int, int, int, int]) -> None:
    """Overwrite a, b, c, d of the track's display matrix, as phones do for films held upright."""
    content = bytearray(path.read_bytes())
    start = content.index(b"tkhd") + 4 + 40
    a, b, c, d = (value << 16 for value in matrix)
    fields = (a, b, 0, c, d, 0, 0, 0, 1 << 30)
    content[start : start + 36] = b"".join(value.to_bytes(4, "big", signed=True) for value in fields)
    path.write_bytes(content)


class FakeCapture:
    """Stands in for `cv2.VideoCapture`: brightness counts the frames; may fail or hang from some frame on."""

    def __init__(
        self,
        wh: tuple[int, int] = (64, 48),
        *,
        interval_s: float = 0.005,
        lost_after: int | None = None,
        hang_after: int | None = None,
    ) -> None:
        self.wh = wh
        self.interval_s = interval_s
        self.lost_after = lost_after
        self.hang_after = hang_after
        self.asked: list[tuple[int, float]] = []
        self.count = 0
        self.released = threading.Event()

    def isOpened(self) -> bool:  # noqa: N802
        return True

    def set(self, propId: int, value: float) -> bool:
        self.asked.append((propId, value))
        return True

    def get(self, propId: int) -> float:
        if propId == cv2.CAP_PROP_FOURCC:
            return float(cv2.VideoWriter.fourcc(*"MJPG"))
        return 30.0 if propId == cv2.CAP_PROP_FPS else 0.0

    def grab(self) -> bool:
        if self.hang_after is not None and self.count >= self.hang_after:
            self.released.wait(0.5)
            return False
        time.sleep(self.interval_s)
        if self.lost_after is not None and self.count >= self.lost_after:
            return False
        self.count += 1
        return True

    def retrieve(self) -> tuple[bool, U8]:
        return True, grey(self.count % 256, self.wh)

    def release(self) -> None:
        self.released.set()


Respond = Callable[[http.server.BaseHTTPRequestHandler, int], None]


@contextmanager
def serve(respond: Respond) -> Iterator[str]:
    """A local HTTP server; `respond(handler, n)` answers the n-th request. Gives its URL."""
    requests: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            requests.append(self.path)
            try:
                respond(self, len(requests) - 1)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True

        def log_message(self, format: str, *args: object) -> None:
            """Keep the test's output quiet."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def send_jpegs(
    handler: http.server.BaseHTTPRequestHandler,
    count: int,
    interval_s: float = 0.01,
    while_true: Callable[[], bool] = lambda: True,
) -> None:
    """Answer as an IP camera does: one endless multipart message, a JPEG in each part, while a condition holds."""
    handler.send_response(200)
    handler.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
    handler.end_headers()
    for index in range(count):
        if not while_true():
            return
        jpeg = cv2.imencode(".jpg", grey(8 * (index % 32)))[1].tobytes()
        head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n".encode()
        handler.wfile.write(head + jpeg + b"\r\n")
        time.sleep(interval_s)
