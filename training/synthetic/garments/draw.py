"""Who wears what: the rules by which an outfit is drawn from a seed."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from training.synthetic.garments.outfit import NO_CUT, Cut, Garment, Layer, Material, Outfit, SkinLook
from training.synthetic.heads import HeadPool
from training.synthetic.hues import garment_hue
from training.synthetic.limb_coordinates import LimbCoordinates

F32 = NDArray[np.float32]
T = TypeVar("T")
Rng = np.random.Generator
HELD_OUT_SHARE = 0.5  # of the test split's choices fall on garments that training never sees, where there are some
# How much nearer to the camera each kind counts than the skin, m: more than garments cross each other.
_BIAS_M = {
    "socks": 0.003, "legs": 0.006, "skirt": 0.010, "shoes": 0.012, "undershirt": 0.012, "top": 0.014, "suit": 0.014,
    "jacket": 0.022, "mask": 0.004, "hair": 0.012, "glasses": 0.004, "headphones": 0.012, "hat": 0.014,
}  # fmt: skip
COVERING = ("legs", "skirt", "top", "undershirt", "suit", "jacket", "socks", "shoes")
_HIDING = ("legs", "skirt", "top", "suit", "jacket", "shoes")
# How far inside a cut skin is still hidden: the cloth stands off the skin, so that one sees in a little.
_MARGIN = {"arm": 0.12, "leg": 0.08, "head": 0.08}
_GREYS = (0.06, 0.12, 0.3, 0.55, 0.88)
NOT_CUT = Cut()
_TOPS = ("tee-women", "blouse", "sweater", "longsleeve", "tee-men", "shirt-men", "plain-top")
_STYLES = {"trousers": 0.56, "skirt": 0.07, "dress": 0.06, "suit": 0.06, "jacket": 0.17, "sport": 0.05, "bare": 0.03}


@dataclass(frozen=True)
class Stock:
    """What there is to choose from: see wardrobe.py. `patterns` names each cloth's pattern; the first `photo_prints` of
    `prints` pictures are photographs, the rest emblems."""

    garments: tuple[Garment, ...]
    patterns: tuple[str, ...]
    prints: int
    photo_prints: int
    heads: HeadPool
    held_out: bool
    body_limbs: LimbCoordinates
    body_faces: NDArray[np.int32]

    def choose(self, rng: Rng, kind: str, names: tuple[str, ...] = ()) -> int:
        """Index of a garment of `kind` (and of `names`, if given) that this split may use."""
        fits = [i for i, g in enumerate(self.garments) if g.kind == kind and (not names or g.name in names)]
        new = [i for i in fits if self.garments[i].held_out]
        known = [i for i in fits if not self.garments[i].held_out]
        if self.held_out and new and (not known or rng.random() < HELD_OUT_SHARE):
            return new[int(rng.integers(len(new)))]
        known = known or new
        return known[int(rng.integers(len(known)))]


@dataclass(frozen=True)
class _Worn:
    garment: int
    material: Material
    cut: Cut = NOT_CUT
    looseness_m: float = 0.0
    over: float = 0.0  # added to the garment's order: a shirt that is tucked in goes below the trousers


def draw_outfit(rng: Rng, stock: Stock) -> Outfit:
    """Clothes, hair and skin of one person."""
    head = int(rng.integers(len(stock.heads.tone)))
    style = pick(rng, tuple(_STYLES), tuple(_STYLES.values()))
    worn = _clothes(rng, stock, style) + _feet(rng, stock) + _on_the_head(rng, stock, head)
    worn.sort(key=lambda w: stock.garments[w.garment].order + w.over)
    layers, covered = _stacked(stock, worn)
    tone = np.clip(stock.heads.tone[head], 0, 1).astype(np.float32)
    skin = SkinLook(tone, head, float(rng.uniform(0.1, 0.6)))
    return Outfit(layers, skin, covered[stock.body_faces].all(1))


def _stacked(stock: Stock, worn: list[_Worn]) -> tuple[tuple[Layer, ...], NDArray[np.bool_]]:
    """Layers from inner to outer, each without the faces that lie well under those above; covered skin (body V,)."""
    limbs, canonical = stock.body_limbs.stacked(), stock.body_limbs.canonical
    above = np.zeros(len(limbs), bool)  # body vertices that some outer layer covers
    covered = np.zeros(len(limbs), bool)
    layers: list[Layer] = []
    for item in reversed(worn):
        garment = stock.garments[item.garment]
        faces = garment.faces
        if above.any() and garment.kind in COVERING:
            faces = faces[~above[garment.body_vertex][faces].all(1)]
        bias = _BIAS_M[garment.kind] + (0.008 * item.over if item.over > 0 else 0.004 * item.over)
        layers.append(Layer(item.garment, item.material, item.cut, item.looseness_m, max(bias, 0.002), faces))
        if garment.kind in COVERING:
            mine = under(garment, item.cut, limbs, canonical)
            covered |= mine
            if garment.kind in _HIDING:
                above |= mine
    return tuple(reversed(layers)), covered


def under(garment: Garment, cut: Cut, limbs: F32, canonical: F32) -> NDArray[np.bool_]:
    """(body V,) whether skin lies under cloth that is not cut away there, nor close by."""
    inside = Cut(cut.arm - _MARGIN["arm"], cut.leg - _MARGIN["leg"], cut.leg_from + _MARGIN["leg"],
                 cut.head - _MARGIN["head"], cut.v_neck)  # fmt: skip
    out = garment.covers.copy()
    if cut != NOT_CUT:
        rows = np.flatnonzero(out)
        out[rows] = ~inside.discards(limbs[rows], canonical[rows])
    return out


def hidden_faces(stock: Stock, layers: tuple[Layer, ...]) -> NDArray[np.bool_]:
    """(body F,) faces of the body whose three vertices lie under cloth that is not cut away there."""
    limbs = stock.body_limbs.stacked()
    hidden = np.zeros(len(limbs), bool)
    for layer in layers:
        hidden |= under(stock.garments[layer.garment], layer.cut, limbs, stock.body_limbs.canonical)
    return hidden[stock.body_faces].all(1)


def pick(rng: Rng, options: tuple[T, ...], shares: tuple[float, ...]) -> T:
    """One of `options` by its share; a fraction of what Generator.choice costs."""
    at = rng.random() * sum(shares)
    for option, share in zip(options, shares, strict=True):
        at -= share
        if at < 0:
            return option
    return options[-1]


def _clothes(rng: Rng, stock: Stock, style: str) -> list[_Worn]:
    if style == "suit":
        suit = stock.choose(rng, "suit")
        inner = [_top(rng, stock, loose=0.0)] if stock.garments[suit].name == "dungarees" else []
        return [*inner, _Worn(suit, _material(rng, stock), looseness_m=_loose(rng, 0.012), over=1.5)]
    if style == "bare":
        return [_legs(rng, stock, short=rng.random() < 0.7)]
    if style == "dress":
        top = _top(rng, stock, names=("plain-top", "tee-women", "blouse"))
        name = ("long-skirt", "short-skirt")
        skirt = _Worn(stock.choose(rng, "skirt", names=name), top.material, _skirt_cut(rng), over=0.0)
        return [skirt, top]
    tucked = rng.random() < 0.3
    top = _top(rng, stock, tucked=tucked)
    if style == "sport":
        names = ("crop-top", "plain-top")
        top = _top(rng, stock, names=names, loose=0.0)
        return [_legs(rng, stock, short=rng.random() < 0.4, names=("leggings", "sports-tights")), top]
    lower = _legs(rng, stock, short=rng.random() < 0.25)
    if style == "skirt":
        lower = _Worn(stock.choose(rng, "skirt"), _material(rng, stock), _skirt_cut(rng))
    out = [lower, top]
    if style == "jacket":  # the blazer's mesh has its own shirt; the other shows one that is made for it
        jacket = stock.choose(rng, "jacket")
        out = [lower, _Worn(jacket, _material(rng, stock), looseness_m=_loose(rng, 0.008))]
        if stock.garments[jacket].name == "open-jacket":
            out.append(_Worn(stock.choose(rng, "undershirt"), _material(rng, stock)))
    if style == "skirt" and rng.random() < 0.4:
        tights = stock.choose(rng, "legs", names=("leggings",))
        out.append(_Worn(tights, _plain(rng, stock, gloss=0.3), Cut(leg=2.6)))
    return out


def _top(
    rng: Rng, stock: Stock, *, names: tuple[str, ...] = (), tucked: bool = False, loose: float = 0.016
) -> _Worn:  # fmt: skip
    if not names and rng.random() < 0.9:
        names = _TOPS  # bare midriffs are rare
    garment = stock.choose(rng, "top", names=names)
    low, high = pick(rng, ((NO_CUT, NO_CUT), (-0.02, 0.12), (0.3, 0.85), (0.9, 1.7)), (0.52, 0.1, 0.28, 0.1))
    sleeve = rng.uniform(low, high)
    cut = Cut(arm=float(sleeve))
    if stock.garments[garment].name == "plain-top":
        arm = float(sleeve) if sleeve < NO_CUT else float(rng.uniform(1.75, 1.98))
        hem = float(rng.uniform(-0.3, 0.04) if not tucked else -0.05)
        cut = Cut(arm=arm, leg=hem, head=float(rng.uniform(-0.12, 0.12)),
                  v_neck=rng.uniform(0.05, 0.35) if rng.random() < 0.35 else 0.0)  # fmt: skip
    worn = 0.0 if tucked else _loose(rng, loose)
    return _Worn(garment, _material(rng, stock, chest=True), cut, worn, over=-2.2 if tucked else 0.0)


def _legs(rng: Rng, stock: Stock, *, short: bool, names: tuple[str, ...] = ()) -> _Worn:
    garment = stock.choose(rng, "legs", names=names)
    kind = stock.garments[garment].name
    leg = float(rng.uniform(0.3, 0.95)) if short else (rng.uniform(1.1, 1.8) if rng.random() < 0.15 else NO_CUT)
    low = kind in ("leggings",)
    cut = Cut(leg=min(leg, 2.05) if low else leg, leg_from=float(rng.uniform(-0.42, -0.25)) if low else -NO_CUT)
    denim = kind.startswith("jeans") and rng.random() < 0.6
    material = _denim(rng, stock) if denim else _material(rng, stock)
    return _Worn(garment, material, cut, 0.0 if low else _loose(rng, 0.012))


def _skirt_cut(rng: Rng) -> Cut:
    return Cut(leg=rng.uniform(*pick(rng, ((0.35, 0.9), (0.9, 1.9)), (0.5, 0.5))))


def _feet(rng: Rng, stock: Stock) -> list[_Worn]:
    out: list[_Worn] = []
    if rng.random() < 0.6:
        out.append(_Worn(stock.choose(rng, "socks"), _plain(rng, stock), Cut(leg_from=float(rng.uniform(1.6, 2.1)))))
    if rng.random() < 0.8:
        out.append(_Worn(stock.choose(rng, "shoes"), _plain(rng, stock, gloss=float(rng.uniform(0.1, 0.8)))))
    return out


def _on_the_head(rng: Rng, stock: Stock, head: int) -> list[_Worn]:
    out: list[_Worn] = []
    bald = bool(stock.heads.bald[head])
    hat = rng.random() < 0.11
    if hat:
        out.append(_Worn(stock.choose(rng, "hat"), _plain(rng, stock, gloss=0.05)))
    elif not bald and rng.random() < 0.82:
        garment = stock.choose(rng, "hair")
        out.append(_Worn(garment, hair_material(rng, stock, stock.heads.hair[head])))
    if rng.random() < 0.25:
        glasses = stock.choose(rng, "glasses")
        dark = stock.garments[glasses].name == "sunglasses" or rng.random() < 0.5
        out.append(_Worn(glasses, _plain(rng, stock, gloss=0.7, dark=dark)))
    if rng.random() < 0.015:
        out.append(_Worn(stock.choose(rng, "mask"), _plain(rng, stock)))
    elif not hat and rng.random() < 0.07:
        out.append(_Worn(stock.choose(rng, "headphones"), _plain(rng, stock, gloss=0.5)))
    return out


def hair_material(rng: Rng, stock: Stock, tone: F32) -> Material:
    """Strands: streaks of the hair's colour along the strand."""
    colours = np.stack([tone, np.clip(tone * rng.uniform(1.2, 1.8), 0, 1), tone * 0.5]).astype(np.float32)
    texture = _texture(rng, stock, ("melange",))
    return Material(texture, colours, scale=float(rng.uniform(0.5, 1.0)), gloss=float(rng.uniform(0.2, 0.6)))


