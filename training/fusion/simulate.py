"""People without pictures: a pose, a shape, a camera, a crop, and keypoints with the errors of real networks.

The cameras and framings are those of the synthetic people (training/synthetic/framing.py), drawn for a whole batch at
once. The errors are whole rows of what a keypoint network answered about rendered people (training/fusion/rendered.py):
offsets in spreads of the person's keypoints, and confidences, so that errors of one person belong together and limbs
out of sight are as wrong and as unsure as they are in pictures.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from bodycast.hmr.body.body_model import EMBEDDED_BODY, BodyModel
from bodycast.hmr.body.coco_joints import COCO_CARRIER, COCO_JOINT, coco_offsets
from bodycast.hmr.body.torch_body import TorchBody, forward_kinematics
from bodycast.hmr.geometry.crop import PADDING
from bodycast.hmr.networks.rotation import rotmat_from_axis_angle
from bodycast.npz import read_npz

LEAST_SEEN = 0.15
NEAREST_M = 0.25
MEDIAN_STRENGTH = 0.6
"""Of errors in simulated people over those about rendered people. Thunder's median error about the labelled people of
real pictures is 0.7 of that about rendered ones, its upper quartile 0.6 (docs/lab/fusion.md)."""


class People(NamedTuple):
    """A batch: keypoints (B, 17, 3) as a network gives them, geometry (B, 3), truth: pose (B, 24, 3, 3), root relative
    to the crop's ray; betas (B, 10); joints (B, 24, 3) relative to the pelvis in the ray's frame, m; points (B, 17, 3)
    true keypoints in crop heights from the crop's centre, and whether the picture shows them; transl (B, 3) camera
    frame, m; weight (B,) of 3D losses."""

    keypoints: Tensor
    geometry: Tensor
    pose: Tensor
    betas: Tensor
    joints: Tensor
    points: Tensor
    transl: Tensor
    weight: Tensor


@dataclass(frozen=True)
class CocoBody:
    """The embedded body in torch, with COCO's points."""

    body: TorchBody
    offsets: Tensor

    @staticmethod
    def load() -> CocoBody:
        """The embedded body."""
        return CocoBody(TorchBody.load(EMBEDDED_BODY), torch.from_numpy(coco_offsets(BodyModel.load(EMBEDDED_BODY))))

    def pose(self, pose: Tensor, betas: Tensor) -> tuple[Tensor, Tensor]:
        """Joints (B, 24, 3) and COCO points (B, 17, 3) relative to the pelvis, m."""
        turns, places = forward_kinematics(pose, self.body.joints(betas))
        places = places - places[:, :1]
        points = places[:, COCO_JOINT] + (turns[:, COCO_CARRIER] @ self.offsets[..., None])[..., 0]
        return places, points


def about_axis(angle: Tensor, axis: int) -> Tensor:
    """(B,) rad -> (B, 3, 3)."""
    vector = torch.zeros(len(angle), 3)
    vector[:, axis] = angle
    return rotmat_from_axis_angle(vector)


def ray_rotation(ray: Tensor) -> Tensor:
    """As `bodycast.hmr.geometry.crop_ray.rotation_to_ray`, for (B, 3) with z = 1."""
    direction = ray / ray.norm(dim=1, keepdim=True)
    x, y, z = direction.unbind(1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, zero, x, zero, zero, y, -x, -y, zero], dim=1).reshape(-1, 3, 3)
    return torch.eye(3) + cross + (cross @ cross) / (1 + z)[:, None, None]


