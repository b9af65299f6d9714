"""`python -m evaluation soak`: long runs of the program and killed ones.

The demo film goes into `bodycast run` over and over, small and as fast as it is taken: source, detector, network,
smoother, world, drawing, overlay.mp4 and motion.npz are those of every run. Resident memory at the end must be within
5 % of that at 5,000 frames, and nothing may be lost. With --kills, runs on a network camera are ended by SIGKILL at
random moments, and `bodycast recover` must give film and motion up to two seconds before. Linux only: memory is read
in /proc.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bodycast.app.files.motion_parts import PARTS_FOLDER, read_parts
from evaluation.soak_feed import RATE, REPOSITORY, FedRun, camera, demo_pictures, start_run

REFERENCE_FRAMES = 5_000
WINDOW = 500
"""Memory is the median over so many frames, sampled every SAMPLE."""
SAMPLE = 50
MOST_GROWTH = 0.05
LOST_S = 2.0
LONGEST_S = 12.0
"""A run is killed after so long at most."""


@dataclass(frozen=True)
class Soaked:
    """What a long run came to: megabytes at the reference and at the end, frames fed and kept."""

    frames: int
    seconds: float
    reference_mb: float
    end_mb: float
    motion_frames: int
    film_frames: int
    exit_code: int

    @property
    def growth(self) -> float:
        """Of resident memory, from the reference to the end."""
        return self.end_mb / self.reference_mb - 1

    @property
    def ok(self) -> bool:
        """Memory is flat and every frame is there."""
        kept = self.motion_frames == self.film_frames == self.frames
        return self.exit_code == 0 and kept and abs(self.growth) <= MOST_GROWTH


def soak(
    folder: Path, flags: Sequence[str], width: int, frames: int | None, seconds: float | None, reference: int
) -> Soaked:
    """One long run in `folder`, of so many frames or seconds. reference: the frame that memory is compared with."""
    samples: list[tuple[int, float]] = []
    began_s = time.monotonic()
    with FedRun(folder, flags, *demo_pictures(width)) as run:
        for count in run.feed():
            if count % SAMPLE == 0:
                samples.append((count, run.resident_mb()))
            if count % 5_000 == 0:
                print(f"{count} frames, {count / (time.monotonic() - began_s):.0f} a second: {samples[-1][1]:.1f} MB")
                sys.stdout.flush()
            if count == frames or (seconds is not None and time.monotonic() - began_s > seconds):
                break
        fed = run.count
        code = run.finish()
        if code:
            print(run.errors, file=sys.stderr)
        motion, film = kept_frames(run.output)
    taken_s = time.monotonic() - began_s
    return Soaked(fed, taken_s, _at(samples, min(reference, fed)), _at(samples, fed), motion, len(film), code)


def _at(samples: Sequence[tuple[int, float]], frame: int) -> float:
    """The median of the memory over the WINDOW frames before this one."""
    near = [size for count, size in samples if frame - WINDOW < count <= frame]
    if not near:
        raise SystemExit(f"evaluation soak: {frame} frames are too few to say anything of memory")
    return median(near)


def kept_frames(output: Path) -> tuple[int, list[float]]:
    """How many frames motion.npz holds, and when each of overlay.mp4 is shown, in seconds; none where there is none."""
    import av
    import av.error

    from bodycast.app.files.motion_file import read_motion

    motion, film = output / "motion.npz", output / "overlay.mp4"
    shown: list[float] = []
    if film.exists():
        with contextlib.suppress(av.error.FFmpegError), av.open(str(film)) as opened:
            shown = [float(p.pts * p.time_base) for p in opened.demux(video=0) if p.pts is not None and p.time_base]
    return (read_motion(motion).meta.frame_count if motion.exists() else 0), shown


@dataclass(frozen=True)
class Killed:
    """One killed run: when, after its first frame; how many seconds before that the recovered motion and film end, and
    how many frames they hold."""

    after_s: float
    motion_lost_s: float
    film_lost_s: float
    motion_frames: int
    film_frames: int
    exit_code: int
    said: str

    @property
    def ok(self) -> bool:
        """Film and motion go on up to LOST_S before the kill, and hold the same frames up to there."""
        late = max(self.motion_lost_s, self.film_lost_s) > min(LOST_S, self.after_s)
        return self.exit_code == 0 and not late


def kill_one(folder: Path, flags: Sequence[str], width: int, after_s: float, rate: float = RATE) -> Killed:
    """Kill a run on a camera `after_s` seconds after it has begun to write, and recover it."""
    output = folder / "out"
    with camera(width, rate) as address, (folder / "stderr.txt").open("w") as said:
        process = start_run(address, output, flags, said)
        while not (output / PARTS_FOLDER / "frames").is_file():
            if process.poll() is not None:
                raise SystemExit(f"evaluation soak: {(folder / 'stderr.txt').read_text()}")
            time.sleep(0.01)
        time.sleep(after_s)
        process.kill()
        killed_s = time.monotonic()  # the clock of a live source's frames
        process.wait()
    frames = read_parts(output / PARTS_FOLDER).frames["time_s"].tolist()
    done = subprocess.run(
        [sys.executable, "-m", "bodycast", "recover", str(output)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    motion, shown = kept_frames(output)
    if not frames:
        return Killed(after_s, after_s, after_s, motion, len(shown), done.returncode, done.stderr)
    whole = motion == len(frames)
    film_end_s = frames[0] + shown[-1] if shown else frames[0]
    motion_lost_s = killed_s - frames[-1] if whole else math.inf
    return Killed(after_s, motion_lost_s, killed_s - film_end_s, motion, len(shown), done.returncode, done.stderr)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    command = argparse.ArgumentParser(prog="python -m evaluation soak", description=__doc__)
    length = command.add_mutually_exclusive_group()
    length.add_argument("--frames", type=int, help="length of the run (default: 100000)")
    length.add_argument("--hours", type=float, help="length of the run")
    length.add_argument("--kills", type=int, help="kill so many short runs instead")
    command.add_argument("--width", type=int, default=320, help="of the pictures, in pixels")
    command.add_argument("--reference", type=int, default=REFERENCE_FRAMES, help="compare memory with that at this one")
    command.add_argument("--seed", type=int, default=0, help="of the moments at which runs are killed")
    command.add_argument("--rate", type=float, default=RATE, help="frames a second of runs that are killed")
    command.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    command.add_argument("flags", nargs="*", help="after --: flags of bodycast run, such as --model DIR")
    return command


def main(argv: Sequence[str]) -> int:
    """Returns 1 where memory grows or frames are lost."""
    given = parser().parse_args(argv)
    if given.kills is not None:
        return _kills(given)
    frames = None if given.hours is not None else given.frames or 100_000
    seconds = None if given.hours is None else given.hours * 3600
    with tempfile.TemporaryDirectory() as folder:
        found = soak(Path(folder), given.flags, given.width, frames, seconds, given.reference)
    kept = f"{found.motion_frames} in motion.npz, {found.film_frames} in overlay.mp4, exit code {found.exit_code}"
    print(f"{found.frames} frames in {found.seconds:.0f} s: {kept}")
    reference = min(given.reference, found.frames)
    print(f"{found.reference_mb:.1f} MB at {reference} frames, {found.end_mb:.1f} MB at the end: {found.growth:+.1%}")
    print("memory is flat, nothing is lost" if found.ok else "FAILED")
    if given.json is not None:
        given.json.write_text(json.dumps({**vars(found), "growth": found.growth}, indent=2) + "\n")
    return 0 if found.ok else 1


def _kills(given: argparse.Namespace) -> int:
    moments = random.Random(given.seed)
    failed = 0
    for number in range(given.kills):
        with tempfile.TemporaryDirectory() as folder:
            found = kill_one(Path(folder), given.flags, given.width, moments.uniform(0.1, LONGEST_S), given.rate)
        failed += not found.ok
        motion = f"{found.motion_frames} frames of motion, to {found.motion_lost_s:.2f} s before"
        film = f"{found.film_frames} of film, to {found.film_lost_s:.2f} s before"
        verdict = "ok" if found.ok else f"FAILED {found.said}"
        print(f"{number}: killed after {found.after_s:.1f} s: {motion}, {film}: {verdict}")
        sys.stdout.flush()
    print(f"{given.kills} runs killed, {failed} lost more than {LOST_S:g} s")
    return 1 if failed else 0
