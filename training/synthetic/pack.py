"""Everything the renderer needs in one small folder: `python -m training.synthetic.pack OUT --mocap CLIPS --photographs
PHOTOS`.

Poses (motion capture of both splits, gestures, MakeHuman's), photographs as small JPEGs, body and garments. The folder
is all that a machine without the sources needs, and it is never committed: the photographs are not ours. Without any
source it holds what the repository has: gestures made by code, before rooms made by code.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from bodycast.hmr.body.body_model import EMBEDDED_BODY, BodyModel
from bodycast.npz import read_npz
from training.synthetic.avatars.avatar_file import AVATARS_FILE, Avatar, read_avatars
from training.synthetic.garments.wardrobe import WARDROBE_FILE, Wardrobe
from training.synthetic.pose_pool import PosePool, gather_poses, packed, unpacked

U8 = NDArray[np.uint8]
PACK_VERSION = 2
SPLITS = ("train", "test")
MAX_BYTES = 25_000_000
HELD_OUT_EVERY = 8  # photographs: one of so many belongs to the test split
SHORT_SIDE_PX, JPEG_QUALITY = 256, 78


class PackError(ValueError):
    """A pack that cannot be read or would be too large; one line."""


@dataclass(frozen=True)
class Variety:
    """How much is made at a time: fabrics, prints and painted heads of a run, people of a cast; and for training alone:
    the share of the poses whose limbs are mixed from others and the share that is chosen for being far from standing
    (`PosePool`), the height of folds in cloth, m, and the shares of people with sports gear and in a crowd; the
    share of a cast that are rigged avatars (`training.synthetic.avatars`)."""

    cloths: int = 96
    prints: int = 64
    heads: int = 64
    cast: int = 40
    own_limbs: float = 0.5
    fold_m: float = 0.035
    lively: float = 0.4
    gear: float = 0.3
    crowd: float = 0.25
    avatars: float = 0.0


AS_FIRST = {"own_limbs": 0.2, "fold_m": 0.0, "lively": 0.0, "gear": 0.0, "crowd": 0.0, "avatars": 0.0}
"""How packs began, and how the test split stays: models are compared on it."""


@dataclass(frozen=True)
class Pack:
    """What `open_pack` reads for one split. photographs: RGB uint8 pictures, may be none; avatars: where `variety`
    has a share of them."""

    split: str
    poses: PosePool
    photographs: tuple[U8, ...]
    body: BodyModel
    wardrobe_file: Path
    variety: Variety
    avatars: tuple[Avatar, ...] = ()

    def open_wardrobe(self) -> Wardrobe:
        """Garments, fabrics, prints and heads of the split, as many as `variety` says."""
        return Wardrobe.load(
            self.wardrobe_file, held_out=self.split == "test", photographs=self.photographs, body=self.body,
            cloths=self.variety.cloths, prints=self.variety.prints, heads=self.variety.heads,
        )  # fmt: skip


def write_pack(
    out: Path,
    *,
    mocap: Path | None = None,
    photographs: Path | None = None,
    makehuman: Path | None = None,
    short_side: int = SHORT_SIDE_PX,
    variety: Variety | None = None,
) -> int:
    """Read the sources that are given and write the folder `out`; returns its size in bytes. Raises PackError above
    25 MB."""
    body = BodyModel.load()
    pools = {split: gather_poses(mocap, makehuman, split, body) for split in SPLITS}
    pictures = {split: [] if photographs is None else _encoded(photographs, split, short_side) for split in SPLITS}
    return save_pack(out, pools, pictures, variety)


def save_pack(
    out: Path, pools: dict[str, PosePool], photographs: dict[str, list[bytes]], variety: Variety | None = None
) -> int:
    """Write poses and JPEG pictures of both splits, and the embedded body and garments; returns the size in bytes."""
    out.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(EMBEDDED_BODY, out / "body.npz")
    shutil.copyfile(WARDROBE_FILE, out / "wardrobe.npz")
    for split in SPLITS:
        np.savez_compressed(out / f"poses-{split}.npz", allow_pickle=False, **packed(pools[split]))
        pictures = photographs[split]
        lengths = np.array([len(p) for p in pictures], np.int64)
        joined = np.frombuffer(b"".join(pictures), np.uint8)
        np.savez(out / f"photographs-{split}.npz", allow_pickle=False, jpeg=joined, length=lengths)
    about = {"version": PACK_VERSION, "variety": asdict(variety or Variety())}
    (out / "pack.json").write_text(json.dumps(about))
    size = sum(p.stat().st_size for p in out.iterdir() if p.name != AVATARS_FILE)
    if size > MAX_BYTES:
        raise PackError(
            f"{out} holds {size / 1e6:.1f} MB, more than {MAX_BYTES / 1e6:.0f}: give a smaller --short-side"
        )
    return size


def _encoded(folder: Path, split: str, short_side: int) -> list[bytes]:
    """JPEG bytes of the split's photographs, every eighth of the folder belonging to test."""
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in (".jpg", ".jpeg", ".png"))
    if not files:
        raise PackError(f"no .jpg or .png in {folder}")
    out = []
    for number, path in enumerate(files):
        if (number % HELD_OUT_EVERY == 0) != (split == "test"):
            continue
        picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
        if picture is None:
            raise PackError(f"{path} is not a readable picture")
        scale = min(1.0, short_side / min(picture.shape[:2]))
        small = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        out.append(cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes())
    return out


