"""One picture: print the people in it and draw them.

python examples/photo.py photo.jpg drawn.png
python examples/photo.py demo drawn.png      # the first frame of the embedded film
"""

from __future__ import annotations

import argparse

import cv2

import bodycast


def main() -> None:
    """Read the arguments, recover the people, write the picture."""
    parser = argparse.ArgumentParser(description="Recover the people in one picture.")
    parser.add_argument("source", help="a picture; of a film or a folder the first picture is taken")
    parser.add_argument("drawn", help="the picture to write")
    parser.add_argument("--preset", default="fast", choices=["lite", "fast", "balanced", "quality"])
    given = parser.parse_args()

    # `track` gives picture and camera too; where the people are enough, `bodycast.recover(path)` does.
    with bodycast.track(given.source, given.preset, max_frames=1) as frames:
        frame = next(frames)
    for person in frame.people:
        x, y, z = person.translation_m
        print(f"person {person.id}: score {person.score:.2f}, at {x:.2f} {y:.2f} {z:.2f} m, {z:.1f} m from the camera")
    with bodycast.Overlay() as overlay:
        drawn = overlay(frame.image, frame.people, frame.camera)
    if not cv2.imwrite(given.drawn, drawn):
        raise SystemExit(f"{given.drawn}: cannot be written")
    print(given.drawn)


if __name__ == "__main__":
    try:
        main()
    except bodycast.BodycastError as error:
        raise SystemExit(str(error)) from error
