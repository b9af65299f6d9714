"""How a synthetic person looks: skin, hair, clothes cut and patterned by a few numbers, all drawn from a seed."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.synthetic.heads import MONK_TONES
from training.synthetic.hues import garment_hue
from training.synthetic.limb_coordinates import LimbCoordinates

F32 = NDArray[np.float32]
Rng = np.random.Generator

HAIR_TONES = np.array(
    [[20, 16, 14], [44, 30, 22], [79, 52, 34], [122, 84, 48], [190, 152, 96], [150, 148, 146], [120, 50, 25]],
    np.float32,
)
PATTERNS = ("plain", "stripes", "checks", "dots", "noise", "photograph")
REGIONS = ("skin", "hair", "top", "bottom", "shoes", "socks")


@dataclass(frozen=True)
class Fabric:
    """`colours` (2, 3) RGB in 0..1; `pattern` index into PATTERNS; `scale` repeats per m; `angle_rad` of stripes."""

    colours: F32
    pattern: int
    scale: float
    angle_rad: float


@dataclass(frozen=True)
class Appearance:
    """One person's look. Cuts are limb coordinates (see `limb_coordinates`), looseness is in metres."""

    fabrics: tuple[Fabric, ...]  # one per REGIONS
    sleeve: float
    neckline: float
    neck_v: float
    hem: float
    waist: float
    trouser: float
    sock: float
    hairline: float
    hair_length: float
    hair_volume_m: float
    top_loose_m: float
    bottom_loose_m: float
    logo: bool
    photo_uv: tuple[float, float, float]

    def displacement(self, limbs: LimbCoordinates) -> F32:
        """(V,) float32 m: how far clothes and hair stand off the skin, along the normal."""
        arm, leg, head, z = limbs.arm, limbs.leg, limbs.head, limbs.canonical[:, 2]
        top = (head < self.neckline - 0.05) & (leg < self.hem) & (arm < self.sleeve)
        bottom = (leg > self.waist) & (leg < self.trouser) & (arm <= 0.0)
        shoes = leg > 2.05
        out = np.zeros(len(arm), np.float32)
        # A loose sleeve or trouser leg hangs wider towards its end.
        out = np.where(bottom, self.bottom_loose_m * (0.35 + 0.65 * np.clip(leg / 2.0, 0, 1)), out)
        out = np.where(top, self.top_loose_m * (0.5 + 0.5 * np.clip(np.maximum(arm, leg + 0.5), 0, 1)), out)
        out = np.where(shoes, 0.008, out)
        hair = is_hair(head, z, self.hairline, self.hair_length)
        return np.where(hair, self.hair_volume_m * np.clip((head - 0.3) * 2.0, 0.2, 1.0), out).astype(np.float32)


def is_hair(head: F32, z: F32, hairline: float, length: float) -> NDArray[np.bool_]:
    """Where hair grows: the crown, and behind a plane that leans back towards the nape; long hair goes farther down."""
    face_plane = z - 0.035 + 0.16 * (hairline - 0.62)
    behind = (face_plane < 0.05 * (head - 0.5)) & (head > length)
    return ((head > 0.97 - 0.25 * (1 - hairline)) | behind) & (head > length)


def _colour(rng: Rng, held_out: bool) -> list[float]:
    kind = rng.random()
    if kind < 0.35 and not held_out:  # black, grey, white: what most people wear
        level = float(np.clip(rng.choice([0.05, 0.12, 0.3, 0.55, 0.9]) + rng.normal(0, 0.04), 0.02, 0.97))
        tint = rng.normal(0, 0.015, 3)
        return [float(np.clip(level + t, 0, 1)) for t in tint]
    saturation, value = rng.beta(2, 2), rng.beta(2.2, 1.6)
    return list(colorsys.hsv_to_rgb(garment_hue(rng, held_out), float(saturation), float(value)))


