"""`python -m evaluation batch`: a batch that is killed and resumed equals one that is not, its memory stays flat, and
what it saves against runs of their own.

    python -m evaluation batch --work out/batch-holds --rounds 3 -- --preset lite --renderer none
"""

from __future__ import annotations

import argparse
import hashlib
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np

from bodycast.app.batch.films import folder_name
from bodycast.app.batch.marks import DONE_FILE
from bodycast.app.files.output_folder import MOTION_FILE, OVERLAY_FILE
from bodycast.app.sources.factory import DEMO_CLIP

COMMAND = (sys.executable, "-c", "import sys; from bodycast.app.commands.main import main; sys.exit(main())")
FRAMES, SIZE_WH = 20, (320, 180)
EARLY, LATE, MOST_GROWTH = (8, 16), 40, 0.05
"""Films of one worker: its memory from the 40th on may be so much above that over the 8th to 16th."""

Memory = dict[int, list[tuple[int, float]]]
"""By worker: films of the batch that are done, resident MB."""


def main(argv: Sequence[str]) -> int:
    """Exit code 1 where a result differs, or memory grows."""
    parser = argparse.ArgumentParser(prog="python -m evaluation batch", description=__doc__)
    parser.add_argument("--clips", type=int, default=200)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument(
        "--sample", type=int, default=20, help="clips whose batch is compared with single runs; 0: none"
    )
    parser.add_argument("--singles", type=int, help="of the sample's clips; where left out, all")
    parser.add_argument("--rounds", type=int, default=1, help="of the sample: batch and single runs, interleaved")
    parser.add_argument("--sample-workers", type=int, default=1, help="of the batch; single runs go one after another")
    parser.add_argument("--work", type=Path, required=True, help="folder for clips and results")
    parser.add_argument("flags", nargs="*", help="of `bodycast batch` and `bodycast run`, after --")
    args = parser.parse_args(argv)
    clips = make_clips(args.work / "clips", args.clips)
    equal = flat = True
    if args.workers:
        undisturbed, killed = args.work / "undisturbed", args.work / "killed"
        shutil.rmtree(undisturbed, ignore_errors=True)
        shutil.rmtree(killed, ignore_errors=True)
        flags = ("--workers", str(args.workers), *args.flags)
        memory = _run_watched(_batch(clips, undisturbed, *flags), undisturbed)
        flat = memory_is_flat(memory, args.workers)
        _kill_and_resume(clips, killed, flags)
        equal = digests(undisturbed) == digests(killed) and len(digests(killed)) >= args.clips
        print(f"results of the killed and resumed batch {'equal' if equal else 'DIFFER FROM'} the undisturbed ones")
    if args.sample:
        _compare(clips, args)
    return 0 if equal and flat else 1


def make_clips(folder: Path, count: int) -> Path:
    """Clips of FRAMES frames of the demo, small, every second one mirrored; made once."""
    import av
    import cv2

    folder.mkdir(parents=True, exist_ok=True)
    with av.open(str(DEMO_CLIP)) as film:
        pictures = [
            cv2.resize(frame.to_ndarray(format="bgr24"), SIZE_WH, interpolation=cv2.INTER_AREA)
            for frame in film.decode(video=0)
        ]
    for number in range(count):
        path = folder / f"clip{number:03d}.mp4"
        if path.is_file():
            continue
        begin = 7 * number % (len(pictures) - FRAMES)
        with av.open(str(path), "w") as out:
            stream = out.add_stream("libx264", rate=25)
            stream.width, stream.height = SIZE_WH
            stream.pix_fmt = "yuv420p"
            stream.codec_context.time_base = Fraction(1, 25)
            for index, picture in enumerate(pictures[begin : begin + FRAMES]):
                shown = picture[:, ::-1] if number % 2 else picture
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(shown), format="bgr24")
                frame.pts, frame.time_base = index, Fraction(1, 25)
                out.mux(stream.encode(frame))
            out.mux(stream.encode(None))
    return folder


