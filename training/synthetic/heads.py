"""Painted heads: eyes, brows, lips, beards, hair on the scalp, in the chart around the head (garments/head_chart.py).

Everything is placed from the chart's own masks (eyeballs, lips), so that paint and mesh agree. Sizes are in metres of a
face: an iris is 12 mm wide, a pupil 3 to 5 mm (textbook values).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from training.synthetic.garments.head_chart import CHANNELS, HEAD_HW, HEAD_LOW_M, HEAD_TOP_M

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]
Rng = np.random.Generator

# Monk skin tone scale, sRGB (Ellis Monk / Google, public): ten tones from light to dark.
MONK_TONES = np.array(
    [
        [246, 237, 228], [243, 231, 219], [247, 234, 208], [234, 218, 186], [215, 189, 150],
        [160, 126, 86], [130, 92, 67], [96, 65, 52], [58, 49, 42], [41, 36, 32],
    ],
    np.float32,
)  # fmt: skip
HAIR_TONES = np.array(
    [[20, 16, 14], [32, 24, 20], [44, 30, 22], [79, 52, 34], [122, 84, 48], [190, 152, 96], [150, 148, 146],
     [205, 203, 200], [120, 50, 25]],
    np.float32,
)  # fmt: skip
_IRIS_TONES = np.array([[60, 38, 24], [78, 50, 28], [100, 72, 40], [96, 108, 66], [84, 118, 142], [110, 128, 138]])
_ROWS, _COLUMNS = np.mgrid[0 : HEAD_HW[0], 0 : HEAD_HW[1]].astype(np.float32)
_ROW_M = (HEAD_TOP_M - HEAD_LOW_M) / HEAD_HW[0]
_COLUMN_RAD = 2 * np.pi / HEAD_HW[1]
_ANGLE = (_COLUMNS + 0.5 - HEAD_HW[1] / 2) * _COLUMN_RAD
_HEIGHT_ALL_M = HEAD_TOP_M - (_ROWS + 0.5) * _ROW_M
_FACE_RADIUS_M = 0.115
# Features are painted in this window of the chart only: a third of the work.
_FACE = (slice(70, 240), slice(134, 378))
_HEIGHT_M = np.ascontiguousarray(_HEIGHT_ALL_M[_FACE])
_SIDE_M = np.ascontiguousarray(_ANGLE[_FACE]) * _FACE_RADIUS_M  # how far to the side, measured along the face


@dataclass(frozen=True)
class Landmarks:
    """Where the face is in the chart: eye centres (2, 2), middle and half width of the mouth; (side, height) in m.

    `masks` by channel, 0..1: of the face's window, but the ears' (256, 512).
    """

    eyes: F32
    mouth: F32
    mouth_half_m: float
    masks: dict[str, F32]

    @staticmethod
    def of(chart: U8) -> Landmarks:
        """Measure the chart (256, 512, 4)."""
        ears = cv2.medianBlur(np.ascontiguousarray(chart[..., CHANNELS.index("ears")]), 5).astype(np.float32) / 255
        face = chart[_FACE].astype(np.float32) / 255
        front = np.abs(_SIDE_M) < 0.9 * _FACE_RADIUS_M
        masks = {name: face[..., k] * front for k, name in enumerate(CHANNELS)}
        masks["ears"] = ears
        eyes = []
        for side in (1.0, -1.0):
            ball = (masks["eyeballs"] > 0.5) & (side * _SIDE_M > 0)
            eyes.append([_SIDE_M[ball].mean(), _HEIGHT_M[ball].mean()])
        lips = (masks["lips"] > 0.5) & (eyes[0][1] - 0.04 > _HEIGHT_M) & (eyes[0][1] - 0.11 < _HEIGHT_M)
        masks["lips"] = cv2.morphologyEx(masks["lips"] * lips, cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
        mouth = np.array([0.0, _HEIGHT_M[lips].mean()], np.float32)
        half = float(np.percentile(np.abs(_SIDE_M[lips]), 97)) + 0.002
        return Landmarks(np.array(eyes, np.float32), mouth, half, masks)


@dataclass(frozen=True)
class HeadPool:
    """Painted heads. pictures (N, 256, 512, 4) RGBA; tone, hair (N, 3) sRGB 0..1; bald (N,): no hair on top."""

    pictures: U8
    tone: F32
    hair: F32
    bald: NDArray[np.bool_]


def paint_pool(seed: int, count: int, chart: U8) -> HeadPool:
    """`count` heads whose tones run over the Monk scale, light ones a little denser; head i depends on seed and i."""
    marks = Landmarks.of(chart)
    pictures = np.empty((count, *HEAD_HW, 4), np.uint8)
    tones, hairs = np.empty((count, 3), np.float32), np.empty((count, 3), np.float32)
    bald = np.zeros(count, bool)
    for index in range(count):
        rng = np.random.default_rng([seed, 21, index])
        tones[index] = skin_tone(rng, ((index + rng.random()) / count) ** 1.25)
        dark = index > 0.62 * count  # fair hair is rare on the darkest tones, as people are
        hairs[index] = HAIR_TONES[rng.integers(3 if dark and rng.random() < 0.85 else len(HAIR_TONES))] / 255
        hairs[index] = np.clip(hairs[index] * rng.uniform(0.7, 1.25), 0.01, 1)
        if rng.random() < 0.03:
            hairs[index] = rng.uniform(0.1, 0.9, 3)  # dyed
        bald[index] = rng.random() < 0.12
        pictures[index] = paint_head(rng, marks, tones[index], hairs[index], bool(bald[index]))
    return HeadPool(pictures, tones, hairs, bald)


def skin_tone(rng: Rng, place: float) -> F32:
    """(3,) sRGB 0..1 of a tone at `place` 0..1 along the Monk scale, a little varied."""
    at = np.clip(place, 0, 1) * 9
    low = min(int(at), 8)
    tone = MONK_TONES[low] + (MONK_TONES[low + 1] - MONK_TONES[low]) * (at - low)
    # The scale's swatches are yellower (light ones) and darker (dark ones) than faces are in photographs.
    flush = rng.uniform(0.07, 0.2) if at < 4.5 else rng.uniform(0.0, 0.08)
    glow = np.clip((at - 5.5) / 3.5, 0, 1) * rng.uniform(0.1, 0.9)
    tone = tone * rng.normal(1, 0.03, 3) * [1, 1 - flush, 1 - 1.05 * flush] + glow * np.array([34.0, 20.0, 13.0])
    return np.clip(tone / 255, 0.02, 0.98).astype(np.float32)


def _noise(rng: Rng, rows: int, columns: int) -> F32:
    grid = rng.standard_normal((rows, columns), np.float32)
    return cv2.resize(grid, HEAD_HW[::-1], interpolation=cv2.INTER_LINEAR)


def _face_noise(rng: Rng, fineness: float) -> F32:
    """Noise over the face's window, one grain every 1 / fineness texels."""
    height, width = _HEIGHT_M.shape
    grid = rng.standard_normal((int(height * fineness), int(width * fineness)), np.float32)
    return cv2.resize(grid, (width, height), interpolation=cv2.INTER_LINEAR)


