"""Ground truth for places: `python -m training.synthetic.world_set OUT --pack PACK --mocap CLIPS`.

Ten clips with known floor, lens and contacts, people and motions of the test split: standing, walking to and fro,
jumping and kicking, seated; one to three people; cameras at knee, chest and ceiling height, level and tilted; wide and
long lenses; one held in the hand. OUT/NAME.npz is the truth as motion.npz has it, world columns included. Motions are
put onto the floor (retargeted motion capture floats): the 5th percentile of their lowest sole is at 0. What is there is
kept.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bodycast.hmr.body.body_model import BodyModel, forward_kinematics
from bodycast.hmr.body.soles import sole_offsets, sole_points
from bodycast.hmr.geometry.rotations import axis_angle_to_matrix
from training.mocap.retarget import load_smpl_motion
from training.synthetic import things as around
from training.synthetic.clip import chain, room_camera, stage, write_clip
from training.synthetic.dressed_clip import ClipStage, DressedActor, gesture_motion
from training.synthetic.pack import Pack, open_pack
from training.synthetic.scene import Camera

F32 = NDArray[np.float32]
FPS, SECONDS, IMAGE_WH = 30, 6.0, (960, 540)


@dataclass(frozen=True)
class Person:
    """`motions` played one after the other ("seated": gestures on a chair), from `start_xz` m along `yaw_rad`."""

    motions: tuple[str, ...]
    start_xz: tuple[float, float]
    yaw_rad: float
    skip: int = 0


@dataclass(frozen=True)
class Shot:
    """A clip: people, the camera's height m, tilt and diagonal field of view deg; `shake_rad`: held in the hand."""

    people: tuple[Person, ...]
    height_m: float
    tilt_deg: float
    fov_deg: float
    seed: int
    shake_rad: float = 0.0
    pan_rad: float = 0.0


SHOTS: dict[str, Shot] = {
    "stand": Shot((Person(("02_07",), (0.2, -4.2), 0.4),), 1.5, 8, 62, 31),
    "walk_across": Shot((Person(("08_01", "08_04"), (-2.2, -5.5), 1.57),), 1.1, 2, 65, 32),
    "walk_towards": Shot((Person(("02_01",), (-0.7, -5.8), 0.25),), 1.5, 6, 62, 33),
    "two_high": Shot(
        (Person(("02_02", "02_10"), (-0.9, -6.0), 1.2), Person(("02_06",), (0.9, -4.6), 2.6)), 2.8, 22, 70, 34
    ),
    "low": Shot((Person(("02_10",), (0.0, -4.4), -1.0),), 0.5, -4, 66, 35),
    "jump": Shot((Person(("02_04",), (0.0, -4.8), 0.3),), 1.3, 5, 66, 36),
    "seated": Shot((Person(("seated",), (0.0, -3.0), 0.2),), 1.4, 14, 60, 37),
    "three_wide": Shot(
        (
            Person(("02_10",), (-1.4, -4.0), 0.5),
            Person(("02_07",), (1.3, -5.2), -0.5, skip=60),
            Person(("08_05", "08_07"), (0.8, -6.8), -1.5),
        ),
        1.7, 8, 95, 38,
    ),
    "long_lens": Shot((Person(("02_06", "02_10"), (0.0, -5.6), 0.8),), 1.6, 7, 42, 39),
    "handheld": Shot((Person(("02_07",), (-0.2, -4.6), 0.6, skip=90),), 1.5, 7, 64, 40, shake_rad=0.012, pan_rad=0.15),
}  # fmt: skip


class HandheldStage(ClipStage):
    """A camera that turns about its own place: slow shake about all axes, and a pan to and fro."""

    def __init__(self, pack: Pack, camera: Camera, origin: F32, shot: Shot, *, people: int) -> None:
        super().__init__(replace_photographs(pack), camera, origin, shot.seed, people=people, desk=False)
        self._still, self._shot = camera, shot
        self._table = None if self._things is None else self._things.motions.copy()

    def begin(self, frame: int) -> None:
        """Turn the camera, and what stands around with it."""
        rng = np.random.default_rng(self._shot.seed)
        time_s = frame / FPS
        shake = np.zeros(3)
        for hz in (0.4, 0.9, 1.7, 3.1):
            shake += (
                self._shot.shake_rad * rng.normal(0, 0.5, 3) * np.sin(2 * np.pi * hz * time_s + rng.uniform(0, 6, 3))
            )
        shake[1] += self._shot.pan_rad * np.sin(2 * np.pi * time_s / 8)
        turn = axis_angle_to_matrix(shake.astype(np.float32))
        self.camera = replace(self._still, rotation=(turn @ self._still.rotation).astype(np.float32))
        if self._things is not None and self._table is not None:
            table = self._table.copy()
            table[around.WORLD] = turn @ self._table[around.WORLD]
            self._things = replace(self._things, motions=table)


def replace_photographs(pack: Pack) -> Pack:
    """The same pack without photographs: a photograph does not turn with the camera."""
    return replace(pack, photographs=())


def grounded(pose: F32, transl: F32, betas: F32, body: BodyModel) -> F32:
    """The translations, moved down or up so that the 5th percentile of the lowest sole is at 0."""
    turns, places = forward_kinematics(pose, body.joints(betas[None]))
    lowest = sole_points(turns, places + transl[:, None], sole_offsets(body))[..., 1].min(axis=1)
    return (transl - np.array([0, np.percentile(lowest, 5), 0])).astype(np.float32)


def make_shot(out: Path, shot: Shot, pack: Pack, mocap: Path) -> None:
    """Draw one clip and write its truth beside it."""
    frames = round(SECONDS * FPS)
    camera, origin = room_camera(IMAGE_WH, shot.fov_deg, shot.height_m, float(np.deg2rad(shot.tilt_deg)))
    many = len(shot.people)
    if shot.shake_rad:
        clip: ClipStage = HandheldStage(pack, camera, origin, shot, people=many)
    else:
        clip = ClipStage(pack, camera, origin, shot.seed, people=many, desk=False)
    actors = []
    for person, member in zip(shot.people, clip.members, strict=True):
        if person.motions == ("seated",):
            pose, transl = gesture_motion(np.random.default_rng(shot.seed), pack, frames, FPS)
        else:
            files = [next(mocap.glob(f"{name}.bvh*")) for name in person.motions]
            pose, transl = chain([load_smpl_motion(file) for file in files])
        pose, transl = stage(pose[person.skip :], transl[person.skip :], frames, person.start_xz, person.yaw_rad)
        transl = grounded(pose, transl, member.betas, clip.body)
        actors.append(DressedActor(pose, transl, betas=member.betas, member=member))
    write_clip(out, actors, clip, frames, FPS)


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--pack", type=Path, required=True, help="folder made by training.synthetic.pack")
    parser.add_argument("--mocap", type=Path, required=True, help="folder of .bvh or .bvh.gz clips")
    parser.add_argument("--only", nargs="*", choices=tuple(SHOTS), help="these clips alone")
    args = parser.parse_args(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    pack = open_pack(args.pack, "test")
    for name in args.only or SHOTS:
        film = args.out / f"{name}.mp4"
        if not film.with_suffix(".npz").is_file():
            make_shot(film, SHOTS[name], pack, args.mocap)
            print(f"{film}: drawn", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
