"""Swin goldens: Microsoft's, timm's and torchvision's against `hmr/networks/encoders/swin.py`."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache, partial

import numpy as np
from torch import Tensor
from torch.nn import functional as F

from bodycast.hmr.networks.encoders import official_keys
from bodycast.hmr.networks.encoders.swin import PATCH_SIZE, Swin
from evaluation.goldens.record import ABSOLUTE_BOUND, Answer, Answers, Golden, Ours
from evaluation.goldens.sizes import count_per_stage, hidden_ratio, with_absent_biases

KeyMap = Callable[[dict[str, Tensor], Swin], dict[str, Tensor]]
# One block's table of relative positions, in each layout; the groups are stage and block.
_BLOCK = {
    "official": r"^layers\.(\d+)\.blocks\.(\d+)\.",
    "timm": r"^layers[._](\d+)\.blocks\.(\d+)\.",
    "torchvision": r"^features\.(\d+)\.(\d+)\.attn\.",
}


def run_official(golden: Golden) -> Answers:
    """Microsoft's code: tokens (B, H*W, C) per stage, final norm, class scores."""
    maps = _Maps(golden, "official", official_keys.swin_official)
    answers: dict[str, Answer] = {
        f"stage{i}": partial(lambda i: maps.raw()[i].flatten(2).transpose(1, 2), i) for i in range(maps.stages)
    }
    return answers | {"norm": lambda: maps.normed().flatten(1, 2), "logits": maps.logits}


def run_timm(golden: Golden) -> Answers:
    """timm's feature network (or classifier): maps (B, H, W, C) per stage, no norm."""
    maps = _Maps(golden, "timm", official_keys.swin_timm)
    return maps.answers()


def run_torchvision(golden: Golden) -> Answers:
    """torchvision pads before it rolls; what that changes is reported, not judged.

    A stage counts as long as its grid and all before it are multiples of the window: there the two agree.
    """
    maps = _Maps(golden, "torchvision", official_keys.swin_torchvision)

    def judged(name: str, answer: Answer) -> Tensor | Ours:
        value = np.asarray(answer())
        stage = int(name.removeprefix("stage")) if name.startswith("stage") else maps.stages - 1
        if stage < _stages_that_agree(maps.net()):
            return Ours(value)
        expected = golden.outputs[name]
        if value.shape != expected.shape:
            return Ours(value)
        apart = (np.abs(value - expected) > ABSOLUTE_BOUND).any(axis=-1)
        note = f"torchvision pads, then rolls; we roll, then pad: {int(apart.sum())} of {apart.size} tokens differ"
        return Ours(value, counted=False, note=note)

    return {name: partial(judged, name, answer) for name, answer in maps.answers().items()}


class _Maps:
    """Our network with a file's weights, and what is computed once from it.

    Sizes come from the tensors' shapes and, where those do not show them, from the configuration.
    """

    def __init__(self, golden: Golden, layout: str, key_map: KeyMap) -> None:
        self.golden = golden
        self.layout = layout
        self.key_map = key_map
        depths = count_per_stage(golden.state, _BLOCK[layout])
        if not depths:
            raise ValueError(
                f"the state dict is none of a Swin in the layout of {layout}: no key fits {_BLOCK[layout]}"
            )
        # torchvision numbers its parts: 0 the patches, then stages and mergings in turn.
        self.depths = depths[1::2] if layout == "torchvision" else depths
        self.stages = len(self.depths)
        self.net = cache(self._build)
        self.raw = cache(self._raw)

    def answers(self) -> dict[str, Answer]:
        """Maps (B, H, W, C), the final norm and class scores."""
        stages: dict[str, Answer] = {
            f"stage{i}": partial(lambda i: self.raw()[i].permute(0, 2, 3, 1), i) for i in range(self.stages)
        }
        return stages | {"norm": self.normed, "logits": self.logits}

    def normed(self) -> Tensor:
        """Final norm, (B, H, W, C)."""
        return self.net().norms[-1](self.raw()[-1]).permute(0, 2, 3, 1)

    def logits(self) -> Tensor:
        """Class scores; the classifier is the file's, we have none."""
        head = self.golden.state_tensors("head.fc.") or self.golden.state_tensors("head.")
        return F.linear(self.normed().mean(dim=(1, 2)), head["weight"], head.get("bias"))

    def _raw(self) -> list[Tensor]:
        return self.net().forward_raw(self.golden.tensor("img"))

    def _build(self) -> Swin:
        golden, config = self.golden, self.golden.config.get("net", self.golden.config)
        kernel = golden.weight(f"{'features.0.0' if self.layout == 'torchvision' else 'patch_embed.proj'}.weight")
        if kernel.shape[-1] != PATCH_SIZE:
            raise ValueError(f"patches of {kernel.shape[-1]} px; ours are of {PATCH_SIZE}")
        tables = [v for key, v in golden.state.items() if key.endswith("attn.relative_position_bias_table")]
        fc1 = next(v for key, v in golden.state.items() if re.search(r"\.mlp\.(fc1|0)\.weight$", key))
        # A stage whose grid is smaller than the window has a smaller table.
        window = config.get("window_size", (round(max(len(table) for table in tables) ** 0.5) + 1) // 2)
        images = golden.array("img")
        net = Swin(
            dim=kernel.shape[0],
            depths=self.depths,
            heads=tuple(self._heads(stage) for stage in range(self.stages)),
            stages=self.stages,
            image_hw=(images.shape[-2], images.shape[-1]),
            window_size=window if isinstance(window, int) else window[0],
            mlp_ratio=config.get("mlp_ratio", hidden_ratio(fc1)),
        ).eval()
        state = self.key_map(golden.state_tensors(), net)
        # Feature networks have no final norm, and no output asks for it.
        own = {key: value for key, value in net.state_dict().items() if key.startswith("norms.")}
        net.load_state_dict(with_absent_biases(own | state, net))
        return net

    def _heads(self, stage: int) -> int:
        number = 2 * stage + 1 if self.layout == "torchvision" else stage
        for key, table in self.golden.state.items():
            found = re.match(_BLOCK[self.layout], key)
            if found and int(found[1]) == number and key.endswith("relative_position_bias_table"):
                return table.shape[1]
        raise ValueError(f"stage {stage} has no relative_position_bias_table")


def _stages_that_agree(net: Swin) -> int:
    """How many leading stages have grids that are multiples of their window."""
    count = 0
    for layer, (rows, columns) in zip(net.layers, net.grids_hw, strict=True):
        window_rows, window_columns = layer.blocks[0].attn.window_size
        if rows % window_rows or columns % window_columns or (window_rows, window_columns) != net.window_hw:
            break
        count += 1
    return count