class Simulation:
    """Draws `People` from a pose bank and rows of keypoint errors."""

    def __init__(self, bank: Path, errors: tuple[Tensor, Tensor], seed: int = 0, upside_down: float = 0.06) -> None:
        """errors: offsets (R, 17, 2) in spreads, confidences (R, 17); see `error_rows`. upside_down: share of the
        people who are turned any way."""
        arrays = read_npz(bank, ("axis_angle", "webcam"))
        self.axis_angle = torch.from_numpy(arrays["axis_angle"])
        self.webcam = torch.from_numpy(arrays["webcam"])
        self.offsets, self.confidence = errors
        self.body = CocoBody.load()
        self.generator = torch.Generator().manual_seed(seed)
        self.upside_down = upside_down

    def _normal(self, count: int, mean: float = 0.0, deviation: float = 1.0) -> Tensor:
        return mean + deviation * torch.randn(count, generator=self.generator)

    def _uniform(self, count: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        return low + (high - low) * torch.rand(count, generator=self.generator)

    def _bodies(self, count: int) -> tuple[Tensor, Tensor, Tensor]:
        rows = torch.randint(len(self.axis_angle), (count,), generator=self.generator)
        pose = rotmat_from_axis_angle(self.axis_angle[rows].float().reshape(-1, 3)).reshape(count, 24, 3, 3)
        betas = torch.randn(count, 10, generator=self.generator).clamp(-2.5, 2.5)
        return pose, betas, self.webcam[rows]

    def _root(self, webcam: Tensor) -> Tensor:
        """(B, 3, 3) world to camera: heading, sometimes any turn, the camera's pitch and roll."""
        count = len(webcam)
        front = self._uniform(count) < torch.where(webcam, 0.93, 0.4)
        yaw = torch.where(
            front, self._normal(count) * torch.where(webcam, 0.4, 0.65), self._uniform(count, -math.pi, math.pi)
        )
        heading = about_axis(yaw, 1)
        any_way = rotmat_from_axis_angle(torch.randn(count, 3, generator=self.generator) * 1.6)
        tumbling = (self._uniform(count) < self.upside_down) & ~webcam
        heading = torch.where(tumbling[:, None, None], any_way @ heading, heading)
        kind = self._uniform(count)
        steep = torch.where(kind < 0.68, 0.03, torch.where(kind < 0.88, 0.5, -0.25))
        desk = torch.where(kind < 0.4, -0.24, torch.where(kind < 0.8, 0.04, 0.28))
        pitch = torch.where(webcam, desk, steep) + self._normal(count) * torch.where(webcam, 0.14, 0.22)
        # Held by hand, or hung up as it went.
        roll = self._normal(count) * torch.where(self._uniform(count) < 0.3, 0.25, 0.06)
        level = torch.diag(torch.tensor([1.0, -1.0, -1.0]))
        return about_axis(roll, 2) @ about_axis(pitch.clamp(-0.8, 1.1), 0) @ level @ heading

    def _place(self, joints: Tensor, webcam: Tensor, focal: Tensor, wh: Tensor) -> Tensor:
        """(B, 3) translation of the pelvis: whole people, people cut by the frame, heads and shoulders."""
        count = len(joints)
        low, high = joints.amin(1), joints.amax(1)
        whole = torch.maximum(high[:, 1] - low[:, 1], 0.5 * (high[:, 0] - low[:, 0])).clamp(min=0.5) + 0.2
        cut = ~webcam & (self._uniform(count) < 0.25)
        fill = torch.where(cut, self._uniform(count, 0.9, 1.8), self._uniform(count, 0.2, 0.97))
        span = torch.where(webcam, self._uniform(count, 0.3, 0.95), whole)
        fill = torch.where(webcam, self._uniform(count, 0.7, 1.1), fill)
        head = joints[:, 15]
        top = torch.stack([head[:, 0], head[:, 1] - 0.17 + span / 2, head[:, 2]], dim=1)
        centre = torch.where(webcam[:, None], top, (low + high) / 2)
        depth = focal * span / (fill * wh[:, 1])
        depth = torch.maximum(depth, centre[:, 2] - low[:, 2] + 0.3)
        side = self._normal(count) * torch.where(webcam, 0.1, 0.17)
        room = ((1 - fill) / 2).clamp(min=0.03)
        off = torch.stack([side * wh[:, 0], self._uniform(count, -1, 1) * room * wh[:, 1]], dim=1) / focal[:, None]
        return torch.cat([off * depth[:, None], depth[:, None]], dim=1) - centre

    def draw(self, count: int) -> People:
        """A batch of at most `count` people: those of whom next to nothing is in the picture are left out."""
        pose, betas, webcam = self._bodies(count)
        turn = self._root(webcam)
        pose[:, 0] = turn @ pose[:, 0]
        joints, points = self.body.pose(pose, betas)
        sizes = torch.tensor([[1280, 720], [1280, 720], [1920, 1080], [640, 480], [720, 1280], [800, 800.0]])
        wh = sizes[torch.randint(len(sizes), (count,), generator=self.generator)]
        fov = torch.where(webcam, self._normal(count, 74, 11), self._normal(count, 58, 17)).clamp(25, 100)
        focal = wh.norm(dim=1) / 2 / torch.tan(torch.deg2rad(fov) / 2)
        transl = self._place(joints, webcam, focal, wh)
        everything = torch.cat([joints, points], dim=1) + transl[:, None]
        pixels = everything[..., :2] / everything[..., 2:].clamp(min=0.08) * focal[:, None, None] + wh[:, None] / 2
        inside = ((pixels >= 0) & (pixels < wh[:, None])).all(-1) & (everything[..., 2] > 0.1)
        shown = inside.float().mean(1)
        centre, size = self._crop(pixels, inside, wh)
        good = (shown > LEAST_SEEN) & (size > 20) & (transl[:, 2] > NEAREST_M)
        ray = torch.cat([(centre - wh / 2) / focal[:, None], torch.ones(count, 1)], dim=1)
        to_ray = ray_rotation(ray).transpose(1, 2)
        truth = (pixels[:, 24:] - centre[:, None]) / size[:, None, None]
        keypoints = self._seen(truth, inside[:, 24:])
        geometry = torch.cat([ray[:, :2], (size / focal)[:, None]], dim=1)
        pose[:, 0] = to_ray @ pose[:, 0]
        joints = (to_ray[:, None] @ joints[..., None])[..., 0]
        truth = torch.cat([truth, inside[:, 24:, None].float()], dim=2)
        people = People(keypoints, geometry, pose, betas, joints, truth, transl, torch.ones(count))
        return People(*(array[good] for array in people))

    def _crop(self, pixels: Tensor, inside: Tensor, wh: Tensor) -> tuple[Tensor, Tensor]:
        """Centre (B, 2) and height (B,) px of the padded crop of a jittered box around what is seen."""
        far = 1e6
        low = torch.where(inside[..., None], pixels, far).amin(1)
        high = torch.where(inside[..., None], pixels, -far).amax(1)
        longer = (high - low).amax(1)
        pad = 0.07 * longer[:, None]  # skin and hair around joints and face
        low, high = (low - pad).clamp(min=0), torch.minimum(high + pad, wh)
        longer = (high - low).amax(1).clamp(min=1)
        count = len(pixels)
        shift = torch.randn(count, 2, generator=self.generator) * 0.04 * longer[:, None]
        scale = torch.exp((0.05 + 0.1 * torch.randn(count, generator=self.generator)).clamp(-0.25, 0.45))
        return (low + high) / 2 + shift, longer * scale * PADDING

    def _seen(self, truth: Tensor, inside: Tensor) -> Tensor:
        """(B, 17, 3) keypoints with errors and confidences of real networks."""
        count = len(truth)
        rows = torch.randint(len(self.offsets), (count,), generator=self.generator)
        offsets, confidence = self.offsets[rows], self.confidence[rows]
        middle = truth.mean(1, keepdim=True)
        spread = ((truth - middle) ** 2).sum((1, 2)).div(17).sqrt().clamp(0.03, 0.6)
        # Real pictures have no desks and boards before every fifth person: most errors are smaller than these.
        strength = MEDIAN_STRENGTH * torch.exp(0.5 * torch.randn(count, generator=self.generator))
        at = truth + offsets * (spread * strength)[:, None, None]
        # Out of the picture: somewhere in the crop, unsure.
        lost = at.clamp(-0.5, 0.5) + 0.08 * torch.randn(at.shape, generator=self.generator)
        at = torch.where(inside[..., None], at, lost.clamp(-0.5, 0.5))
        unsure = 0.18 * torch.rand(confidence.shape, generator=self.generator)
        return torch.cat([at, torch.where(inside, confidence, unsure)[..., None]], dim=2)


def error_rows(keypoints: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """Errors for `Simulation` from answers (R, 17, 3) about people whose points (R, 17, 3) are known: crop heights, and
    whether the picture shows them. A point that it does not show gets the error of another person's that is shown.
    """
    places, shown = truth[..., :2], truth[..., 2] > 0
    spread = ((places - places.mean(1, keepdim=True)) ** 2).sum((1, 2)).div(17).sqrt().clamp(0.03, 0.6)
    offsets = (keypoints[..., :2] - places) / spread[:, None, None]
    confidence = keypoints[..., 2].clone()
    generator = torch.Generator().manual_seed(0)
    for point in range(places.shape[1]):
        there, missing = torch.nonzero(shown[:, point])[:, 0], torch.nonzero(~shown[:, point])[:, 0]
        taken = there[torch.randint(len(there), (len(missing),), generator=generator)]
        offsets[missing, point], confidence[missing, point] = offsets[taken, point], confidence[taken, point]
    return offsets, confidence
