"""What an HMR engine makes of rendered motion: frames of truth and estimate side by side.

A person acts a clip before a fixed camera in a drawn room. As in a live run, every crop is cut around the mesh that was
recovered one frame before (padded); where that has lost the person, the crop starts from the true box again, which is
what the detector is for. Only the crop is drawn, not the whole picture.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from bodycast.engines.base import Engine
from bodycast.hmr.body.body_model import BodyModel, forward_kinematics
from bodycast.hmr.geometry import boxes
from bodycast.hmr.geometry.camera import cam_crop_to_full
from bodycast.hmr.geometry.crop import crop_transforms, stack_crops
from bodycast.hmr.geometry.crop_ray import crop_ray_rotation
from bodycast.npz import read_npz
from training.motion.data import MotionClip
from training.synthetic.atlas_renderer import AtlasRenderer, CropScene, Drawn, Lighting
from training.synthetic.cast import Member, SkinPoints, make_cast
from training.synthetic.clip import room_camera, stage
from training.synthetic.drawn import BareBody
from training.synthetic.garments.head_chart import HEAD_AXIS_XZ, HEAD_LOW_M, HEAD_TOP_M
from training.synthetic.garments.wardrobe import WARDROBE_FILE, Wardrobe
from training.synthetic.lighting import sample_lighting
from training.synthetic.limb_coordinates import limb_coordinates
from training.synthetic.rooms import draw_room
from training.synthetic.scene import Camera, crop_window, project

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
U8 = NDArray[np.uint8]
Rng = np.random.Generator
IMAGE_WH = (1280, 720)
PADDING = 0.05
LOST_IOU = 0.3
MIN_SHARE_SEEN = 0.15
NEAR_M = 0.3
SENSOR_NOISE = 3.0


@dataclass(frozen=True)
class PairedMotion:
    """Truth and estimate of one person, T frames, camera frame (x right, y down, z forward), metres.

    `time_s` (T,) float64; `pose` (T,24,3,3), `transl_m` (T,3), `betas` (T,10), and the same three as the engine `saw`
    them, all float32; `score` (T,) float32, 0 where nothing was seen; `fps` (); `up` (3,) which way is up.
    """

    time_s: F64
    pose: F32
    transl_m: F32
    betas: F32
    saw_pose: F32
    saw_transl_m: F32
    saw_betas: F32
    score: F32
    fps: NDArray[np.float64]
    up: F32

    def __len__(self) -> int:
        return len(self.time_s)

    def save(self, path: Path) -> None:
        """Write as .npz."""
        np.savez_compressed(path, **{field.name: getattr(self, field.name) for field in fields(self)})

    @staticmethod
    def load(path: Path) -> PairedMotion:
        """Read what `save` wrote."""
        arrays = read_npz(path)
        return PairedMotion(**{field.name: arrays[field.name] for field in fields(PairedMotion)})


def load_pairs(folder: Path, held_out: bool, one_in: int = 8) -> list[PairedMotion]:
    """The pairs of a folder: of every `one_in`-th clip (all its pieces) where `held_out`, else of the others.

    Raises ValueError where there are too few.
    """
    files = sorted(folder.glob("*.npz"))
    names = sorted({path.stem.split("_", 1)[-1] for path in files})
    chosen = {name for number, name in enumerate(names) if (number % one_in == one_in - 1) == held_out}
    pairs = [PairedMotion.load(path) for path in files if path.stem.split("_", 1)[-1] in chosen]
    if not pairs:
        raise ValueError(f"{folder}: too few pairs; make them with python -m training.motion.make_pairs")
    return pairs


@dataclass(frozen=True)
class Scene:
    """Where a clip is acted: camera, its place, the actor's start (x, z) and heading."""

    camera: Camera
    origin: F32
    start_xz: tuple[float, float]
    yaw_rad: float

    def place(self, clip: MotionClip, body: BodyModel, betas: F32) -> tuple[F32, F32]:
        """The clip in the camera frame: pose (T,24,3,3), translation (T,3)."""
        pose, transl = stage(clip.pose, clip.transl_m, len(clip), self.start_xz, self.yaw_rad)
        pose = pose.copy()
        rest = body.joints(betas[None])[0, 0]
        pelvis = (transl + rest - self.origin) @ self.camera.rotation.T
        pose[:, 0] = self.camera.rotation @ pose[:, 0]
        return pose, (pelvis - rest).astype(np.float32)


