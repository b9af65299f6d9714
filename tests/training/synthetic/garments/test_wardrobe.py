"""The committed wardrobe: what it holds fits the embedded body, and outfits drawn from it keep the rules."""

from __future__ import annotations

import colorsys
from pathlib import Path

import numpy as np
import pytest

from bodycast.hmr.body.body_model import BodyModel
from bodycast.hmr.body.joints import Joint
from training.synthetic.garments.draw import COVERING, draw_outfit, hidden_faces, under
from training.synthetic.garments.mesh_tools import Surface
from training.synthetic.garments.outfit import NO_CUT, Cut, Outfit
from training.synthetic.garments.sources import HELPERS, PIECES
from training.synthetic.garments.wardrobe import WARDROBE_FILE, Wardrobe
from training.synthetic.hues import HELD_OUT_HUES
from training.synthetic.limb_coordinates import limb_coordinates

DRAWS = 150


def outfits(wardrobe: Wardrobe, count: int = DRAWS) -> list[Outfit]:
    return [wardrobe.draw(np.random.default_rng([9, i])) for i in range(count)]


def test_file_is_small_and_complete(wardrobe: Wardrobe) -> None:
    assert WARDROBE_FILE.stat().st_size < 6e6
    names = {g.name for g in wardrobe.garments}
    assert {p.name for p in (*PIECES, *HELPERS)} <= names
    assert {g.name for g in wardrobe.garments if g.held_out} == {p.name for p in PIECES if p.held_out}


def test_garments_are_sound(wardrobe: Wardrobe) -> None:
    for g in wardrobe.garments:
        count = len(g.template)
        assert g.joint_index.shape == g.joint_weight.shape == (count, 4)
        np.testing.assert_allclose(g.joint_weight.sum(1), 1.0, atol=1e-5, err_msg=g.name)
        assert g.joint_weight.min() >= 0 and g.joint_index.min() >= 0 and g.joint_index.max() < 24
        assert g.faces.min() == 0 and g.faces.max() == count - 1
        np.testing.assert_allclose(np.linalg.norm(g.normals, axis=1), 1.0, atol=1e-4)
        rows = np.arange(count)
        np.testing.assert_array_equal(g.part, g.joint_index[rows, g.joint_weight.argmax(1)])


def test_left_is_left(wardrobe: Wardrobe) -> None:
    for name in ("sweater", "jeans-men", "sneakers"):
        g = next(g for g in wardrobe.garments if g.name == name)
        left = np.isin(g.part, [Joint.LEFT_ELBOW, Joint.LEFT_KNEE, Joint.LEFT_FOOT])
        right = np.isin(g.part, [Joint.RIGHT_ELBOW, Joint.RIGHT_KNEE, Joint.RIGHT_FOOT])
        assert left.any() and right.any()
        assert (g.template[left, 0] > 0).all() and (g.template[right, 0] < 0).all()


@pytest.mark.parametrize("betas", [np.zeros(10), np.array([1.5, -1, 1, 0, 0, 0, 0, 0, 0, 0])])
def test_clothes_lie_outside_of_the_skin(wardrobe: Wardrobe, betas: np.ndarray) -> None:
    body = BodyModel.load()
    skin = Surface(body.rest_vertices(betas[None])[0].astype(float), body.faces.astype(np.int64))
    for outfit in outfits(wardrobe, 12):
        for layer in outfit.layers:
            g = wardrobe.garments[layer.garment]
            if g.kind not in COVERING:
                continue
            distance, _ = skin.distance(layer.rest_vertices(g, betas.astype(np.float32)).astype(float))
            assert np.quantile(distance, 0.02) > -0.003, g.name


def test_garments_follow_the_shape(wardrobe: Wardrobe) -> None:
    """Where a garment lies close, its shape components are those of the skin below it."""
    body = BodyModel.load()
    for name in ("tee-men", "jeans-women", "plain-top", "sneakers"):
        g = next(g for g in wardrobe.garments if g.name == name)
        near = np.linalg.norm(g.template - body.arrays.v_template[g.body_vertex], axis=1) < 0.02
        assert near.mean() > 0.2
        gap = g.shapedirs[near, :, :3] - body.arrays.shapedirs[g.body_vertex[near], :, :3]
        assert np.abs(gap).mean() < 0.004, name


def test_same_seed_same_outfit(wardrobe: Wardrobe) -> None:
    again = Wardrobe.load(heads=6, cloths=13, prints=4)
    np.testing.assert_array_equal(wardrobe.cloth, again.cloth)
    np.testing.assert_array_equal(wardrobe.heads, again.heads)
    np.testing.assert_array_equal(wardrobe.prints, again.prints)
    for first, second in zip(outfits(wardrobe, 10), outfits(again, 10), strict=True):
        assert [(a.garment, a.cut, a.looseness_m, a.material.texture) for a in first.layers] == [
            (b.garment, b.cut, b.looseness_m, b.material.texture) for b in second.layers
        ]
        np.testing.assert_array_equal(first.hidden_faces, second.hidden_faces)
        np.testing.assert_array_equal(first.skin.tone, second.skin.tone)
    other = wardrobe.draw(np.random.default_rng(1234))
    assert [x.garment for x in other.layers] != [x.garment for x in outfits(wardrobe, 1)[0].layers]


