"""A camera in a window of your own, with the people drawn over the picture. q or Esc ends it.

python examples/webcam.py            # the first camera
python examples/webcam.py film.mp4
python examples/webcam.py demo --no-window --max-frames 30
"""

from __future__ import annotations

import argparse
from contextlib import ExitStack

import cv2

import bodycast

TITLE = "Bodycast"
ESCAPE = 27


def main() -> None:
    """Read the arguments, show frame after frame."""
    parser = argparse.ArgumentParser(description="Show the people before a camera.")
    parser.add_argument("source", nargs="?", default="0", help="a camera's number, a film, a stream's URL, or demo")
    parser.add_argument("--preset", default="fast", choices=["lite", "fast", "balanced", "quality"])
    parser.add_argument("--max-frames", type=int, help="stop after so many frames")
    parser.add_argument("--no-window", action="store_true", help="draw, but show nothing")
    given = parser.parse_args()

    with ExitStack() as opened:
        frames = opened.enter_context(bodycast.track(given.source, given.preset, max_frames=given.max_frames))
        overlay = opened.enter_context(bodycast.Overlay())
        for frame in frames:
            drawn = overlay(frame.image, frame.people, frame.camera)
            print(f"\r{frame.time_s:9.2f} s  ids {[person.id for person in frame.people]}   ", end="", flush=True)
            if given.no_window:
                continue
            cv2.imshow(TITLE, drawn)
            if cv2.waitKey(1) & 0xFF in (ord("q"), ESCAPE):
                break
    print()


if __name__ == "__main__":
    try:
        main()
    except bodycast.BodycastError as error:
        raise SystemExit(str(error)) from error
