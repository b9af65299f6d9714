"""`python -m training.synthetic.garments.contact_sheet OUT.png`: garments and outfits on one sheet, to be looked at."""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from bodycast.hmr.body.body_model import BodyModel, forward_kinematics
from bodycast.hmr.geometry.rotations import axis_angle_to_matrix
from training.synthetic.atlas_renderer import AtlasRenderer, CropScene, Drawn, Lighting
from training.synthetic.drawn import BareBody, person_mesh
from training.synthetic.garments.draw import hidden_faces
from training.synthetic.garments.head_chart import HEAD_AXIS_XZ, HEAD_LOW_M, HEAD_TOP_M
from training.synthetic.garments.outfit import Cut, Layer, Material, Outfit, SkinLook
from training.synthetic.garments.wardrobe import WARDROBE_FILE, Wardrobe
from training.synthetic.limb_coordinates import limb_coordinates
from training.synthetic.window import Window

F32 = NDArray[np.float32]
TILE_HW = (320, 240)
FOCAL = 900.0


@dataclass(frozen=True)
class View:
    """Who is shown and from where: yaw of the body, tilt of the camera (positive: from above), what fills the tile."""

    pose: F32
    betas: F32
    yaw_rad: float = 0.0
    tilt_rad: float = 0.0
    middle_joint: int = 0
    span_m: float = 2.1


def poses() -> dict[str, F32]:
    """A few poses (24, 3, 3) that strain clothes."""

    def pose(**turns: tuple[float, float, float]) -> F32:
        vector = np.zeros((24, 3), np.float32)
        for name, turn in turns.items():
            vector[int(name[1:])] = turn
        return axis_angle_to_matrix(vector).astype(np.float32)

    return {
        "t": pose(),
        "arms down": pose(j16=(0, 0, -1.25), j17=(0, 0, 1.25), j18=(0, -0.2, 0), j19=(0, 0.2, 0)),
        "stride": pose(j1=(-0.6, 0, 0), j2=(0.5, 0, 0), j5=(0.7, 0, 0), j16=(0.5, 0, -1.1), j17=(-0.5, 0, 1.1),
                       j18=(0, -0.6, 0), j19=(0, 0.6, 0)),
        "sit": pose(j1=(-1.5, 0, 0.15), j2=(-1.5, 0, -0.15), j4=(1.5, 0, 0), j5=(1.5, 0, 0), j16=(0.4, 0, -1.1),
                    j17=(0.4, 0, 1.1), j18=(0, -1.3, 0), j19=(0, 1.3, 0)),
        "up": pose(j16=(0, 0, 1.2), j17=(0, 0, -1.2), j13=(0, 0, 0.2), j14=(0, 0, -0.2), j12=(0.2, 0.3, 0)),
        "bend": pose(j3=(0.4, 0, 0), j6=(0.4, 0, 0), j9=(0.3, 0, 0), j16=(0, -0.9, -0.6), j17=(0, 0.9, 0.6),
                     j4=(0.4, 0, 0), j5=(0.4, 0, 0), j1=(-0.5, 0, 0), j2=(-0.5, 0, 0)),
    }  # fmt: skip


class SheetMaker:
    """Draws people one tile at a time with the training renderer."""

    def __init__(self, wardrobe: Wardrobe) -> None:
        model = BodyModel.load()
        self.wardrobe, self.body = wardrobe, BareBody.of(model, limb_coordinates(model))
        self.renderer = AtlasRenderer(1, 1, TILE_HW)
        self.renderer.set_head_box((*HEAD_AXIS_XZ, HEAD_TOP_M, HEAD_LOW_M))
        for name, pool in (("cloth", wardrobe.cloth), ("prints", wardrobe.prints), ("heads", wardrobe.heads)):
            self.renderer.set_textures(name, pool)

    def draw(self, outfit: Outfit, view: View) -> NDArray[np.uint8]:
        """(320, 240, 3) BGR, on grey."""
        colours, _ = self.render(outfit, view)
        pixels = colours.astype(np.float32)
        out = pixels[..., :3] + (255 - pixels[..., 3:]) * np.array([0.75, 0.78, 0.8], np.float32)
        return np.ascontiguousarray(np.clip(out, 0, 255).astype(np.uint8)[..., ::-1])

    def render(self, outfit: Outfit, view: View) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """(320, 240, 4) RGBA and (80, 60) parts: 0 nobody, else 1 + joint of the skin there, clothes or not."""
        mesh = self.renderer.upload(person_mesh(self.body, view.betas, outfit, self.wardrobe))
        joints = self.body.model.joints(view.betas[None])
        turns, places = forward_kinematics(view.pose[None], joints)
        tilt = axis_angle_to_matrix(np.array([view.tilt_rad, 0, 0], np.float32))
        turn = tilt @ np.diag([1, -1, -1]) @ axis_angle_to_matrix(np.array([0, view.yaw_rad, 0], np.float32))
        middle = places[0, view.middle_joint] + np.array([0, 0.0 if view.middle_joint else -0.1, 0], np.float32)
        depth = FOCAL * view.span_m / TILE_HW[0]
        shift = places[0] - (turns[0] @ joints[0, :, :, None])[..., 0] - middle
        motions = np.concatenate(
            [turn @ turns[0], (shift @ turn.T + [0, 0, depth])[..., None]], axis=2
        ).astype(np.float32)  # fmt: skip
        ambient = np.zeros((9, 3), np.float32)
        ambient[0], ambient[1] = 0.5, -0.12
        lamp = np.array([-0.45, -0.6, -0.65], np.float32)
        light = Lighting(ambient, lamp / np.linalg.norm(lamp), np.full(3, 0.55, np.float32), 3.0, 0.1, 0.2, 0.2)
        window = Window(FOCAL, TILE_HW[1] / 2, TILE_HW[0] / 2, TILE_HW[1], TILE_HW[0])
        scene = CropScene([Drawn(mesh, motions, True)], window, light, np.array([0, 0, depth], np.float32), 1.3)
        colours, parts = self.renderer.render([scene])
        mesh.release()
        return colours[0], parts[0]


