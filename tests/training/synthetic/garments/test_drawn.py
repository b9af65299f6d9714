"""Garments as the training renderer draws them: cloth where it should be, and no skin through it."""

from __future__ import annotations

import numpy as np
import pytest

from bodycast.hmr.body.joints import Joint
from training.synthetic.garments.outfit import Cut, Layer, Material, Outfit, SkinLook
from training.synthetic.garments.wardrobe import Wardrobe

GREEN_SKIN = SkinLook(np.array([0.05, 0.95, 0.05], np.float32), 0, 0.0)
TRUNK = (Joint.PELVIS, Joint.SPINE1, Joint.SPINE2, Joint.LEFT_HIP, Joint.RIGHT_HIP)


@pytest.fixture(scope="module")
def maker(wardrobe: Wardrobe):
    pytest.importorskip("moderngl")
    from training.synthetic.garments.contact_sheet import SheetMaker

    try:
        return SheetMaker(wardrobe)
    except Exception as error:  # moderngl raises a bare Exception where no EGL is installed
        pytest.skip(f"no headless OpenGL here: {error}")


def red(wardrobe: Wardrobe, name: str, bias_m: float, cut: Cut | None = None) -> Layer:
    index = [g.name for g in wardrobe.garments].index(name)
    colours = np.array([[0.9, 0.05, 0.05]] * 3, np.float32)
    return Layer(index, Material(0, colours, gloss=0.0), cut or Cut(), 0.0, bias_m, wardrobe.garments[index].faces)


def skin_share(maker, outfit: Outfit, pose: str, yaw: float, parts: tuple[int, ...]) -> float:
    """Share of the pixels of these parts that show skin or a hole, not cloth."""
    from training.synthetic.garments.contact_sheet import View, poses

    betas = np.zeros(10, np.float32)
    betas[:2] = (1.0, -1.0) if yaw > 1 else (-1.0, 1.0)
    colours, labels = maker.render(outfit, View(poses()[pose], betas, yaw))
    middle = colours[2::4, 2::4].astype(int)
    wanted = np.isin(labels, [p + 1 for p in parts])
    assert wanted.sum() > 30
    seen = middle[wanted]
    return float(((seen[:, 1] > seen[:, 0]) | (seen[:, 3] < 128)).mean())


@pytest.mark.parametrize("pose", ["arms down", "stride", "sit", "bend"])
@pytest.mark.parametrize("yaw", [0.0, 2.5])
def test_no_skin_shows_through_clothes(maker, wardrobe: Wardrobe, pose: str, yaw: float) -> None:
    from training.synthetic.garments.draw import hidden_faces

    layers = (red(wardrobe, "jeans-men", 0.006), red(wardrobe, "sweater", 0.014))
    outfit = Outfit(layers, GREEN_SKIN, hidden_faces(wardrobe.stock, layers))
    assert skin_share(maker, outfit, pose, yaw, TRUNK) < 0.04
    bare = Outfit((), GREEN_SKIN, np.zeros(len(outfit.hidden_faces), bool))
    assert skin_share(maker, bare, pose, yaw, TRUNK) > 0.9


def test_a_cut_sleeve_bares_the_arm_in_the_picture(maker, wardrobe: Wardrobe) -> None:
    from training.synthetic.garments.draw import hidden_faces

    def arms(cut: Cut) -> float:
        layers = (red(wardrobe, "sweater", 0.014, cut),)
        outfit = Outfit(layers, GREEN_SKIN, hidden_faces(wardrobe.stock, layers))
        return skin_share(maker, outfit, "t", 0.0, (Joint.LEFT_ELBOW, Joint.RIGHT_ELBOW))

    assert arms(Cut()) < 0.3
    assert arms(Cut(arm=0.5)) > 0.95
