"""Pictures as a player shows them: aspect, turns and mirroring, fields, high dynamic range; which track is the film.

Every film is made here."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import av
import numpy as np
import pytest

from bodycast.app.errors import UsageError
from bodycast.app.records import U8
from bodycast.app.sources.picture_tracks import ATTACHED_PICTURE, DEFAULT, DEPENDENT, picture_track
from bodycast.app.sources.player_view import HLG, PQ
from bodycast.app.sources.video_file import open_video_file
from tests.sources.clips import encode, grey, level_of, serve, turn_in_header


def coded(path: Path, planes: list[list[np.ndarray]], form: str, **codec: Any) -> Path:
    """A film of pictures given by their planes, with attributes of the codec set."""
    options = codec.pop("options", {"preset": "ultrafast", "qp": "0"})
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec.pop("codec", "libx264"), rate=25, options=options)
        stream.height, stream.width = planes[0][0].shape
        stream.pix_fmt = form
        for name, value in codec.items():
            setattr(stream.codec_context, name, value)
        for index, picture in enumerate(planes):
            frame = av.VideoFrame(stream.width, stream.height, form)
            for plane, content in zip(frame.planes, picture, strict=True):
                rows = np.zeros((plane.height, plane.line_size // content.itemsize), content.dtype)
                rows[:, : content.shape[1]] = content
                plane.update(rows.tobytes())
            frame.pts, frame.time_base = index, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def flat(level: int, dtype: type = np.uint8, wh: tuple[int, int] = (64, 48)) -> list[np.ndarray]:
    """Planes of a grey picture; `level` in units of the format."""
    middle = 128 if dtype is np.uint8 else 512
    width, height = wh
    chroma = np.full((height // 2, width // 2), middle, dtype)
    return [np.full((height, width), level, dtype), chroma, chroma]


def state_display_size(path: Path, width: int, height: int) -> None:
    """Matroska says how wide a picture is shown: written in the place of the track's colours, which are not needed."""
    content = bytearray(path.read_bytes())
    start = content.index(b"\x55\xb0", content.index(b"V_VP8"))
    size = content[start + 2] & 0x7F
    said = b"\x54\xb0\x82" + width.to_bytes(2, "big") + b"\x54\xba\x82" + height.to_bytes(2, "big")
    rest = 3 + size - len(said) - 2
    content[start : start + 3 + size] = said + bytes([0xEC, 0x80 | rest]) + bytes(rest)
    path.write_bytes(content.replace(b"\x54\xb2\x81\x04", b"\x54\xb2\x81\x00"))  # in pixels, not unknown


@pytest.mark.parametrize("suffix", ["webm", "mkv"])
def test_the_containers_aspect_counts(tmp_path: Path, suffix: str) -> None:
    codec: dict[str, Any] = {"codec": "libvpx", "options": {"deadline": "realtime"}}
    colours = {"color_trc": 1, "color_primaries": 1, "colorspace": 1, "color_range": 1}
    path = coded(tmp_path / f"wide.{suffix}", [flat(90)] * 3, "yuv420p", **codec, **colours)
    state_display_size(path, 128, 48)
    assert [frame.image_wh for frame in open_video_file(path)] == [(128, 48)] * 3


@pytest.mark.parametrize("suffix", ["mp4", "mov", "ts", "h264"])
def test_the_streams_aspect_counts(tmp_path: Path, suffix: str) -> None:
    path = encode(tmp_path / f"wide.{suffix}", [grey(90)] * 30, aspect=Fraction(2))
    assert {frame.image_wh for frame in open_video_file(path)} == {(128, 48)}


def test_a_stream_has_the_same_aspect_as_a_file(tmp_path: Path) -> None:
    from bodycast.app.sources.stream import StreamTimeouts, open_stream

    path = encode(tmp_path / "wide.ts", [grey(90)] * 30, aspect=Fraction(2))

    def live(handler: Any, request: int) -> None:
        del request
        handler.send_response(200)
        handler.send_header("Content-Type", "video/mp2t")
        handler.end_headers()
        handler.wfile.write(path.read_bytes())

    with serve(live) as url:
        source = open_stream(f"HTTP://{url.removeprefix('http://')}/", StreamTimeouts(5, 2, 2))
        assert source.info.image_wh == (128, 48)
        source.close()


def corner() -> U8:
    """A bright corner and a middling one tell all eight orientations apart."""
    image = grey(40, (96, 48))
    image[:16, :24] = 220
    image[-16:, :24] = 130
    return image


ORIENTATIONS = {
    (1, 0, 0, 1): lambda im: im,
    (-1, 0, 0, 1): lambda im: im[:, ::-1],
    (1, 0, 0, -1): lambda im: im[::-1],
    (-1, 0, 0, -1): lambda im: im[::-1, ::-1],
    (0, 1, 1, 0): lambda im: im.transpose(1, 0, 2),
    (0, 1, -1, 0): lambda im: np.rot90(im, -1),
    (0, -1, 1, 0): lambda im: np.rot90(im, 1),
    (0, -1, -1, 0): lambda im: im[::-1, ::-1].transpose(1, 0, 2),
}


@pytest.mark.parametrize("matrix", ORIENTATIONS)
def test_every_display_matrix_is_applied(tmp_path: Path, matrix: tuple[int, int, int, int]) -> None:
    path = encode(tmp_path / "turned.mp4", [corner()] * 3)
    stored = next(iter(open_video_file(path))).image
    turn_in_header(path, matrix)
    shown = next(iter(open_video_file(path))).image
    np.testing.assert_array_equal(shown, ORIENTATIONS[matrix](stored))
    np.testing.assert_array_equal(next(iter(open_video_file(path, as_stored=True))).image, stored)


