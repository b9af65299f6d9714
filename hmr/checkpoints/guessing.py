"""Which registered network a published checkpoint is of, by its keys and shapes."""

from __future__ import annotations

import re

from bodycast.hmr.checkpoints.reading import State
from bodycast.hmr.networks.encoders.vit import SIZES

_CAMERA_QUERY = 160
"""Numbers of a box_mean query: box 3, mean pose 144, shape 10, camera 3."""
_ENCODERS = (
    (r"^layers[._]\d+\.blocks\.\d+\.op\.", "VMamba", "vmamba-t-s2"),
    (r"^(patch_embed_layers|groupmixformer_backbone)\.", "GroupMixFormer", "gmf-t-s2"),
    (r"^(layers[._]\d+\.blocks\.\d+|features\.\d+\.\d+)\.attn\.", "Swin", "swin-t-s2"),
)
_LAYOUTS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("hmr2-", ("hmr2",)),
    ("camerahmr-fov", ("camerahmr-fov",)),
    ("camerahmr-", ("camerahmr",)),
    ("dense26", ("hmr2",)),
    ("deformable-detr", ()),
    ("deformable", ("hmr2-encoder", "vitpose-encoder")),
    ("pose-vit-", ("vitpose",)),
    ("swin-", ("swin", "swin-timm", "swin-torchvision")),
    ("pose-swin-", ("swin", "swin-timm", "swin-torchvision")),
    ("gmf-", ("gmf",)),
    ("pose-gmf-", ("gmf",)),
    ("vmamba-", ("vmamba",)),
    ("pose-vmamba-", ("vmamba",)),
)


def guess_model(state: State) -> str:
    """The registered name of a whole published network (HMR2.0, CameraHMR and its field-of-view network, ViTPose at
    any published size).

    Raises: ValueError, one line, for an encoder alone, which does not say where it is to be cut, and for keys or sizes
    of no network here.
    """
    for pattern, family, example in _ENCODERS:
        if any(re.search(pattern, key) for key in state):
            raise ValueError(f"an encoder alone ({family}): say which network it is for, --as {example} or another cut")
    if "fc3.weight" in state and "backbone.transition3.3.0.0.weight" in state:
        return "camerahmr-fov"
    size = _vit_size(state)
    query = state.get("smpl_head.transformer.to_token_embedding.weight")
    if query is not None:
        tokens = state.get("smpl_head.transformer.pos_embedding")
        if tokens is not None and tokens.shape[1] > 1:
            return "dense26"
        return f"{'camerahmr' if query.shape[1] == _CAMERA_QUERY else 'hmr2'}-{size}"
    if any(key.startswith("keypoint_head.") for key in state):
        deconvolutions = any(key.startswith("keypoint_head.deconv_layers.") for key in state)
        return f"pose-vit-{size}" + ("" if deconvolutions else "-simple")
    raise ValueError("a flat ViT alone: say which network it is for, --as deformable or another")


def layouts_of(model: str) -> tuple[str, ...]:
    """Names of the layouts in which files for this network are published; empty where there are none."""
    return next((layouts for prefix, layouts in _LAYOUTS if model.startswith(prefix)), ())


def _vit_size(state: State) -> str:
    """Letter of the ViT under `backbone.`. Raises: ValueError."""
    table = state.get("backbone.pos_embed")
    if table is None or table.dim() != 3:
        first = ", ".join(list(state)[:3])
        raise ValueError(f"no published layout that is known here (its keys start {first}): give --as and --layout")
    numbers = {match[1] for key in state if (match := re.match(r"backbone\.blocks\.(\d+)\.", key))}
    sizes = {letter: (size.dim, size.depth) for letter, size in SIZES.items()}
    found = (int(table.shape[2]), len(numbers))
    letter = next((letter for letter, size in sizes.items() if size == found), None)
    if letter is None:
        known = ", ".join(f"{letter} {dim}x{depth}" for letter, (dim, depth) in sizes.items())
        raise ValueError(f"a ViT of width {found[0]} and {found[1]} blocks, which is none of {known}")
    return letter
