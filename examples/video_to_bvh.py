"""A film to BVH files, one a person, for Blender, MotionBuilder and Unity.

    python examples/video_to_bvh.py film.mp4 dance.bvh
    python examples/video_to_bvh.py demo dance.bvh --max-frames 60

The same in two commands: `bodycast run film.mp4 --output out/film --renderer none --no-window`, then
`bodycast convert out/film/motion.npz dance.bvh`.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import bodycast
from bodycast.app.files import export_motion


def main() -> None:
    """Read the arguments, run over the film without drawing, convert the motion."""
    parser = argparse.ArgumentParser(description="Write the motion of a film's people as BVH.")
    parser.add_argument("film")
    parser.add_argument("bvh", type=Path, help="the file to write; several people get _person1, _person2, ...")
    parser.add_argument("--centimetres", action="store_true", help="the file's unit; metres where left out")
    parser.add_argument("--overwrite", action="store_true")
    parser.add_argument("--max-frames", type=int, help="only the beginning")
    given = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        run = [sys.executable, "-m", "bodycast", "run", given.film, "--renderer", "none", "--no-window"]
        run += ["--output", folder, "--overwrite"]
        run += ["--max-frames", str(given.max_frames)] if given.max_frames else []
        done = subprocess.run(run, check=False)
        if done.returncode:
            raise SystemExit(done.returncode)
        motion = Path(folder) / "motion.npz"
        written = export_motion(motion, given.bvh, centimetres=given.centimetres, overwrite=given.overwrite)
        table = bodycast.read_motion(motion)
    for person in table.person_ids:
        print(f"person {person}: {len(table.of_person(person))} frames")
    print("\n".join(map(str, written)))


if __name__ == "__main__":
    try:
        main()
    except bodycast.BodycastError as error:
        raise SystemExit(str(error)) from error