def combs(image: U8) -> float:
    """How much more neighbouring lines differ than every second one."""
    lines = image.astype(float).mean(axis=2)
    return float(np.abs(np.diff(lines, axis=0)).mean() - np.abs(lines[2:] - lines[:-2]).mean())


@pytest.mark.parametrize("top_first", [True, False])
@pytest.mark.parametrize("suffix", ["mp4", "ts"])
def test_fields_are_made_whole(tmp_path: Path, suffix: str, top_first: bool) -> None:
    def bar(at: int) -> np.ndarray:
        picture = np.full((64, 128), 40, np.uint8)
        picture[:, at : at + 24] = 220
        return picture

    pictures: list[list[np.ndarray]] = []
    for index in range(12):
        woven = bar(8 * index)
        late = slice(1 if top_first else 0, None, 2)
        woven[late] = bar(8 * index + 4)[late]
        pictures.append([woven, *flat(0, wh=(128, 64))[1:]])
    options = {"preset": "ultrafast", "qp": "0", "x264-params": f"interlaced=1:{'tff' if top_first else 'bff'}=1"}
    path = coded(tmp_path / f"fields.{suffix}", pictures, "yuv420p", options=options)
    assert combs(np.repeat(pictures[5][0][..., None], 3, axis=2)) > 5
    frames = list(open_video_file(path))
    assert len(frames) == 12
    assert max(combs(frame.image) for frame in frames[1:-1]) < 1
    np.testing.assert_allclose([frame.time_s for frame in frames], np.arange(12) / 25, atol=1e-3)


@pytest.mark.parametrize(("transfer", "signal", "expected"), [(HLG, 0.75, 242), (HLG, 0.5, 137), (PQ, 0.5807, 242)])
def test_high_dynamic_range_is_tone_mapped(tmp_path: Path, transfer: int, signal: float, expected: int) -> None:
    level = round(64 + signal * (940 - 64))
    path = coded(
        tmp_path / "hdr.mov",
        [flat(level, np.uint16)] * 3,
        "yuv420p10le",
        color_trc=transfer,
        colorspace=9,
        color_primaries=9,
    )
    image = next(iter(open_video_file(path))).image
    assert np.abs(image.astype(int) - expected).max() <= 3


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "avi"])
def test_cover_art_is_not_the_film(tmp_path: Path, suffix: str) -> None:
    """Two tracks, the first a picture of one frame, as music players and cameras write them."""
    path = tmp_path / f"cover.{suffix}"
    with av.open(str(path), "w") as container:
        cover = container.add_stream("mjpeg", rate=1)
        cover.width = cover.height = 96
        cover.pix_fmt = "yuvj420p"
        film = container.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
        film.width, film.height, film.pix_fmt = 64, 48, "yuv420p"
        picture = av.VideoFrame.from_ndarray(grey(200, (96, 96)), format="bgr24").reformat(format="yuvj420p")
        picture.pts, picture.time_base = 0, Fraction(1)
        container.mux(cover.encode(picture))
        for index in range(10):
            frame = av.VideoFrame.from_ndarray(grey(64), format="bgr24").reformat(format="yuv420p")
            frame.pts, frame.time_base = index, Fraction(1, 25)
            container.mux(film.encode(frame))
        for stream in (cover, film):
            container.mux(stream.encode(None))
    source = open_video_file(path)
    frames = list(source)
    assert (len(frames), source.info.image_wh, level_of(frames[0].image)) == (10, (64, 48), 64)
    assert any("2 picture tracks" in line for line in source.warnings)


def track(index: int, wh: tuple[int, int], flags: int, frames: int = 100, codec: str = "h264") -> SimpleNamespace:
    context = SimpleNamespace(width=wh[0], height=wh[1], name=codec)
    return SimpleNamespace(index=index, disposition=SimpleNamespace(value=flags), codec_context=context, frames=frames)


def chosen(*tracks: SimpleNamespace) -> int:
    container = SimpleNamespace(streams=SimpleNamespace(video=list(tracks)))
    return picture_track(cast("Any", container), "film.mp4").index


def test_tracks_are_chosen_by_what_they_are_for() -> None:
    assert chosen(track(0, (3000, 3000), ATTACHED_PICTURE), track(1, (640, 360), DEFAULT)) == 1
    assert chosen(track(0, (160, 90), DEFAULT), track(1, (1920, 1080), 0)) == 1, "a preview first"
    assert chosen(track(0, (1920, 1080), DEFAULT), track(1, (3840, 2160), 0)) == 0
    assert chosen(track(0, (640, 360), 1 << 8), track(1, (640, 360), 0)) == 1, "for those who see badly"
    assert chosen(track(0, (4000, 3000), DEFAULT, frames=1), track(1, (640, 360), 0)) == 1
    assert chosen(track(0, (4000, 3000), DEFAULT, frames=2), track(1, (640, 360), 0)) == 1
    assert chosen(track(0, (900, 900), DEFAULT, 0, "mjpeg"), track(1, (640, 360), 0, 0)) == 1
    assert chosen(track(0, (640, 360), DEFAULT, 0, "mjpeg")) == 0, "a film of JPEGs"
    with pytest.raises(UsageError, match="12 tiles"):
        chosen(*(track(index, (512, 512), DEPENDENT, 1) for index in range(12)))
    unknown = track(0, (64, 48), DEFAULT)
    unknown.codec_context = None
    with pytest.raises(UsageError, match="not known here"):
        chosen(unknown)
    assert chosen(unknown, track(1, (64, 48), 0)) == 1
    with pytest.raises(UsageError, match="cover art"):
        chosen(track(0, (300, 300), ATTACHED_PICTURE))
