"""Whole pictures of nobody, somebody or several people, letterboxed, with a box for everybody who can be seen.

The synthetic people of the crops (training/synthetic/studio.py), seen by the whole camera. `python -m
training.detector.pictures OUT --pack PACK --count 40000` writes a set: `pixels.npy` (N,256,448,3) uint8 RGB and
`boxes.npy` (N,4,5) float32: xyxy px in the letterboxed picture, and 1 for a person, 0 for one who is mostly hidden
(nothing is asked there), -1 for no row.
"""

from __future__ import annotations

import argparse
import json
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from bodycast.hmr.geometry.letterbox import GREY, letterbox_of
from bodycast.npz import map_npy
from training.synthetic.chunk import CHUNK, CHUNKS_PER_CAST, SPLIT_SALT
from training.synthetic.faults import spoil
from training.synthetic.framing import visible_box
from training.synthetic.pack import PackError, open_pack
from training.synthetic.scene import Camera
from training.synthetic.studio import Actor, Studio

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]
PICTURE_HW = (256, 448)
MOST_PEOPLE = 4
EMPTY_SHARE = 0.12
FAR_SHARE = 0.35  # of the pictures without a webcam: seen from farther away
LEAST_SHARE, LEAST_PX = 0.04, 10.0  # of a person's skin in the picture, and of a box's sides: less is nobody
HIDDEN_SHARE = 0.7  # of a box inside a nearer person's


class PictureStudio(Studio):
    """Makes chunks of 32 pictures of one split; the same pack, seed and number give the same pixels on the same GL."""

    hw = PICTURE_HW

    def pictures(self, number: int) -> tuple[U8, F32]:
        """pixels (32,256,448,3) and boxes (32,4,5) of chunk `number`."""
        self._engage(number // CHUNKS_PER_CAST)
        rng = np.random.default_rng([self.seed, SPLIT_SALT[self.pack.split], 3, number])
        scenes, backgrounds, boxes, props, cameras = [], [], [], [], []
        for shot, others in self._shots(rng):
            if not shot.webcam and rng.random() < FAR_SHARE:
                shot = replace(shot, transl=(shot.transl * rng.uniform(1.2, 2.5)).astype(np.float32))
            background = self._background(rng)
            company = self._company(rng, shot, others)
            camera = shot.camera
            scale = letterbox_of(camera.image_wh, self.hw).scale
            square = np.asarray(camera.image_wh, np.float32) / 2, self.hw[0] / scale
            scene, prop = self._scene(rng, shot, company, square, background)
            people = [(shot.actor, shot.transl), *company]
            if rng.random() < EMPTY_SHARE:
                people = []
                scene = replace(scene, drawn=[d for d in scene.drawn if prop is not None and d.mesh is prop])
            scenes.append(scene)
            backgrounds.append(background)
            boxes.append(labels(people, camera, scale))
            props.append(prop)
            cameras.append((camera, scale))
        colours, _ = self.renderer.render(scenes)
        for prop in props:
            if prop is not None:
                prop.release()
        pixels = np.full((len(scenes), *self.hw, 3), GREY, np.uint8)
        for k, (camera, scale) in enumerate(cameras):
            left, top, right, bottom = _inside(camera)
            seen = colours[k][top:bottom, left:right]
            behind = backgrounds[k]
            behind = None if behind is None else behind[top:bottom, left:right]
            size_px = self.hw[0] / scale * rng.uniform(0.3, 1.0)
            pixels[k, top:bottom, left:right] = spoil(rng, self._over(rng, seen, behind), size_px, self._noise)
        return pixels, np.stack(boxes)


def _inside(camera: Camera) -> tuple[int, int, int, int]:
    """left, top, right, bottom px of the camera's picture in the letterboxed one."""
    place = letterbox_of(camera.image_wh, PICTURE_HW)
    return place.left, place.top, place.left + place.width, place.top + place.height


def labels(people: list[tuple[Actor, F32]], camera: Camera, scale: float) -> F32:
    """(4, 5) boxes of people, each an actor and a translation (3,), the nearest first."""
    out = np.full((MOST_PEOPLE, 5), -1, np.float32)
    left, top, right, bottom = _inside(camera)
    shift = np.array([left, top, left, top], np.float32)
    row = 0
    for actor, transl in sorted(people, key=lambda person: float(person[1][2])):
        points = actor.points @ camera.rotation.T + transl
        box, share = visible_box(points, camera)
        box = np.clip(box * scale + shift, [left, top, left, top], [right, bottom, right, bottom])
        if share < LEAST_SHARE or (box[2:] - box[:2]).min() < LEAST_PX or row == MOST_PEOPLE:
            continue
        hidden = max((_covered(box, nearer[:4]) for nearer in out[:row]), default=0.0)
        out[row] = [*box, float(hidden < HIDDEN_SHARE)]
        row += 1
    return out


def _covered(box: F32, by: F32) -> float:
    low, high = np.maximum(box[:2], by[:2]), np.minimum(box[2:], by[2:])
    return float(np.prod(np.maximum(high - low, 0)) / np.prod(box[2:] - box[:2]))


_studio: PictureStudio | None = None


def _start_worker(pack: Path, split: str, seed: int) -> None:
    global _studio
    cv2.setNumThreads(1)
    _studio = PictureStudio(open_pack(pack, split), seed)


def _fill(out: Path, numbers: range) -> None:
    assert _studio is not None, "_start_worker makes it"
    pixels, boxes = (map_npy(out / name, "r+") for name in ("pixels.npy", "boxes.npy"))
    for number in numbers:
        rows = slice(number * CHUNK, (number + 1) * CHUNK)
        pixels[rows], boxes[rows] = _studio.pictures(number)


def write_set(out: Path, *, pack: Path, count: int, split: str, seed: int, workers: int) -> None:
    """Write a set of `count` pictures, rounded up to whole casts (256). Raises: PackError, FileExistsError."""
    open_pack(pack, split)
    if (out / "meta.json").exists():
        raise FileExistsError(f"{out} holds a set already")
    casts = -(-count // (CHUNK * CHUNKS_PER_CAST))
    count = casts * CHUNK * CHUNKS_PER_CAST
    out.mkdir(parents=True, exist_ok=True)
    np.lib.format.open_memmap(out / "pixels.npy", "w+", np.uint8, (count, *PICTURE_HW, 3))
    np.lib.format.open_memmap(out / "boxes.npy", "w+", np.float32, (count, MOST_PEOPLE, 5))
    jobs = [range(k * CHUNKS_PER_CAST, (k + 1) * CHUNKS_PER_CAST) for k in range(casts)]
    with ProcessPoolExecutor(
        workers, get_context("spawn"), initializer=_start_worker, initargs=(pack, split, seed)
    ) as pool:
        for done, _ in enumerate(pool.map(partial(_fill, out), jobs), 1):
            if done % 20 == 0 or done == casts:
                print(f"{done * CHUNK * CHUNKS_PER_CAST} of {count}", flush=True)
    (out / "meta.json").write_text(json.dumps({"count": count, "split": split, "seed": seed}))


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--pack", type=Path, required=True, help="folder made by training.synthetic.pack")
    parser.add_argument("--count", type=int, default=40000)
    parser.add_argument("--split", choices=("train", "test"), default="train")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args(argv)
    try:
        write_set(
            args.out, pack=args.pack, count=args.count, split=args.split, seed=args.seed, workers=args.workers
        )  # fmt: skip
    except (PackError, OSError) as error:
        print(f"pictures: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
