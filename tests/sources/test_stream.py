"""Network streams, from a server on this machine."""

from __future__ import annotations

import http.server
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bodycast.app.errors import RunError, UsageError
from bodycast.app.sources import video_file
from bodycast.app.sources.stream import StreamTimeouts, open_stream
from bodycast.app.sources.urls import public_url
from tests.sources.clips import encode, grey, level_of, send_jpegs, serve

QUICK = StreamTimeouts(open_s=3.0, stall_s=0.4, give_up_s=0.6)


def test_pictures_come_live_with_drops_counted() -> None:
    with serve(lambda handler, _: send_jpegs(handler, 300)) as url:
        source = open_stream(url, QUICK)
        assert (source.info.live, source.info.image_wh) == (True, (64, 48))
        seen = []
        for frame in source:
            seen.append(frame)
            time.sleep(0.05)
            if len(seen) == 5:
                break
        source.close()
    assert seen[-1].index > 5
    assert source.dropped >= seen[-1].index + 1 - len(seen)


def test_a_broken_connection_is_taken_up_again() -> None:
    with serve(lambda handler, _: send_jpegs(handler, 10)) as url:
        source = open_stream(url, QUICK)
        indices = [frame.index for frame, _ in zip(source, range(14), strict=False)]
        source.close()
    assert indices == sorted(set(indices))
    assert indices[-1] >= 10
    assert any("connection lost" in warning for warning in source.warnings)


def test_a_stalled_server_is_noticed_and_connected_to_anew() -> None:
    def respond(handler: http.server.BaseHTTPRequestHandler, number: int) -> None:
        send_jpegs(handler, 10 if number == 0 else 200)
        if number == 0:
            time.sleep(3.0)

    with serve(respond) as url:
        source = open_stream(url, QUICK)
        start = time.monotonic()
        assert any(frame.index > 12 for frame in source)
        assert time.monotonic() - start < 2.9
        assert any("silent for 0.4 s" in warning for warning in source.warnings)
        source.close()


def test_a_server_that_stays_away_ends_the_run() -> None:
    def respond(handler: http.server.BaseHTTPRequestHandler, number: int) -> None:
        if number == 0:
            send_jpegs(handler, 10)
        else:
            handler.send_error(404)

    with serve(respond) as url:
        source = open_stream(url, QUICK)
        with pytest.raises(RunError, match="gave up after"):
            for _ in source:
                pass


def test_close_cuts_the_wait_for_the_server_short() -> None:
    def respond(handler: http.server.BaseHTTPRequestHandler, number: int) -> None:
        if number == 0:
            send_jpegs(handler, 10)
        else:
            handler.send_error(503)

    with serve(respond) as url:
        source = open_stream(url, StreamTimeouts(open_s=3.0, stall_s=0.4, give_up_s=60.0))
        assert source.info.live
        deadline = time.monotonic() + 5.0
        while not source.status.startswith("reconnecting") and time.monotonic() < deadline:
            time.sleep(0.02)
        assert source.status.startswith("reconnecting")
        start = time.monotonic()
        source.close()
        assert time.monotonic() - start < 1.0


def test_what_is_read_while_the_stream_is_examined_is_shown(tmp_path: Path) -> None:
    """The only key frame comes first; without it nothing of the stream can be decoded."""
    film = encode(tmp_path / "live.ts", [grey(8 * (i % 30)) for i in range(60)], key_every=1000)

    def respond(handler: http.server.BaseHTTPRequestHandler, number: int) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "video/mp2t")
        handler.end_headers()
        handler.wfile.write(film.read_bytes())

    with serve(respond) as url:
        source = open_stream(url, QUICK)
        first = next(iter(source))
        source.close()
    assert source.info.live
    assert (first.index, level_of(first.image)) == (0, 0)


def test_a_film_at_an_address_is_read_whole(tmp_path: Path) -> None:
    levels = [16 + 8 * index for index in range(20)]
    path = encode(tmp_path / "film.mp4", [grey(level) for level in levels], options={"movflags": "faststart"})

    def respond(handler: http.server.BaseHTTPRequestHandler, number: int) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "video/mp4")
        handler.send_header("Content-Length", str(path.stat().st_size))
        handler.end_headers()
        handler.wfile.write(path.read_bytes())

    with serve(respond) as url:
        source = open_stream(f"{url}/film.mp4", QUICK)
        assert not source.info.live
        assert [level_of(frame.image) for frame in source] == levels


def serve_film(path: Path, sent: int, then_s: float = 0.0) -> Callable[[http.server.BaseHTTPRequestHandler, int], None]:
    """A server that announces the whole film, sends its first `sent` bytes, and hangs up after `then_s`."""

    def respond(handler: http.server.BaseHTTPRequestHandler, number: int) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "video/mp4")
        handler.send_header("Content-Length", str(path.stat().st_size))
        handler.end_headers()
        handler.wfile.write(path.read_bytes()[:sent])
        handler.wfile.flush()
        time.sleep(then_s)
        handler.close_connection = True

    return respond


@pytest.mark.parametrize("then_s", [0.0, 60.0])
def test_a_film_whose_server_dies_in_the_middle_gives_what_came(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, then_s: float
) -> None:
    monkeypatch.setattr(video_file, "NETWORK_TIMEOUT_S", 0.5)
    noise = np.random.default_rng(0).integers(0, 255, (40, 144, 192, 3), np.uint8)
    path = encode(tmp_path / "film.mp4", list(noise), options={"movflags": "faststart"})
    with serve(serve_film(path, path.stat().st_size // 2, then_s)) as url:
        start = time.monotonic()
        source = open_stream(f"{url}/film.mp4", QUICK)
        count = sum(1 for _ in source)
        source.close()
        assert time.monotonic() - start < 30
    assert 5 <= count < 30
    assert any("breaks off" in warning or "cut off" in warning for warning in source.warnings)


def test_nothing_there_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="no stream there"):
        open_stream("rtsp://127.0.0.1:9/live", QUICK)


def test_passwords_stay_out_of_names_and_messages() -> None:
    assert public_url("rtsp://admin:secret@10.0.0.2:554/live?x=1") == "rtsp://10.0.0.2:554/live?x=..."
    assert public_url("http://[odd/admin@x") == "http://[odd/admin@x"
    assert public_url("films/mail@home.mp4") == "films/mail@home.mp4"
    with pytest.raises(UsageError) as caught:
        open_stream("rtsp://admin:secret@127.0.0.1:9/live", QUICK)
    assert "secret" not in str(caught.value)
    with pytest.raises(UsageError) as caught:
        video_file.open_video_file("http://admin:secret@127.0.0.1:9/film.mp4")
    assert "secret" not in str(caught.value)