def _loose(rng: Rng, most_m: float) -> float:
    return float(most_m * rng.beta(1.2, 2.2))


def cloth_colour(rng: Rng, held_out: bool) -> list[float]:
    """sRGB 0..1. Black, grey and white are what most people wear; the test split has only its own hues."""
    if rng.random() < 0.48 and not held_out:
        level = min(max(_GREYS[int(rng.integers(len(_GREYS)))] + rng.normal(0, 0.04), 0.03), 0.95)
        return [min(level * (1.0 + t), 1.0) for t in rng.normal(0, 0.025, 3)]
    saturation, value = rng.beta(1.6, 2.3), rng.beta(2.0, 1.8)
    return list(colorsys.hsv_to_rgb(garment_hue(rng, held_out), float(saturation), float(value)))


def _colours(rng: Rng, stock: Stock, texture: int) -> F32:
    """(3, 3): cloth of mixed yarn has yarns of like colours."""
    colours = np.array([cloth_colour(rng, stock.held_out) for _ in range(3)], np.float32)
    if stock.patterns[texture] in ("melange", "denim"):
        colours[1:] = colours[0] + 0.3 * (colours[1:] - colours[0])
    return colours


def _texture(rng: Rng, stock: Stock, wanted: tuple[str, ...]) -> int:
    fits = [i for i, name in enumerate(stock.patterns) if name in wanted]
    return fits[int(rng.integers(len(fits)))]


