"""The fusion's training: people without pictures are what their labels say, and a short run learns and goes on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from bodycast.hmr.body.body_model import BodyModel, forward_kinematics
from bodycast.hmr.body.coco_joints import coco_offsets, coco_points
from bodycast.hmr.geometry.rotations import axis_angle_to_matrix
from bodycast.hmr.networks.keypoint_fusion import FusedBody, KeypointFusion, frame_of
from training.fusion.loss import fusion_loss, placed, reprojected
from training.fusion.simulate import CocoBody, People, Simulation, error_rows
from training.fusion.train import FusionRun, FusionTraining
from training.synthetic.chunk import CHUNK

NO_ERRORS = (torch.zeros(1, 17, 2), torch.full((1, 17), 0.8))


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bank") / "bank.npz"
    rng = np.random.default_rng(0)
    turns = rng.normal(0, 0.3, (200, 24, 3)).astype(np.float16)
    turns[:, 0] = 0
    np.savez(path, axis_angle=turns, webcam=rng.random(200) < 0.3)
    return path


def truth_as_answer(people: People) -> FusedBody:
    depth = people.transl[:, 2:]
    camera = torch.cat([2 / (people.geometry[:, 2:] * depth), people.transl[:, :2] - people.geometry[:, :2] * depth], 1)
    count = len(depth)
    return FusedBody(people.pose, people.betas, camera, torch.full((count, 24), 0.05), torch.full((count,), 9.0))


def test_the_true_body_has_no_error_and_lies_on_its_keypoints(bank: Path) -> None:
    people = Simulation(bank, NO_ERRORS, seed=1).draw(300)
    assert len(people.weight) > 250
    loss, parts = fusion_loss(truth_as_answer(people), people, torch.ones(len(people.weight)), CocoBody.load())
    assert max(parts.values()) < 1e-4 and torch.isfinite(loss)
    shown = people.points[..., 2] > 0
    off = (people.keypoints[..., :2] - people.points[..., :2]).norm(dim=2)
    assert off[shown].max() < 1e-5  # no errors were drawn
    assert people.keypoints[..., :2][~shown].abs().max() <= 0.5 and people.keypoints[..., 2][~shown].max() <= 0.18
    torch.testing.assert_close(placed(truth_as_answer(people), people), people.transl, atol=1e-4, rtol=1e-4)


def test_the_bodys_points_are_the_programs(bank: Path) -> None:
    people = Simulation(bank, NO_ERRORS, seed=2).draw(40)
    body = BodyModel.load()
    turns, places = forward_kinematics(people.pose.numpy(), body.joints(people.betas.numpy()))
    expected = coco_points(turns, places - places[:, :1], coco_offsets(body))
    ours = CocoBody.load().pose(people.pose, people.betas)[1]
    np.testing.assert_allclose(ours.numpy(), expected, atol=1e-5)
    seen = reprojected(ours, people.transl, people)
    near = people.points[..., :2].abs().amax(2) < 2
    torch.testing.assert_close(seen[near], people.points[..., :2][near], atol=1e-4, rtol=1e-3)


def test_errors_of_points_out_of_the_picture_come_from_others() -> None:
    truth = torch.rand(50, 17, 3, generator=torch.Generator().manual_seed(0))
    truth[..., 2] = 1
    keypoints = truth.clone()
    keypoints[..., 2] = 0.7
    truth[:25, 15, 2] = 0
    keypoints[:25, 15, :2] += 9
    offsets, confidence = error_rows(keypoints, truth)
    assert offsets.abs().max() < 1e-5 and (confidence == 0.7).all()


def test_unseen_keypoints_say_nothing() -> None:
    """Their place does not matter to the frame, and hardly to the answer."""
    torch.manual_seed(0)
    net = KeypointFusion(body=False, width=32, depth=1).eval()
    keypoints = torch.rand(4, 17, 3) - torch.tensor([0.5, 0.5, 0])
    keypoints[:, 9, 2] = 0
    moved = keypoints.clone()
    moved[:, 9, :2] += 5
    for one, other in zip(frame_of(keypoints), frame_of(moved), strict=True):
        torch.testing.assert_close(one, other)
    geometry = torch.rand(4, 3)
    torch.testing.assert_close(net(keypoints, geometry).rotmat, net(moved, geometry).rotmat)


def test_a_body_that_is_not_there_changes_nothing() -> None:
    torch.manual_seed(0)
    net = KeypointFusion(width=32, depth=1).eval()
    torch.nn.init.normal_(net.enter_body.weight)  # type: ignore[union-attr]
    keypoints, geometry = torch.rand(3, 17, 3), torch.rand(3, 3)
    without = net(keypoints, geometry, torch.zeros(3, 158))
    torch.testing.assert_close(without.rotmat, net(keypoints, geometry).rotmat)
    body = torch.rand(3, 158)
    assert not torch.allclose(without.rotmat, net(keypoints, geometry, body).rotmat)


def rendered_set(folder: Path, chunks: int) -> Path:
    """People as the renderer labels them, seen without errors."""
    rng = np.random.default_rng(3)
    folder.mkdir()
    facing = axis_angle_to_matrix(np.array([np.pi, 0, 0], np.float32))
    for number in range(chunks):
        pose = axis_angle_to_matrix(rng.normal(0, 0.2, (CHUNK, 24, 3)).astype(np.float32)).astype(np.float32)
        pose[:, 0] = facing
        keypoints = np.concatenate([rng.uniform(-0.4, 0.4, (CHUNK, 17, 2)), np.full((CHUNK, 17, 1), 0.6)], axis=2)
        np.savez(
            folder / f"{number:05d}.npz", pose=pose, betas=np.zeros((CHUNK, 10), np.float32),
            camera=np.tile(np.array([0.8, 0, 0], np.float32), (CHUNK, 1)), joints=np.zeros((CHUNK, 24, 3), np.float32),
            centre_px=np.full((CHUNK, 2), 300, np.float32), size_px=np.full(CHUNK, 400, np.float32),
            focal_px=np.full(CHUNK, 900, np.float32), image_wh=np.tile(np.array([640, 640], np.float32), (CHUNK, 1)),
            score=(rng.random(CHUNK) < 0.9).astype(np.float32), seen=np.ones(CHUNK, np.float32),
            thunder_keypoints=keypoints.astype(np.float32), lightning_keypoints=keypoints.astype(np.float32),
        )  # fmt: skip
    return folder


def test_a_short_run_learns_and_goes_on_where_it_was(bank: Path, tmp_path: Path) -> None:
    rendered = rendered_set(tmp_path / "set", 3)
    run = FusionRun(bank, rendered, tmp_path / "out", minutes=0.03, width=32, depth=1, batch=32, rendered_batch=16)
    FusionTraining(run).train()
    state = torch.load(tmp_path / "out" / "keypoint-fusion.pt", weights_only=True)
    assert state["model"] == "keypoint-fusion" and state["metrics"]["mpjpe_mm"] > 0
    again = FusionTraining(run)
    assert again.steps > 0 and again.clock.spent_s > 0.03 * 60
    KeypointFusion(**state["arguments"]).load_state_dict(state["state_dict"])


def test_an_empty_set_is_refused(bank: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no rendered people"):
        FusionTraining(FusionRun(bank, tmp_path, tmp_path / "out"))
