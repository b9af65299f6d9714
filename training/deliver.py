"""Results of a run in a few small files, for machines from which only those come back.

`deliver` writes log, curves and scores as they are, and the finished networks as one archive cut into parts of at most
15 MB; `python -m training.deliver join FOLDER OUT` puts them together again. Where not all fits into one delivery,
`python -m training.deliver send OUT FOLDER NAME ...` makes another.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path

PART_BYTES = 15 * 1000 * 1000
MOST_FILES = 8
MOST_BYTES = 62 * 1000 * 1000
ARCHIVE = "networks.tar"


def split_file(path: Path, folder: Path, part_bytes: int = PART_BYTES) -> list[Path]:
    """Cut a file into FOLDER/NAME.000, .001, ... of at most `part_bytes` each; older parts of that name go."""
    for old in folder.glob(f"{path.name}.[0-9][0-9][0-9]"):
        old.unlink()
    parts = []
    with path.open("rb") as whole:
        while content := whole.read(part_bytes):
            part = folder / f"{path.name}.{len(parts):03d}"
            part.write_bytes(content)
            parts.append(part)
    return parts


def join_file(folder: Path, name: str, target: Path) -> None:
    """The inverse of `split_file`. Raises ValueError where a part is missing."""
    parts = sorted(folder.glob(f"{name}.[0-9][0-9][0-9]"))
    numbers = [int(part.suffix[1:]) for part in parts]
    if not parts or numbers != list(range(len(parts))):
        raise ValueError(f"{folder}: expected {name}.000, .001, ... without a gap, found {[p.name for p in parts]}")
    with target.open("wb") as whole:
        for part in parts:
            whole.write(part.read_bytes())


def deliver(out: Path, names: Sequence[str], folder: Path, part_bytes: int = PART_BYTES, most: int = MOST_FILES) -> str:
    """Copy what a run wrote into `folder`, at most `most` files; words on what did not fit.

    Networks are taken in the order of `names` as long as their parts fit.
    """
    folder.mkdir(parents=True, exist_ok=True)
    plain = [path for name in ("log.jsonl", "curves.png") if (path := out / name).is_file()]
    for path in plain:
        shutil.copyfile(path, folder / path.name)
    room = min((most - len(plain)) * part_bytes, MOST_BYTES - sum(path.stat().st_size for path in plain))
    taken, left_out, used = [], [], 4 * 10240
    for name in names:
        size = (out / f"{name}.pt").stat().st_size + (out / f"{name}.json").stat().st_size + 4096
        fits = used + size <= room
        (taken if fits else left_out).append(name)
        used += size if fits else 0
    archive = out / ARCHIVE
    with tarfile.open(archive, "w") as tar:
        for name in taken:
            for suffix in ("pt", "json"):
                tar.add(out / f"{name}.{suffix}", f"{name}.{suffix}")
    parts = split_file(archive, folder, part_bytes)
    archive.unlink()
    words = f"delivered {', '.join(taken) or 'nothing'} in {len(parts)} parts of {folder}"
    return words + (f"; NOT delivered, no room: {', '.join(left_out)}" if left_out else "")


def join(folder: Path, out: Path) -> list[str]:
    """Unpack delivered networks into `out`; their file names. Raises ValueError for parts that are missing."""
    out.mkdir(parents=True, exist_ok=True)
    archive = out / ARCHIVE
    join_file(folder, ARCHIVE, archive)
    with tarfile.open(archive) as tar:
        names = tar.getnames()
        tar.extractall(out, filter="data")
    archive.unlink()
    return names


def main(argv: Sequence[str] | None = None) -> int:
    """Command line. Exit code 1 for missing parts or networks."""
    parser = argparse.ArgumentParser(prog="python -m training.deliver", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    joining = commands.add_parser("join", help="put delivered parts together again")
    joining.add_argument("folder", type=Path)
    joining.add_argument("out", type=Path)
    sending = commands.add_parser("send", help="deliver some networks of a run")
    sending.add_argument("out", type=Path, help="folder of the run")
    sending.add_argument("folder", type=Path)
    sending.add_argument("names", nargs="+", help="recipes")
    args = parser.parse_args(argv)
    try:
        if args.command == "send":
            print(deliver(args.out, args.names, args.folder))
        else:
            print("\n".join(join(args.folder, args.out)))
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
