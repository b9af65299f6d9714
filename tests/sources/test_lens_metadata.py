"""The focal length that pictures and films say themselves."""

from __future__ import annotations

import math
import struct
import zlib
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from bodycast.app.sources.factory import SourceOptions, open_source
from bodycast.app.sources.lens_metadata import picture_lens
from bodycast.app.sources.quicktime import quicktime_tags
from tests.sources.clips import encode, grey

WH = (64, 48)
DIAGONAL_PX = 80.0
RATIONAL, SHORT, LONG = 5, 3, 4
FOCAL_MM, FOCAL_35, WIDTH, HEIGHT, PLANE_X, PLANE_UNIT = 0x920A, 0xA405, 0xA002, 0xA003, 0xA20E, 0xA210
Tags = dict[int, tuple[int, int | tuple[int, int]]]
PHONE: Tags = {FOCAL_35: (SHORT, 26)}
PHONE_PX = 26 / math.hypot(36, 24) * DIAGONAL_PX


def tiff(tags: Tags, order: str = "<", orientation: int = 1) -> bytes:
    """A TIFF block with a first directory and an EXIF directory."""
    head = (b"II" if order == "<" else b"MM") + struct.pack(order + "HI", 42, 8)
    exif_at = 8 + 2 + 2 * 12 + 4
    first = struct.pack(order + "HHHIHH", 2, 0x0112, SHORT, 1, orientation, 0)
    first += struct.pack(order + "HHII", 0x8769, LONG, 1, exif_at) + bytes(4)
    data_at = exif_at + 2 + 12 * len(tags) + 4
    entries, data = b"", b""
    for tag, (kind, value) in sorted(tags.items()):
        if isinstance(value, tuple):
            entries += struct.pack(order + "HHII", tag, kind, 1, data_at + len(data))
            data += struct.pack(order + "II", *value)
        elif kind == SHORT:
            entries += struct.pack(order + "HHIHH", tag, kind, 1, value, 0)
        else:
            entries += struct.pack(order + "HHII", tag, kind, 1, value)
    return head + first + struct.pack(order + "H", len(tags)) + entries + bytes(4) + data


