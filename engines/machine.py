"""Whether other programs use the CPU: what is timed meanwhile says little about how fast anything is here."""

from __future__ import annotations

import hashlib
import threading
import time

SPIN_S = 0.04
QUIET = 0.85
"""Share of the CPU time that was asked for and had, from which on the machine counts as free."""
_BLOCK = bytes(256 * 1024)


def free_share(threads: int, seconds: float = SPIN_S) -> float:
    """CPU time over wall time, 0..1, of so many threads that compute for so long: 1 where nobody else does."""
    shares: list[float] = []

    def spin() -> None:
        began_s, began_cpu_s = time.perf_counter(), time.thread_time()
        while time.perf_counter() - began_s < seconds:
            hashlib.sha256(_BLOCK)  # lets other threads run
        shares.append((time.thread_time() - began_cpu_s) / (time.perf_counter() - began_s))

    spinning = [threading.Thread(target=spin, name="free share", daemon=True) for _ in range(max(1, threads))]
    for thread in spinning:
        thread.start()
    for thread in spinning:
        thread.join()
    return min(1.0, sum(shares) / len(shares))
