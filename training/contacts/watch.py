"""`python -m training.contacts.watch OUT --mocap CLIPS`: the keypoint network and the fusion watch rendered people.

One person acts a motion-capture clip before a camera in a drawn room: low and high cameras, level and tilted, lenses of
40 to 80 degrees, of which the program assumes another than the true one. A frame's crop is cut around the mesh of the
frame before, moved on by half of its last step, as the program follows people. OUT/train and OUT/test hold one .npz a
piece (`training.contacts.watched`). Files that are there are kept, so that a run that was stopped goes on.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from bodycast.app.estimation.fused_estimator import FusedEstimator
from bodycast.app.estimation.keypoints import KeypointNetwork
from bodycast.app.records import Frame, Tracks
from bodycast.hmr.body.body_model import BodyModel, forward_kinematics
from bodycast.hmr.geometry import boxes
from bodycast.hmr.geometry.camera import Intrinsics
from bodycast.hmr.geometry.crop import crop_transforms, stack_crops
from training.contacts.watched import WatchedMotion
from training.motion.data import MotionClip, at_rate, load_split
from training.motion.make_pairs import pieces
from training.motion.pairs import Scene, Studio
from training.synthetic.atlas_renderer import AtlasRenderer, CropScene, Drawn, Lighting
from training.synthetic.cast import Member, SkinPoints, make_cast
from training.synthetic.clip import room_camera
from training.synthetic.drawn import BareBody
from training.synthetic.garments.head_chart import HEAD_AXIS_XZ, HEAD_LOW_M, HEAD_TOP_M
from training.synthetic.garments.wardrobe import WARDROBE_FILE, Wardrobe
from training.synthetic.lighting import sample_lighting
from training.synthetic.limb_coordinates import limb_coordinates
from training.synthetic.rooms import draw_room
from training.synthetic.scene import Camera, crop_window, project

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]
Rng = np.random.Generator
IMAGE_WH = (1280, 720)
DRAWN_HW = (320, 240)
PADDING, LOST_IOU, NOISE = 0.05, 0.3, 3.0
FOCAL_SPREAD = 0.15
"""Standard deviation of the assumed focal length's logarithm about the true one."""


def draw_scene(rng: Rng) -> Scene:
    """A camera 0.4 to 3 m above the floor, aimed about at a person 2.5 to 7 m away who heads anywhere."""
    height_m, away_m = float(rng.uniform(0.4, 3.0)), float(rng.uniform(2.5, 7.0))
    tilt = float(np.arctan2(height_m - 0.9, away_m) + rng.normal(0, 0.06))
    camera, origin = room_camera(IMAGE_WH, float(rng.uniform(40, 80)), height_m, tilt)
    return Scene(camera, origin, (float(rng.normal(0, 0.12 * away_m)), -away_m), float(rng.uniform(-np.pi, np.pi)))