def plain_layer(wardrobe: Wardrobe, name: str, shade: float = 0.6, loose: float = 0.0, cut: Cut | None = None) -> Layer:
    """A garment in one plain colour, to look at its shape."""
    index = [g.name for g in wardrobe.garments].index(name)
    colours = np.array([[shade, 0.35, 1 - shade]] * 3, np.float32)
    garment = wardrobe.garments[index]
    return Layer(index, Material(0, colours), cut or Cut(), loose, 0.003 + 0.004 * garment.order, garment.faces)


def garment_sheet(maker: SheetMaker, names: list[str], heads: int = 0) -> NDArray[np.uint8]:
    """One row a garment: front, back and side in the T-pose, then strained poses on other shapes."""
    wardrobe, stances, rows = maker.wardrobe, poses(), []
    for name in names:
        garment = next(g for g in wardrobe.garments if g.name == name)
        layer = plain_layer(wardrobe, name)
        skin = SkinLook(wardrobe.head_pool.tone[heads], heads, 0.3)
        outfit = Outfit((layer,), skin, hidden_faces(wardrobe.stock, (layer,)))
        close = garment.kind in ("hair", "hat", "glasses", "headphones")
        zoom = {"middle_joint": 15, "span_m": 0.6} if close else {}
        tall, wide = np.zeros(10, np.float32), np.zeros(10, np.float32)
        tall[:3], wide[:3] = (2, -1, 1), (-1, 2, -1)
        views = [
            View(stances["t"], tall * 0, 0.0, **zoom), View(stances["t"], tall * 0, np.pi, **zoom),
            View(stances["arms down"], tall, 0.7, **zoom), View(stances["stride"], wide, -0.7, **zoom),
            View(stances["sit"], tall * 0.5, 0.5, 0.2, **zoom), View(stances["up"], wide * 0.7, 0.1, -0.2, **zoom),
            View(stances["bend"], tall * -0.7, 1.2, **zoom),
        ]  # fmt: skip
        tiles = [maker.draw(outfit, view) for view in views]
        cv2.putText(tiles[0], name, (5, 15), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (40, 40, 40), 1, cv2.LINE_AA)
        rows.append(np.hstack(tiles))
    return np.vstack(rows)


def outfit_sheet(maker: SheetMaker, count: int, columns: int, seed: int, close: bool) -> NDArray[np.uint8]:
    """Random outfits on random shapes and poses."""
    stances = list(poses().values())
    tiles = []
    for index in range(count):
        rng = np.random.default_rng([seed, index])
        outfit = maker.wardrobe.draw(rng)
        zoom = {"middle_joint": 12, "span_m": 0.75} if close else {}
        stance = stances[1 + int(rng.integers(len(stances) - 1))]
        betas = rng.normal(0, 0.9, 10).astype(np.float32)
        yaw = float(rng.normal(0, 0.5) if close else rng.uniform(-np.pi, np.pi))
        tiles.append(maker.draw(outfit, View(stance, betas, yaw, float(rng.normal(0, 0.15)), **zoom)))
    return np.vstack([np.hstack(tiles[i : i + columns]) for i in range(0, count, columns)])


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--garments", nargs="*", help="names to show one by one; without it, random outfits")
    parser.add_argument("--close", action="store_true", help="faces instead of whole people")
    parser.add_argument("--count", type=int, default=32)
    parser.add_argument("--columns", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--split", choices=("train", "test"), default="train")
    parser.add_argument("--wardrobe", type=Path, default=WARDROBE_FILE)
    parser.add_argument("--heads", type=int, default=16, help="painted heads to choose from")
    args = parser.parse_args(argv)
    maker = SheetMaker(Wardrobe.load(args.wardrobe, held_out=args.split == "test", heads=args.heads))
    if args.garments:
        sheet = garment_sheet(maker, args.garments, heads=args.heads // 3)
    else:
        sheet = outfit_sheet(maker, args.count // args.columns * args.columns, args.columns, args.seed, args.close)
    cv2.imwrite(str(args.out), sheet)
    return 0


if __name__ == "__main__":
    sys.exit(main())
