"""`python -m evaluation.fuzz`: mutated files for every reader of the program; whatever is no refusal of ours is found.

A child process reads one file after the other; its parent sees to it that none takes longer than HANG_S, and begins
anew behind a file that ended the child. Files are made of the seeds (evaluation/fuzz_seeds.py) by the number of the run
and of the file alone, so that `--seed S --only N` makes one again.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, Queue
from threading import Thread

import numpy as np

from evaluation.fuzz_seeds import READERS, Reader, make_seeds

HANG_S = 10.0
MOST_MEMORY = 1 << 30
ADDRESS_SPACE = 6 << 30
EXTREMES = (b"\0" * 8, b"\xff" * 8, b"\x7f" + b"\xff" * 7, b"\x80" + b"\0" * 7, b"\xff\xff\xff\x7f", b"\x01\0\0\0")


@dataclass
class Found:
    """What a run of the fuzzer has found. `strays`: lines that say which file of which reader ended how. `stalls`:
    files that took longer than HANG_S once, and not alone."""

    files: int = 0
    refused: int = 0
    strays: list[str] = field(default_factory=list)
    peak_mb: int = 0
    stalls: int = 0


def mutated(content: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    """`content` with some damage, in which a piece of `other` may occur."""
    data = bytearray(content)
    for _ in range(int(rng.integers(1, 9))):
        if not data:
            break
        # Half of the damage is near the beginning, where headers are.
        most = min(len(data), 512) if rng.random() < 0.5 else len(data)
        at = int(rng.integers(most))
        size = int(rng.integers(1, 1 + min(64, len(data) - at)))
        match int(rng.integers(7)):
            case 0:
                data[at] ^= 1 << int(rng.integers(8))
            case 1:
                data[at : at + size] = rng.bytes(size)
            case 2:
                extreme = EXTREMES[int(rng.integers(len(EXTREMES)))]
                data[at : at + len(extreme)] = extreme
            case 3:
                del data[at : at + size]
            case 4:
                data[at:at] = data[at : at + size] * int(rng.integers(1, 20))
            case 5:
                begin = int(rng.integers(max(1, len(other))))
                data[at : at + size] = other[begin : begin + size]
            case _:
                if rng.random() < 0.2:
                    del data[at:]
    return bytes(data)


def file_of(reader: Reader, seeds: dict[str, list[bytes]], seed: int, index: int) -> bytes:
    """The content of file number `index` of run `seed`."""
    rng = np.random.default_rng([seed, index])
    own = seeds[reader.name]
    content, other = (own[int(rng.integers(len(own)))] for _ in range(2))
    return reader.around(content, lambda data: mutated(data, other, rng), rng)


def child(folder: Path, seed: int, first: int, count: int | None, keep: Path | None) -> int:
    """Read files until the parent ends this process, or `count` of them; a line of JSON before and after each."""
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    seeds = make_seeds()
    index = first
    while count is None or index < first + count:
        reader = READERS[index % len(READERS)]
        path = folder / f"file{reader.suffix}"
        path.write_bytes(file_of(reader, seeds, seed, index))
        if keep is not None:
            keep.with_suffix(reader.suffix).write_bytes(path.read_bytes())
        print(json.dumps({"begin": index, "reader": reader.name}), flush=True)
        outcome = reader.outcome(path)
        said = {"end": index, "reader": reader.name, "outcome": outcome, "peak_mb": _peak_kb() >> 10}
        print(json.dumps(said), flush=True)
        index += 1
    return 0


def fuzz(seconds: float, seed: int = 0, most_files: int | None = None) -> Found:
    """Run for so long, or for so many files."""
    found = Found()
    deadline_s = time.monotonic() + seconds
    first = 0
    with tempfile.TemporaryDirectory() as folder:
        while time.monotonic() < deadline_s and (most_files is None or found.files < most_files):
            first = _run_child(Path(folder), seed, first, deadline_s, most_files, found)
    return found


def _run_child(folder: Path, seed: int, first: int, deadline_s: float, most_files: int | None, found: Found) -> int:
    """One child, until it dies, hangs, or time is up; gives the number of the next file."""
    command = [
        sys.executable,
        "-m",
        "evaluation.fuzz",
        "--child",
        str(folder),
        "--seed",
        str(seed),
        "--first",
        str(first),
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    lines: Queue[str | None] = Queue()
    Thread(target=_pass_on, args=(process, lines), daemon=True).start()
    begun = ""
    index = first
    limit_s = 120.0  # imports and seeds
    try:
        while time.monotonic() < deadline_s and (most_files is None or found.files < most_files):
            try:
                line = lines.get(timeout=limit_s)
            except Empty:
                # A busy machine can stall any process: alone, a file that hangs does so again.
                process.kill()
                if _hangs_alone(seed, index):
                    found.strays.append(f"file {index} ({begun}): hangs, more than {limit_s:g} s")
                else:
                    found.stalls += 1
                return index + 1
            if line is None:
                found.strays.append(f"file {index} ({begun}): ended the process ({process.wait()})")
                return index + 1
            said = json.loads(line)
            limit_s = HANG_S
            if "begin" in said:
                index, begun = said["begin"], said["reader"]
                continue
            found.files += 1
            found.refused += said["outcome"] == "refused"
            found.peak_mb = max(found.peak_mb, said["peak_mb"])
            if said["outcome"] not in ("read", "refused"):
                found.strays.append(f"file {index} ({begun}): {said['outcome']}")
            if said["peak_mb"] << 20 > MOST_MEMORY:
                found.strays.append(f"file {index} ({begun}): {said['peak_mb']} MB")
                return index + 1
    finally:
        process.kill()
        process.wait()
    return index + 1


def _hangs_alone(seed: int, index: int) -> bool:
    command = [sys.executable, "-m", "evaluation.fuzz", "--seed", str(seed), "--only", str(index)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    lines: Queue[str | None] = Queue()
    Thread(target=_pass_on, args=(process, lines), daemon=True).start()
    try:
        lines.get(timeout=120.0)
        lines.get(timeout=HANG_S)
    except Empty:
        return True
    finally:
        process.kill()
        process.wait()
    return False


def _pass_on(process: subprocess.Popen[str], lines: Queue[str | None]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        lines.put(line)
    lines.put(None)


def _peak_kb() -> int:
    """The most memory of this process since it began: Linux's getrusage counts what its parent had at the fork."""
    import resource

    status = Path("/proc/self/status")
    if status.is_file():
        return int(status.read_text().split("VmHWM:")[1].split()[0])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main(argv: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m evaluation.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--only", type=int, help="read this one file")
    parser.add_argument("--keep", type=Path, help="and keep it under this name, with its own ending")
    args = parser.parse_args(argv)
    if args.child is not None:
        return child(args.child, args.seed, args.first, None, None)
    if args.only is not None:
        with tempfile.TemporaryDirectory() as folder:
            return child(Path(folder), args.seed, args.only, 1, args.keep)
    found = fuzz(args.seconds, args.seed)
    for line in found.strays:
        print(line)
    kinds = f"{found.files - found.refused} read, {found.refused} refused, {len(found.strays)} strays"
    print(f"{found.files} files for {len(READERS)} readers: {kinds}, {found.stalls} stalls, {found.peak_mb} MB")
    return 1 if found.strays or not found.files else 0


if __name__ == "__main__":
    sys.exit(main())
