"""Where crops come from when nobody says: a set or a pack that is there, else a pack made of the repository alone."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

CROPS, PACK, STARTER = "crops-train", "pack", "pack-starter"


def find_crops(work: Path) -> tuple[list[Path] | None, Path | None]:
    """Crop sets to learn from, or a pack to render from: the first there is of WORK/crops-train, WORK/pack and
    WORK/pack-starter, which is made (some twenty seconds) where there is none of them. Says on stderr what it chose.

    Raises: OSError where the pack cannot be written.
    """
    if (work / CROPS).is_dir():
        return [work / CROPS], None
    for pack in (work / PACK, work / STARTER):
        if (pack / "pack.json").is_file():
            _say(f"no crops in {work / CROPS}: people are rendered from {pack} while the network learns")
            return None, pack
    _say(
        f"no crops in {work / CROPS} and no pack in {work / PACK}: rendering what the repository has while the network "
        f"learns, gestures in drawn rooms (docs/training.md: motion capture, photographs); making {work / STARTER}"
    )
    return None, make_starter(work / STARTER)


def make_starter(out: Path) -> Path:
    """Write a pack without motion capture and photographs; of several processes that do so at once one wins."""
    from training.synthetic.pack import write_pack

    part = out.with_name(f"{out.name}.{os.getpid()}")
    try:
        write_pack(part)
        part.rename(out)
    except OSError:
        if not (out / "pack.json").is_file():
            raise
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return out


def _say(line: str) -> None:
    if int(os.environ.get("RANK", "0")) == 0:  # torchrun's number of this process
        print(line, file=sys.stderr, flush=True)
