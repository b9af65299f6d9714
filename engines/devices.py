"""What this machine has to compute with: usable cores, CUDA devices."""

from __future__ import annotations

import ctypes
import os
import platform
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from bodycast.engines.errors import EngineUnavailableError

_DRIVER_LIBRARY = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"

# CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR of the driver's header.
_COMPUTE_CAPABILITY_ATTRIBUTES = (75, 76)


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


def gpu_ordinal(device: str) -> int | None:
    """Number of the GPU that a device names, in the driver's order: "cuda" is 0, "cuda:1" is 1; "cpu" gives None.

    Raises: EngineUnavailableError for another word.
    """
    found = re.fullmatch(r"cpu|cuda(?::(\d{1,3}))?", device)
    if found is None:
        raise EngineUnavailableError(f"no device {device!r}; there are auto, cpu, cuda, cuda:1 and so on")
    return None if device == "cpu" else int(found[1] or 0)


def check_ordinal(ordinal: int) -> None:
    """Raises: EngineUnavailableError where there is no GPU of this number; it lists those that there are."""
    count, driver_says = cuda_devices()
    if count <= ordinal:
        here = ", ".join(f"cuda:{number} {gpu.name}" for number, gpu in enumerate(cuda_gpus()))
        way_out = f"({here})" if here else "; the CPU runs everything: --device cpu"
        raise EngineUnavailableError(f"cuda:{ordinal} is not here: {driver_says}{' ' if here else ''}{way_out}")


def cuda_devices() -> tuple[int, str]:
    """Number of CUDA devices, and what the driver says about it ("2 devices", "no NVIDIA driver", ...).

    Asks the driver itself, since libraries list CUDA where there is no GPU.
    """
    try:
        driver = ctypes.CDLL(_DRIVER_LIBRARY)
    except OSError:
        return 0, f"no NVIDIA driver ({_DRIVER_LIBRARY} is not there)"
    status = int(driver.cuInit(0))
    if status != 0:
        return 0, f"the NVIDIA driver does not start (cuInit returned {status})"
    count = ctypes.c_int(0)
    status = int(driver.cuDeviceGetCount(ctypes.byref(count)))
    if status != 0:
        return 0, f"the NVIDIA driver lists no devices (cuDeviceGetCount returned {status})"
    return count.value, f"{count.value} CUDA device{'' if count.value == 1 else 's'}"


@dataclass(frozen=True, slots=True)
class CudaGpu:
    """One NVIDIA GPU. compute_capability: "8.6". driver: the newest CUDA version that the driver serves, "13.0"."""

    name: str
    compute_capability: str
    memory_bytes: int
    driver: str


def cuda_gpus() -> tuple[CudaGpu, ...]:
    """The GPUs that the driver lists; none where there is no driver."""
    if cuda_devices()[0] == 0:
        return ()
    driver = ctypes.CDLL(_DRIVER_LIBRARY)
    version = ctypes.c_int(0)
    driver.cuDriverGetVersion(ctypes.byref(version))
    serves = f"{version.value // 1000}.{version.value % 1000 // 10}"
    gpus: list[CudaGpu] = []
    for ordinal in range(cuda_devices()[0]):
        device = ctypes.c_int(0)
        driver.cuDeviceGet(ctypes.byref(device), ordinal)
        name = ctypes.create_string_buffer(256)
        driver.cuDeviceGetName(name, len(name), device)
        memory = ctypes.c_size_t(0)
        driver.cuDeviceTotalMem_v2(ctypes.byref(memory), device)
        capability: list[int] = []
        for attribute in _COMPUTE_CAPABILITY_ATTRIBUTES:
            number = ctypes.c_int(0)
            driver.cuDeviceGetAttribute(ctypes.byref(number), attribute, device)
            capability.append(number.value)
        text = ".".join(map(str, capability))
        gpus.append(CudaGpu(name.value.decode(errors="replace"), text, memory.value, serves))
    return tuple(gpus)


def cpu_name() -> str:
    """The processor's model name, as far as the system tells it."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
