"""A torch module as a `torch.export` program, for the `torch` engine: what the other engines are compared with."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from bodycast.engines.torch_program import SIGNATURE_FILE
from bodycast.export.onnx_graph import MAX_BATCH


class _PlainOutputs(nn.Module):
    """Outputs as a plain tuple: a program does not carry classes of ours."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        outputs = self.module(*inputs)
        return (outputs,) if isinstance(outputs, Tensor) else tuple(outputs)


def torch_program(
    module: nn.Module, inputs: Sequence[Tensor], input_names: Sequence[str], output_names: Sequence[str]
) -> bytes:
    """The program as the bytes of `model.pt2` (`bodycast.engines.torch_program.PROGRAM_FILE`), first axes dynamic.

    inputs: examples with at least two rows. Give it to `write_package` as a further file:
    `further_files={PROGRAM_FILE: torch_program(...)}`.
    """
    if any(len(tensor) < 2 for tensor in inputs):
        raise ValueError("example inputs need at least two rows, or the batch becomes a constant")
    batch = torch.export.Dim("N", min=1, max=MAX_BATCH)
    with torch.no_grad():
        shapes = (tuple({0: batch} for _ in inputs),)
        program = torch.export.export(_PlainOutputs(module).eval(), tuple(inputs), dynamic_shapes=shapes)
    for node in program.graph.nodes:  # stack traces name the files of the exporting machine
        node.meta.pop("stack_trace", None)
        node.meta.pop("nn_module_stack", None)
        node.meta.pop("source_fn_stack", None)
    written = io.BytesIO()
    signature = {"inputs": list(input_names), "outputs": list(output_names)}
    torch.export.save(program, written, extra_files={SIGNATURE_FILE: json.dumps(signature)})
    return written.getvalue()
