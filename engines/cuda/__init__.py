"""The NVIDIA GPU: memory, streams, events and recorded graphs, and what runs on them.

`device` is the only file that calls the driver; everything else is written against it and tested on a driver made of
the process's own memory (tests/engines/fake_driver.py).
"""

from __future__ import annotations

from bodycast.engines.cuda.device import CudaDevice

__all__ = ["CudaDevice"]