def _fabric(rng: Rng, held_out: bool, photographs: bool) -> Fabric:
    weights = np.array([0.5, 0.12, 0.1, 0.05, 0.08, 0.15 if photographs else 0.0])
    return Fabric(
        colours=np.array([_colour(rng, held_out), _colour(rng, held_out)], np.float32),
        pattern=int(rng.choice(len(PATTERNS), p=weights / weights.sum())),
        scale=float(np.exp(rng.uniform(np.log(4), np.log(45)))),
        angle_rad=float(rng.choice([0.0, np.pi / 2, rng.uniform(0, np.pi)])),
    )


def sample_appearance(rng: Rng, *, held_out: bool = False, photographs: bool = True) -> Appearance:
    """Draw a look. `held_out`: garment hues that training never takes; `photographs`: pictures may serve as fabric."""
    tone = rng.uniform(0, 9)
    low = int(tone)
    skin = MONK_TONES[low] + (MONK_TONES[min(low + 1, 9)] - MONK_TONES[low]) * (tone - low)
    skin = np.clip(skin * rng.normal(1, 0.04, 3), 5, 255) / 255
    hair = np.clip(HAIR_TONES[rng.integers(len(HAIR_TONES))] * rng.uniform(0.6, 1.3), 3, 255) / 255
    top, bottom = _fabric(rng, held_out, photographs), _fabric(rng, held_out, photographs)
    if rng.random() < 0.35:  # denim
        bottom = Fabric(np.array([[0.15, 0.2, 0.35], [0.2, 0.27, 0.42]], np.float32), 4, 40.0, 0.0)
    plain = [
        Fabric(np.array([skin, skin * np.array([1.0, 0.8, 0.76])], np.float32), 0, 10.0, 0.0),
        Fabric(np.array([hair, hair * 1.4], np.float32), 4, 60.0, 0.0),
    ]
    shoes = Fabric(np.array([_colour(rng, held_out), _colour(rng, held_out)], np.float32), 0, 10.0, 0.0)
    socks = Fabric(np.array([_colour(rng, held_out)] * 2, np.float32), 0, 10.0, 0.0)
    sleeve = float(
        rng.choice([rng.uniform(-0.1, 0.1), rng.uniform(0.4, 0.9), rng.uniform(1.7, 2.05)], p=[0.15, 0.4, 0.45])
    )
    trouser = float(
        rng.choice([rng.uniform(0.25, 0.95), rng.uniform(1.0, 1.6), rng.uniform(1.8, 2.1)], p=[0.25, 0.1, 0.65])
    )
    waist = float(rng.uniform(-0.35, -0.05))
    return Appearance(
        fabrics=(plain[0], plain[1], top, bottom, shoes, socks),
        sleeve=sleeve,
        neckline=float(rng.uniform(-0.05, 0.22)),
        neck_v=float(rng.choice([0.0, rng.uniform(0.1, 0.5)], p=[0.6, 0.4])),
        hem=float(max(waist + 0.03, rng.choice([rng.uniform(-0.2, 0.1), rng.uniform(0.1, 0.7)], p=[0.75, 0.25]))),
        waist=waist,
        trouser=trouser,
        sock=float(rng.uniform(1.5, 2.0)),
        hairline=float(rng.uniform(0.5, 0.8)),
        hair_length=float(rng.choice([rng.uniform(0.35, 0.55), rng.uniform(-0.4, 0.2), 2.0], p=[0.55, 0.38, 0.07])),
        hair_volume_m=float(rng.uniform(0.004, 0.035)),
        top_loose_m=float(rng.uniform(0.002, 0.03)),
        bottom_loose_m=float(rng.uniform(0.002, 0.03)),
        logo=bool(rng.random() < 0.25),
        photo_uv=(
            float(rng.uniform(0, 1)),
            float(rng.uniform(0, 1)),
            float(np.exp(rng.uniform(np.log(0.6), np.log(3)))),
        ),
    )
