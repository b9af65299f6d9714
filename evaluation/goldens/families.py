"""Which adapter reads which golden file: decided by the source that its `meta` names, imported when needed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from evaluation.goldens.record import Answers, Golden

Adapter = Callable[[Golden], Answers]


@dataclass(frozen=True)
class Family:
    """Golden files of one source, and the function that answers them.

    Attributes:
        repo: text that `meta.repo` contains (a name, an address). cls: text that `meta.cls` contains; empty matches
            all of the repository. Capitals do not count.
        adapter: `module:function`, the module in this package.
    """

    repo: str
    cls: str
    adapter: str

    def matches(self, meta: dict[str, Any]) -> bool:
        """Whether a file with this `meta` belongs here."""
        repo, cls = str(meta["repo"]).lower(), str(meta.get("cls", "")).lower()
        return self.repo.lower() in repo and self.cls.lower() in cls

    def load(self) -> Adapter:
        """Import the adapter.

        Raises:
            ImportError, AttributeError: its module or function is not there.
        """
        module, _, function = self.adapter.partition(":")
        return getattr(import_module(f"evaluation.goldens.{module}"), function)


# The first match wins, so a repository's special cases stand above its general one.
FAMILIES = (
    Family("shubham-goel/4D-Humans (", "functions", "geometry:run"),
    Family("shubham-goel/4D-Humans", "cam_crop_to_full", "geometry:run_crop_camera"),
    Family("shubham-goel/4D-Humans", "ViTDetDataset", "geometry:run_crop"),
    Family("shubham-goel/4D-Humans", "", "hmr2:run"),
    Family("microsoft/Swin-Transformer", "", "swin:run_official"),
    Family("huggingface/pytorch-image-models", "", "swin:run_timm"),
    Family("pytorch/vision", "", "swin:run_torchvision"),
    Family("AILab-CVC/GroupMixFormer", "", "group_mix_former:run"),
    Family("MzeroMiko/VMamba", "selective_scan", "vmamba:run_ss2d"),
    Family("MzeroMiko/VMamba", "", "vmamba:run"),
    Family("facebookresearch/ToMe", "bipartite_soft_matching", "tome:run_match"),
    Family("facebookresearch/ToMe", "", "tome:run_vit"),
    Family("fundamentalvision/Deformable-DETR", "", "deformable:run"),
    Family("mhamilton723/FeatUp", "", "featup:run"),
    Family("Jeff-sjtu/HybrIK", "", "inverse_kinematics:run"),
    Family("ChenFengYe/motion-latent-diffusion", "MldVae", "mld:run_vae"),
    Family("ChenFengYe/motion-latent-diffusion", "MldDenoiser", "mld:run_denoiser"),
    Family("huggingface/diffusers", "", "diffusion:run"),
    Family("ViTAE-Transformer/ViTPose", "", "vitpose:run"),
    Family("pixelite1201/CameraHMR", "FLNet", "fov:run"),
)


def find_family(meta: dict[str, Any]) -> Family:
    """The family that a file's `meta` names.

    Raises:
        LookupError: no family reads such files.
    """
    for family in FAMILIES:
        if family.matches(meta):
            return family
    raise LookupError(f"no adapter reads files of {meta['repo']} ({meta.get('cls', 'no class named')})")