class Watcher:
    """Acts clips before the estimator. Owns a GL context: use it from one thread, one at a time."""

    def __init__(self, estimator: FusedEstimator, *, held_out: bool) -> None:
        self.estimator = estimator
        self.body = BodyModel.load()
        self.wardrobe = Wardrobe.load(WARDROBE_FILE, held_out=held_out, photographs=(), body=self.body)
        self.bare, self.points = BareBody.of(self.body, limb_coordinates(self.body)), SkinPoints.of(self.body)
        self.renderer = AtlasRenderer(1, 1, DRAWN_HW)
        for name in ("cloth", "prints", "heads"):
            self.renderer.set_textures(name, getattr(self.wardrobe, name))
        self.renderer.set_head_box((*HEAD_AXIS_XZ, HEAD_TOP_M, HEAD_LOW_M))

    def close(self) -> None:
        """Release the GL objects; the estimator stays open."""
        self.renderer.close()

    def act(self, clip: MotionClip, seed: int) -> WatchedMotion | None:
        """Draw and estimate a clip; None where no scene of several shows the person throughout."""
        rng = np.random.default_rng(seed)
        member = make_cast(rng, 1, self.bare, self.points, self.wardrobe, self.renderer)[0]
        try:
            placed = next((found for _ in range(30) if (found := self._place(rng, clip, member.betas))), None)
            return None if placed is None else self._watch(*placed, member, clip.fps, rng)
        finally:
            member.mesh.release()

    def _place(self, rng: Rng, clip: MotionClip, betas: F32) -> tuple[Scene, F32, F32] | None:
        scene = draw_scene(rng)
        pose, transl = scene.place(clip, self.body, betas)
        _, places = forward_kinematics(pose, self.body.joints(betas[None]))
        joints = places + transl[:, None]
        inside = joints[..., 2] > 0.8
        pixels = project(np.where(inside[..., None], joints, [0, 0, 1.0]).astype(np.float32), scene.camera)
        inside &= ((pixels >= 0) & (pixels < np.array(scene.camera.image_wh))).all(-1)
        return (scene, pose, transl) if inside.mean(1).min() > 0.5 and inside.mean() > 0.85 else None

    def _watch(
        self, scene: Scene, pose: F32, transl: F32, member: Member, fps: float, rng: Rng
    ) -> WatchedMotion | None:
        camera, betas, wh = scene.camera, member.betas, scene.camera.image_wh
        room = draw_room(rng, camera, scene.origin.astype(np.float64))
        light = sample_lighting(rng, room, camera.rotation[:, 1])
        rest = self.body.rest_vertices(betas[None])
        lens = Intrinsics.from_focal(camera.focal_px * float(np.exp(rng.normal(0, FOCAL_SPREAD))), wh)
        rows: list[tuple[F32, ...]] = []
        before: F32 | None = None
        box: F32 | None = None
        for frame in range(len(pose)):
            vertices = self.body(pose[frame : frame + 1], betas[None], transl[frame : frame + 1], rest).vertices[0]
            true_box = _box(vertices, camera)
            if box is None or boxes.iou_matrix(box[None], true_box[None])[0, 0] < LOST_IOU:
                before, box = None, boxes.pad(true_box, PADDING)
            ahead = box
            if before is not None:
                reach = 0.05 * (box[2:] - box[:2]).max()
                ahead = box + np.clip(0.5 * (box - before), -reach, reach)
            person = Drawn(member.mesh, Studio._motions(member, pose[frame], transl[frame]))
            picture = self._picture(camera, room, person, vertices, light, true_box, rng)
            tracks = Tracks(np.ones(1, np.int32), boxes.clip(ahead[None], wh).astype(np.float32), np.zeros(1))
            crops = self.estimator.crop(Frame(picture, frame, frame / fps), tracks)
            out = self.estimator.estimate(crops, lens, wh)
            if not len(out):
                return None
            rows.append((out.pose[0], out.transl_m[0], out.betas[0], out.score[0], out.keypoints[0]))
            mesh = self.body(out.pose, out.betas, out.transl_m).vertices[0]
            mesh = mesh * np.array([lens.fx / camera.focal_px, lens.fx / camera.focal_px, 1], np.float32)
            before, box = box, boxes.pad(_box(mesh, camera), PADDING)
        columns = [np.stack(column).astype(np.float32) for column in zip(*rows, strict=True)]
        up = (camera.rotation @ np.array([0, 1, 0], np.float32)).astype(np.float32)
        floor = np.array([*up, scene.origin[1]], np.float32)
        time_s = np.arange(len(pose)) / fps
        return WatchedMotion(
            time_s, pose.astype(np.float32), transl, betas, floor, np.float64(camera.focal_px), *columns,
            np.float64(lens.focal_px), np.array(wh, np.int32),
        )  # fmt: skip

    def _picture(
        self, camera: Camera, room: U8, person: Drawn, vertices: F32, light: Lighting, true_box: F32, rng: Rng
    ) -> U8:
        """(H,W,3) uint8 BGR: the person is drawn in a window, and that is put into the room."""
        transform = crop_transforms(boxes.pad(true_box, 0.25)[None], DRAWN_HW)[0]
        centre, size = (a.astype(np.float32) for a in stack_crops([transform]))
        window = crop_window(centre[0], float(size[0]), camera, DRAWN_HW)
        middle = ((vertices.min(0) + vertices.max(0)) / 2).astype(np.float32)
        radius = float(np.linalg.norm(vertices - middle, axis=1).max()) + 0.12
        drawn, _ = self.renderer.render([CropScene([person], window, light, middle, radius)])
        low = np.floor(np.clip(transform.to_image(np.zeros(2)), 0, camera.image_wh)).astype(int)
        high = np.ceil(np.clip(transform.to_image(np.array(DRAWN_HW[::-1], float)), 0, camera.image_wh)).astype(int)
        picture = room.astype(np.uint8).copy()
        part = picture[low[1] : high[1], low[0] : high[0]]
        if part.size:
            matrix = transform.crop_to_image.copy()
            matrix[:, 2] -= low
            how = cv2.INTER_LINEAR if transform.scale < 1 else cv2.INTER_CUBIC
            rgba = cv2.warpAffine(drawn[0], matrix, (part.shape[1], part.shape[0]), flags=how).astype(np.float32)
            pixels = rgba[..., :3] + (1 - rgba[..., 3:] / 255) * part
            part[:] = np.clip(pixels + NOISE * rng.standard_normal(part.shape, np.float32), 0, 255)
        return np.ascontiguousarray(picture[..., ::-1])


def _box(vertices: F32, camera: Camera) -> F32:
    """xyxy (4,) px of the vertices (V,3) before the camera, clipped to the picture."""
    pixels = project(vertices[vertices[:, 2] > 0.3], camera)
    box = np.concatenate([pixels.min(0), pixels.max(0)]) if len(pixels) else np.zeros(4)
    return boxes.clip(box[None], camera.image_wh)[0].astype(np.float32)


def main(argv: list[str] | None = None) -> int:
    """Command line. Exit code 2 for bad input."""
    parser = argparse.ArgumentParser(prog="python -m training.contacts.watch", description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--mocap", type=Path, required=True, metavar="CLIPS", help="folder of motion clips")
    parser.add_argument("--split", choices=("train", "test"), action="append", help="default: both")
    parser.add_argument("--keypoints", default="pose-thunder", help="keypoint network: a package")
    parser.add_argument("--total", type=float, default=300.0, help="seconds of motion per split")
    parser.add_argument("--seconds", type=float, default=5.0, help="seconds per piece")
    parser.add_argument("--minutes", type=float, default=60.0, help="stop then, with what there is")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    try:
        splits = {split: load_split(args.mocap, split) for split in args.split or ("test", "train")}
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    estimator = FusedEstimator(KeypointNetwork(args.keypoints, "onnxruntime", "cpu", threads=1), device="cpu")
    began = time.monotonic()
    for split, clips in splits.items():
        folder = args.out / split
        folder.mkdir(parents=True, exist_ok=True)
        watcher = Watcher(estimator, held_out=split == "test")
        for number, piece in enumerate(pieces(clips, args.seconds, args.total, args.seed)):
            path = folder / f"{number:03d}_{piece.name}.npz"
            if path.exists() or time.monotonic() - began > 60 * args.minutes:
                continue
            watched = watcher.act(piece if piece.fps <= 31 else at_rate(piece, 30.0), args.seed + number)
            if watched is not None:
                watched.save(path)
                print(f"{path}: {len(watched)} frames", flush=True)
        watcher.close()
    estimator.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
