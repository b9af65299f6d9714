"""Shared by the network tests: what every network must satisfy, whatever it computes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree


def outputs_of(module: nn.Module, inputs: Sequence[Tensor]) -> list[Tensor]:
    """A module's outputs, however nested, as a list; None stands for one that it does not have and is left out."""
    return [output for output in pytree.tree_leaves(module(*inputs)) if isinstance(output, Tensor)]


def check_batch_independent(module: nn.Module, inputs: Sequence[Tensor], tolerance: float = 1e-5) -> None:
    """Every item of a batch comes out as it does alone, and is finite; tolerance: absolute, or of outputs above 1."""
    module.eval()
    with torch.no_grad():
        together = outputs_of(module, inputs)
        for output in together:
            assert torch.isfinite(output).all()
        for i in range(len(inputs[0])):
            alone = outputs_of(module, [x[i : i + 1] for x in inputs])
            for one, many in zip(alone, together, strict=True):
                bound = tolerance * max(1.0, float(many.abs().max()))
                torch.testing.assert_close(one[0], many[i], rtol=0, atol=bound)


def check_every_parameter_learns(module: nn.Module, inputs: Sequence[Tensor], without: Sequence[str] = ()) -> None:
    """A random sum of the outputs has a finite, nonzero gradient in every parameter.

    `without` names those that cannot have one by design; they must exist and have a zero gradient.
    """
    module.eval()
    generator = torch.Generator().manual_seed(0)
    loss = sum((output * torch.randn(output.shape, generator=generator)).sum() for output in outputs_of(module, inputs))
    loss.backward()
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None, f"{name} has no gradient"
        assert torch.isfinite(parameter.grad).all(), f"{name} has a gradient that is not finite"
        learns = bool(parameter.grad.abs().max() > 0)
        assert learns == (name not in without), f"{name} has {'a' if learns else 'no'} gradient"
    assert set(without) <= {name for name, _ in module.named_parameters()}


def shake(module: nn.Module, std: float = 0.1, seed: int = 0) -> nn.Module:
    """Add noise to all parameters, so that no term hides behind a zero or symmetric start."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(std * torch.randn(parameter.shape, generator=generator))
    return module.eval()
