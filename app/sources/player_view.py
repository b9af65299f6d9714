"""Decoded pictures as a player would show them: deinterlaced, tone-mapped, pixels square, turned and mirrored."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from fractions import Fraction
from functools import cache
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from bodycast.app.records import F32, U8
from bodycast.app.sources.picture_tracks import MOST_PIXELS

if TYPE_CHECKING:
    from av import VideoFrame
    from av.filter import Graph
    from av.video.stream import VideoStream

PQ, HLG = 16, 18
"""Transfer functions SMPTE ST 2084 and ARIB STD-B67 by their numbers in ITU-T H.273."""
_BT2020_MATRIX = 9
WHITE_NITS, HLG_PEAK_NITS, HLG_SYSTEM_GAMMA = 203.0, 1000.0, 1.2
"""Diffuse white (ITU-R BT.2408), and the display that HLG is made for (BT.2100)."""
KNEE = 0.7
"""Light above this share of white is compressed into the rest of the range; below it stays as it is."""
_BITS = 12
_LEVELS = 1 << _BITS
BGR709_FROM_BGR2020: F32 = np.array(
    [[1.1187, -0.1006, -0.0182], [-0.0083, 1.1329, -0.1246], [-0.0728, -0.5876, 1.6605]], np.float32
)
"""ITU-R BT.2087, its rows and columns turned round for BGR."""
MOST_ASPECT = 8.0


class PlayerView:
    """Pictures of one track as BGR."""

    def __init__(self, stream: VideoStream, *, as_stored: bool = False) -> None:
        """as_stored: what the file says of turns and mirroring is ignored."""
        self._stream = stream
        self._as_stored = as_stored

    def bgr(self, picture: VideoFrame) -> U8:
        """(H,W,3) uint8 BGR."""
        import cv2

        transfer = int(picture.color_trc)
        if transfer in (PQ, HLG):
            image = _tone_mapped(picture, transfer)
        else:
            image = np.asarray(picture.to_ndarray(format="bgr24"), np.uint8)
        aspect = pixel_aspect(self._stream)
        if aspect != 1:
            height, width = image.shape[:2]
            wide = max(1, round(width * float(aspect)))
            size = (wide, height) if wide * height <= MOST_PIXELS else (width, max(1, round(height / float(aspect))))
            image = np.asarray(cv2.resize(image, size), np.uint8)
        if self._as_stored:
            return image
        return turned_by_matrix(image, display_matrix(picture))


def pixel_aspect(stream: VideoStream) -> Fraction:
    """Width of a pixel by its height: what the container says, else what the stream says; 1 where neither does, or
    the claim cannot be."""
    for said in (stream.sample_aspect_ratio, stream.codec_context.sample_aspect_ratio):
        if said and 1 / MOST_ASPECT <= said <= MOST_ASPECT:
            return Fraction(said)
    return Fraction(1)


def display_matrix(picture: VideoFrame) -> NDArray[np.int64] | None:
    """(2,2) of the picture's display matrix, from columns of stored places (x, y) to shown ones; None: it has none."""
    for entry in cast("Iterable[Any]", picture.side_data):  # the stubs take it for a mapping
        if entry.type.name == "DISPLAYMATRIX":
            numbers = np.frombuffer(bytes(entry), np.int32)
            return numbers.reshape(3, 3)[:2, :2].T.astype(np.int64) if numbers.size == 9 else None
    return None


def turned_by_matrix(image: U8, matrix: NDArray[np.int64] | None) -> U8:
    """Apply the quarter turn or mirroring that is nearest to a (2,2) matrix; `image` (H,W,3)."""
    if matrix is None or not matrix.any():
        return image
    (xx, xy), (yx, yy) = matrix.tolist()
    if abs(xy) + abs(yx) > abs(xx) + abs(yy):
        image, across, down = image.transpose(1, 0, 2), xy, yx
    else:
        across, down = xx, yy
    return np.ascontiguousarray(image[:: -1 if down < 0 else 1, :: -1 if across < 0 else 1])


