"""Add rigged people to a pack: `python -m training.synthetic.avatars PACK --glb FOLDER --count 40`.

Reads .glb files (VALID's avatars, or others with Mixamo's joint names, in T-pose, textured), lets them rest like the
embedded body, finds the betas of the body in them, thins their meshes and writes PACK/avatars.npz. Crops show them
where the pack was made with --avatars SHARE.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np

from bodycast.hmr.body.body_model import BodyModel
from training.synthetic.avatars.avatar_file import AVATARS_FILE, Avatar, as_jpeg, write_avatars
from training.synthetic.avatars.fitting import FittedRig, fit_body
from training.synthetic.avatars.rig import read_rigged
from training.synthetic.avatars.thinning import thin
from training.synthetic.drawn import quantised
from training.synthetic.pack import require_pack


def choose(folder: Path, count: int, seed: int) -> list[Path]:
    """`count` of the .glb files below `folder`, at random. Raises ValueError where there are fewer."""
    files = sorted(folder.rglob("*.glb"))
    if len(files) < count:
        raise ValueError(f"{folder} holds {len(files)} .glb files, fewer than --count {count}")
    picked = np.random.default_rng(seed).permutation(len(files))[:count]
    return [files[i] for i in sorted(picked)]


def make_avatar(path: Path, body: BodyModel) -> tuple[Avatar, FittedRig]:
    """Read, thin and fit a person."""
    rigged = thin(read_rigged(path))
    fitted = fit_body(rigged, body)
    avatar = Avatar(
        fitted.vertices,
        rigged.uv,
        rigged.joint,
        quantised(rigged.weight),
        rigged.picture,
        rigged.faces,
        fitted.betas,
        tuple(as_jpeg(picture) for picture in rigged.pictures),
    )
    return avatar, fitted


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog="python -m training.synthetic.avatars", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("pack", type=Path, help="folder made by training.synthetic.pack")
    parser.add_argument("--glb", type=Path, required=True, help="folder with .glb files, also in folders below it")
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    try:
        require_pack(args.pack)
        body = BodyModel.load(args.pack / "body.npz")
        avatars, fits = [], []
        for path in choose(args.glb, args.count, args.seed):
            avatar, fitted = make_avatar(path, body)
            avatars.append(avatar)
            fits.append(fitted)
            print(json.dumps({"file": path.name, **_said(fitted)}), flush=True)
        size = write_avatars(args.pack / AVATARS_FILE, avatars)
    except (ValueError, KeyError, OSError) as error:
        print(f"avatars: {error}", file=sys.stderr)
        return 1
    print(f"{args.pack / AVATARS_FILE}: {len(avatars)} avatars, {size / 1e6:.1f} MB; {_summary(fits)}")
    return 0


def _said(fitted: FittedRig) -> dict[str, float]:
    return {
        "bones_mm": round(float(np.abs(fitted.bone_error_m).mean() * 1000), 1),
        "moved_mm": round(fitted.moved_m * 1000, 1), "surface_mm": round(fitted.surface_error_m * 1000, 1),
    }  # fmt: skip


def _summary(fits: list[FittedRig]) -> str:
    said = [_said(fitted) for fitted in fits]
    return ", ".join(f"{name} median {np.median([s[name] for s in said]):.1f}" for name in said[0])


if __name__ == "__main__":
    sys.exit(main())