def _blob(side_m: float, height_m: float, half_side: float, half_height: float) -> F32:
    """0..1 soft ellipse."""
    away = ((_SIDE_M - side_m) / half_side) ** 2 + ((_HEIGHT_M - height_m) / half_height) ** 2
    return np.exp(-away)


def _lay(canvas: F32, colour: F32 | list[float], share: F32) -> None:
    canvas += share[..., None] * (np.asarray(colour, np.float32) - canvas)


def paint_head(rng: Rng, marks: Landmarks, tone: F32, hair: F32, bald: bool) -> U8:
    """(256, 512, 4) RGBA of one head."""
    canvas = np.tile(tone, (*HEAD_HW, 1)).astype(np.float32)
    canvas *= (1 + 0.02 * _noise(rng, 8, 16) + 0.012 * _noise(rng, 60, 120))[..., None]
    _lay(canvas, tone * [1.02, 0.84, 0.82], 0.35 * marks.masks["ears"])
    _scalp(rng, canvas, marks, hair, bald)
    face = canvas[_FACE]  # a view
    made_up = rng.random() < 0.16
    _complexion(rng, face, marks, tone)
    _lips(rng, face, marks, tone, made_up)
    _nose(rng, face, marks, tone)
    if not made_up:
        _beard(rng, face, marks, hair)
    _eyes(rng, face, marks, tone, made_up)
    _brows(rng, face, marks, hair)
    alpha = np.clip((_HEIGHT_ALL_M - HEAD_LOW_M) / 0.02, 0, 1)
    return (np.clip(np.dstack([canvas, alpha]), 0, 1) * 255 + 0.5).astype(np.uint8)


