"""What synthetic people wear: baked garments, and outfits drawn from a seed.

    wardrobe = Wardrobe.load(photographs=pictures)   # assets/garments, needs neither anny nor MakeHuman's files
    outfit = wardrobe.draw(rng)                      # about 0.2 ms, no vertex work
    for layer in outfit.layers:                      # inner to outer
        garment = wardrobe.garments[layer.garment]
        rest = layer.rest_vertices(garment, betas)   # (Vg, 3), or the same sum in a vertex shader

How a renderer uses it:

- Everything that does not change is in `Wardrobe`: upload it once. `garments` hold geometry, `cloth` is a pool of
  tileable fabrics, `prints` a pool of pictures, `heads` one of painted heads. An `Outfit` only names rows of them.
- Rest vertex of a layer: `template + shapedirs @ betas + normals * (looseness_m * spread)`, in the body's frame
  (T-pose, y up, metres, as `BodyModel.rest_vertices`), then skinned by `joint_index`, `joint_weight` (four a vertex)
  with the body's own 24 joint transforms. Normals: skin `normals` with the same matrices.
- Cuts (sleeve, trouser length, hem, neckline) are made per fragment: interpolate `limbs` (arm, leg, head) and discard
  where `Cut` says. A hem is then smooth however coarse the mesh is. `Cut.discards` is the numpy twin.
- Layers lie millimetres apart and cross here and there, so pull each one towards the camera by `depth_bias_m` when
  depth is tested: z of `view * (1 - bias / |view|)`, x and y unchanged. Faces are drawn from both sides (no culling).
- Draw `layer.faces` of a garment: those that no outer layer hides. Body faces in `outfit.hidden_faces` lie under
  clothes: leave them out of the picture (the label maps still need them).
- Colour of a fragment, sRGB 0..1: see `Material`; skin and head: see `SkinLook`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from scipy.spatial import cKDTree

from bodycast.hmr.body.body_model import BodyModel
from training.synthetic.fabric import cloth_pool, print_pool
from training.synthetic.garments.baked_file import BakedGarment, read_wardrobe
from training.synthetic.garments.draw import Stock, draw_outfit
from training.synthetic.garments.mesh_tools import adjacency
from training.synthetic.garments.outfit import NO_CUT, Cut, Garment, Layer, Material, Outfit, SkinLook
from training.synthetic.heads import HeadPool, paint_pool
from training.synthetic.limb_coordinates import LimbFrame, limb_coordinates

__all__ = ["NO_CUT", "Cut", "Garment", "Layer", "Material", "Outfit", "SkinLook", "Wardrobe"]

U8 = NDArray[np.uint8]
WARDROBE_FILE = Path(__file__).resolve().parents[3] / "assets" / "garments" / "wardrobe.npz"
# Colours come from these pools; the test split has pools of its own, from other seeds.
POOL_SEEDS = {False: 1, True: 2}
CLOTHS, PRINTS, HEADS = 96, 64, 64


@dataclass(frozen=True)
class Wardrobe:
    """Garments and pools. cloth (K, 256, 256, 3) and prints (P, 256, 256, 4) RGBA, uint8; see `heads`."""

    garments: tuple[Garment, ...]
    cloth: U8
    prints: U8
    head_pool: HeadPool
    stock: Stock

    @property
    def heads(self) -> U8:
        """(N, 256, 512, 4) RGBA."""
        return self.head_pool.pictures

    @staticmethod
    def load(
        path: Path = WARDROBE_FILE, *, held_out: bool = False, photographs: Sequence[U8] = (),
        body: BodyModel | None = None, cloths: int = CLOTHS, prints: int = PRINTS, heads: int = HEADS,
    ) -> Wardrobe:  # fmt: skip
        """Read the baked garments and make the pools.

        held_out: the test split: garments, hues, fabrics and faces that training never sees. photographs: RGB pictures
        for prints. The counts are the pools' sizes. Raises WardrobeFileError.
        """
        body = body or BodyModel.load()
        baked, chart = read_wardrobe(path)
        frame = LimbFrame.of(body)
        rims = adjacency(body.faces.astype(np.int64), body.vertex_count)
        skin = cKDTree(body.arrays.v_template)
        garments = tuple(_ready(g, frame, rims, skin) for g in baked)
        seed = POOL_SEEDS[held_out]
        cloth, patterns = cloth_pool(seed, cloths)
        pool = paint_pool(seed, heads, chart)
        stock = Stock(
            garments=garments, patterns=tuple(patterns), prints=prints, photo_prints=prints // 2 if photographs else 0,
            heads=pool, held_out=held_out, body_limbs=limb_coordinates(body), body_faces=body.faces,
        )  # fmt: skip
        return Wardrobe(garments, cloth, print_pool(seed, prints, photographs), pool, stock)

    def draw(self, rng: np.random.Generator) -> Outfit:
        """A new look; the same random stream gives the same look."""
        return draw_outfit(rng, self.stock)


def _ready(baked: BakedGarment, frame: LimbFrame, rims: csr_matrix, skin: cKDTree) -> Garment:
    """A baked garment with limb coordinates and four weights a vertex; skin under its rim does not count as covered."""
    limbs = frame.coordinates(baked.template, baked.weights)
    order = np.argsort(-baked.weights, axis=1, kind="stable")[:, :4]
    inner = baked.covers & ~(rims @ (~baked.covers).astype(np.float64) > 0)
    stacked = limbs.stacked()
    spread = np.zeros(len(stacked), np.float32)
    if baked.loose:
        # Waistband, collar and shoulder seams sit closer than what hangs from them.
        arm, leg = limbs.arm, limbs.leg
        spread = np.where(arm > 0, 0.45 + 0.4 * np.clip(arm / 2, 0, 1), 0.5 + 0.5 * np.clip(leg + 0.9, 0, 1))
        spread = spread * np.clip(1.0 - (limbs.head + 0.15) / 0.25, 0.15, 1.0)
    return Garment(
        name=baked.name, kind=baked.kind, order=baked.order, held_out=baked.held_out,
        template=np.asarray(baked.template, np.float32), shapedirs=np.asarray(baked.shapedirs, np.float32),
        normals=np.asarray(baked.normals, np.float32), spread=spread.astype(np.float32),
        faces=np.asarray(baked.faces, np.int32), uv=np.asarray(baked.uv, np.float32), limbs=stacked,
        joint_index=order.astype(np.int32),
        joint_weight=np.take_along_axis(baked.weights, order, 1).astype(np.float32),
        part=limbs.part, covers=inner, body_vertex=skin.query(baked.template)[1].astype(np.int32),
    )  # fmt: skip
