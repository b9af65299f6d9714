"""Write requirements/ci.lock: every package of CI's environment with its version and the hash of its file.

    make lock

Versions are those that pip chooses today for requirements.txt, train.txt and dev.txt with this Python on this machine;
CI installs them with `pip install --require-hashes`. Nothing is installed here, and no address is written.
"""

from __future__ import annotations

import json
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
LOCK = REPOSITORY / "requirements" / "ci.lock"
SOURCES = ("requirements.txt", "requirements/train.txt", "requirements/dev.txt")


def chosen() -> list[dict[str, Any]]:
    """What pip would install into an empty environment, one record of its report a package."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--dry-run"]
        command += ["--ignore-installed", "--report", str(report)]
        for source in SOURCES:
            command += ["-r", source]
        subprocess.run(command, cwd=REPOSITORY, check=True)
        return list(json.loads(report.read_text())["install"])


def lock_text(records: list[dict[str, Any]]) -> str:
    """The lock file. Raises: KeyError for a package whose file has no SHA-256."""
    where = f"Python {sys.version_info[0]}.{sys.version_info[1]} on {sys.platform} {platform.machine()}"
    lines = [
        f"# What CI installs, on {where}. `make lock` renews it, when requirements have changed or are old.",
        "# One hash a package: of the file for that Python and machine.",
    ]
    for record in sorted(records, key=lambda record: str(record["metadata"]["name"]).lower()):
        name, version = record["metadata"]["name"], record["metadata"]["version"]
        digest = record["download_info"]["archive_info"]["hashes"]["sha256"]
        lines.append(f"{name}=={version} --hash=sha256:{digest}")
    return "\n".join(lines) + "\n"


def main() -> int:
    """The command."""
    LOCK.write_text(lock_text(chosen()), encoding="utf-8")
    print(LOCK.relative_to(REPOSITORY))
    return 0


if __name__ == "__main__":
    sys.exit(main())
