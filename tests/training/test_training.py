"""The trainer: recipes are closed, batches consistent, a run learns, stops in time and resumes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from hmr.body.torch_body import TorchBody
from training.config import Phase, Recipe, load_recipe
from training.crop_camera import full_translation, in_crop, ray_rotation
from training.crop_set import Batch, CropSet, mirrored
from training.loop import RunOptions, Training, phase_at
from training.losses import HmrLoss, heatmap_targets
from training.trainee import Trainee

TINY = Recipe(
    name="tiny",
    model="swin-t-s2",
    phases=(Phase((96, 96), 0.5, 4, 6e-3, 2e-3), Phase((128, 96), 0.5, 4, 5e-4, 1e-4)),
    arguments={"drop_path": 0.0},
    warmup_steps=2,
)


def test_recipes_load_and_are_closed(tmp_path: Path) -> None:
    recipe = load_recipe("swin-t-s2")
    assert tuple(side * recipe.pool for side in recipe.phases[-1].image_hw) == (256, 192)
    bad = tmp_path / "bad.toml"
    bad.write_text('name = "x"\nmodel = "swin-t-s2"\nlearning = 3\n')
    with pytest.raises(ValueError, match="unknown learning"):
        load_recipe(str(bad))
    with pytest.raises(ValueError, match=r"there are .*swin-t-s2"):
        load_recipe("no-such-recipe")
    with pytest.raises(ValueError, match="shares must add to 1"):
        replace(TINY, phases=TINY.phases[:1])


def test_phases_follow_the_clock() -> None:
    assert phase_at(TINY, 0.0)[0] is TINY.phases[0]
    assert phase_at(TINY, 0.25) == (TINY.phases[0], 0.5)
    assert phase_at(TINY, 0.999)[0] is TINY.phases[1]


def _projected(batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """Joints in the crop, from the labels through the body, and directly."""
    body = TorchBody.load()
    joints = body.posed_joints(batch.pose, batch.betas, torch.zeros(len(batch.betas), 3))
    turned = (ray_rotation(batch) @ (joints - joints[:, :1]).transpose(1, 2)).transpose(1, 2)
    placed = turned + (full_translation(batch.camera, batch) + joints[:, 0])[:, None]
    return in_crop(placed, batch), in_crop(batch.joints, batch)


@pytest.mark.parametrize("flip", [False, True])
def test_labels_agree_also_in_the_mirror(crop_folder: Path, flip: bool) -> None:
    crops = CropSet(crop_folder)
    good = np.flatnonzero(crops.arrays["score"] > 0.5)
    batch = crops.rows(good, (256, 192))
    batch = mirrored(batch) if flip else batch
    ours, truth = _projected(batch)
    near = truth.abs().amax(-1) < 1
    assert (ours - truth)[near].abs().max() < 2e-3


def test_mirroring_swaps_the_sides_of_the_part_map(crop_folder: Path) -> None:
    batch = CropSet(crop_folder).rows(np.arange(24), (256, 192))
    twice = mirrored(mirrored(batch))
    torch.testing.assert_close(twice.parts, batch.parts)
    torch.testing.assert_close(twice.pose, batch.pose)
    torch.testing.assert_close(twice.images, batch.images)
    assert (mirrored(batch).parts == 18 + 1).sum() == (batch.parts == 19 + 1).sum()


def test_truth_has_no_loss(crop_folder: Path) -> None:
    """A network that says the truth loses nothing but the score and shape terms it was told to."""
    from hmr.networks.decoders.smpl_transformer import SmplPrediction

    crops = CropSet(crop_folder)
    batch = crops.rows(np.flatnonzero(crops.arrays["score"] > 0.5), (256, 192))
    count = len(batch.score)
    told = SmplPrediction(
        torch.zeros(count, 24, 6), batch.pose, batch.betas, batch.camera, torch.zeros(count, 4), torch.ones(count)
    )
    _, terms = HmrLoss(TINY.weights)(told, None, batch)
    for name in ("joints_3d", "joints_2d", "vertices", "root", "pose", "betas", "camera"):
        assert terms[name] < 2e-3, name
    wrong = told._replace(betas=batch.betas + 1)
    assert HmrLoss(TINY.weights)(wrong, None, batch)[1]["vertices"] > 0.01


def test_heat_maps_peak_where_the_joint_is() -> None:
    points = torch.tensor([[[0.1, -0.2]]])
    peak = heatmap_targets(points, 32, 24)[0, 0].argmax().item()
    row, column = divmod(peak, 24)
    assert abs((row + 0.5) / 32 - 0.5 + 0.2) <= 0.5 / 32 + 1e-6
    assert abs(((column + 0.5) / 24 - 0.5) * 24 / 32 - 0.1) <= 0.5 / 32 + 1e-6


def test_a_trainee_fits_one_batch_and_keeps_its_weights_when_resized(crop_folder: Path) -> None:
    torch.manual_seed(0)
    crops = CropSet(crop_folder)
    batch = crops.rows(np.flatnonzero(crops.arrays["score"] > 0.5)[:6], (96, 96))
    mean = {
        "init_body_pose": torch.zeros(1, 144) + torch.tensor([1.0, 0, 0, 0, 1.0, 0]).repeat(24),
        "init_betas": torch.zeros(1, 10),
        "init_cam": torch.tensor([[0.9, 0.0, 0.0]]),
    }
    trainee = Trainee(TINY, mean, torch.device("cpu"))
    losses = [trainee.step(batch, TINY.phases[0], 0.0)["total"] for _ in range(25)]
    assert losses[-1] < 0.7 * losses[0]
    weight = trainee.net.smpl_head.decpose.weight.clone()
    trainee.resize((128, 96))
    torch.testing.assert_close(trainee.net.smpl_head.decpose.weight, weight)
    larger = crops.rows(np.arange(2), (128, 96))
    assert np.isfinite(trainee.step(larger, TINY.phases[1], 0.0)["total"])


def test_a_run_stops_in_time_and_resumes(crop_folder: Path, tmp_path: Path) -> None:
    def options(minutes: float) -> RunOptions:
        return RunOptions(
            crop_folder, crop_folder, tmp_path, minutes, threads=1, validate_every_s=1.0, validate_limit=4
        )

    first = Training([TINY], options(0.04))
    scores = first.run()["tiny"]
    assert {"mpjpe_mm", "mean_pose_mpjpe_mm", "error_2d_percent"} <= set(scores)
    steps = first.trainees[0].steps
    second = Training([TINY], options(0.06))
    assert second.trainees[0].steps == steps and second.spent_s >= 0.04 * 60
    second.run()
    assert second.trainees[0].steps > steps
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert len(log) >= 2 and (tmp_path / "curves.png").stat().st_size > 1000
    saved = torch.load(tmp_path / "tiny.pt", weights_only=True)
    assert saved["model"] == "swin-t-s2" and saved["arguments"]["image_hw"] == [128, 96]


def test_a_folder_without_crops_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"meta\.json is missing"):
        CropSet(tmp_path)
