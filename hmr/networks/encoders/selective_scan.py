"""Selective scan over four directions of a map, for VMamba: exact, without a loop over positions.

Sources: Mamba (Gu and Dao 2023, arXiv 2312.00752) for the scan; VMamba (Liu et al. 2024, arXiv 2401.10166) for the four
directions. Shapes keep channels last: (B, K, L, D) with K directions, L positions, D channels, and N states.

The recurrence h_t = a_t h_(t-1) + b_t is solved in chunks: every chunk is reduced to one (a, b) pair, the states at
chunk ends are found by the same method on these pairs, and are then carried through their chunks. 768 positions take
about 40 dependent steps on arrays instead of 768. It only multiplies and adds with 0 < a <= 1: no quotient of
cumulative products, no exponential of their logarithms, so strong decay cannot overflow.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

CHUNK = 8


def linear_recurrence(a: Tensor, b: Tensor) -> Tensor:
    """All states of h_t = a_t * h_(t-1) + b_t with h_(-1) = 0.

    Args:
        a, b: (S, L, M), the recurrence running along L.

    Returns:
        h, (S, L, M).
    """
    length = a.shape[1]
    if length <= CHUNK:
        return _carry(None, a.split(1, dim=1), b.split(1, dim=1), dim=1)
    padding = -length % CHUNK
    if padding:  # a = 1, b = 0 at the end: positions that keep the state
        a = F.pad(a, (0, 0, 0, padding), value=1.0)
        b = F.pad(b, (0, 0, 0, padding))
    a_steps = a.unflatten(1, (-1, CHUNK)).split(1, dim=2)  # CHUNK times (S, L / CHUNK, 1, M)
    b_steps = b.unflatten(1, (-1, CHUNK)).split(1, dim=2)
    a_chunk, b_chunk = a_steps[0], b_steps[0]
    for a_step, b_step in zip(a_steps[1:], b_steps[1:], strict=True):
        a_chunk, b_chunk = a_step * a_chunk, torch.addcmul(b_step, a_step, b_chunk)
    ends = linear_recurrence(a_chunk.squeeze(2), b_chunk.squeeze(2))
    before = F.pad(ends[:, :-1], (0, 0, 1, 0)).unsqueeze(2)
    h = _carry(before, a_steps, b_steps, dim=2).flatten(1, 2)
    return h[:, :length] if padding else h


def _carry(state: Tensor | None, a_steps: Sequence[Tensor], b_steps: Sequence[Tensor], dim: int) -> Tensor:
    """States after each step, joined along `dim`, from the state before the first (None: zero)."""
    states = []
    for a_step, b_step in zip(a_steps, b_steps, strict=True):
        state = b_step if state is None else torch.addcmul(b_step, a_step, state)
        states.append(state)
    return torch.cat(states, dim=dim)


def selective_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    delta_bias: Tensor | None = None,
) -> Tensor:
    """State-space scan whose step size and projections depend on the position.

    With dt = softplus(delta + delta_bias): h_t = exp(dt_t A) h_(t-1) + dt_t B_t u_t, y_t = C_t h_t + D u_t.

    Args:
        u: values, (batch, K, L, D).
        delta: step sizes before bias and softplus, (batch, K, L, D).
        A: decay rates, negative, (K, D, N).
        B, C: input and output projections, (batch, K, L, N).
        D: skip weights, (K, D), or None.
        delta_bias: (K, D), or None.

    Returns:
        y, (batch, K, L, D).
    """
    directions, length, channels = u.shape[1:]
    states = A.shape[-1]
    dt = F.softplus(delta if delta_bias is None else delta + delta_bias[:, None])
    a = torch.exp(dt[..., None] * A[:, None])  # (batch, K, L, D, N)
    b = (dt * u)[..., None] * B[..., None, :]
    flat = (-1, length, channels * states)
    h = linear_recurrence(a.reshape(flat), b.reshape(flat))
    y = (h.reshape(-1, directions, length, channels, states) * C[..., None, :]).sum(dim=-1)
    return y if D is None else y + u * D[:, None]


def cross_scan(x: Tensor) -> Tensor:
    """Read a map in four orders.

    Args:
        x: (B, C, H, W).

    Returns:
        (B, 4, H*W, C): row by row, column by column, and both backwards.
    """
    rows = x.permute(0, 2, 3, 1).flatten(1, 2)
    columns = x.permute(0, 3, 2, 1).flatten(1, 2)
    forwards = torch.stack([rows, columns], dim=1)
    return torch.cat([forwards, forwards.flip(2)], dim=1)


def cross_merge(y: Tensor, grid_hw: tuple[int, int]) -> Tensor:
    """Put the four sequences of `cross_scan` back on the map and add them.

    Args:
        y: (B, 4, H*W, C).
        grid_hw: H, W.

    Returns:
        Row-major tokens (B, H*W, C).
    """
    height, width = grid_hw
    both = y[:, :2] + y[:, 2:].flip(2)
    columns = both[:, 1].unflatten(1, (width, height)).transpose(1, 2).flatten(1, 2)
    return both[:, 0] + columns
