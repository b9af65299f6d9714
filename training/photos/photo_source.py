"""Batches of labelled photographs beside rendered crops.

A photograph's crop has keypoints (weights by how well the teachers agree) and, with SPACE_WEIGHT, BlazePose's joints in
space; pose, shape, camera and parts are unknown (`training.batch.Known`), so that what bodies look like is learned from
the rendered crops of the same batch. Every draw moves and scales the box and the picture's aspect.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from bodycast.hmr.body.joints import NUM_JOINTS
from training.augment import normalise
from training.batch import Batch, Known, joined
from training.crop_camera import ray_rotation
from training.photos.people_file import MARGIN_H, MARGIN_W, decode, read_people
from training.photos.points import body_points, joints_in_space
from training.sources import Source

SPACE_WEIGHT = 0.3
"""Of BlazePose's joints in space beside true ones."""
ASPECT_RESTORED, ASPECT = 0.06, 0.03
"""Jitter of the width's logarithm, where it was restored by a rule and where it is the camera's."""
ZOOM, MOVE = 0.08, 0.03
"""Jitter of the box: of the size's logarithm, and of the centre in crop heights."""
ASPECT_WH = 0.75


class PhotoCrops:
    """People of a file of `training.photos.label`, decoded once, cut anew on every draw."""

    def __init__(self, path: Path, device: torch.device, seed: int, height: int) -> None:
        """height: largest of the crops that will be drawn, px. Raises: DatasetError for another kind of file."""
        people = read_people(path)
        self.count = len(people["start"]) - 1
        self.device = device
        self.generator = torch.Generator(device=device).manual_seed(seed)
        hw = (round(MARGIN_H * height), round(MARGIN_W * height))
        stored = [decode(people, row) for row in range(self.count)]
        crops = [cv2.resize(crop, hw[::-1], interpolation=cv2.INTER_AREA) for crop in stored]
        # A stored crop's centre lies on a pixel, half a pixel aside (hmr.geometry.crop), as the new one's does.
        aside = np.array([[1 / crop.shape[1], 1 / crop.shape[0]] for crop in stored]).reshape(-1, 2)
        self.pixels = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).contiguous().to(device)
        points, weights = body_points(people["points"][..., :2], people["points"][..., 2])
        joints, joint_weights = joints_in_space(people["space"].astype(np.float64), people["points"][..., 2])
        self.labels = {
            name: torch.from_numpy(np.ascontiguousarray(values, np.float32)).to(device)
            for name, values in {
                "points": points, "weights": weights, "joints": joints, "joint_weights": joint_weights,
                "centre_px": people["centre_px"], "size_px": people["size_px"], "image_wh": people["image_wh"],
                "stretched": people["stretched"], "aside": aside,
            }.items()
        }  # fmt: skip

    def __len__(self) -> int:
        return self.count

    def draw(self, size: int, image_hw: tuple[int, int]) -> Batch:
        """`size` random people at image_hw, each cut another way."""
        rows = torch.randint(self.count, (size,), generator=self.generator, device=self.device)
        aspect, zoom, x, y = torch.randn(4, size, generator=self.generator, device=self.device)
        spread = ASPECT + (ASPECT_RESTORED - ASPECT) * self.labels["stretched"][rows]
        return self.rows(
            rows, image_hw, (spread * aspect).exp(), (ZOOM * zoom).exp(), MOVE * torch.stack([x, y], dim=1)
        )

    def rows(
        self, rows: Tensor, image_hw: tuple[int, int],
        aspect: Tensor | None = None, zoom: Tensor | None = None, move: Tensor | None = None,
    ) -> Batch:  # fmt: skip
        """People `rows` (B,): pictures `aspect` (B,) times wider, boxes `zoom` (B,) times smaller and moved by `move`
        (B,2) crop heights; None: as they are."""
        count = len(rows)
        ones = torch.ones(count, device=self.device)
        aspect, zoom = ones if aspect is None else aspect, ones if zoom is None else zoom
        move = torch.zeros(count, 2, device=self.device) if move is None else move
        label = {name: values[rows] for name, values in self.labels.items()}
        wider = torch.stack([aspect, ones], dim=1)
        # Crop heights of the new box from its centre.
        points = (label["points"] * wider[:, None] - move[:, None]) * zoom[:, None, None]
        size = label["size_px"] / zoom
        centre = label["centre_px"] * wider + move * label["size_px"][:, None]
        image_wh = label["image_wh"] * wider
        unknown = torch.zeros(count, device=self.device)
        known = Known(
            pose=unknown, betas=unknown, camera=unknown, parts=unknown, joints=SPACE_WEIGHT * label["joint_weights"],
            points_2d=points, points=label["weights"],
        )  # fmt: skip
        batch = Batch(
            images=normalise(self._cut(rows, image_hw, wider, zoom, move), image_hw),
            parts=torch.zeros(count, 64, 48, dtype=torch.long, device=self.device),
            pose=torch.eye(3, device=self.device).expand(count, NUM_JOINTS, 3, 3).contiguous(),
            betas=torch.zeros(count, 10, device=self.device), camera=torch.zeros(count, 3, device=self.device),
            joints=label["joints"], centre_px=centre, size_px=size, focal_px=image_wh.norm(dim=1), image_wh=image_wh,
            score=ones, known=known,
        )  # fmt: skip
        return _before_the_camera(batch)

    def _cut(self, rows: Tensor, image_hw: tuple[int, int], wider: Tensor, zoom: Tensor, move: Tensor) -> Tensor:
        """(B,h,w,3) pixels 0..255: the stored crops seen through the new boxes; black outside, as in the program."""
        stored = self.pixels[rows].float()
        half = wider.new_tensor([ASPECT_WH / 2, 0.5])  # crop heights at the new crop's border
        margin = wider.new_tensor([MARGIN_W / 2, MARGIN_H / 2])  # and at the stored one's
        scale = half / zoom[:, None] / wider / margin
        aside = wider.new_tensor([1 / image_hw[1], 1 / image_hw[0]])
        offset = move / wider / margin + self.labels["aside"][rows] - aside * scale
        theta = torch.cat([torch.diag_embed(scale), offset[:, :, None]], dim=2)
        grid = F.affine_grid(theta, [len(rows), 3, *image_hw], align_corners=False)
        cut = F.grid_sample(stored, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
        return cut.permute(0, 2, 3, 1)


def _before_the_camera(batch: Batch) -> Batch:
    """The batch with its joints, given from the pelvis in the crop's frame, in the camera's: the place does not matter,
    since losses compare relative to the pelvis, but it should lie before the camera."""
    turned = batch.joints @ ray_rotation(batch).transpose(1, 2)
    depth = 2 * batch.focal_px / batch.size_px
    return Batch(**{**vars(batch), "joints": turned + depth[:, None, None] * turned.new_tensor([0.0, 0.0, 1.0])})


class WithPhotos:
    """A source of rendered crops of whose batches a share are photographs, in random order."""

    def __init__(self, source: Source, photos: PhotoCrops, share: float) -> None:
        """share: of a batch. Raises ValueError outside 0..1."""
        if not 0 < share < 1:
            raise ValueError(f"--photo-share: expected more than 0 and less than 1, got {share:g}")
        self.source, self.photos, self.share = source, photos, share

    @property
    def seen(self) -> int:
        return self.source.seen + len(self.photos)

    def draw(self, size: int, image_hw: tuple[int, int]) -> Batch:
        """Both kinds; the order is random, since a network with a smaller batch takes the first rows."""
        count = min(size - 1, max(1, round(self.share * size)))
        batch = joined([self.source.draw(size - count, image_hw), self.photos.draw(count, image_hw)])
        order = torch.randperm(size, generator=self.photos.generator, device=batch.score.device)
        return batch.map(lambda tensor: tensor[order])

    def close(self) -> None:
        """Stop what renders."""
        self.source.close()