def with_exif(suffix: str, block: bytes, wh: tuple[int, int] = WH) -> bytes:
    """A picture file with the block in it, where its format has it."""
    plain = bytes(cv2.imencode(suffix, grey(128, wh))[1])
    if suffix == ".jpg":
        body = b"Exif\0\0" + block
        return plain[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + plain[2:]
    if suffix == ".png":
        chunk = b"eXIf" + block
        return plain[:33] + struct.pack(">I", len(block)) + chunk + struct.pack(">I", zlib.crc32(chunk)) + plain[33:]
    # The chunk of the picture is followed by that of EXIF; RIFF chunks are padded to even sizes.
    body = plain[8:] + b"EXIF" + struct.pack("<I", len(block)) + block + b"\0" * (len(block) % 2)
    return b"RIFF" + struct.pack("<I", len(body)) + body


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_the_35_mm_equivalent_is_about_the_diagonal(suffix: str, order: str) -> None:
    said = picture_lens(with_exif(suffix, tiff(PHONE, order)), WH)
    assert said.intrinsics is not None and not said.note
    assert said.intrinsics.focal_px == pytest.approx(PHONE_PX) and said.intrinsics.image_wh == WH


@pytest.mark.parametrize(("unit", "per_unit"), [(2, 25.4), (3, 10.0), (4, 1.0), (5, 0.001)])
def test_focal_length_and_focal_plane_resolution(unit: int, per_unit: float) -> None:
    """A sensor of 16x12 mm behind 20 mm, taken at twice the size that the picture has now."""
    density = (round(8 * per_unit * 1_000_000), 1_000_000)
    tags: Tags = {FOCAL_MM: (RATIONAL, (200, 10)), PLANE_X: (RATIONAL, density), PLANE_UNIT: (SHORT, unit)}
    tags |= {WIDTH: (LONG, 128), HEIGHT: (LONG, 96)}
    said = picture_lens(with_exif(".jpg", tiff(tags)), WH)
    assert said.intrinsics is not None and said.intrinsics.focal_px == pytest.approx(80.0)


@pytest.mark.parametrize(
    ("tags", "note"),
    [
        ({FOCAL_35: (SHORT, 0)}, ""),
        ({FOCAL_MM: (RATIONAL, (6, 1))}, ""),
        ({FOCAL_MM: (RATIONAL, (6, 0)), PLANE_X: (RATIONAL, (0, 0))}, ""),
        ({FOCAL_35: (SHORT, 60000)}, "field of view of 0.0 degrees"),
        ({FOCAL_35: (SHORT, 1)}, "field of view of 174.7 degrees"),
        ({FOCAL_35: (SHORT, 26), WIDTH: (LONG, 4000), HEIGHT: (LONG, 2000)}, "cropped since it was taken at 4000x2000"),
    ],
)
def test_what_cannot_be_is_left_out_with_a_note(tags: Tags, note: str) -> None:
    said = picture_lens(with_exif(".jpg", tiff(tags)), WH)
    assert said.intrinsics is None and note in said.note and bool(note) == bool(said.note)


def test_damaged_exif_is_no_error() -> None:
    content = with_exif(".jpg", tiff(PHONE))
    for end in range(2, len(content), 3):
        picture_lens(content[:end], WH)
    rng = np.random.default_rng(1)
    for _ in range(300):
        spoilt = bytearray(content[:200])
        for at in rng.integers(2, 200, 6):
            spoilt[at] = rng.integers(256)
        picture_lens(bytes(spoilt), WH)
    assert picture_lens(b"", WH).intrinsics is None


def test_pictures_of_a_folder_have_each_their_own_lens(tmp_path: Path) -> None:
    upright: Tags = PHONE | {WIDTH: (LONG, 4000), HEIGHT: (LONG, 3000)}
    (tmp_path / "1.jpg").write_bytes(with_exif(".jpg", tiff(upright, orientation=6)))
    (tmp_path / "2.jpg").write_bytes(with_exif(".jpg", tiff({FOCAL_35: (SHORT, 52)})))
    (tmp_path / "3.jpg").write_bytes(with_exif(".jpg", tiff({FOCAL_35: (SHORT, 60000)})))
    source = open_source(str(tmp_path))
    frames = list(source)
    assert source.info.lens_from == "EXIF of the picture"
    assert frames[0].image_wh == (48, 64) and frames[0].intrinsics is not None, "turned upright by its EXIF"
    assert frames[0].intrinsics.image_wh == (48, 64)
    assert frames[0].intrinsics.focal_px == pytest.approx(PHONE_PX)
    assert frames[1].intrinsics is not None and frames[1].intrinsics.focal_px == pytest.approx(2 * PHONE_PX)
    assert frames[2].intrinsics is None and "3.jpg" in source.warnings[0]


def test_a_film_in_pictures_has_one_lens(tmp_path: Path) -> None:
    for name, focal in (("1", 26), ("2", 52)):
        (tmp_path / f"{name}.jpg").write_bytes(with_exif(".jpg", tiff({FOCAL_35: (SHORT, focal)})))
    source = open_source(str(tmp_path), SourceOptions(folder_fps=30))
    assert [frame.intrinsics.focal_px for frame in source if frame.intrinsics] == pytest.approx([PHONE_PX] * 2)
    assert source.info.lens_from == "EXIF of the first picture"


def film(path: Path, tags: dict[str, str]) -> Path:
    encode(path, [grey(8 * row, WH) for row in range(3)])
    tagged = path.with_name("tagged" + path.suffix)
    with (
        av.open(str(path)) as plain,
        av.open(str(tagged), "w", options={"movflags": "use_metadata_tags"}) as container,
    ):
        container.metadata.update(tags)
        stream = container.add_stream_from_template(plain.streams.video[0])
        for packet in plain.demux(plain.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                container.mux(packet)
    return tagged


@pytest.mark.parametrize("suffix", [".mov", ".mp4"])
def test_a_phones_film_says_its_lens(tmp_path: Path, suffix: str) -> None:
    tags = {"com.apple.quicktime.camera.focal_length.35mm_equivalent": "26", "com.apple.quicktime.make": "Apple"}
    source = open_source(str(film(tmp_path / f"film{suffix}", tags)))
    frames = list(source)
    assert len(frames) == 3 and source.info.lens_from == "metadata of the film"
    for frame in frames:
        assert frame.intrinsics is not None and frame.intrinsics.focal_px == pytest.approx(PHONE_PX)


def box(kind: bytes, *parts: bytes) -> bytes:
    return struct.pack(">I", 8 + sum(map(len, parts))) + kind + b"".join(parts)


def with_item(path: Path, holder: bytes, kind: int, value: bytes) -> Path:
    """The film with a QuickTime metadata item of its track or of the whole, as phones write them."""
    handler = box(b"hdlr", bytes(8), b"mdta", bytes(13))
    key = box(b"mdta", b"com.apple.quicktime.camera.focal_length.35mm_equivalent")
    keys = box(b"keys", bytes(4), struct.pack(">I", 2), box(b"mdta", b"com.apple.quicktime.camera.lens_model"), key)
    model = box(struct.pack(">I", 1), box(b"data", struct.pack(">II", 1, 0), b"iPhone 13 back camera 5.1mm f/1.6"))
    item = box(struct.pack(">I", 2), box(b"data", struct.pack(">II", kind, 0), value))
    meta = box(b"meta", handler, keys, box(b"ilst", model, item))
    content = bytearray(path.read_bytes())
    at = content.index(holder) - 4
    (size,) = struct.unpack_from(">I", content, at)
    content[at + size : at + size] = meta
    for start in {at, content.index(b"moov") - 4}:
        struct.pack_into(">I", content, start, struct.unpack_from(">I", content, start)[0] + len(meta))
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("holder", [b"trak", b"moov"])
@pytest.mark.parametrize(
    ("kind", "value"),
    [(21, b"\0\x1a"), (67, struct.pack(">i", 26)), (22, b"\x1a"), (1, b"26.00mm"), (23, struct.pack(">f", 26))],
)
def test_the_tag_may_be_the_tracks_and_of_any_type(tmp_path: Path, holder: bytes, kind: int, value: bytes) -> None:
    """FFmpeg leaves out a track's items, which is where iPhones have it."""
    source = open_source(str(with_item(encode(tmp_path / "film.mov", [grey(8, WH)] * 2), holder, kind, value)))
    frames = list(source)
    assert len(frames) == 2 and source.info.lens_from == "metadata of the film"
    assert frames[0].intrinsics is not None and frames[0].intrinsics.focal_px == pytest.approx(PHONE_PX)


def test_damaged_films_are_no_error(tmp_path: Path) -> None:
    path = with_item(encode(tmp_path / "film.mov", [grey(8, WH)] * 2), b"trak", 1, b"26")
    content = path.read_bytes()
    movie = content.index(b"moov") - 4
    assert quicktime_tags(path)["com.apple.quicktime.camera.focal_length.35mm_equivalent"] == "26"
    rng = np.random.default_rng(1)
    for _ in range(200):
        spoilt = bytearray(content[: rng.integers(movie, len(content))])
        for at in rng.integers(movie, len(content), 20):
            if at < len(spoilt):
                spoilt[at] = rng.integers(256)
        path.write_bytes(spoilt)
        quicktime_tags(path)
    path.write_bytes(b"")
    assert quicktime_tags(path) == quicktime_tags(tmp_path / "none.mov") == {}


def test_an_absurd_lens_of_a_film_is_left_out(tmp_path: Path) -> None:
    source = open_source(str(film(tmp_path / "film.mp4", {"camera.focal_length.35mm_equivalent": "9999"})))
    assert [frame.intrinsics for frame in source] == [None] * 3 and source.info.lens_from == ""
    assert "field of view of 0.2 degrees, which is left out" in source.warnings[0]


def test_other_films_say_nothing(tmp_path: Path) -> None:
    source = open_source(str(encode(tmp_path / "film.mp4", [grey(8, WH)] * 2)))
    assert [frame.intrinsics for frame in source] == [None] * 2 and source.info.lens_from == ""
    assert source.warnings == ()