def draw_scene(rng: Rng) -> Scene:
    """A camera at chest height, a person 1.8 to 5 m away in any direction; the near ones are cut by the picture."""
    camera, origin = room_camera(IMAGE_WH, float(rng.uniform(45, 75)), float(rng.uniform(0.9, 1.8)), 0.0)
    near = rng.random() < 0.2
    z = -float(rng.uniform(1.6, 2.2) if near else rng.uniform(2.8, 5.0))
    return Scene(camera, origin, (float(rng.normal(0, 0.25)), z), float(rng.uniform(-np.pi, np.pi)))


class Studio:
    """Acts clips and lets an engine watch; `held_out`: in the clothes of the test split. Owns a GL context: use it from
    one thread, one at a time."""

    def __init__(self, engine: Engine, *, held_out: bool) -> None:
        self.engine = engine
        self.body = BodyModel.load()
        self.wardrobe = Wardrobe.load(WARDROBE_FILE, held_out=held_out, photographs=(), body=self.body)
        self.bare, self.points = BareBody.of(self.body, limb_coordinates(self.body)), SkinPoints.of(self.body)
        self.hw: tuple[int, int] = tuple(int(n) for n in engine.package.info.input("crops").shape[1:3])  # type: ignore[assignment]
        self.ray_frame = engine.package.info.orientation_frame == "crop-ray"
        self.takes_box = any(spec.name == "box_info" for spec in engine.package.info.inputs)
        self.renderer = AtlasRenderer(1, 1, self.hw)
        for name in ("cloth", "prints", "heads"):
            self.renderer.set_textures(name, getattr(self.wardrobe, name))
        self.renderer.set_head_box((*HEAD_AXIS_XZ, HEAD_TOP_M, HEAD_LOW_M))

    def close(self) -> None:
        """Release the GL objects; the engine stays open."""
        self.renderer.close()

    def act(self, clip: MotionClip, seed: int) -> PairedMotion | None:
        """Draw and estimate a clip at its own rate; None where no scene of several shows the person throughout."""
        rng = np.random.default_rng(seed)
        member = make_cast(rng, 1, self.bare, self.points, self.wardrobe, self.renderer)[0]
        try:
            return self._act(clip, member, rng)
        finally:
            member.mesh.release()

    def _act(self, clip: MotionClip, member: Member, rng: Rng) -> PairedMotion | None:
        betas = member.betas
        placed = next((found for _ in range(20) if (found := self._place(rng, clip, betas)) is not None), None)
        if placed is None:
            return None
        scene, pose, transl = placed
        shown = self._watch(scene, pose, transl, member, rng)
        if shown is None:
            return None
        saw_pose, saw_transl, saw_betas, score = shown
        return PairedMotion(
            time_s=np.arange(len(clip)) / clip.fps,
            pose=pose.astype(np.float32),
            transl_m=transl,
            betas=np.tile(betas, (len(clip), 1)),
            saw_pose=saw_pose,
            saw_transl_m=saw_transl,
            saw_betas=saw_betas,
            score=score,
            fps=np.float64(clip.fps),
            up=scene.camera.rotation @ np.array([0, 1, 0], np.float32),
        )

    def _place(self, rng: Rng, clip: MotionClip, betas: F32) -> tuple[Scene, F32, F32] | None:
        """A scene whose picture holds at least a third of the joints at all times, and the clip in it."""
        scene = draw_scene(rng)
        pose, transl = scene.place(clip, self.body, betas)
        _, places = forward_kinematics(pose, self.body.joints(betas[None]))
        joints = places + transl[:, None]
        pixels = project(joints, scene.camera)
        inside = ((pixels >= 0) & (pixels < np.array(scene.camera.image_wh))).all(-1) & (joints[..., 2] > NEAR_M)
        return (scene, pose, transl) if inside.mean(1).min() > 1 / 3 else None

    def _watch(
        self, scene: Scene, pose: F32, transl: F32, member: Member, rng: Rng
    ) -> tuple[F32, F32, F32, F32] | None:
        count, betas = len(pose), member.betas
        saw = (
            np.zeros((count, 24, 3, 3), np.float32),
            np.zeros((count, 3), np.float32),
            np.zeros((count, 10), np.float32),
            np.zeros(count, np.float32),
        )
        room = draw_room(rng, scene.camera, scene.origin.astype(np.float64))
        light = sample_lighting(rng, room, scene.camera.rotation[:, 1])
        rest = self.body.rest_vertices(betas[None])
        box: F32 | None = None
        for frame in range(count):
            vertices = self.body(pose[frame : frame + 1], betas[None], transl[frame : frame + 1], rest).vertices[0]
            true_box, share = _seen_box(vertices, scene.camera)
            if share < MIN_SHARE_SEEN:
                return None
            if box is None or boxes.iou_matrix(box[None], true_box[None])[0, 0] < LOST_IOU:
                box = boxes.pad(true_box, PADDING)
            person = Drawn(member.mesh, self._motions(member, pose[frame], transl[frame]))
            seen = self._estimate(scene.camera, room, person, vertices, light, box, rng)
            for column, value in zip(saw, seen, strict=True):
                column[frame] = value
            box = self._mesh_box(scene.camera, *seen[:3])
        return saw

    @staticmethod
    def _motions(member: Member, pose: F32, transl: F32) -> F32:
        """(24, 3, 4): rest space -> camera frame."""
        turns, places = forward_kinematics(pose[None], member.joints_rest[None])
        shifts = places[0] - (turns[0] @ member.joints_rest[..., None])[..., 0] + transl
        return np.concatenate([turns[0], shifts[..., None]], axis=-1).astype(np.float32)

    def _estimate(
        self, camera: Camera, room: U8, person: Drawn, vertices: F32, light: Lighting, box: F32, rng: Rng
    ) -> tuple[F32, F32, F32, F32]:
        transform = crop_transforms(box[None], self.hw)[0]
        centre, size = (a.astype(np.float32) for a in stack_crops([transform]))
        window = crop_window(centre[0], float(size[0]), camera, self.hw)
        middle = ((vertices.min(0) + vertices.max(0)) / 2).astype(np.float32)
        radius = float(np.linalg.norm(vertices - middle, axis=1).max()) + 0.12
        drawn, _ = self.renderer.render([CropScene([person], window, light, middle, radius)])
        rgba = drawn[0].astype(np.float32)
        behind = cv2.warpAffine(room, transform.image_to_crop, self.hw[::-1]).astype(np.float32)
        pixels = rgba[..., :3] + (1 - rgba[..., 3:] / 255) * behind + rng.normal(0, SENSOR_NOISE, (*self.hw, 3))
        crops = np.clip(pixels, 0, 255).astype(np.uint8)[None]
        wh, focal = np.array(camera.image_wh, np.float32), camera.focal_px
        inputs = {"crops": crops}
        if self.takes_box:
            inputs["box_info"] = (np.concatenate([centre - wh / 2, size[:, None]], axis=1) / focal).astype(np.float32)
        out = self.engine.run(inputs)
        pose = out["pose"][0].astype(np.float32).copy()
        if self.ray_frame:
            pose[0] = crop_ray_rotation(centre, np.float32(focal), wh / 2)[0] @ pose[0]
        scale = out["camera"].astype(np.float32)
        scale[:, 0] = np.maximum(scale[:, 0], 0.05)
        transl = cam_crop_to_full(scale, centre, size, wh, np.float32(focal))
        return pose, transl[0], out["betas"][0], out["score"][0]

    def _mesh_box(self, camera: Camera, pose: F32, transl: F32, betas: F32) -> F32 | None:
        vertices = self.body(pose[None], betas[None].astype(np.float32), transl[None].astype(np.float32)).vertices[0]
        box, share = _seen_box(vertices, camera)
        return boxes.pad(box, PADDING) if share > 0 else None


def _seen_box(vertices: F32, camera: Camera) -> tuple[F32, float]:
    """xyxy (4,) of the vertices (V,3) before the camera, clipped to the picture, and the share of them in it."""
    ahead = vertices[:, 2] > NEAR_M
    if not ahead.any():
        return np.zeros(4, np.float32), 0.0
    pixels = project(vertices[ahead], camera)
    wh = np.array(camera.image_wh, np.float32)
    share = float(((pixels >= 0) & (pixels < wh)).all(1).sum()) / len(vertices)
    box = boxes.clip(np.concatenate([pixels.min(0), pixels.max(0)])[None], camera.image_wh)[0].astype(np.float32)
    return box, share if (box[2:] - box[:2]).min() > 12 else 0.0
