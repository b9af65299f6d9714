"""Where model packages are found on this machine."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from bodycast.app.errors import UsageError
from bodycast.engines.errors import PackageError
from bodycast.engines.package import METADATA_FILE, ModelPackage, load_package, read_metadata
from bodycast.plain_text import plain, shortened, shown_name

REPOSITORY_MODELS = Path(__file__).resolve().parent.parent / "assets" / "models"


def bodycast_home() -> Path:
    """The user's own data folder: $BODYCAST_HOME, else the platform's place for application data."""
    chosen = os.environ.get("BODYCAST_HOME")
    if chosen:
        return Path(chosen)
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "bodycast"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "bodycast"
    return Path(os.environ.get("XDG_DATA_HOME", Path.home() / ".local" / "share")) / "bodycast"


def model_folders() -> tuple[Path, ...]:
    """Folders that hold packages, the user's own first."""
    return (bodycast_home() / "models", REPOSITORY_MODELS)


def package_folders(task: str) -> list[Path]:
    """Folders of all packages for a task ("hmr", "detector", ...), the user's own first, by name. Reads their
    `package.json` alone: nothing is hashed. One that cannot be read is for no task: see `unreadable_packages`."""
    folders = [path.parent for home in model_folders() for path in sorted(home.glob(f"*/{METADATA_FILE}"))]
    return [folder for folder in folders if _task_of(folder) == task]


def unreadable_packages() -> list[str]:
    """One line for each folder among the models that is no whole package, as a copy that broke off leaves it. A run
    goes on without it and says so."""
    lines: list[str] = []
    for home in model_folders():
        for folder in sorted(home.glob("*")):
            if not folder.is_dir() or folder.name.startswith("."):
                continue
            try:
                read_metadata(folder)
            except PackageError as error:
                lines.append(f"{shown_name(folder)} is no whole model package and was passed over ({shortened(error)})")
    return lines


def _task_of(folder: Path) -> str:
    try:
        return read_metadata(folder)[0].task
    except PackageError:
        return ""


def installed_packages(task: str) -> list[ModelPackage]:
    """All packages for a task, in the order of `package_folders`, each one checked.

    Raises: UsageError for a package that is damaged.
    """
    return [_load(folder) for folder in package_folders(task)]


def first_package(task: str) -> ModelPackage | None:
    """The package that a task takes by default: the first of `package_folders`, checked. None: there is none.

    Raises: UsageError where it is damaged.
    """
    return next((_load(folder) for folder in package_folders(task)), None)


def find_package(spec: str | Path, task: str) -> ModelPackage:
    """A package by folder or by name.

    Raises: UsageError where there is none, listing those that are installed, or where it is for another task.
    """
    folder = _folder_of(spec)
    if folder is None:
        names = [folder.name for folder in package_folders(task)]
        raise UsageError(
            f"no model package {shown_name(spec)!r} for {task}: expected a folder with {METADATA_FILE}, or one of "
            f"{', '.join(names) or 'the installed ones (there are none)'}"
        )
    package = _load(folder)
    if package.info.task != task:
        raise UsageError(f"{folder} is a package for {package.info.task}, expected one for {task}")
    return package


def find_any_package(spec: str | Path) -> ModelPackage:
    """A package for whatever task, by folder or by name. Raises: UsageError where there is none."""
    folder = _folder_of(spec)
    if folder is None:
        raise UsageError(
            f"no model package {shown_name(spec)!r}: expected a folder with {METADATA_FILE}, or an installed name"
        )
    return _load(folder)


def _folder_of(spec: str | Path) -> Path | None:
    candidates = [Path(spec), *(folder / str(spec) for folder in model_folders())]
    return next((path for path in candidates if (path / METADATA_FILE).is_file()), None)


def _load(folder: Path) -> ModelPackage:
    try:
        return load_package(folder)
    except PackageError as error:
        raise UsageError(plain(error)) from error
