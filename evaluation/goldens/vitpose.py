"""ViTPose: the two heads, and the decoding of heat maps."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluation.goldens.record import Golden, Ours
from hmr.networks.heads.pose_heatmap import HEATMAP_STRIDE, ClassicHeatmapHead, SimpleHeatmapHead
from hmr.networks.heads.udp_decoding import crop_matrix, decode_heatmaps, flip_heatmaps, refine_peaks

PIXEL_STD = 200.0
"""Upstream gives a box as its size divided by this."""


def run(golden: Golden) -> dict[str, NDArray[Any] | Ours]:
    """Keypoints of heat maps without a peak are not compared after UDP: upstream reads unrelated memory
    there.
    """
    config, inputs = golden.config, golden.inputs
    features = golden.tensor("features")
    crop_wh = (inputs["heatmaps"].shape[3] * HEATMAP_STRIDE, inputs["heatmaps"].shape[2] * HEATMAP_STRIDE)
    # Each deconvolution halves the stride down to the heat maps'; the heads' own features need not fit `heatmaps`.
    deconvolutions = sum(kernel.ndim == 4 for key, kernel in golden.state.items() if key.startswith("classic.deconv"))
    stride = HEATMAP_STRIDE * 2**deconvolutions
    classic = ClassicHeatmapHead(config["in"], stride, config["joints"], config["filters"]).eval()
    classic.load_state_dict(golden.state_tensors("classic."))
    simple = SimpleHeatmapHead(config["in"], stride, config["joints"]).eval()
    simple.load_state_dict(golden.state_tensors("simple."))
    center, size = inputs["center"], inputs["scale"] * PIXEL_STD
    heatmaps = inputs["heatmaps"]
    pairs = tuple((int(left), int(right)) for left, right in inputs["flip_pairs"])
    flipped = flip_heatmaps(inputs["heatmaps_flipped"], pairs)
    found = heatmaps.max(axis=(2, 3)) > 0
    peak = found[..., None]
    answers: dict[str, NDArray[Any] | Ours] = {
        "classic": classic(features).numpy(),
        "simple": simple(features).numpy(),
        "valid": found.astype(np.uint8),
        "udp_heatmap_xy": Ours(refine_peaks(heatmaps)[0], where=peak, note="no peak in the rest"),
        "flip_back": np.asarray(flipped),
        "warp_udp": crop_matrix(center, size, crop_wh),
        "warp_default": crop_matrix(center, size, crop_wh, udp=False),
    }
    for method in ("udp", "default", "dark", "argmax"):
        xy, score = decode_heatmaps(heatmaps, center, size, method)
        answers[f"{method}_xy"] = Ours(xy, where=peak, note="no peak in the rest") if method == "udp" else xy
        answers[f"{method}_score"] = score[..., None]
    xy, score = decode_heatmaps((heatmaps + flipped) / 2, center, size)
    both = (heatmaps + flipped).max(axis=(2, 3))[..., None] > 0
    answers["udp_flip_xy"] = Ours(xy, where=both, note="no peak in the rest")
    answers["udp_flip_score"] = score[..., None]
    return answers
