"""What lenses, sensors and codecs do to a crop: native resolution, blur, little light, white balance, noise, JPEG."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]
Rng = np.random.Generator
_NOISE = 512
MIDDLE_GREY = 112.0


def noise_sheet(seed: int = 3) -> F32:
    """(512, 512, 3) normal noise, mostly grey: crops take windows of it, which is quicker than drawing their own."""
    rng = np.random.default_rng(seed)
    grey, colour = rng.standard_normal((_NOISE, _NOISE, 1)), rng.standard_normal((_NOISE, _NOISE, 3))
    return (0.9 * grey + 0.45 * colour).astype(np.float32)


def motion_kernel(rng: Rng, longest: int) -> F32:
    """(k, k) a straight smear in a random direction."""
    length = int(rng.integers(3, max(longest, 4)))
    kernel = np.zeros((length, length), np.float32)
    kernel[length // 2] = 1
    turn = cv2.getRotationMatrix2D((length / 2 - 0.5, length / 2 - 0.5), float(rng.uniform(0, 180)), 1)
    kernel = cv2.warpAffine(kernel, turn, (length, length))
    return kernel / max(float(kernel.sum()), 1e-6)


def spoil(rng: Rng, pixels: F32, size_px: float, noise: F32) -> U8:
    """Spoil a crop (h, w, 3) float32 RGB 0..255, drawn sharp, of a square of `size_px` source pixels; `noise` from
    `noise_sheet`. Noise and JPEG happen at the source's own size, as in a real camera."""
    height, width = pixels.shape[:2]
    out = pixels
    if rng.random() < 0.18:
        out = cv2.filter2D(out, -1, motion_kernel(rng, 11))
    elif rng.random() < 0.3:
        out = cv2.GaussianBlur(out, (0, 0), float(rng.uniform(0.4, 1.5)))
    # Below its own 256 pixels a crop is enlarged; cheap cameras hold less than their pixels promise.
    native = min(1.0, size_px / height)
    if rng.random() < 0.35:
        native *= float(rng.uniform(0.3, 0.9))
    native = max(native, 0.12)
    if native < 0.95:
        small = (max(round(width * native), 8), max(round(height * native), 8))
        out = cv2.resize(out, small, interpolation=cv2.INTER_AREA)
    out = _expose(rng, out)
    if rng.random() < 0.65:
        row, column = rng.integers(0, _NOISE - out.shape[0] + 1), rng.integers(0, _NOISE - out.shape[1] + 1)
        window = noise[row : row + out.shape[0], column : column + out.shape[1]]
        if rng.random() < 0.4:
            window = cv2.blur(window, (2, 2)) * 1.6
        out = out + window * min(float(rng.exponential(3.2)) + 0.5, 13.0)
    spoilt = np.clip(out, 0, 255).astype(np.uint8)
    if rng.random() < 0.55:
        ok, data = cv2.imencode(".jpg", spoilt, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(22, 92))])
        if ok:
            spoilt = cv2.imdecode(data, cv2.IMREAD_COLOR)
    if spoilt.shape[:2] != (height, width):
        spoilt = cv2.resize(spoilt, (width, height), interpolation=cv2.INTER_LINEAR)
    return spoilt


def _expose(rng: Rng, pixels: F32) -> F32:
    """Brightness, contrast, white balance, saturation; low light now and then."""
    # Cameras expose for a middle grey, though not wholly; black borders do not count.
    level = max(float(pixels.mean()), 12.0)
    gain = float(np.clip((MIDDLE_GREY / level) ** 0.6, 0.6, 2.4) * np.clip(rng.normal(1.0, 0.15), 0.6, 1.5))
    if rng.random() < 0.06:
        gain *= float(rng.uniform(0.3, 0.6))
    balance = np.clip(rng.normal(1, 0.05, 3), 0.85, 1.15) * gain
    saturation = float(np.clip(rng.normal(1.0, 0.2), 0.2, 1.5)) if rng.random() > 0.03 else 0.0
    grey = np.array([[0.299, 0.587, 0.114]] * 3, np.float32) * (1 - saturation)
    matrix = (np.eye(3, dtype=np.float32) * saturation + grey) * balance[:, None].astype(np.float32)
    out = cv2.transform(pixels, matrix)
    if rng.random() < 0.5:
        pivot = 110.0
        out = (out - pivot) * float(np.exp(rng.normal(0, 0.15))) + pivot + float(rng.normal(0, 8))
    return out