def _plain(rng: Rng, stock: Stock, gloss: float = 0.1, dark: bool = False) -> Material:
    texture = _texture(rng, stock, ("plain", "melange"))
    colours = _colours(rng, stock, texture) * np.float32(0.12 if dark else 1.0)
    return Material(texture, colours, gloss=gloss)


def _denim(rng: Rng, stock: Stock) -> Material:
    blue = np.array([[0.13, 0.19, 0.34], [0.27, 0.36, 0.52], [0.62, 0.68, 0.76]]) * rng.uniform(0.5, 1.5)
    if stock.held_out:  # denim of the test split is green-blue, as all of its clothes
        blue = blue[:, [0, 2, 2]] * [1.0, 0.95, 1.0]
    return Material(_texture(rng, stock, ("denim",)), np.clip(blue, 0, 1).astype(np.float32), gloss=0.05)


def _material(rng: Rng, stock: Stock, chest: bool = False) -> Material:
    texture, picture = int(rng.integers(len(stock.patterns))), False
    if stock.photo_prints and rng.random() < 0.05:
        texture, picture = int(rng.integers(stock.photo_prints)), True
    number, box, front = -1, (0.0, 0.0, 0.0, 0.0), True
    if chest and not picture and rng.random() < 0.28:
        number = int(rng.integers(stock.prints))
        half = rng.uniform(*pick(rng, ((0.03, 0.05), (0.08, 0.15)), (0.3, 0.7)))
        small = half < 0.06
        front = bool(small or rng.random() < 0.8)
        box = (0.075 if small else 0.0, float(rng.uniform(0.24, 0.30)), half, half * float(rng.uniform(0.6, 1.2)))
    colours = _colours(rng, stock, 0 if picture else texture)
    return Material(
        texture, colours, scale=float(np.exp(rng.uniform(np.log(0.5), np.log(2.2)))),
        angle_rad=rng.uniform(*pick(rng, ((0.0, 0.0), (np.pi / 2, np.pi / 2), (0.0, np.pi)), (0.7, 0.15, 0.15))),
        shift=(float(rng.uniform(0, 1)), float(rng.uniform(0, 1))), gloss=float(rng.beta(1, 6)), picture=picture,
        print_index=number, print_box=box, print_front=front,
    )  # fmt: skip
