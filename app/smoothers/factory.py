"""Smoothers by name."""

from __future__ import annotations

from typing import Literal, assert_never, cast, get_args

from bodycast.app.errors import UsageError
from bodycast.app.smoothers.base import Smoother

SmootherName = Literal["none", "one-euro", "diffusion"]
SMOOTHER_NAMES: tuple[str, ...] = get_args(SmootherName)


def open_smoother(
    name: str,
    lag_s: float | None = None,
    offline: bool = False,
    tokens: tuple[str, int] = ("none", 0),
) -> Smoother:
    """The smoother of that name.

    Args:
        lag_s: how far the result may be behind, for a smoother that looks ahead; None: as it likes best.
        offline: nobody waits for the result: the diffusion smoother chooses a longer lag itself.
        tokens: the hmr package that gives per-person tokens, and their width, 0 for none. Where a decoder is installed
            that learned from them, the diffusion smoother takes it; else the shipped one.

    Raises:
        UsageError: unknown name, or a lag that this smoother cannot use.
    """
    if name not in SMOOTHER_NAMES:
        raise UsageError(f"unknown smoother {name!r}; choose one of {', '.join(SMOOTHER_NAMES)}")
    chosen = cast(SmootherName, name)
    if lag_s is not None and lag_s < 0:
        raise UsageError(f"--lag must be 0 or more seconds, got {lag_s}")
    if chosen != "diffusion" and lag_s:
        raise UsageError(f"--smoother {name} holds no frame back, so --lag {lag_s:g} has no meaning: leave it out")
    match chosen:
        case "none":
            from bodycast.app.smoothers.no_smoother import NoSmoother

            return NoSmoother()
        case "one-euro":
            from bodycast.app.smoothers.one_euro import OneEuroSmoother

            return OneEuroSmoother()
        case "diffusion":
            from bodycast.app.smoothers.diffusion.decoder import DECODER, DecodedSmoother, token_decoder
            from bodycast.app.smoothers.diffusion.live import DEFAULT_LAG_S

            lag_s = DEFAULT_LAG_S if lag_s is None else lag_s
            package = token_decoder(*tokens) or DECODER
            return DecodedSmoother(lag_s, offline=offline, package=package)
        case _:
            assert_never(chosen)
