"""Cost of a network: parameters and multiply-accumulates, split the way the papers' figures need it.

Papers differ in what they count. Most print linear layers and convolutions only and leave out the products of
activations with activations; some print FLOPs = 2 x MACs. So the parts are kept apart. Networks built under
`torch.device("meta")` are counted without memory or arithmetic, whatever their size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from bodycast.hmr.networks.encoders.vmamba import DIRECTIONS, SS2D
from bodycast.hmr.networks.encoders.window_block import WindowBlock

# Operations per state and position of a selective scan, as VMamba's authors count them.
SCAN_OPERATIONS = 9


@dataclass(frozen=True)
class Cost:
    """What one forward pass costs.

    Attributes:
        parameters: number of trainable and frozen parameters.
        linear_macs: multiply-accumulates with a weight: linear layers and convolutions.
        product_macs: of activations with activations: softmax and linear attention.
        scan_macs: operations of selective scans.
        padding_macs: what the published code of Swin spends on padded tokens, and ours does not; papers count it.
    """

    parameters: int
    linear_macs: int
    product_macs: int
    scan_macs: int
    padding_macs: int = 0

    @property
    def macs(self) -> int:
        """Everything together that is really done here."""
        return self.linear_macs + self.product_macs + self.scan_macs

    @property
    def published_macs(self) -> int:
        """As the papers count: linear layers and convolutions, padded tokens included, products of activations not."""
        return self.linear_macs + self.padding_macs


def count_cost(module: nn.Module, *inputs: Tensor) -> Cost:
    """Run `module` once and count.

    Args:
        module: in eval mode, on the inputs' device; `meta` is quickest.
        inputs: its positional inputs, batch 1 (the cost of one item).

    Returns:
        The cost of that call.

    Raises:
        ValueError: an input's batch is not 1, where weights could not be told from activations.
    """
    if any(x.shape[0] != 1 for x in inputs):
        raise ValueError(f"count with batch 1, got inputs of shape {[tuple(x.shape) for x in inputs]}")
    scans: list[int] = []

    def on_scan(scan: nn.Module, arguments: tuple[Any, ...], _: Tensor) -> None:
        assert isinstance(scan, SS2D)
        states = scan.A_logs.numel() // DIRECTIONS
        scans.append(SCAN_OPERATIONS * DIRECTIONS * arguments[0].shape[1] * states)

    handles = [m.register_forward_hook(on_scan) for m in module.modules() if isinstance(m, SS2D)]
    try:
        with torch.no_grad(), _Counter(module) as counter:
            module(*inputs)
    finally:
        for handle in handles:
            handle.remove()
    parameters = sum(p.numel() for p in module.parameters())
    padding = sum(block.padding_macs for block in module.modules() if isinstance(block, WindowBlock))
    return Cost(parameters, counter.linear_macs, counter.product_macs, sum(scans), padding)


class _Counter(TorchDispatchMode):
    """Adds up every matrix product and convolution, told apart by whether an operand is a parameter."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        # Storages, not tensors: an operand is mostly a view (transposed, expanded) of its parameter.
        self._weights = {p.untyped_storage()._cdata for p in module.parameters()}
        self.linear_macs = 0
        self.product_macs = 0

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        formula = flop_registry.get(func._overloadpacket)
        if formula is not None:
            macs = formula(*args, **kwargs, out_val=out) // 2
            operands = (arg for arg in args if isinstance(arg, Tensor))
            if any(arg.untyped_storage()._cdata in self._weights for arg in operands):
                self.linear_macs += macs
            else:
                self.product_macs += macs
        return out
