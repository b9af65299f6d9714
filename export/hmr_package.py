"""An HMR network as a model package: ONNX graph, golden tensors, metadata, all checked before they are written."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from engines.package import BATCH, ModelPackage, PackageInfo, TensorSpec
from engines.package_writer import write_package
from export.onnx_graph import OPSET, check_parity, run_torch, to_onnx

TOLERANCE = 1e-4
"""Largest difference between torch and ONNX Runtime, in each output's own unit: 0.1 mm on a metre, 0.006 degrees."""

_OUTPUTS = {
    "pose": ("1", "rotation matrices relative to the parent joint, root first, SMPL order"),
    "betas": ("1", "shape in the basis of the body"),
    "camera": ("1", "weak perspective of the square crop: s, tx, ty (HMR2.0)"),
    "score": ("1", "how probable it is that the crop shows a person"),
    "token": ("1", "the decoder's output token, a per-person feature for temporal models"),
}
_EXTRA_INPUTS = {
    "box_info": ("float32", "1", "box centre from the principal point and box size, over the focal length")
}


def export_hmr_package(
    module: nn.Module,
    out: Path,
    *,
    name: str,
    architecture: str,
    arguments: Mapping[str, Any],
    input_hw: tuple[int, int],
    body: str,
    metrics: Mapping[str, float],
    training_data: str,
    licence: str = "Apache-2.0",
    paper: str = "none",
    orientation_frame: str = "crop-ray",
    overwrite: bool = False,
) -> ModelPackage:
    """Write a model package.

    module: uint8 crops (N,h,w,3) RGB, and the further inputs that its `input_names` lists, -> pose (N,24,3,3), betas
    (N,10), camera (N,3), score (N,), token (N,C) (`hmr.networks.hmr_net.ExportedHmr`).
    architecture, arguments: what `hmr.networks.registry.build` takes. orientation_frame: "crop-ray" for networks
    trained here, "camera" for HMR2.0's own weights.

    Raises: ParityError where ONNX Runtime does not compute what torch does; PackageError where `out` exists.
    """
    input_names = tuple(getattr(module, "input_names", ("crops",)))
    names = tuple(_OUTPUTS)
    model = to_onnx(module, _examples(input_names, input_hw, 2), input_names, names)
    batches = [_examples(input_names, input_hw, rows) for rows in (1, 3)]
    parity = check_parity(model, module, batches, names, TOLERANCE)
    golden = _examples(input_names, input_hw, 2)
    outputs = run_torch(module, golden, names)
    info = PackageInfo(
        name=name,
        task="hmr",
        architecture=architecture,
        arguments=dict(arguments),
        inputs=tuple(_input_spec(key, input_hw) for key in input_names),
        outputs=tuple(
            TensorSpec(key, "float32", (BATCH, *outputs[key].shape[1:]), unit, meaning)
            for key, (unit, meaning) in _OUTPUTS.items()
        ),
        normalisation="in-graph",
        crop_rule="hmr2-square",
        focal_convention="weak-perspective-crop",
        orientation_frame=orientation_frame,
        body=body,
        joint_set="smpl-24",
        opset=OPSET,
        precision="fp32",
        paper=paper,
        licence=licence,
        training_data=training_data,
        metrics={**metrics, **{f"onnx_difference_{key}": value for key, value in parity.items()}},
    )
    inputs = {key: tensor.numpy() for key, tensor in zip(input_names, golden, strict=True)}
    return write_package(out, info, model, inputs, outputs, overwrite=overwrite)


def _input_spec(name: str, input_hw: tuple[int, int]) -> TensorSpec:
    if name == "crops":
        return TensorSpec("crops", "uint8", (BATCH, *input_hw, 3), "1", "RGB crops")
    if name not in _EXTRA_INPUTS:
        raise ValueError(f"no rule for the input {name!r}; a package takes crops and {', '.join(_EXTRA_INPUTS)}")
    dtype, unit, meaning = _EXTRA_INPUTS[name]
    return TensorSpec(name, dtype, (BATCH, 3), unit, meaning)


def _examples(names: tuple[str, ...], input_hw: tuple[int, int], rows: int) -> list[Tensor]:
    """Smooth random pictures, so that a broken normalisation or axis order shows; box information in its range."""
    generator = np.random.default_rng(rows)
    coarse = torch.from_numpy(generator.uniform(0, 255, (rows, 3, 8, 6)).astype(np.float32))
    crops = nn.functional.interpolate(coarse, input_hw, mode="bilinear").permute(0, 2, 3, 1)
    box = torch.from_numpy(generator.uniform(-0.5, 0.5, (rows, 3)).astype(np.float32))
    box[:, 2] = box[:, 2].abs()
    return [crops.round().to(torch.uint8).contiguous() if name == "crops" else box for name in names]
