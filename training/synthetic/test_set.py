"""The fixed synthetic test set: `python -m training.synthetic.test_set OUT --pack PACK`: 2,000 crops and ten clips.

People, motions, garments, hues, fabrics, faces and photographs of the test split alone. OUT/crops is a set as
`training.synthetic.generate` writes it; OUT/clips holds ten clips with their truth beside (.npz, as motion.npz): five
of motion capture seen from a room, five of gestures before a webcam. What is there and whole is kept, so that a run
that was stopped goes on.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np

from bodycast.hmr.geometry.camera import focal_from_fov
from bodycast.hmr.geometry.rotations import axis_angle_to_matrix
from training.mocap.retarget import load_smpl_motion
from training.synthetic.clip import chain, room_camera, stage, write_clip
from training.synthetic.dressed_clip import SEATED_ROOT_M, ClipStage, DressedActor, gesture_motion
from training.synthetic.generate import generate
from training.synthetic.pack import Pack, open_pack
from training.synthetic.poses import split_files
from training.synthetic.scene import FLIP_YZ, Camera
from training.synthetic.stream import RenderError

CROPS, CROP_SEED = 2000, 2026
CLIPS_OF_EACH, CLIP_SEED = 5, 500
SECONDS, FPS = 5.0, 25


def webcam(rng: np.random.Generator) -> tuple[Camera, np.ndarray]:
    """A webcam about 0.8 m before a person who sits at the origin, and its place (3,) in the world."""
    pitch = float(rng.choice([rng.normal(-0.25, 0.1), rng.normal(0.08, 0.08)]))
    rotation = axis_angle_to_matrix(np.array([pitch, 0, 0], np.float32)) @ FLIP_YZ
    camera = Camera(rotation.astype(np.float32), float(focal_from_fov(np.deg2rad(72), (640, 480))), (640, 480))
    away = rng.uniform(0.6, 1.0)
    face_m = SEATED_ROOT_M + 0.5
    return camera, np.array([rng.normal(0, 0.08), face_m + away * np.tan(pitch) - 0.03, away], np.float32)


def room_clip(out: Path, pack: Pack, mocap: Path, seed: int) -> None:
    """One or two people of the test subjects in a room or before a photograph, 960 x 540."""
    rng = np.random.default_rng(seed)
    people, frames = 1 + int(rng.random() < 0.4), round(SECONDS * FPS)
    height_m = float(rng.uniform(0.8, 2.2))
    tilt = float(np.arctan2(height_m - 0.85, 4.0))
    camera, origin = room_camera((960, 540), float(rng.uniform(50, 75)), height_m, tilt)
    clip = ClipStage(pack, camera, origin, seed, people=people, desk=False)
    files = split_files(mocap, pack.split)
    actors = []
    for k, member in enumerate(clip.members):
        x = (k - (people - 1) / 2) * 1.3 + float(rng.normal(0, 0.1))
        for _ in range(20):  # until one stays in the picture
            pose, transl = chain([load_smpl_motion(files[i]) for i in rng.choice(len(files), 2, replace=False)])
            start = int(rng.integers(0, max(1, len(pose) - frames)))
            place = (x, float(rng.uniform(-4.6, -3.6)))
            staged = stage(pose[start:], transl[start:], frames, place, float(rng.normal(0, 0.8)))
            if np.abs(staged[1][:, 0]).max() < 1.9 and -6.0 < staged[1][:, 2].min() < staged[1][:, 2].max() < -2.6:
                break
        actors.append(DressedActor(*staged, betas=member.betas, member=member))
    write_clip(out, actors, clip, frames, FPS)


def webcam_clip(out: Path, pack: Pack, seed: int) -> None:
    """One person who gestures at a desk, 640 x 480."""
    rng = np.random.default_rng(seed)
    frames = round(SECONDS * FPS)
    camera, origin = webcam(rng)
    clip = ClipStage(pack, camera, origin, seed, people=1, desk=True)
    pose, transl = gesture_motion(rng, pack, frames, FPS)
    member = clip.members[0]
    write_clip(out, [DressedActor(pose, transl, betas=member.betas, member=member)], clip, frames, FPS)


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--pack", type=Path, required=True, help="folder made by training.synthetic.pack")
    parser.add_argument("--mocap", type=Path, help="folder of .bvh or .bvh.gz clips; needed unless --only crops")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--only", choices=("crops", "clips"), default=None)
    args = parser.parse_args(argv)
    if args.mocap is None and args.only != "crops":
        parser.error("the clips need --mocap")
    try:
        if args.only != "crops":
            split_files(args.mocap, "test")  # before the crops, which take minutes
        if args.only != "clips":
            _crops(args.out / "crops", args.pack, args.workers)
        if args.only != "crops":
            _clips(args.out / "clips", args.pack, args.mocap)
    except (RenderError, ValueError, OSError) as error:
        print(f"test_set: {error}", file=sys.stderr)
        return 1
    return 0


def _crops(out: Path, pack: Path, workers: int) -> None:
    """The crops, unless they are all there."""
    meta = out / "meta.json"
    if meta.is_file() and json.loads(meta.read_text())["finished"] >= CROPS:
        print(f"{out}: kept", file=sys.stderr)
        return
    generate(out, pack, count=CROPS, split="test", seed=CROP_SEED, workers=workers)


def _clips(out: Path, pack_folder: Path, mocap: Path) -> None:
    """The clips that are not there yet; a clip's truth is written when its film is whole."""
    out.mkdir(parents=True, exist_ok=True)
    pack = open_pack(pack_folder, "test")
    for k in range(CLIPS_OF_EACH):
        for name, seed in ((f"room_{k}", CLIP_SEED + k), (f"webcam_{k}", CLIP_SEED + 100 + k)):
            film = out / f"{name}.mp4"
            if film.with_suffix(".npz").is_file():
                print(f"{film}: kept", file=sys.stderr)
            elif name.startswith("room"):
                room_clip(film, pack, mocap, seed)
            else:
                webcam_clip(film, pack, seed)


if __name__ == "__main__":
    sys.exit(main())
