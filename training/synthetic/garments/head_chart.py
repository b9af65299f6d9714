"""A map around the head: which texel is lip, eyelid, eyeball or ear, so that faces are painted where the mesh has them.

The chart is a cylinder around a vertical axis through the skull of the template: column by the angle from straight
ahead (positive to the person's left), row by height.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bodycast.hmr.body.body_model import EMBEDDED_BODY, BodyModel
from bodycast.npz import read_npz

Floats = NDArray[np.float64]
HEAD_HW = (256, 512)
HEAD_AXIS_XZ = (0.0, 0.06)
HEAD_TOP_M, HEAD_LOW_M = 0.72, 0.42
CHANNELS = ("lips", "eyelids", "eyeballs", "ears")
_EYEBALLS = (14598, 14741)  # of MakeHuman's base mesh


def chart_place(points: Floats) -> Floats:
    """(..., 2) column and row in texels of rest positions (..., 3), metres."""
    height, width = HEAD_HW
    angle = np.arctan2(points[..., 0] - HEAD_AXIS_XZ[0], points[..., 2] - HEAD_AXIS_XZ[1])
    column = (0.5 + angle / (2 * np.pi)) * width - 0.5
    row = (HEAD_TOP_M - points[..., 1]) / (HEAD_TOP_M - HEAD_LOW_M) * height - 0.5
    return np.stack([column, row], -1)


def head_chart(body: BodyModel, textures: Path) -> NDArray[np.uint8]:
    """(256, 512, 4) uint8 masks, see CHANNELS, from MakeHuman's mask pictures in the skin's texture coordinates."""
    import cv2

    names = ("mpfb_lips", "mpfb_eyelids", "mpfb_ears")
    pictures = [cv2.imread(str(textures / f"{name}.jpg"), cv2.IMREAD_GRAYSCALE) for name in names]
    if any(p is None for p in pictures):
        raise FileNotFoundError(f"{textures}: expected {', '.join(names)} (.jpg)")
    arrays = read_npz(EMBEDDED_BODY, ("uv", "makehuman_vertex"))
    uv, source = arrays["uv"].astype(np.float64), arrays["makehuman_vertex"]
    eyeball = (source >= _EYEBALLS[0]) & (source <= _EYEBALLS[1])
    template, faces = body.arrays.v_template.astype(np.float64), body.faces
    chart, depth = np.zeros((*HEAD_HW, 4), np.uint8), np.full(HEAD_HW, -1.0)
    place = chart_place(template)
    radius = np.hypot(template[:, 0] - HEAD_AXIS_XZ[0], template[:, 2] - HEAD_AXIS_XZ[1])
    for face in faces[(template[faces, 1] > HEAD_LOW_M).all(1)]:
        corner = place[face]
        if np.ptp(corner[:, 0]) > HEAD_HW[1] / 4:  # on the seam behind the head, where nothing is marked
            continue
        for column, row, mix in _texels(corner):
            away = mix @ radius[face]
            if away <= depth[row, column]:
                continue
            depth[row, column] = away
            u, v = mix @ uv[face]
            at = (int((1 - v) * 2047), int(u * 2047))
            lips, lids, ears = (p[at] for p in pictures)
            chart[row, column] = (lips, lids, 255 * eyeball[face].all(), ears)
    return chart


def _texels(corner: Floats) -> list[tuple[int, int, Floats]]:
    """Column, row and barycentric weights of the texel centres inside a triangle (3, 2)."""
    low = np.maximum(np.ceil(corner.min(0)).astype(int), 0)
    high = np.minimum(np.floor(corner.max(0)).astype(int), [HEAD_HW[1] - 1, HEAD_HW[0] - 1])
    basis = np.array([corner[1] - corner[0], corner[2] - corner[0]]).T
    if abs(np.linalg.det(basis)) < 1e-9:
        return []
    inverse = np.linalg.inv(basis)
    out: list[tuple[int, int, Floats]] = []
    for row in range(low[1], high[1] + 1):
        for column in range(low[0], high[0] + 1):
            b, c = inverse @ (np.array([column, row]) - corner[0])
            if b >= -1e-6 and c >= -1e-6 and b + c <= 1 + 1e-6:
                out.append((column, row, np.array([1 - b - c, b, c])))
    return out