def _complexion(rng: Rng, canvas: F32, marks: Landmarks, tone: F32) -> None:
    (side, eye_height), mouth = np.abs(marks.eyes[0]), marks.mouth[1]
    red = tone * [1.02, 0.84, 0.82]
    flush = float(rng.uniform(0.1, 0.6))
    for sign in (-1, 1):
        _lay(canvas, red, flush * _blob(sign * (side + 0.012), eye_height - 0.04, 0.022, 0.018))
        _lay(canvas, tone * 0.72, float(rng.uniform(0.1, 0.5)) * _blob(sign * side, eye_height - 0.008, 0.017, 0.011))
        crease = _blob(sign * (0.022 + 0.4 * (eye_height - 0.045 - mouth) * 0.3), (eye_height + mouth) / 2 - 0.022,
                       0.004, 0.018)  # fmt: skip
        _lay(canvas, tone * 0.75, float(rng.uniform(0, 0.4)) * crease)
    _lay(canvas, red, 0.7 * flush * _blob(0, eye_height - 0.042, 0.012, 0.012))
    if rng.random() < 0.15:  # freckles, spots
        spots = np.clip(_face_noise(rng, 0.5) - 1.6, 0, 1) * _blob(0, eye_height - 0.03, 0.06, 0.03)
        _lay(canvas, tone * 0.6, spots)


def _lips(rng: Rng, canvas: F32, marks: Landmarks, tone: F32, made_up: bool) -> None:
    lips = cv2.GaussianBlur(marks.masks["lips"], (0, 0), 0.8)
    colour = tone * [0.86, 0.62, 0.62]
    strength = float(rng.uniform(0.45, 0.95))
    if made_up:
        colour = np.array([rng.uniform(0.45, 0.85), rng.uniform(0.08, 0.35), rng.uniform(0.12, 0.4)])
        strength = 0.95
    _lay(canvas, colour, strength * lips)
    bend = float(rng.normal(0.0, 0.05))
    line = marks.mouth[1] + 0.001 + bend * (_SIDE_M**2) / 0.02
    gap = np.exp(-(((_HEIGHT_M - line) / float(rng.uniform(0.0009, 0.0017))) ** 2))
    gap *= np.clip((marks.mouth_half_m * 1.02 - np.abs(_SIDE_M)) / 0.004, 0, 1)
    _lay(canvas, tone * [0.3, 0.18, 0.18], 0.85 * gap)


def _nose(rng: Rng, canvas: F32, marks: Landmarks, tone: F32) -> None:
    base = 0.62 * marks.mouth[1] + 0.38 * marks.eyes[0, 1] - 0.001
    _lay(canvas, tone * 0.7, 0.45 * _blob(0, base, 0.013, 0.0045))
    for sign in (-1, 1):
        _lay(canvas, tone * [0.35, 0.22, 0.2], 0.75 * _blob(sign * 0.0062, base + 0.001, 0.0034, 0.0022))


