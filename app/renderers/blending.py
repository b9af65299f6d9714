"""Lay what was drawn over the picture."""

from __future__ import annotations

import cv2
import numpy as np

from bodycast.app.records import U8


def blend(background: U8, drawn: U8, soften: bool) -> None:
    """Lay `drawn` (h,w,4) BGRA, premultiplied by its coverage, over `background` (h,w,3) in place.

    `soften`: coverage is 0 or 255 only; take its 3x3 mean along the inner edge, which hides the staircase.
    """
    coverage = np.ascontiguousarray(drawn[..., 3])
    weight = cv2.blur(coverage, (3, 3), borderType=cv2.BORDER_REPLICATE) if soften else coverage
    edge = np.nonzero((coverage > 0) & (weight < 255))
    alpha = weight[edge][:, None].astype(np.uint16)
    colour, behind = drawn[edge][:, :3].astype(np.uint16), background[edge].astype(np.uint16)
    if soften:
        colour = (colour * alpha + 127) // 255
    mixed = colour + (behind * (255 - alpha) + 127) // 255
    cv2.copyTo(cv2.cvtColor(drawn, cv2.COLOR_BGRA2BGR), cv2.inRange(coverage, 255, 255), background)
    background[edge] = np.minimum(mixed, 255)
