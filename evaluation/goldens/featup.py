"""FeatUp's joint bilateral upsampler: one, two and four stages of one stack."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from evaluation.goldens.record import Golden
from hmr.networks.upsampling.jbu import JbuStack


def run(golden: Golden) -> dict[str, NDArray[Any]]:
    """A stack of every asked size takes the stages that it has from the file's x16 stack."""
    state = golden.state_tensors("stack.")
    channels = state["fixup_proj.1.weight"].shape[0]
    answers: dict[str, NDArray[Any]] = {}
    for name in golden.outputs:
        case, _, kind = name.partition("/")
        size, _, mix = kind.removeprefix("x").partition("_")
        factor = int(size)
        # The file's x16 is the whole upstream stack, which ends with the mix; its x2 and x4 are bare stages.
        stack = JbuStack(channels, factor, final_mix=mix == "fixup" or factor == 16).eval()
        stack.load_state_dict({key: state[key] for key in stack.state_dict()})
        features, image = golden.tensor(f"{case}/feat"), golden.tensor(f"{case}/image")
        answers[name] = stack(features, image).numpy()
    return answers