def _eyes(rng: Rng, canvas: F32, marks: Landmarks, tone: F32, made_up: bool) -> None:
    ball = cv2.GaussianBlur(marks.masks["eyeballs"], (0, 0), 0.6)
    lids = np.clip(marks.masks["eyelids"] - ball, 0, 1)
    _lay(canvas, tone * [0.82, 0.68, 0.66], float(rng.uniform(0.2, 0.6)) * lids)
    if made_up:
        for eye in marks.eyes:
            shadow = _blob(float(eye[0]), float(eye[1]) + 0.007, 0.016, 0.007)
            _lay(canvas, rng.uniform(0.1, 0.6, 3) * [1, 0.8, 1], float(rng.uniform(0.2, 0.7)) * shadow)
    gaze = np.clip(rng.normal(0, [0.0022, 0.0008]), -0.0045, 0.0045)
    iris = _IRIS_TONES[rng.choice(len(_IRIS_TONES), p=[0.34, 0.26, 0.14, 0.08, 0.1, 0.08])] / 255
    pupil = float(rng.uniform(0.0014, 0.0026))
    closed = rng.random() < 0.06
    for eye in marks.eyes:
        mine = ball * (np.abs(_SIDE_M - eye[0]) < 0.025)
        if closed:
            _lay(canvas, tone * 0.9, mine)
        else:
            _lay(canvas, 0.72 * np.array([0.86, 0.83, 0.81]) + 0.28 * tone, mine)
            away = np.hypot(_SIDE_M - eye[0] - gaze[0], _HEIGHT_M - eye[1] - gaze[1] - 0.0005)
            _lay(canvas, iris * 0.35, mine * np.clip((0.0064 - away) / 0.0012, 0, 1))
            _lay(canvas, iris, mine * np.clip((0.0054 - away) / 0.0012, 0, 1))
            _lay(canvas, [0.02, 0.02, 0.02], mine * np.clip((pupil + 0.0006 - away) / 0.0012, 0, 1))
            glint = np.hypot(_SIDE_M - eye[0] - gaze[0] - 0.0018, _HEIGHT_M - eye[1] - 0.0018)
            _lay(canvas, [1.0, 1.0, 1.0], 0.8 * mine * np.clip((0.0016 - glint) / 0.0012, 0, 1))
            top = np.clip((_HEIGHT_M - eye[1] - 0.0008) / 0.003, 0, 1)
            _lay(canvas, tone * 0.25, 0.55 * mine * top)
        _lash_line(canvas, marks, eye, closed, float(rng.uniform(0.55, 0.8) if not made_up else 1.0))


def _lash_line(canvas: F32, marks: Landmarks, eye: F32, closed: bool, strength: float) -> None:
    """A dark line along the upper rim of the eyeball (along the lower one where the eye is closed)."""
    ball = ((marks.masks["eyeballs"] > 0.5) & (np.abs(_SIDE_M - eye[0]) < 0.025)).astype(np.float32)
    shifted = np.roll(ball, -2 if not closed else 2, axis=0)
    rim = cv2.GaussianBlur(np.clip(shifted - ball, 0, 1), (0, 0), 0.7)
    _lay(canvas, [0.06, 0.045, 0.04], np.clip(1.2 * strength * rim, 0, 1))
    other = np.clip(np.roll(ball, 1 if not closed else -1, axis=0) - ball, 0, 1)
    _lay(canvas, [0.15, 0.1, 0.09], 0.35 * strength * cv2.GaussianBlur(other, (0, 0), 0.6))


