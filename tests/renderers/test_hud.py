"""The HUD: what it says, and where it paints."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bodycast.app.renderers.hud import Hud, HudStatus, hud_lines

STATUS = HudStatus(
    fps=29.9,
    latency_s=0.048,
    people=(4, 7),
    dropped=7,
    detector="hog",
    engine="onnxruntime cpu",
    smoother="one-euro",
    renderer="moderngl (llvmpipe, software)",
    notes=("the detector is the embedded one",),
)


def text_of(status: HudStatus) -> str:
    return "\n".join(text for text, _ in hud_lines(status))


def test_it_says_what_a_user_wants_to_know() -> None:
    text = text_of(STATUS)
    for part in (
        "29.9 fps",
        "48 ms",
        "people 2: 4, 7",
        "dropped 7",
        "hog",
        "onnxruntime",
        "one-euro",
        "llvmpipe",
        "embedded",
    ):
        assert part in text


def test_a_file_has_no_latency_and_nothing_is_said_of_what_is_not_there() -> None:
    text = text_of(HudStatus(fps=100.0, latency_s=None, people=()))
    assert "latency" not in text and "dropped" not in text and "detector" not in text


def test_slow_frame_rates_and_long_delays_are_drawn_in_another_colour() -> None:
    fine = hud_lines(HudStatus(fps=30.0, latency_s=0.05, people=(1,)))[0][1]
    for fps, latency_s in ((12.0, 0.05), (30.0, 0.4)):
        assert hud_lines(HudStatus(fps=fps, latency_s=latency_s, people=(1,)))[0][1] != fine


def test_it_paints_a_copy_in_the_upper_left_corner_and_hides() -> None:
    picture = np.full((720, 1280, 3), 120, np.uint8)
    hud = Hud()
    drawn = hud.draw(picture, STATUS)
    assert (picture == 120).all()
    changed = np.any(drawn != 120, axis=-1)
    assert changed[:100, :100].any() and not changed[300:].any() and not changed[:, 800:].any()
    hud.toggle()
    assert np.any(hud.draw(picture, STATUS) != 120, axis=-1).sum() > changed.sum(), "all of it takes more room"
    hud.toggle()
    assert hud.draw(picture, STATUS) is picture
    hud.toggle()
    assert np.array_equal(hud.draw(picture, STATUS), drawn)


def test_it_is_small_at_first_and_says_what_is_sent_and_recorded() -> None:
    status = replace(STATUS, sending=(("vmc", 0.061), ("websocket", None)), recording="take-002", paused=True, notes=())
    small = [text for text, _ in hud_lines(status, full=False)]
    assert small[0] == "29.9 fps   latency 48 ms   people 2: 4, 7   dropped 7"
    assert small[1] == "sends vmc 61 ms, websocket"
    assert "take-002" in small[2] and "paused" in small[3] and len(small) == 5


def test_long_names_and_tiny_pictures_do_not_break_it() -> None:
    status = HudStatus(fps=1.0, latency_s=None, people=(1,), renderer="x" * 500 + "é", notes=("ü" * 300,))
    assert max(len(text) for text, _ in hud_lines(status)) < 100
    assert Hud().draw(np.zeros((48, 64, 3), np.uint8), status).shape == (48, 64, 3)