def require_pack(folder: Path) -> dict[str, Any]:
    """What `pack.json` says. Raises PackError where it is missing or of another version."""
    about = folder / "pack.json"
    if not about.is_file():
        raise PackError(f"{folder} holds no pack (pack.json is missing): python -m training.synthetic.pack {folder}")
    said = json.loads(about.read_text())
    version = said.get("version")
    if version != PACK_VERSION:
        raise PackError(f"{folder}: expected a pack of version {PACK_VERSION}, got {version}: make it again")
    return said


def open_pack(folder: Path, split: str) -> Pack:
    """Read one split of a pack. Raises PackError where it is missing or of another version, AvatarError where its
    avatars are missing."""
    if split not in SPLITS:
        raise PackError(f"split: expected {' or '.join(SPLITS)}, got {split!r}")
    said = require_pack(folder)
    variety = Variety(**(AS_FIRST | said["variety"] | (AS_FIRST if split == "test" else {})))
    arrays = read_npz(folder / f"poses-{split}.npz")
    poses = unpacked(arrays["axis_angle"], arrays["kind"], variety.own_limbs, variety.lively)
    arrays = read_npz(folder / f"photographs-{split}.npz")
    pieces = np.split(arrays["jpeg"], np.cumsum(arrays["length"])[:-1]) if len(arrays["length"]) else []
    decoded = (cv2.imdecode(piece, cv2.IMREAD_COLOR) for piece in pieces)
    photographs = tuple(np.ascontiguousarray(p[..., ::-1]) for p in decoded)
    body = BodyModel.load(folder / "body.npz")
    avatars = read_avatars(folder / AVATARS_FILE) if variety.avatars else ()
    return Pack(split, poses, photographs, body, folder / "wardrobe.npz", variety, avatars)


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--mocap", type=Path, help="folder of .bvh or .bvh.gz clips; without: gestures alone")
    parser.add_argument("--photographs", type=Path, help="folder of pictures without people; without: drawn rooms")
    parser.add_argument("--makehuman", type=Path, help="folder of MakeHuman poses (.bvh)")
    parser.add_argument("--short-side", type=int, default=SHORT_SIDE_PX, help="of the photographs, px")
    parser.add_argument("--own-limbs", type=float, default=Variety.own_limbs,
                        help="share of the training poses whose limbs come from other poses")  # fmt: skip
    parser.add_argument("--fold-m", type=float, default=Variety.fold_m,
                        help="height of the folds in training's most wrinkled cloth, m")  # fmt: skip
    parser.add_argument("--lively", type=float, default=Variety.lively,
                        help="share of the training poses that are the farthest from standing of three")  # fmt: skip
    parser.add_argument("--gear", type=float, default=Variety.gear,
                        help="share of the training people outside webcams with sports gear")  # fmt: skip
    parser.add_argument("--crowd", type=float, default=Variety.crowd,
                        help="share of the training people among up to three others")  # fmt: skip
    parser.add_argument("--avatars", type=float, default=Variety.avatars,
                        help="share of the training people that are rigged avatars; python -m "
                        "training.synthetic.avatars adds them")  # fmt: skip
    args = parser.parse_args(argv)
    try:
        size = write_pack(
            args.out, mocap=args.mocap, photographs=args.photographs, makehuman=args.makehuman,
            short_side=args.short_side,
            variety=Variety(
                own_limbs=args.own_limbs, fold_m=args.fold_m, lively=args.lively, gear=args.gear, crowd=args.crowd,
                avatars=args.avatars,
            ),
        )  # fmt: skip
    except (ValueError, OSError) as error:
        print(f"pack: {error}", file=sys.stderr)
        return 1
    print(f"{args.out}: {size / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