def digests(output: Path) -> dict[str, str]:
    """SHA-256 of every result."""
    files = [path for name in (MOTION_FILE, OVERLAY_FILE) for path in output.glob(f"*/{name}")]
    return {str(path.relative_to(output)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def _batch(clips: Path, output: Path, *flags: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([*COMMAND, "batch", str(clips), "--output", str(output), *flags], stdout=subprocess.DEVNULL)


def _children(process: int) -> list[int]:
    found: list[int] = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, command = (folder / "stat").read_text(), (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if int(state.rpartition(")")[2].split()[1]) == process and b"spawn_main" in command:
            found.append(int(folder.name))
    return found


def _run_watched(process: subprocess.Popen[bytes], output: Path) -> Memory:
    """Resident MB of each worker, every half second, with the films that were done then."""
    memory: Memory = {}
    while process.poll() is None:
        done = _done(output)
        for child in _children(process.pid):
            try:
                pages = int(Path(f"/proc/{child}/statm").read_text().split()[1])
            except OSError:
                continue
            memory.setdefault(child, []).append((done, pages * os.sysconf("SC_PAGE_SIZE") / 1e6))
        time.sleep(0.5)
    if process.returncode:
        raise SystemExit(f"the batch ended with exit code {process.returncode}")
    return memory


def memory_is_flat(memory: Memory, workers: int) -> bool:
    """Say each worker's memory and whether it grows, by its median over EARLY and over LATE films of its own. A batch
    too short for that says only what it has."""
    flat = True
    for process, samples in memory.items():
        films = np.array([done for done, _ in samples]) / workers
        used = np.array([megabytes for _, megabytes in samples])
        early = used[(films >= EARLY[0]) & (films < EARLY[1])]
        late = used[films >= LATE]
        said = f"worker {process}: most memory {used.max():.0f} MB"
        if len(early) and len(late):
            grown = float(np.median(late) / np.median(early) - 1)
            flat = flat and grown <= MOST_GROWTH
            said += f"; median {np.median(early):.0f} MB over films {EARLY[0]} to {EARLY[1]}"
            said += f", {np.median(late):.0f} MB from film {LATE} on ({grown:+.1%})"
            said += ": flat" if grown <= MOST_GROWTH else ": it GROWS"
        print(said)
    return flat


def _kill_and_resume(clips: Path, output: Path, flags: tuple[str, ...]) -> None:
    count = len(list(clips.glob("*.mp4")))
    process = _batch(clips, output, *flags)
    _wait_for(process, output, count // 4)
    victim = _children(process.pid)[0]
    os.kill(victim, signal.SIGKILL)
    print(f"killed worker {victim} after {_done(output)} films")
    _wait_for(process, output, count // 2)
    process.kill()
    process.wait()
    print(f"killed the batch after {_done(output)} films")
    resumed = _batch(clips, output, "--resume", *flags)
    if resumed.wait():
        raise SystemExit(f"the resumed batch ended with exit code {resumed.returncode}")


def _done(output: Path) -> int:
    return len(list(output.glob(f"*/{DONE_FILE}")))


def _wait_for(process: subprocess.Popen[bytes], output: Path, count: int) -> None:
    while _done(output) < count:
        if process.poll() is not None:
            raise SystemExit("the batch ended before it could be killed")
        time.sleep(0.1)


def _compare(clips: Path, args: argparse.Namespace) -> None:
    """CPU and wall seconds a clip, of a batch before and after runs of their own, and of those. What the batch takes to
    start is among its seconds."""
    films = sorted(clips.glob("*.mp4"))[: args.sample]
    alone = films[:: max(1, len(films) // (args.singles or len(films)))][: args.singles]
    listed = args.work / "sample.txt"
    listed.write_text("\n".join(str(film.resolve()) for film in films))
    ratios: list[float] = []
    together = ("batch", str(listed), "--output", str(args.work / "sample"), "--overwrite")
    together += ("--workers", str(args.sample_workers), *args.flags)
    for number in range(args.rounds):
        batch = _seconds(together)
        single = np.zeros(2)
        for film in alone:
            place = args.work / "single" / folder_name(str(film))
            arguments = ("run", str(film), "--output", str(place), "--overwrite", "--no-window", *args.flags)
            single += _seconds(arguments)
        batch = (batch + _seconds(together)) / 2 / len(films)
        single /= len(alone)
        ratios.append(float(single[0] / batch[0]))
        said = [f"{name} {cpu_s:.2f} CPU s, {wall_s:.2f} s a clip" for name, (cpu_s, wall_s) in
                (("batch", batch), ("single runs", single))]  # fmt: skip
        clock = float(single[1] / batch[1])
        print(
            f"round {number + 1}: {'; '.join(said)}; ratio {ratios[-1]:.2f} by CPU, {clock:.2f} by the clock",
            flush=True,
        )
    print(f"ratio by CPU time, median of {args.rounds}: {np.median(ratios):.2f}")


def _seconds(arguments: tuple[str, ...]) -> np.ndarray:
    """(2,) CPU seconds of the process and of its own, and wall seconds."""
    before, began_s = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([*COMMAND, *arguments], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return np.array([cpu_s, time.perf_counter() - began_s])
