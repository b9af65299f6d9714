"""One crop of the first version: scene, people in front and behind, things in the way, picture faults, label."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from hmr.body.body_model import BodyModel
from training.synthetic.appearance import sample_appearance
from training.synthetic.backgrounds import Backgrounds
from training.synthetic.faults import motion_kernel
from training.synthetic.painted_scene import sample_camera, sample_light, sample_person, visible_box
from training.synthetic.people_renderer import PeopleRenderer, Person
from training.synthetic.poses import PoseLibrary
from training.synthetic.scene import (
    Camera,
    CropLabel,
    Placed,
    black_outside,
    crop_label,
    crop_window,
    jittered_square,
)

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]
Rng = np.random.Generator
MIN_SHARE = 0.12
BAD_SHARE = 0.08


@dataclass(frozen=True)
class CropSample:
    """`pixels` (256, 192, 3) RGB; `parts` (64, 48), 0 = not the person, else 1 + joint of the visible skin; `score` 1
    where the label holds, 0 for a crop that misses its person (the label is then meaningless)."""

    pixels: U8
    parts: U8
    label: CropLabel
    score: float

    def as_row(self) -> dict[str, NDArray[np.generic]]:
        """The arrays of `chunk.FIELDS`."""
        return self.label.as_row(self.pixels, self.parts, self.score)


@dataclass
class CropStudio:
    """Draws samples of one split. The same seed and index give the same pixels on the same GL."""

    body: BodyModel
    library: PoseLibrary
    backgrounds: Backgrounds
    held_out: bool
    renderer: PeopleRenderer

    def sample(self, rng: Rng) -> CropSample:
        """A new crop."""
        camera, placed, box = self._scene(rng)
        bad = rng.random() < BAD_SHARE
        centre, size = self._miss(rng, box, camera) if bad else jittered_square(rng, box)
        window = crop_window(centre, size, camera)
        photographs = bool(self.backgrounds.photographs)
        people = [Person(placed.vertices, self._look(rng, photographs))]
        if rng.random() < 0.22:
            people.append(Person(self._neighbour(rng, camera, placed), self._look(rng, photographs), labelled=False))
        light = sample_light(rng, camera)
        rgba, parts = self.renderer.render(people, window, light, self.backgrounds.photograph(rng))
        pixels = self._compose(rng, rgba, float(light.ambient_up.mean()))
        if rng.random() < 0.3:
            pixels, parts = occlude(rng, pixels, parts, self.backgrounds)
        pixels = spoil(rng, np.clip(pixels, 0, 255).astype(np.uint8))
        black_outside(pixels, parts, centre, size, camera)
        label = crop_label(placed, camera, centre, size)
        seen = (parts > 0).mean()
        return CropSample(pixels, parts, label, float(not bad and seen > 0.02))

    def _look(self, rng: Rng, photographs: bool):
        return sample_appearance(rng, held_out=self.held_out, photographs=photographs)

    def _scene(self, rng: Rng) -> tuple[Camera, Placed, F32]:
        for _ in range(50):
            camera = sample_camera(rng)
            placed = sample_person(rng, self.body, self.library, camera)
            box, share = visible_box(placed, camera)
            if share > MIN_SHARE and min(box[2] - box[0], box[3] - box[1]) > 24:
                return camera, placed, box
        raise RuntimeError("no visible person in 50 random scenes: the framing rules and the body do not fit")

    def _neighbour(self, rng: Rng, camera: Camera, placed: Placed) -> F32:
        """Vertices of somebody else, beside, behind or partly in front."""
        other = sample_person(rng, self.body, self.library, camera, "full")
        z = float(placed.transl_m[2])
        depth = max(z * rng.choice([rng.uniform(0.8, 0.95), rng.uniform(1.05, 2.0)], p=[0.35, 0.65]), 0.5)
        side = rng.choice([-1, 1]) * rng.uniform(0.35, 1.1)
        start = other.vertices - other.joints[0]
        pelvis = placed.joints[0] * (depth / max(z, 0.3)) + np.array([side, rng.normal(0, 0.1), 0])
        return (start + np.array([pelvis[0], pelvis[1], depth])).astype(np.float32)

    @staticmethod
    def _miss(rng: Rng, box: F32, camera: Camera) -> tuple[F32, float]:
        """A crop that a detector should not have given: far beside the person, or far too small or large."""
        size = float(max(box[3] - box[1], box[2] - box[0]))
        centre = (box[:2] + box[2:]) / 2
        angle = rng.uniform(0, 2 * np.pi)
        if rng.random() < 0.7:
            return (centre + size * rng.uniform(0.8, 1.6) * np.array([np.cos(angle), np.sin(angle)])).astype(
                np.float32
            ), size * float(rng.uniform(0.5, 1.2))
        return centre.astype(np.float32), size * float(rng.choice([rng.uniform(0.1, 0.2), rng.uniform(5, 8)]))

    def _compose(self, rng: Rng, rgba: F32, level: float) -> F32:
        behind = self.backgrounds.sample(rng, rgba.shape[:2]).astype(np.float32)
        if rng.random() < 0.3:
            behind = cv2.GaussianBlur(behind, (0, 0), float(rng.uniform(0.5, 4)))
        behind *= float(np.clip(rng.normal(0.75 + 0.45 * level, 0.15), 0.3, 1.3))
        return rgba[..., :3] * 255 + (1 - rgba[..., 3:]) * behind


def occlude(rng: Rng, pixels: F32, parts: U8, backgrounds: Backgrounds) -> tuple[F32, U8]:
    """Put a board, a ball or a desk in front; the part map loses what is hidden."""
    height, width = pixels.shape[:2]
    mask = np.zeros((height, width), np.uint8)
    if rng.random() < 0.35:  # a desk across the lower edge
        top = int(height * rng.uniform(0.6, 0.95))
        mask[top:] = 1
    elif rng.random() < 0.5:
        corner = rng.uniform([-0.2 * width, 0], [width, height])
        size = rng.uniform(0.12, 0.45, 2) * [width, height]
        box = ((float(corner[0]), float(corner[1])), (float(size[0]), float(size[1])), float(rng.uniform(0, 180)))
        cv2.fillPoly(mask, [cv2.boxPoints(box).astype(np.int32)], 1)
    else:
        centre = (int(rng.uniform(0, width)), int(rng.uniform(0, height)))
        axes = (int(rng.uniform(0.05, 0.25) * width), int(rng.uniform(0.05, 0.25) * height))
        cv2.ellipse(mask, centre, axes, float(rng.uniform(0, 180)), 0, 360, 1, -1)
    thing = backgrounds.sample(rng, (height, width)).astype(np.float32)
    out = np.where(mask[..., None] > 0, thing, pixels)
    hidden = cv2.resize(mask, (parts.shape[1], parts.shape[0]), interpolation=cv2.INTER_NEAREST) > 0
    return out, np.where(hidden, 0, parts).astype(np.uint8)


def spoil(rng: Rng, pixels: U8) -> U8:
    """What lenses, sensors and codecs do: blur, little light, white balance, noise, low resolution, JPEG."""
    out = pixels.astype(np.float32)
    if rng.random() < 0.25:
        out = cv2.filter2D(out, -1, motion_kernel(rng, 10))
    elif rng.random() < 0.3:
        out = cv2.GaussianBlur(out, (0, 0), float(rng.uniform(0.4, 1.6)))
    if rng.random() < 0.3:
        small = float(rng.uniform(0.2, 0.7))
        low = cv2.resize(out, None, fx=small, fy=small, interpolation=cv2.INTER_AREA)
        out = cv2.resize(low, (out.shape[1], out.shape[0]), interpolation=cv2.INTER_LINEAR)
    out = 255 * np.clip(out / 255, 0, 1) ** float(np.exp(rng.normal(0, 0.2)))
    out = out * np.clip(rng.normal(1, 0.06, 3), 0.8, 1.2) * float(np.clip(rng.normal(1, 0.15), 0.35, 1.4))
    if rng.random() < 0.6:
        out = out + rng.normal(0, rng.uniform(1, 9), out.shape)
    out = np.clip(out, 0, 255).astype(np.uint8)
    if rng.random() < 0.5:
        quality = int(rng.integers(25, 90))
        ok, data = cv2.imencode(".jpg", out, [cv2.IMWRITE_JPEG_QUALITY, quality])
        out = cv2.imdecode(data, cv2.IMREAD_COLOR) if ok else out
    return out
