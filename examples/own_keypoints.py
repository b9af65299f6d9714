"""Your own keypoint network and engine, compared with the preset's: who is found, and how long a frame takes.

    python examples/own_keypoints.py film.mp4 my-pose                       # a package: a folder or an installed name
    python examples/own_keypoints.py film.mp4 rtmpose.onnx --kind rtmpose   # an ONNX file becomes a package first
    python examples/own_keypoints.py demo pose-lightning --engine onnxruntime --max-frames 30

`--kind` needs what requirements/export.txt names; a package needs nothing more.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

import bodycast


def main() -> None:
    """Read the arguments, make a package where an ONNX file was given, track with both networks."""
    parser = argparse.ArgumentParser(description="Track people with a keypoint network of your own.")
    parser.add_argument("source", help="a film, a folder of pictures, or demo")
    parser.add_argument("keypoints", help="a keypoint package, or with --kind an ONNX file")
    parser.add_argument("--kind", choices=["rtmpose", "vitpose", "movenet", "yolo-pose"], help="of the ONNX file")
    parser.add_argument("--engine", default="auto", help="onnxruntime, openvino, tensorrt, ...; auto: the fastest")
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
    parser.add_argument("--max-frames", type=int, default=100)
    given = parser.parse_args()

    package = make_package(given.keypoints, given.kind) if given.kind else given.keypoints
    options = {"engine": given.engine, "device": given.device, "max_frames": given.max_frames}
    for name, keypoints in (("preset fast", "auto"), (package, package)):
        begun = time.perf_counter()
        with bodycast.track(given.source, "fast", keypoints=keypoints, **options) as stream:
            frames = list(stream)
        milliseconds = 1000 * (time.perf_counter() - begun) / max(len(frames), 1)
        found = sum(bool(frame.people) for frame in frames)
        print(f"{name}: people in {found} of {len(frames)} frames, {milliseconds:.0f} ms a frame, start included")


def make_package(file: str, kind: str) -> str:
    """The keypoint package of an ONNX file, written beside it as NAME-package."""
    package = Path(file).with_name(Path(file).stem + "-package")
    command = [sys.executable, "-m", "bodycast", "export", "keypoints", file, "--kind", kind, "--out", str(package)]
    if not (package / "package.json").is_file() and (code := subprocess.run(command, check=False).returncode):
        raise SystemExit(code)
    return str(package)


if __name__ == "__main__":
    try:
        main()
    except bodycast.BodycastError as error:
        raise SystemExit(str(error)) from error
