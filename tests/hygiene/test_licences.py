"""Every embedded file and every dependency is listed with its licence."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
ASSETS = REPOSITORY / "assets"


def tracked_assets() -> set[str]:
    """Files below assets/ that are, or would be, in the repository."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "assets"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode == 0:
        names = [name for name in listed.stdout.splitlines() if (REPOSITORY / name).is_file()]
    else:
        names = [path.relative_to(REPOSITORY).as_posix() for path in ASSETS.rglob("*") if path.is_file()]
    return {name.removeprefix("assets/") for name in names}


def listed_assets() -> dict[str, str]:
    """File or folder (ending in /) -> its row of the table."""
    rows = (ASSETS / "LICENCES.md").read_text(encoding="utf-8").splitlines()
    return {match[1]: row for row in rows if (match := re.match(r"\| `([^`]+)` \|", row))}


def test_every_asset_is_listed_with_origin_and_licence() -> None:
    listed = listed_assets()
    folders = tuple(name for name in listed if name.endswith("/"))
    missing = {name for name in tracked_assets() if name not in listed and not name.startswith(folders)}
    assert not missing, f"not in assets/LICENCES.md: {sorted(missing)}"
    for name, row in listed.items():
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        assert len(cells) == 4 and all(cells), f"{name}: expected file, what, origin, licence"


def test_no_listed_asset_is_gone() -> None:
    assert all((ASSETS / name).exists() for name in listed_assets())


def test_embedded_models_stay_small() -> None:
    """30 MB a package, 80 MB together: people clone this repository."""
    sizes: dict[str, int] = {}
    for name in tracked_assets():
        if name.startswith("models/"):
            package = name.split("/")[1]
            sizes[package] = sizes.get(package, 0) + (ASSETS / name).stat().st_size
    assert all(size <= 30e6 for size in sizes.values()), sizes
    assert sum(sizes.values()) <= 80e6, sizes


def test_every_requirement_is_explained() -> None:
    explained = (REPOSITORY / "docs" / "dependencies.md").read_text(encoding="utf-8")
    for path in sorted((REPOSITORY / "requirements").glob("*.txt")):
        for line in path.read_text(encoding="utf-8").splitlines():
            name = re.match(r"[A-Za-z0-9_.-]+", line)
            if name is not None and not line.startswith("-"):
                assert name[0] in explained, f"{path.name}: {name[0]} is not in docs/dependencies.md"


def test_opencv_stays_below_five_and_live_has_no_torch() -> None:
    live = (REPOSITORY / "requirements" / "base.txt").read_text(encoding="utf-8")
    assert re.search(r"^opencv-python>=[0-9.]+,<5$", live, re.MULTILINE)
    assert not re.search(r"^(torch|ultralytics|timm|pyrender)\b", live, re.MULTILINE)
