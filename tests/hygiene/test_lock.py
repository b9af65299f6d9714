"""CI's lock file: every requirement is in it, in a version that it allows, with a hash and without an address."""

from __future__ import annotations

import re
from pathlib import Path

from packaging.requirements import Requirement

REPOSITORY = Path(__file__).resolve().parents[2]
LOCK = REPOSITORY / "requirements" / "ci.lock"
SOURCES = ("requirements.txt", "requirements/train.txt", "requirements/dev.txt")
ON = {"sys_platform": "linux", "platform_machine": "x86_64", "python_version": "3.11", "extra": ""}
LINE = re.compile(r"([A-Za-z0-9._-]+)==(\S+) --hash=sha256:[0-9a-f]{64}")


def name_of(text: str) -> str:
    return re.sub(r"[-_.]+", "-", text).lower()


def requirements(path: Path) -> list[Requirement]:
    found: list[Requirement] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        text = line.partition("#")[0].strip()
        if text.startswith("-r "):
            found += requirements(path.parent / text[3:].strip())
        elif text:
            found.append(Requirement(text))
    return found


def test_every_requirement_is_locked_in_a_version_that_it_allows() -> None:
    lines = [line for line in LOCK.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    matched = [LINE.fullmatch(line) for line in lines]
    assert all(matched), "each line is NAME==VERSION --hash=sha256:..., and nothing else: no address"
    locked = {name_of(match[1]): match[2] for match in matched if match}
    assert len(locked) == len(lines)
    wanted = [entry for source in SOURCES for entry in requirements(REPOSITORY / source)]
    assert len(wanted) > 20
    for entry in wanted:
        if entry.marker is None or entry.marker.evaluate(ON):
            version = locked.get(name_of(entry.name), "nothing")
            assert entry.specifier.contains(version), f"{entry}: {version} is locked; run `make lock`"
