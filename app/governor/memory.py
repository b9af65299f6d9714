"""How much memory a second network may take."""

from __future__ import annotations

import ctypes
import os
import re
import subprocess
import sys
from pathlib import Path

SPARE_BYTES = 512 * 2**20
"""What stays free for everything else on the machine."""
TIMES_WEIGHTS = 4
"""An engine's copy of the weights, its packed form and its buffers, in sizes of the weights."""


def room_for(folder: Path, engines: int = 1) -> str:
    """Why the package in `folder` cannot be opened beside what runs, so many times; "" where there is room for it."""
    try:
        weights = sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
    except OSError as error:  # a package may be removed while a run goes on
        return f"{folder}: {error.strerror}"
    need = SPARE_BYTES + engines * TIMES_WEIGHTS * weights
    free = available_bytes()
    if free is None:
        return "how much memory is free is not known here"
    return "" if free >= need else f"{free / 2**20:.0f} MB of memory are free, {need / 2**20:.0f} MB are asked for"


def available_bytes() -> int | None:
    """Memory that can be had without swapping, the container's limit counted; None: not known."""
    if sys.platform == "linux":
        free = _meminfo()
        limit = _cgroup_room()
        return free if free is None or limit is None else min(free, limit)
    if sys.platform == "win32":
        return _windows()
    if sys.platform == "darwin":
        return _macos()
    return None


def _meminfo() -> int | None:
    try:
        found = re.search(r"^MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text(encoding="ascii"), re.MULTILINE)
    except OSError:
        return None
    return None if found is None else int(found[1]) * 1024


def _cgroup_room() -> int | None:
    """What is left of a container's limit (cgroup v2); None where there is none."""
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii").strip()
        used = Path("/sys/fs/cgroup/memory.current").read_text(encoding="ascii").strip()
        return None if limit == "max" else max(0, int(limit) - int(used))
    except (OSError, ValueError):
        return None


def _windows() -> int | None:
    class Status(ctypes.Structure):
        """MEMORYSTATUSEX: two DWORDs, then total and free of memory, page file and address space."""

        _fields_ = (("length", ctypes.c_uint32), ("load", ctypes.c_uint32), ("sizes", ctypes.c_uint64 * 7))

    status = Status()
    status.length = ctypes.sizeof(status)
    kernel = getattr(ctypes, "windll").kernel32  # noqa: B009  (not there on other systems)
    return int(status.sizes[1]) if kernel.GlobalMemoryStatusEx(ctypes.byref(status)) else None


def _macos() -> int | None:
    try:
        said = subprocess.run(["vm_stat"], capture_output=True, text=True, timeout=2, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    pages = [int(n) for n in re.findall(r"^Pages (?:free|inactive|speculative):\s+(\d+)", said, re.MULTILINE)]
    return sum(pages) * os.sysconf("SC_PAGE_SIZE") if pages else None
