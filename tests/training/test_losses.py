"""Labels, mirror images, missing labels and losses agree with each other."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from bodycast.hmr.body.surface_joints import POINT_NAMES
from bodycast.hmr.body.torch_body import TorchBody
from bodycast.hmr.networks.decoders.smpl_transformer import SmplPrediction
from tests.training.toy import toy_crops
from training.batch import Batch, everything_known, joined, mirrored, mirrored_where
from training.config import LossWeights
from training.crop_camera import full_translation, in_crop, ray_rotation
from training.crop_set import Crops
from training.losses import HmrLoss, heatmap_targets, weighted_mean

BODY_TERMS = ("joints_3d", "joints_2d", "vertices", "root", "pose", "betas", "camera")


@pytest.fixture(scope="module")
def batch() -> Batch:
    return Crops(toy_crops(12)).rows(np.arange(12), (256, 192))


def _told(batch: Batch) -> SmplPrediction:
    count = len(batch)
    return SmplPrediction(
        torch.zeros(count, 24, 6), batch.pose, batch.betas, batch.camera, torch.zeros(count, 4), torch.ones(count)
    )


def _projected(batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """Joints in the crop, from the labels through the body, and directly."""
    body = TorchBody.load()
    joints = body.posed_joints(batch.pose, batch.betas, torch.zeros(len(batch), 3))
    turned = (ray_rotation(batch) @ (joints - joints[:, :1]).transpose(1, 2)).transpose(1, 2)
    placed = turned + (full_translation(batch.camera, batch) + joints[:, 0])[:, None]
    return in_crop(placed, batch), in_crop(batch.joints, batch)


@pytest.mark.parametrize("flip", [False, True])
def test_labels_agree_also_in_the_mirror(batch: Batch, flip: bool) -> None:
    seen = mirrored(batch) if flip else batch
    ours, truth = _projected(seen)
    assert (ours - truth).abs().max() < 2e-3
    # The part map shows each joint's dot where the joint is.
    rows, columns = torch.nonzero(seen.parts[0] == 19 + 1, as_tuple=True)
    place = torch.stack([(columns.float().mean() + 0.5) / 64 - 0.375, (rows.float().mean() + 0.5) / 64 - 0.5])
    assert (place - truth[0, 19]).abs().max() < 1.5 / 64


def test_mirroring_twice_changes_nothing(batch: Batch) -> None:
    known = replace(batch, known=everything_known(batch))
    twice = mirrored(mirrored(known))
    for name in ("parts", "pose", "images", "joints", "camera", "centre_px"):
        torch.testing.assert_close(getattr(twice, name), getattr(batch, name))
    assert twice.known is not None and known.known is not None
    torch.testing.assert_close(twice.known.points_2d, known.known.points_2d)


def test_mirrored_points_follow_the_joints(batch: Batch) -> None:
    known = replace(batch, known=everything_known(batch))
    other = mirrored(known)
    assert other.known is not None
    torch.testing.assert_close(other.known.points_2d[:, :24], in_crop(other.joints, other), atol=1e-4, rtol=0)
    assert POINT_NAMES[24] == "nose"


def test_only_the_chosen_rows_are_mirrored(batch: Batch) -> None:
    chosen = torch.arange(12) % 2 == 0
    mixed, other = mirrored_where(batch, chosen), mirrored(batch)
    for name in ("images", "pose", "joints", "camera"):
        torch.testing.assert_close(getattr(mixed, name)[0], getattr(other, name)[0])
        torch.testing.assert_close(getattr(mixed, name)[1], getattr(batch, name)[1])


def test_truth_has_no_loss(batch: Batch) -> None:
    loss = HmrLoss(LossWeights())
    _, terms = loss(_told(batch), None, batch)
    for name in BODY_TERMS:
        assert terms[name] < 2e-3, name
    wrong = _told(batch)._replace(betas=batch.betas + 1)
    assert loss(wrong, None, batch)[1]["vertices"] > 0.01
    # All labels stated as known: the same.
    stated = replace(batch, known=everything_known(batch))
    for name, value in loss(wrong, None, stated)[1].items():
        if name not in ("joints_2d", "total"):  # the labelled joints alone, without the points of the face
            torch.testing.assert_close(value, loss(wrong, None, batch)[1][name], atol=1e-5, rtol=1e-3)


def test_the_logged_total_does_not_grow_with_the_weights(batch: Batch) -> None:
    loss = HmrLoss(LossWeights())
    wrong = _told(batch)._replace(betas=batch.betas + 1)
    early, logged_early = loss(wrong, None, batch, 0.1)
    late, logged_late = loss(wrong, None, batch, 1.0)
    assert early < 0.5 * late
    torch.testing.assert_close(logged_early["total"], late)
    torch.testing.assert_close(logged_late["total"], late)


def test_missing_labels_weigh_nothing(batch: Batch) -> None:
    """Rows 6 to 11 know 2D points alone: nonsense in their other labels changes no loss, in their points it does."""
    known = everything_known(batch)
    rows = (torch.arange(12) < 6).float()
    only_2d = replace(known, pose=rows, betas=rows, camera=rows, parts=rows, joints=known.joints * rows[:, None])
    honest = replace(batch, known=only_2d)
    pose, betas, joints = batch.pose.clone(), batch.betas.clone(), batch.joints.clone()
    pose[6:], betas[6:], joints[6:] = torch.eye(3), 0.0, 0.0
    nonsense = replace(honest, pose=pose, betas=betas, joints=joints)
    loss = HmrLoss(LossWeights())
    told = _told(batch)._replace(betas=batch.betas + 0.3)
    heads = torch.zeros(12, 24, 8, 6), torch.zeros(12, 25, 8, 6)
    first, second = loss(told, heads, honest)[1], loss(told, heads, nonsense)[1]
    for name in first:
        torch.testing.assert_close(first[name], second[name], msg=name)
    moved = replace(only_2d, points_2d=only_2d.points_2d + 0.1)
    assert loss(told, None, replace(honest, known=moved))[1]["joints_2d"] > first["joints_2d"] + 0.02


def test_batches_of_different_knowledge_join(batch: Batch) -> None:
    partly = replace(batch, known=replace(everything_known(batch), pose=torch.zeros(12)))
    both = joined([batch, partly])
    assert len(both) == 24 and both.known is not None
    assert both.known.pose.tolist() == [1.0] * 12 + [0.0] * 12
    assert joined([batch, batch]).known is None


def test_weighted_mean_ignores_what_counts_nothing() -> None:
    values = torch.tensor([[1.0, 3.0], [100.0, 100.0]])
    assert weighted_mean(values, torch.tensor([1.0, 0.0])) == 2
    assert weighted_mean(values, torch.tensor([[1.0, 0.0], [0.0, 0.0]])) == 1
    assert weighted_mean(values, torch.zeros(2)) == 0


def test_heat_maps_peak_where_the_joint_is() -> None:
    points = torch.tensor([[[0.1, -0.2]]])
    peak = heatmap_targets(points, 32, 24)[0, 0].argmax().item()
    row, column = divmod(peak, 24)
    assert abs((row + 0.5) / 32 - 0.5 + 0.2) <= 0.5 / 32 + 1e-6
    assert abs(((column + 0.5) / 24 - 0.5) * 24 / 32 - 0.1) <= 0.5 / 32 + 1e-6
