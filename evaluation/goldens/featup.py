"""FeatUp's joint bilateral upsampler: one, two and four stages of one stack."""

from __future__ import annotations

import re
from functools import partial

from torch import Tensor

from bodycast.hmr.networks.upsampling.jbu import JbuStack
from evaluation.goldens.record import Answers, Golden

WHOLE_STACK = 16


def run(golden: Golden) -> Answers:
    """Outputs are named `case/x4` or `case/x4_fixup`, where `case/feat` and `case/image` are the inputs.

    A stack of every asked size takes the stages that it has from the file's x16 stack.
    """
    found = {name: re.fullmatch(r"(.+)/x(\d+)(_fixup)?", name) for name in golden.outputs}
    return {
        name: partial(_upsample, golden, match[1], int(match[2]), match[3] is not None)
        for name, match in found.items()
        if match is not None
    }


def _upsample(golden: Golden, case: str, factor: int, mix: bool) -> Tensor:
    features, image = golden.tensor(f"{case}/feat"), golden.tensor(f"{case}/image")
    # The file's x16 is the whole upstream stack, which ends with the mix; its smaller ones are bare stages.
    stack = JbuStack(features.shape[1], factor, final_mix=mix or factor == WHOLE_STACK).eval()
    state = golden.state_tensors("stack.")
    stack.load_state_dict({key: state[key] for key in stack.state_dict() if key in state})
    return stack(features, image)
