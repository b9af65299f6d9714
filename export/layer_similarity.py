"""How alike the layers of a flat ViT are: linear CKA of their outputs (Kornblith et al. 2019, arXiv 1905.00414).

FastHMR (Mehraban et al. 2025, arXiv 2510.10868) shows it beside its layer merging: neighbouring layers that say the
same are those that can be merged.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bodycast.engines.user_cache import write_whole

ROWS = 1024
"""Tokens that are compared: Gram matrices of so many rows are cheap, whatever the width."""
CELL, MARGIN, BAR = 18, 46, 60
WHITE, BLACK, RED = (255, 255, 255), (0, 0, 0), (40, 40, 230)
FONT, FONT_SIZE = cv2.FONT_HERSHEY_SIMPLEX, 0.38


def linear_cka(outputs: Sequence[Tensor]) -> NDArray[np.float64]:
    """(L, L) similarities in 0..1 of L tables (n, C_l) of the same n rows.

    Raises: ValueError where a table is the same in every row: it has no similarity to anything.
    """
    grams: list[NDArray[np.float64]] = []
    for index, table in enumerate(outputs):
        centred = (table - table.mean(0, keepdim=True)).double()
        gram = (centred @ centred.T).numpy()
        norm = np.linalg.norm(gram)
        if not norm > 0:
            raise ValueError(f"layer {index} gives the same for every token")
        grams.append(gram / norm)
    flat = np.stack([gram.ravel() for gram in grams])
    return flat @ flat.T


@torch.no_grad()
def layer_outputs(blocks: nn.ModuleList, runs: Iterable[object], rows: int = ROWS) -> list[Tensor]:
    """What goes into the first block and comes out of each, as (n, C) tables of about `rows` tokens over all runs.

    runs: each item drawn is one run of the network (a generator that runs it). All of them are kept, thinned evenly.
    """
    found: list[list[Tensor]] = [[] for _ in range(len(blocks) + 1)]

    def keep(index: int, tokens: Tensor) -> None:
        found[index].append(tokens.detach().flatten(0, -2).float())

    hooks = [blocks[0].register_forward_pre_hook(lambda _, given: keep(0, given[0]))]
    for index, block in enumerate(blocks):
        hooks.append(block.register_forward_hook(lambda _, __, out, i=index + 1: keep(i, out)))
    try:
        for _ in runs:
            pass
    finally:
        for hook in hooks:
            hook.remove()
    tables: list[Tensor] = []
    for parts in found:
        whole = torch.cat(parts)
        step = max(1, len(whole) // rows)
        tables.append(whole[::step])
    return tables


def draw_similarity(matrix: NDArray[np.float64], windows: Sequence[tuple[int, int]], path: Path) -> None:
    """The matrix of `layer_outputs` (embedding, then blocks 0, 1, ...) as a PNG; merged windows are framed in red."""
    count = len(matrix)
    low = float(min(0.9, matrix.min()))
    shades = np.clip((matrix - low) / max(1e-9, 1 - low), 0, 1)
    heat = cv2.applyColorMap((255 * shades).round().astype(np.uint8), cv2.COLORMAP_VIRIDIS)
    heat = cv2.resize(heat, None, fx=CELL, fy=CELL, interpolation=cv2.INTER_NEAREST)
    side = count * CELL
    picture = np.full((side + MARGIN + 24, side + MARGIN + BAR + 24, 3), 255, np.uint8)
    picture[24 : 24 + side, MARGIN : MARGIN + side] = heat
    for index in range(count):
        name = "in" if index == 0 else str(index - 1)
        if index and (index - 1) % (1 if count < 20 else 2):
            continue
        at = 24 + index * CELL + 13
        cv2.putText(picture, name, (MARGIN - 24, at), FONT, FONT_SIZE, BLACK, 1, cv2.LINE_AA)
        cv2.putText(picture, name, (MARGIN + index * CELL + 2, side + 40), FONT, FONT_SIZE, BLACK, 1, cv2.LINE_AA)
    for first, last in windows:
        start, end = (first + 1) * CELL, (last + 2) * CELL
        cv2.rectangle(picture, (MARGIN + start, 24 + start), (MARGIN + end - 1, 24 + end - 1), RED, 2)
    ramp = np.linspace(255, 0, side).astype(np.uint8)[:, None].repeat(14, 1)
    left = MARGIN + side + 12
    picture[24 : 24 + side, left : left + 14] = cv2.applyColorMap(ramp, cv2.COLORMAP_VIRIDIS)
    for value, y in ((1.0, 34), ((1 + low) / 2, 24 + side // 2), (low, 24 + side)):
        cv2.putText(picture, f"{value:.2f}", (left + 18, y), FONT, FONT_SIZE, BLACK, 1, cv2.LINE_AA)
    title = f"Linear CKA of layer outputs{'; red: merged' if windows else ''}"
    cv2.putText(picture, title, (MARGIN, 16), FONT, 0.42, BLACK, 1, cv2.LINE_AA)
    done, data = cv2.imencode(".png", picture)
    if not done:
        raise OSError(f"{path}: the picture could not be encoded")
    write_whole(path, data.tobytes())
