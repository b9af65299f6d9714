"""What this machine has to compute with: usable cores, CUDA devices."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path


def usable_cores() -> int:
    """Physical cores that this process may use: affinity and the container's quota counted, sibling threads not.

    Matrix kernels gain nothing from a second hyper-thread on one core.
    """
    if sys.platform == "linux":
        cpus = os.sched_getaffinity(0)
        cores = {_first_sibling(cpu) for cpu in cpus}
        return max(1, min(len(cores), _cgroup_quota() or len(cores)))
    # Windows and macOS offer no affinity without a further package; assume two threads a core on larger machines.
    count = os.cpu_count() or 1
    return count if count <= 4 else count // 2


def _first_sibling(cpu: int) -> str:
    path = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError:
        return str(cpu)


def _cgroup_quota() -> int | None:
    """Whole CPUs that a container may use (cgroup v2), rounded up; None where there is no limit."""
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return None
    return None if quota == "max" else max(1, -(-int(quota) // int(period)))


def cuda_devices() -> tuple[int, str]:
    """Number of CUDA devices, and what the driver says about it ("2 devices", "no NVIDIA driver", ...).

    Asks the driver itself, since libraries list CUDA where there is no GPU.
    """
    library = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        driver = ctypes.CDLL(library)
    except OSError:
        return 0, f"no NVIDIA driver ({library} is not there)"
    status = int(driver.cuInit(0))
    if status != 0:
        return 0, f"the NVIDIA driver does not start (cuInit returned {status})"
    count = ctypes.c_int(0)
    status = int(driver.cuDeviceGetCount(ctypes.byref(count)))
    if status != 0:
        return 0, f"the NVIDIA driver lists no devices (cuDeviceGetCount returned {status})"
    return count.value, f"{count.value} CUDA device{'' if count.value == 1 else 's'}"