def test_layers_go_from_inner_to_outer(wardrobe: Wardrobe) -> None:
    place = {"legs": 1, "jacket": 4, "hat": 6}
    seen = 0
    for outfit in outfits(wardrobe):
        kinds = [wardrobe.garments[x.garment].kind for x in outfit.layers]
        assert len(kinds) <= 9
        assert all(x.depth_bias_m > 0 for x in outfit.layers)
        if "jacket" in kinds:
            seen += 1
            outer = kinds.index("jacket")
            inner = [k for k in kinds[:outer] if k in ("legs", "undershirt")]
            assert len(inner) == sum(k in ("legs", "undershirt") for k in kinds)
            assert outfit.layers[outer].depth_bias_m == max(
                x.depth_bias_m for x, k in zip(outfit.layers, kinds, strict=True) if k in COVERING
            )
        orders = [place[k] for k in kinds if k in place]
        assert orders == sorted(orders)
    assert seen > 5


def test_outer_layers_hide_inner_ones(wardrobe: Wardrobe) -> None:
    """Under a jacket the shirt loses faces, and skin that a garment covers is hidden; hands and faces never are."""
    lost = 0
    parts = limb_coordinates(BodyModel.load()).part
    never = np.isin(parts, [Joint.HEAD, Joint.LEFT_HAND, Joint.RIGHT_HAND])
    for outfit in outfits(wardrobe):
        for layer in outfit.layers:
            lost += len(wardrobe.garments[layer.garment].faces) - len(layer.faces)
        hidden = wardrobe.stock.body_faces[outfit.hidden_faces]
        assert not never[hidden].any()
        np.testing.assert_array_equal(outfit.hidden_faces, hidden_faces(wardrobe.stock, outfit.layers))
    assert lost > 1000


def test_a_short_sleeve_bares_the_forearm(wardrobe: Wardrobe) -> None:
    g = next(g for g in wardrobe.garments if g.name == "sweater")
    limbs = wardrobe.stock.body_limbs
    whole = under(g, Cut(), limbs.stacked(), limbs.canonical)
    short = under(g, Cut(arm=0.6), limbs.stacked(), limbs.canonical)
    assert whole[(limbs.arm > 1.1) & (limbs.arm < 1.6)].mean() > 0.9
    assert not short[limbs.arm > 0.6].any()
    assert short[limbs.arm < 0.2].sum() == whole[limbs.arm < 0.2].sum()


def test_cuts() -> None:
    limbs = np.array([[0.5, -2, -1], [-1, 0.5, -1], [-1, -0.5, 0.1], [1.5, -2, -1]], np.float32)
    place = np.zeros((4, 3), np.float32)
    np.testing.assert_array_equal(Cut().discards(limbs, place), [False] * 4)
    np.testing.assert_array_equal(Cut(arm=1.0).discards(limbs, place), [False, False, False, True])
    np.testing.assert_array_equal(Cut(leg=0.3).discards(limbs, place), [False, True, False, False])
    np.testing.assert_array_equal(Cut(leg_from=0.0).discards(limbs, place), [False, False, True, False])
    in_front = place + np.array([0, 0, 0.1], np.float32)
    np.testing.assert_array_equal(Cut(head=0.2).discards(limbs, in_front), [False] * 4)
    np.testing.assert_array_equal(Cut(head=0.2, v_neck=0.2).discards(limbs, in_front), [False, False, True, False])
    np.testing.assert_array_equal(Cut(head=0.2, v_neck=0.2).discards(limbs, place - 0.1), [False] * 4)
    assert Cut().as_row().tolist() == [NO_CUT, NO_CUT, -NO_CUT, NO_CUT, 0.0]


def test_held_out_garments_and_hues(wardrobe: Wardrobe, test_wardrobe: Wardrobe) -> None:
    low, high = HELD_OUT_HUES

    def hues(chosen: Wardrobe) -> np.ndarray:
        out = []
        for outfit in outfits(chosen, 60):
            for layer in outfit.layers:
                pattern = chosen.stock.patterns[layer.material.texture]
                if chosen.garments[layer.garment].kind == "hair" or pattern in ("melange", "denim"):
                    continue  # hair has hair's colours; mixed yarns are mixtures of two colours
                for colour in layer.material.colours:
                    hue, saturation, value = colorsys.rgb_to_hsv(*map(float, colour))
                    if saturation > 0.2 and value > 0.1:
                        out.append(hue)
        return np.array(out)

    used = {wardrobe.garments[x.garment].held_out for o in outfits(wardrobe) for x in o.layers}
    assert used == {False}
    share = np.mean([test_wardrobe.garments[x.garment].held_out for o in outfits(test_wardrobe) for x in o.layers])
    assert share > 0.15
    train, test = hues(wardrobe), hues(test_wardrobe)
    assert len(train) > 100 and len(test) > 100
    assert not ((train > low + 2e-3) & (train < high - 2e-3)).any()
    assert ((test > low - 2e-3) & (test < high + 2e-3)).all()
    assert (wardrobe.cloth != test_wardrobe.cloth).any() and (wardrobe.heads != test_wardrobe.heads).any()


def test_every_train_garment_is_worn(wardrobe: Wardrobe) -> None:
    worn = {x.garment for i in range(900) for x in draw_outfit(np.random.default_rng(i), wardrobe.stock).layers}
    missing = [g.name for i, g in enumerate(wardrobe.garments) if not g.held_out and i not in worn]
    assert not missing


def test_no_wardrobe_file_names_the_path(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"nothing\.npz"):
        Wardrobe.load(tmp_path / "nothing.npz")
