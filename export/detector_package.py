"""A YOLO detector (ultralytics weights) as a detector package: people only, normalisation in the graph."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from bodycast.engines.optional import install_command
from bodycast.engines.package import BATCH, ModelPackage, TensorSpec
from bodycast.export.exportable import DETECTOR_OUTPUTS, Exportable
from bodycast.export.network_package import Options, Words, export_package

INPUT_HW = (384, 640)
"""Height and width: a 16:9 picture at 640 px, in multiples of the network's stride of 32."""


class PersonYolo(nn.Module):
    """images uint8 (N,H,W,3) RGB -> boxes (N,K,4) xyxy px, scores (N,K) for the class "person"."""

    def __init__(self, network: nn.Module, person: int) -> None:
        """network: a fused ultralytics DetectionModel. person: the index of its class "person"."""
        super().__init__()
        self.network = network
        self.person = person
        head: Any = network.model[-1]  # pyright: ignore
        head.export = True
        # Anchors are computed in the graph: remembering them would compare the dynamic batch with a fixed one.
        head.dynamic = True
        head.xyxy = True
        self.end_to_end = bool(head.end2end)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """See the class."""
        # Cast before the transpose: TensorRT moves no bytes around.
        found = self.network(images.float().permute(0, 3, 1, 2) * (1 / 255))
        if self.end_to_end:  # (N,K,6): xyxy, score, class, already without duplicates
            return found[..., :4], found[..., 4] * (found[..., 5] == self.person)
        return found[:, :4].transpose(1, 2), found[:, 4 + self.person]


def export_detector_package(
    weights: Path,
    out: Path,
    *,
    name: str,
    input_hw: tuple[int, int] = INPUT_HW,
    overwrite: bool = False,
    options: Options | None = None,
) -> ModelPackage:
    """Convert a local ultralytics `.pt` file to a detector package.

    Raises: ValueError (no class "person", sides not in multiples of 32), ParityError, PackageError (`out` exists).
    """
    words = Words(
        name=name,
        architecture=weights.stem,
        arguments={"input_hw": list(input_hw)},
        licence="AGPL-3.0",
        training_data="COCO, by Ultralytics" if weights.stem.startswith("yolo") else "unknown",
        paper="Ultralytics YOLO",
    )
    options = options or Options(overwrite=overwrite)
    return export_package(detector_exportable(weights, input_hw), out, words, options)[0]


def detector_exportable(weights: Path, input_hw: tuple[int, int] = INPUT_HW) -> Exportable:
    """The network of a local ultralytics `.pt` file, people only. Raises: ValueError, see `export_detector_package`."""
    if any(side % 32 or side <= 0 for side in input_hw):
        raise ValueError(f"height and width must be multiples of 32, got {input_hw[0]}x{input_hw[1]}")
    model = read_weights(weights)
    classes: dict[int, str] = model.names
    person = next((index for index, label in classes.items() if label == "person"), None)
    if person is None:
        raise ValueError(f"{weights}: the model has no class 'person', it has {', '.join(list(classes.values())[:10])}")
    network = model.eval().fuse(verbose=False)
    return Exportable(
        PersonYolo(network, person).eval(),
        "detector",
        (TensorSpec("images", "uint8", (BATCH, *input_hw, 3), "1", "RGB pictures, letterboxed"),),
        DETECTOR_OUTPUTS,
        normalisation="in-graph",
        crop_rule="letterbox",
    )


def read_weights(weights: Path) -> Any:
    """The network of a `.pt` file, in fp32. The file is a pickle, which could run code: ultralytics' restricted reader.

    Raises: ValueError where it is no such file, or names anything that no YOLO needs.
    """
    tasks: Any = import_module("ultralytics.nn.tasks")
    if not hasattr(tasks, "SAFE_LOAD"):
        raise ValueError(f"this ultralytics has no restricted reader of weights: {install_command('export.txt')}")
    try:
        # The whole path: a damaged file with a bare name would be deleted and downloaded again.
        content, _ = tasks.torch_safe_load(str(weights.resolve()), safe_only=True)
        model = content.get("ema") or content["model"]
        classes = model.names
    except Exception as error:  # ultralytics raises whatever unpickling raises
        said = str(error).partition("\n")[0].encode("ascii", "ignore").decode().strip()
        raise ValueError(f"{weights}: ultralytics cannot read it: {said or type(error).__name__}") from error
    if not (isinstance(model, nn.Module) and isinstance(classes, dict)):
        raise ValueError(f"{weights}: holds no network of ultralytics")
    for layer in model.modules():
        if isinstance(layer, nn.Upsample) and not hasattr(layer, "recompute_scale_factor"):
            layer.recompute_scale_factor = None  # files of before torch 1.11
    return model.float()
