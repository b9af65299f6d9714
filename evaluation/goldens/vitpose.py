"""ViTPose: the two heads, and the decoding of heat maps."""

from __future__ import annotations

from functools import cache, partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from bodycast.hmr.networks.heads.pose_heatmap import HEATMAP_STRIDE, ClassicHeatmapHead, SimpleHeatmapHead
from bodycast.hmr.networks.heads.udp_decoding import crop_matrix, decode_heatmaps, flip_heatmaps, refine_peaks
from evaluation.goldens.record import Answers, Golden, Ours

PIXEL_STD = 200.0
"""Upstream gives a box as its size divided by this."""
Method = Literal["udp", "default", "dark", "argmax"]
NO_PEAK = "no peak in the rest"


def run(golden: Golden) -> Answers:
    """Keypoints of heat maps without a peak are not compared after UDP: upstream reads unrelated memory
    there.
    """
    array = golden.array

    def box() -> tuple[NDArray[Any], NDArray[Any]]:
        return array("center"), array("scale") * PIXEL_STD

    def warp(udp: bool) -> NDArray[Any]:
        height, width = array("heatmaps").shape[2:]
        return crop_matrix(*box(), (width * HEATMAP_STRIDE, height * HEATMAP_STRIDE), udp=udp)

    @cache
    def flipped() -> NDArray[Any]:
        pairs = tuple((int(left), int(right)) for left, right in array("flip_pairs"))
        return np.asarray(flip_heatmaps(array("heatmaps_flipped"), pairs))

    def found() -> NDArray[np.bool_]:
        return array("heatmaps").max(axis=(2, 3)) > 0

    def keypoints(method: Method) -> NDArray[Any] | Ours:
        xy = decode_heatmaps(array("heatmaps"), *box(), method)[0]
        return Ours(xy, where=found()[..., None], note=NO_PEAK) if method == "udp" else xy

    def scores(method: Method) -> NDArray[Any]:
        return decode_heatmaps(array("heatmaps"), *box(), method)[1][..., None]

    def flip_keypoints() -> Ours:
        both = array("heatmaps") + flipped()
        where = both.max(axis=(2, 3))[..., None] > 0
        return Ours(decode_heatmaps(both / 2, *box())[0], where=where, note=NO_PEAK)

    methods: tuple[Method, ...] = ("udp", "default", "dark", "argmax")
    return {
        "classic": lambda: _classic(golden),
        "simple": lambda: _simple(golden),
        "valid": lambda: found().astype(np.uint8),
        "udp_heatmap_xy": lambda: Ours(refine_peaks(array("heatmaps"))[0], where=found()[..., None], note=NO_PEAK),
        "flip_back": flipped,
        "warp_udp": lambda: warp(udp=True),
        "warp_default": lambda: warp(udp=False),
        **{f"{method}_xy": partial(keypoints, method) for method in methods},
        **{f"{method}_score": partial(scores, method) for method in methods},
        "udp_flip_xy": flip_keypoints,
        "udp_flip_score": lambda: decode_heatmaps((array("heatmaps") + flipped()) / 2, *box())[1][..., None],
    }


def _classic(golden: Golden) -> Tensor:
    """Each deconvolution halves the stride down to the heat maps'; features need not fit `heatmaps`."""
    kernels = [v for key, v in golden.state.items() if key.startswith("classic.deconv") and v.ndim == 4]
    final = golden.weight("classic.final_layer.weight")
    head = ClassicHeatmapHead(
        kernels[0].shape[0] if kernels else final.shape[1],
        HEATMAP_STRIDE * 2 ** len(kernels),
        len(final),
        final.shape[1],
    )
    head.load_state_dict(golden.state_tensors("classic."))
    return head.eval()(golden.tensor("features"))


def _simple(golden: Golden) -> Tensor:
    """Enlarges by what its output shows."""
    features, final = golden.tensor("features"), golden.weight("simple.final_layer.weight")
    enlarge = golden.output_shape("simple")[-1] // features.shape[-1]
    head = SimpleHeatmapHead(final.shape[1], HEATMAP_STRIDE * enlarge, len(final))
    head.load_state_dict(golden.state_tensors("simple."))
    return head.eval()(features)
