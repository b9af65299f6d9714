"""The chunked scan against the recurrence written as a loop, in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from bodycast.hmr.networks.encoders.selective_scan import cross_merge, cross_scan, linear_recurrence, selective_scan


def sequential(a: Tensor, b: Tensor) -> Tensor:
    """The plain twin: h_t = a_t h_(t-1) + b_t, position by position."""
    h = torch.zeros_like(b[:, 0])
    states = []
    for t in range(b.shape[1]):
        h = a[:, t] * h + b[:, t]
        states.append(h)
    return torch.stack(states, dim=1)


@pytest.mark.parametrize("length", [1, 2, 7, 8, 9, 48, 63, 65, 192, 768])
def test_equals_the_loop_at_any_length(length: int) -> None:
    generator = torch.Generator().manual_seed(length)
    a = torch.rand(2, length, 5, generator=generator)
    b = torch.randn(2, length, 5, generator=generator)
    expected = sequential(a.double(), b.double())
    torch.testing.assert_close(linear_recurrence(a, b).double(), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("decay", [0.0, 1e-38, 1e-6, 0.999999, 1.0])
def test_strong_and_weak_decay_stay_exact(decay: float) -> None:
    """Products of these decays leave float32 (1e-38 squared is 0): nothing may divide by them."""
    a = torch.full((1, 768, 3), decay)
    a[:, 100:200] = 0.5
    b = torch.randn(1, 768, 3, generator=torch.Generator().manual_seed(0))
    h = linear_recurrence(a, b)
    assert torch.isfinite(h).all()
    expected = sequential(a.double(), b.double())
    torch.testing.assert_close(h.double(), expected, rtol=1e-5, atol=1e-4)


def test_gradients_equal_those_of_the_loop() -> None:
    generator = torch.Generator().manual_seed(1)
    a = torch.rand(1, 65, 2, generator=generator, dtype=torch.float64).requires_grad_()
    b = torch.randn(1, 65, 2, generator=generator, dtype=torch.float64).requires_grad_()
    weight = torch.randn(1, 65, 2, generator=generator, dtype=torch.float64)
    ours = torch.autograd.grad((linear_recurrence(a, b) * weight).sum(), (a, b))
    theirs = torch.autograd.grad((sequential(a, b) * weight).sum(), (a, b))
    for got, expected in zip(ours, theirs, strict=True):
        torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("states", [1, 3])
def test_selective_scan_equals_its_definition(states: int) -> None:
    generator = torch.Generator().manual_seed(states)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    u, delta = draw(2, 4, 30, 3), draw(2, 4, 30, 3)
    A, D, bias = -draw(4, 3, states).exp(), draw(4, 3), draw(4, 3)
    B, C = draw(2, 4, 30, states), draw(2, 4, 30, states)
    actual = selective_scan(u, delta, A, B, C, D, bias)
    h = torch.zeros(2, 4, 3, states, dtype=torch.float64)
    for t in range(30):
        dt = torch.log1p(torch.exp(delta[:, :, t] + bias))[..., None]
        h = torch.exp(dt * A) * h + dt * B[:, :, t, None] * u[:, :, t, :, None]
        y = (h * C[:, :, t, None]).sum(dim=-1) + D * u[:, :, t]
        torch.testing.assert_close(actual[:, :, t], y)


def test_four_orders_of_a_map() -> None:
    x = torch.arange(6).reshape(1, 1, 2, 3)  # rows 0 1 2 and 3 4 5
    orders = cross_scan(x)[0, :, :, 0].tolist()
    assert orders == [[0, 1, 2, 3, 4, 5], [0, 3, 1, 4, 2, 5], [5, 4, 3, 2, 1, 0], [5, 2, 4, 1, 3, 0]]


def test_merging_the_four_orders_gives_the_map_four_times() -> None:
    x = torch.randn(2, 3, 5, 4)
    merged = cross_merge(cross_scan(x), (5, 4))
    torch.testing.assert_close(merged.transpose(1, 2).unflatten(2, (5, 4)), 4 * x)
