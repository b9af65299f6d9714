"""Packages of networks with random weights, without the parity report that a real export measures."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from bodycast.engines.package import BATCH, ModelPackage, PackageInfo, TensorSpec
from bodycast.engines.package_writer import write_package
from bodycast.export.exportable import exportable
from bodycast.export.network_package import convert
from bodycast.export.onnx_graph import OPSET, run_torch, to_onnx


def untrained_packages(folder: Path, net: nn.Module, precisions: tuple[str, ...], frames: int) -> list[ModelPackage]:
    """One package for each precision, from one export. frames: the window of a motion VAE."""
    item = exportable(net.eval(), frames=frames)
    model = to_onnx(item.module, item.examples(2), item.input_names, item.output_names)
    golden = item.examples(1, "fixed")
    outputs = run_torch(item.module, golden, item.output_names)
    packages: list[ModelPackage] = []
    for precision in precisions:
        info = PackageInfo(
            name=f"untrained-{precision}",
            task=item.task,
            architecture="untrained",
            arguments={},
            inputs=item.inputs,
            outputs=tuple(
                TensorSpec(name, "float32", (BATCH, *outputs[name].shape[1:]), unit, meaning)
                for name, (unit, meaning) in item.outputs.items()
            ),
            normalisation=item.normalisation,
            crop_rule=item.crop_rule,
            focal_convention=item.focal_convention,
            orientation_frame="none",
            body="none",
            joint_set=item.joint_set,
            opset=OPSET,
            precision=precision,
            paper="none",
            licence="none",
            training_data="none",
            metrics={},
        )
        inputs = {name: tensor.numpy() for name, tensor in zip(item.input_names, golden, strict=True)}
        packages.append(write_package(folder / precision, info, convert(model, precision, "fp32"), inputs, outputs))
    return packages