def deinterlaced(pictures: Iterable[VideoFrame], stream: VideoStream) -> Iterator[VideoFrame]:
    """The same pictures, those that hold two fields made whole (FFmpeg's bwdif). Costs nothing before the first one."""
    graph: Graph | None = None
    like: tuple[int, int, str] = (0, 0, "")
    for picture in pictures:
        this = (picture.width, picture.height, picture.format.name)
        if graph is not None and this != like:
            yield from _rest(graph)
            graph = None
        if graph is None and not picture.interlaced_frame:
            yield picture
            continue
        if graph is None:
            graph, like = _bwdif(picture, stream), this
        graph.push(picture)
        yield from _ready(graph)
    if graph is not None:
        yield from _rest(graph)


def _bwdif(picture: VideoFrame, stream: VideoStream) -> Graph:
    from av.filter import Graph

    graph = Graph()
    base = picture.time_base or stream.time_base
    source = graph.add_buffer(width=picture.width, height=picture.height, format=picture.format, time_base=base)
    fields = graph.add("bwdif", "mode=send_frame:parity=auto:deint=interlaced")
    sink = graph.add("buffersink")
    source.link_to(fields)
    fields.link_to(sink)
    graph.configure()
    return graph


def _ready(graph: Graph) -> Iterator[VideoFrame]:
    from av.error import BlockingIOError, EOFError

    while True:
        try:
            yield graph.vpull()
        except (BlockingIOError, EOFError):
            return


def _rest(graph: Graph) -> Iterator[VideoFrame]:
    graph.vpush(None)
    yield from _ready(graph)


def _tone_mapped(picture: VideoFrame, transfer: int) -> U8:
    """High dynamic range (BT.2100, BT.2020 primaries) as (H,W,3) uint8 BGR of an ordinary screen (BT.709, sRGB)."""
    import cv2

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        coded = np.asarray(picture.reformat(format="bgr48le", src_colorspace=_BT2020_MATRIX).to_ndarray(), np.uint16)
    light = np.take(_light(transfer), coded >> (16 - _BITS))
    light = np.asarray(cv2.transform(light, BGR709_FROM_BGR2020), np.float32)
    np.clip(light, 0.0, _peak(transfer), out=light)
    # The square root spends the table's entries where the eye sees steps.
    at = (np.sqrt(light) * ((_LEVELS - 1) / np.sqrt(_peak(transfer)))).astype(np.uint16)
    return np.asarray(np.take(_shown(transfer), at), np.uint8)


def _peak(transfer: int) -> float:
    return (HLG_PEAK_NITS if transfer == HLG else 10_000.0) / WHITE_NITS


@cache
def _light(transfer: int) -> F32:
    """(4096,) float32: linear light of a coded value, diffuse white is 1."""
    coded = np.linspace(0.0, 1.0, _LEVELS)
    if transfer == HLG:
        a, b, c = 0.17883277, 0.28466892, 0.55991073
        scene = np.where(coded <= 0.5, coded**2 / 3, (np.exp((coded - c) / a) + b) / 12)
        return (scene**HLG_SYSTEM_GAMMA * HLG_PEAK_NITS / WHITE_NITS).astype(np.float32)
    m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
    power = coded ** (1 / m2)
    return ((np.maximum(power - c1, 0) / (c2 - c3 * power)) ** (1 / m1) * 10_000 / WHITE_NITS).astype(np.float32)


@cache
def _shown(transfer: int) -> U8:
    """(4096,) uint8: sRGB's code by the square root of light over the brightest light."""
    light = np.linspace(0.0, 1.0, _LEVELS) ** 2 * _peak(transfer)
    light = np.where(light <= KNEE, light, KNEE + (1 - KNEE) * (1 - np.exp(-(light - KNEE) / (1 - KNEE))))
    coded = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return np.round(255 * coded).astype(np.uint8)
