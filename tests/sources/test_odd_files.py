"""Sources as users have them: pipes, odd names, animations, trimmed films, pictures that are too large or broken."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import threading
import zlib
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from bodycast.app.errors import UsageError
from bodycast.app.records import Frame
from bodycast.app.sources import open_source
from bodycast.app.sources.factory import SourceOptions
from bodycast.app.sources.image_folder import MOST_PIXELS, open_images
from bodycast.app.sources.stream import StreamTimeouts, open_stream
from bodycast.app.sources.turning import Turn
from bodycast.app.sources.video_file import open_video_file
from bodycast.hmr.geometry.camera import Intrinsics
from tests.sources.clips import encode, grey, level_of

LEVELS = [16 + 8 * index for index in range(20)]
posix = pytest.mark.skipif(os.name != "posix", reason="POSIX names and pipes")


def levels(source: object) -> list[int]:
    return [level_of(frame.image) for frame in source]  # type: ignore[attr-defined]


@posix
@pytest.mark.parametrize(
    "name", ["a:b.mp4", "pipe:.mp4", "100%d #1 final.mp4", "concat:x.mp4", "-x.mp4", b"caf\xe9.mp4", "a://b.mp4"]
)
def test_any_name_of_a_file_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str | bytes) -> None:
    name = os.fsdecode(name)
    film = encode(tmp_path / "film.mp4", [grey(level) for level in LEVELS])
    monkeypatch.chdir(tmp_path)
    Path(name).parent.mkdir(exist_ok=True)
    os.rename(film, name)
    assert levels(open_source(name)) == LEVELS
    assert levels(open_source("./" + name)) == LEVELS


@posix
def test_a_fifo_is_a_film_of_unknown_length(tmp_path: Path) -> None:
    film = encode(tmp_path / "film.ts", [grey(level) for level in LEVELS] * 3).read_bytes()
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    threading.Thread(target=lambda: fifo.write_bytes(film), daemon=True).start()
    source = open_source(str(fifo))
    assert (source.info.frame_count, source.info.live) == (None, False)
    assert levels(source) == LEVELS * 3


@posix
@pytest.mark.parametrize("piped", [True, False])
def test_standard_input_is_a_source(tmp_path: Path, piped: bool) -> None:
    film = encode(tmp_path / "film.mkv", [grey(level) for level in LEVELS])
    program = "from bodycast.app.sources import open_source; print(len(list(open_source('-'))))"
    with film.open("rb") as stream:
        content = film.read_bytes() if piped else None
        done = subprocess.run(
            [sys.executable, "-c", program],
            stdin=None if piped else stream,
            input=content,
            capture_output=True,
            timeout=60,
            check=True,
        )
    assert done.stdout.split() == [b"20"]


def test_a_list_of_other_files_is_not_followed(tmp_path: Path) -> None:
    encode(tmp_path / "film.ts", [grey(90)] * 30)
    playlist = "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:1.2,\nhttp://127.0.0.1:9/film.ts\n#EXT-X-ENDLIST\n"
    (tmp_path / "film.mp4").write_text(playlist)
    with pytest.raises(UsageError, match="not a video"):
        open_video_file(tmp_path / "film.mp4")


@pytest.mark.parametrize("spec", ["", "  "])
def test_an_empty_source_is_refused(spec: str) -> None:
    with pytest.raises(UsageError, match="SOURCE is empty"):
        open_source(spec)


def trim_without_coding(path: Path, skip: int, keep: int) -> None:
    """Set the edit list to `keep` frames from frame `skip` on, of a film of 25 frames a second."""
    content = bytearray(path.read_bytes())
    at = content.index(b"elst") + 4
    _, count = struct.unpack_from(">II", content, at)
    assert count == 1
    at_mdhd = content.index(b"mdhd") + 4
    media_scale = struct.unpack_from(">I", content, at_mdhd + 12)[0]
    movie_scale = struct.unpack_from(">I", content, content.index(b"mvhd") + 4 + 12)[0]
    struct.pack_into(">Ii", content, at + 8, keep * movie_scale // 25, skip * media_scale // 25)
    path.write_bytes(content)


def test_an_edit_list_is_honoured(tmp_path: Path) -> None:
    path = encode(tmp_path / "trimmed.mp4", [grey(16 + 2 * index) for index in range(100)])
    trim_without_coding(path, 25, 40)
    source = open_video_file(path)
    frames = list(source)
    assert (source.info.frame_count, len(frames), source.warnings) == (40, 40, ())
    assert abs(float(frames[0].image.mean()) - (16 + 2 * 25)) < 4
    assert frames[0].time_s == pytest.approx(0, abs=1e-3)


def test_longer_sound_and_a_late_start_do_not_count_as_frames(tmp_path: Path) -> None:
    """Matroska states one length, from 0 to the end of whatever is longest."""
    path = encode(tmp_path / "late.mkv", [grey(90)] * 25, [7 + index / 25 for index in range(25)])
    assert open_video_file(path).info.frame_count == pytest.approx(25, abs=1)
    with av.open(str(tmp_path / "sound.mkv"), "w") as out:
        film = out.add_stream("libx264", rate=25, options={"preset": "ultrafast", "bf": "0"})
        film.width, film.height, film.pix_fmt = 64, 48, "yuv420p"
        sound = out.add_stream("libopus", rate=48_000, layout="stereo")
        for index in range(25):
            picture = av.VideoFrame.from_ndarray(grey(90), format="bgr24").reformat(format="yuv420p")
            picture.pts, picture.time_base = index, Fraction(1, 25)
            out.mux(film.encode(picture))
        out.mux(film.encode(None))
        for index in range(600):
            silence = av.AudioFrame.from_ndarray(np.zeros((2, 960), np.float32), format="fltp", layout="stereo")
            silence.sample_rate, silence.pts = 48_000, 960 * index
            out.mux(sound.encode(silence))
        out.mux(sound.encode(None))
    assert open_video_file(tmp_path / "sound.mkv").info.frame_count == pytest.approx(25, abs=1)


def test_a_pause_does_not_spoil_the_rate(tmp_path: Path) -> None:
    times = [index / 30 for index in range(30)] + [9 + index / 30 for index in range(30)]
    source = open_video_file(encode(tmp_path / "pause.mp4", [grey(90)] * 60, times, fps=30))
    assert source.info.fps == pytest.approx(30, rel=0.02)
    assert source.info.frame_count == 60
    assert len(list(source)) == 60
    assert any("pauses for 8.0 s before frame 30" in line for line in source.warnings)


def animation(levels_: list[int], wh: tuple[int, int] = (64, 48)) -> list[np.ndarray]:
    return [grey(level, wh) for level in levels_]


@pytest.mark.skipif(not hasattr(cv2, "Animation"), reason="this OpenCV writes no animations")
@pytest.mark.parametrize("suffix", [".webp", ".png"])
def test_an_animation_is_a_film(tmp_path: Path, suffix: str) -> None:
    told = cv2.Animation()
    told.frames = animation(LEVELS[:8])
    told.durations = np.full(8, 125, np.int32)
    path = tmp_path / f"moves{suffix}"
    assert cv2.imwriteanimation(str(path), told, [cv2.IMWRITE_WEBP_QUALITY, 100] if suffix == ".webp" else [])
    source = open_source(str(path))
    frames = list(source)
    assert [level_of(frame.image) for frame in frames] == LEVELS[:8]
    np.testing.assert_allclose([frame.time_s for frame in frames], np.arange(8) / 8, atol=0.002)
    assert not source.info.stills
    assert source.info.fps == pytest.approx(8, rel=0.02)
    other = path.rename(tmp_path / "moves.mp4")
    assert [level_of(frame.image) for frame in open_source(str(other))] == LEVELS[:8], "whatever it is called"


@posix
def test_an_animated_webp_through_a_pipe_is_refused_by_name(tmp_path: Path) -> None:
    told = cv2.Animation()
    told.frames, told.durations = animation(LEVELS[:3]), np.full(3, 125, np.int32)
    cv2.imwriteanimation(str(tmp_path / "moves.webp"), told)
    os.mkfifo(tmp_path / "fifo")
    content = (tmp_path / "moves.webp").read_bytes()
    threading.Thread(target=lambda: (tmp_path / "fifo").write_bytes(content), daemon=True).start()
    with pytest.raises(UsageError, match="animated WebP is read from a file"):
        open_source(str(tmp_path / "fifo"))


@pytest.mark.parametrize("spec", ["/dev/null", "/dev/zero"])
@posix
def test_devices_are_called_what_they_are(spec: str) -> None:
    with pytest.raises(UsageError, match="neither a file, a pipe nor a folder"):
        open_source(spec)


def png(wh: tuple[int, int], rows: bytes, colour: int = 0) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", *wh, 8, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def test_one_broken_picture_does_not_end_the_others(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "1.png"), grey(64))
    (tmp_path / "2.png").write_bytes(png((60_000, 60_000), b""))
    (tmp_path / "3.png").write_bytes(png((2**31 - 1, 2**31 - 1), b""))
    (tmp_path / "4.bmp").write_bytes(b"BM" + bytes(16) + struct.pack("<ii", -(2**31), 9) + bytes(60))
    (tmp_path / "5.jpg").write_bytes(b"\xff\xd8\xff\xe0" + bytes(300))
    cv2.imwrite(str(tmp_path / "6.png"), grey(96))
    source = open_images(tmp_path)
    assert levels(source) == [64, 96]
    assert [line[:5] for line in source.warnings] == ["2.png", "3.png", "4.bmp", "5.jpg"]


def test_a_chunk_that_claims_gigabytes_takes_none(tmp_path: Path) -> None:
    content = bytearray(cv2.imencode(".png", grey(64))[1].tobytes())
    at = content.index(b"IDAT") - 4
    content[at : at + 4] = struct.pack(">I", 2_000_000_000)
    (tmp_path / "lies.png").write_bytes(content)
    (tmp_path / "small.png").write_bytes(png((9000, 9000), b"\0" * 9000, 2))
    for name in ("lies.png", "small.png"):
        with pytest.raises(UsageError, match="damaged"):
            open_images(tmp_path / name)


def test_a_header_alone_is_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "huge.png"
    path.write_bytes(png((60_000, 60_000), b""))
    with pytest.raises(UsageError, match="60000x60000 pixels are too many") as caught:
        open_images(path)
    assert "\n" not in str(caught.value)


def test_a_huge_grey_picture_is_read_reduced(tmp_path: Path) -> None:
    side = 9000
    assert side * side > MOST_PIXELS
    path = tmp_path / "grey.png"
    path.write_bytes(png((side, side), (b"\0" + bytes([120]) * side) * side))
    source = open_images(path)
    image = next(iter(source)).image
    assert image.shape == (side // 2, side // 2, 3)
    assert level_of(image) == 120
    assert any("read at 1/2" in line for line in source.warnings)


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
@pytest.mark.parametrize("flip", [False, True])
def test_rotate_and_flip_turn_picture_and_lens(degrees: int, flip: bool) -> None:
    image = np.random.default_rng(0).integers(0, 255, (40, 60, 3)).astype(np.uint8)
    image[7, 11] = 255
    lens = Intrinsics(100, 110, 11, 7, (60, 40))
    turned = Turn(degrees, flip).frame(Frame(image, 0, 0.0, lens))
    assert turned.intrinsics is not None
    assert turned.image_wh == turned.intrinsics.image_wh == Turn(degrees, flip).size((60, 40))
    assert (turned.image[int(turned.intrinsics.cy), int(turned.intrinsics.cx)] == 255).all()
    expected = {0: image, 90: cv2.rotate(image, cv2.ROTATE_90_CLOCKWISE), 180: cv2.rotate(image, cv2.ROTATE_180)}
    if degrees in expected and not flip:
        np.testing.assert_array_equal(turned.image, expected[degrees])


def test_the_users_word_goes_before_the_files(tmp_path: Path) -> None:
    film = encode(tmp_path / "film.mp4", [grey(40, (96, 48))] * 3)
    assert open_source(str(film), SourceOptions(rotate=90)).info.image_wh == (48, 96)
    assert next(iter(open_source(str(film), SourceOptions(rotate=270, flip=True)))).image_wh == (48, 96)
    assert open_source(str(film), SourceOptions(rotate=0)).info.image_wh == (96, 48)


def test_rtsp_is_asked_for_over_tcp_then_udp(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import av
    import av.error

    film = encode(tmp_path / "film.ts", [grey(90)] * 50)
    asked: list[tuple[str, str]] = []
    really_open = av.open

    def camera(url: str, options: dict[str, str], **_: object) -> object:
        asked.append((url, options.get("rtsp_transport", "")))
        if asked[-1][1] == "tcp":
            raise av.error.ProtocolNotFoundError(1, "Protocol not supported")
        return really_open(str(film))

    monkeypatch.setattr(av, "open", camera)
    source = open_stream("RTSP://user:secret@cam/1", StreamTimeouts(1, 1, 1))
    assert asked[:2] == [("rtsp://user:secret@cam/1", "tcp"), ("rtsp://user:secret@cam/1", "udp")]
    source.close()