def _brows(rng: Rng, canvas: F32, marks: Landmarks, hair: F32) -> None:
    lift, thick = float(rng.uniform(0.016, 0.022)), float(rng.uniform(0.0016, 0.0042))
    arch, slope = float(rng.uniform(0.0, 0.006)), float(rng.normal(0.0, 0.08))
    strength = float(rng.uniform(0.45, 0.95))
    grain = 0.75 + 0.25 * _face_noise(rng, 0.5)
    for eye in marks.eyes:
        along = (np.sign(eye[0]) * (_SIDE_M - eye[0]) + 0.001) / 0.024  # -1 at the nose, 1 at the temple
        middle = eye[1] + lift + arch * (1 - along**2) + slope * 0.02 * along
        width = thick * (1 - 0.45 * np.clip(along, -0.5, 1))
        share = np.exp(-(((_HEIGHT_M - middle) / width) ** 2)) * np.clip((1.0 - np.abs(along)) * 5, 0, 1)
        _lay(canvas, np.minimum(hair * 0.75, 0.5), np.clip(strength * share * grain, 0, 1))


def _beard(rng: Rng, canvas: F32, marks: Landmarks, hair: F32) -> None:
    kind = rng.choice(["none", "stubble", "moustache", "goatee", "full"], p=[0.56, 0.2, 0.05, 0.06, 0.13])
    if kind == "none":
        return
    mouth, eye = float(marks.mouth[1]), float(marks.eyes[0, 1])
    side = np.abs(_SIDE_M)
    cheek = mouth + 0.012 + np.clip((side - 0.03) * 0.9, 0, 0.06)  # its upper edge climbs to the ear
    full = np.clip((cheek - _HEIGHT_M) / 0.016, 0, 1) * np.clip((0.15 - side) / 0.014, 0, 1)
    full *= np.clip((_HEIGHT_M - (mouth - 0.075)) / 0.02, 0, 1)
    burns = np.clip((0.012 - np.abs(side - 0.138)) / 0.006, 0, 1) * (eye + 0.02 > _HEIGHT_M) * (mouth < _HEIGHT_M)
    upper = _blob(0, mouth + 0.0135, 0.026, 0.0055)
    chin = _blob(0, mouth - 0.026, 0.024, 0.022)
    region = {
        "stubble": np.maximum(np.maximum(full, burns), upper), "full": np.maximum(np.maximum(full, burns), upper),
        "moustache": 1.3 * upper, "goatee": np.maximum(1.2 * upper, 1.3 * chin),
    }[str(kind)]  # fmt: skip
    region = np.clip(region, 0, 1) * (1 - np.clip(1.3 * marks.masks["lips"], 0, 1))
    grain = _face_noise(rng, 0.7)
    strength = rng.uniform(0.1, 0.35) if kind == "stubble" else rng.uniform(0.6, 0.95)
    _lay(canvas, np.minimum(hair * 0.8, 0.45), np.clip(strength * region * (1 + 0.25 * grain), 0, 1))


def _scalp(rng: Rng, canvas: F32, marks: Landmarks, hair: F32, bald: bool) -> None:
    """Hair close to the skin; also what shows between the strands of longer hair."""
    eye = float(marks.eyes[0, 1])
    side = np.abs(_ANGLE)
    around = [0.0, 0.5, 0.85, 1.05, 1.3, 1.45, 2.1, np.pi]
    line = np.interp(side, around, [0.066, 0.068, 0.05, 0.02, 0.0, 0.0, -0.055, -0.065])
    line = eye + line + float(rng.normal(0, 0.005)) * (side < 1.0)
    if bald:
        line = np.where(side < 1.2, 1.0, np.maximum(line, eye - 0.01))
    share = np.clip((_HEIGHT_ALL_M - line) / float(rng.uniform(0.004, 0.012)) + 0.5, 0, 1)
    if bald:
        share *= np.clip((eye + 0.05 - _HEIGHT_ALL_M) / 0.02, 0, 1) * float(rng.choice([0.0, 0.45]))
    share *= 1 - np.clip(marks.masks["ears"] * 1.2, 0, 1)
    strength = float(rng.uniform(0.7, 0.97))
    _lay(canvas, hair, np.clip(strength * share * (1 + 0.12 * _noise(rng, 160, 320)), 0, 1))
