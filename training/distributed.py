"""Several processes that train one network together: each takes its own batches, gradients are averaged.

`torchrun --nproc-per-node N -m training ...` starts them, one a GPU, or one a CPU core (which beats one process of N
threads). Without torchrun everything here is a no-op.
"""

from __future__ import annotations

import os
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def start(device: str) -> torch.device:
    """Join the group that torchrun announces, if any; the device of this process."""
    if "WORLD_SIZE" not in os.environ or not dist.is_available():
        return torch.device(device)
    if not dist.is_initialized():
        dist.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    if device == "cuda":
        return torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    return torch.device(device)


def stop() -> None:
    """Leave the group."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


def rank() -> int:
    """0 in the process that validates, logs and saves."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def world() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def from_first(value: float, device: torch.device) -> float:
    """The value that process 0 has; keeps clocks and decisions the same everywhere."""
    if world() == 1:
        return value
    message: Tensor = torch.tensor([value], dtype=torch.float64, device=device)
    dist.broadcast(message, 0)
    return float(message.item())


@torch.no_grad()
def average(flat: Tensor) -> None:
    """Replace a buffer of gradients by its mean over the processes."""
    if world() > 1:
        dist.all_reduce(flat)
        flat /= world()


def object_from_first(value: dict[str, Any] | None) -> dict[str, Any] | None:
    """Plain values that process 0 has."""
    if world() == 1:
        return value
    message = [value]
    dist.broadcast_object_list(message, 0)
    return message[0]
