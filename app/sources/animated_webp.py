"""Animated WebP as a film, a picture at a time: FFmpeg does not read it, and OpenCV takes it in as a whole.

The container is Google's "WebP Container Specification" (RFC 9649): each frame is a small WebP file that is put onto,
or blended over, the canvas.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bodycast.app.errors import UsageError
from bodycast.app.records import U8, Frame
from bodycast.app.sources.base import SourceInfo
from bodycast.app.sources.frame_rate import measured_rate
from bodycast.app.sources.threaded import SourceLog, ThreadedSource
from bodycast.plain_text import shown_name

SHORTEST_S, FALLBACK_S = 0.01, 0.1
"""Browsers show frames of no duration for 0.1 s."""


@dataclass(frozen=True, slots=True)
class _Piece:
    """One frame: where it goes, for how long, and what it is."""

    x: int
    y: int
    wh: tuple[int, int]
    duration_s: float
    dispose: bool
    blend: bool
    chunks: bytes


def open_animated_webp(path: Path, content: bytes, canvas_wh: tuple[int, int]) -> ThreadedSource:
    """Every frame at its time. content: of the file. Raises: UsageError where no frame can be read."""
    log = SourceLog()
    pieces = list(_pieces(content))
    times = np.concatenate([[0.0], np.cumsum([piece.duration_s for piece in pieces])])
    frames = _frames(pieces, times, canvas_wh, log)
    first = next(frames, None)
    if first is None:
        raise UsageError(f"{shown_name(path)}: the animation holds no picture that can be read; give another file")
    fps = measured_rate(np.diff(times).tolist(), None, 1 / FALLBACK_S)
    info = SourceInfo(path.name, False, fps, len(pieces), canvas_wh)

    def all_frames() -> Generator[Frame, None, None]:
        yield first
        yield from frames

    return ThreadedSource(info, all_frames(), log=log)


def _pieces(content: bytes) -> Iterator[_Piece]:
    for kind, body in _chunks(content, 12):
        if kind == b"ANMF" and len(body) > 16:
            x, y, width, height, duration = (int.from_bytes(body[at : at + 3], "little") for at in range(0, 15, 3))
            seconds = duration / 1000 if duration / 1000 >= SHORTEST_S else FALLBACK_S
            flags = body[15]
            yield _Piece(2 * x, 2 * y, (width + 1, height + 1), seconds, bool(flags & 1), not flags & 2, body[16:])


def _chunks(content: bytes, at: int) -> Iterator[tuple[bytes, bytes]]:
    while at + 8 <= len(content):
        size = int.from_bytes(content[at + 4 : at + 8], "little")
        yield content[at : at + 4], content[at + 8 : at + 8 + size]
        at += 8 + size + size % 2


def _frames(
    pieces: list[_Piece], times: np.ndarray, canvas_wh: tuple[int, int], log: SourceLog
) -> Generator[Frame, None, None]:
    canvas: U8 = np.zeros((canvas_wh[1], canvas_wh[0], 3), np.uint8)
    for index, piece in enumerate(pieces):
        picture = _decoded(piece)
        place = canvas[piece.y : piece.y + piece.wh[1], piece.x : piece.x + piece.wh[0]]
        if picture is None or picture.shape[:2] != place.shape[:2]:
            log.warn("damaged frames in the animation were skipped")
            continue
        alpha = picture[..., 3:].astype(np.uint16)
        over = (alpha * picture[..., :3] + (255 - alpha) * place * piece.blend) // 255
        place[:] = over.astype(np.uint8)
        yield Frame(canvas.copy(), index, float(times[index]))
        if piece.dispose:
            place[:] = 0


def _decoded(piece: _Piece) -> U8 | None:
    """(H,W,4) uint8 BGR and alpha; None where the frame is broken."""
    import cv2

    width, height = piece.wh
    has_alpha = piece.chunks.startswith(b"ALPH")
    head = b""
    if has_alpha:
        size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
        head = b"VP8X" + (10).to_bytes(4, "little") + bytes([0x10, 0, 0, 0]) + size
    body = b"WEBP" + head + piece.chunks
    file = np.frombuffer(b"RIFF" + len(body).to_bytes(4, "little") + body, np.uint8)
    try:
        image = cv2.imdecode(file, cv2.IMREAD_UNCHANGED)
    except cv2.error:
        return None
    if image is None or image.ndim != 3 or image.dtype != np.uint8:  # pyright: ignore[reportUnnecessaryComparison]
        return None
    if image.shape[2] == 3:
        image = np.dstack([image, np.full(image.shape[:2], 255, np.uint8)])
    return np.asarray(image, np.uint8)
