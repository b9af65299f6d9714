"""The live smoother's network: what holds before it has learnt anything, its loss, its graph."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from bodycast.hmr.networks.temporal.motion_window import MOTION_WIDTH, REFERENCE, MotionWindow, columns_of, rotations_of
from bodycast.hmr.networks.temporal.window_smoother import WindowSmoother, example_window, per_number
from tests.networks.onnx_helpers import build_with_tensorrt_rtx, export_and_compare
from training.motion.recipe import MotionWeights, load_motion_recipe
from training.motion.smoother_loss import rollout, smoother_loss
from training.motion.windows import WindowBatch

TINY = {"dim": 16, "layers": 1, "heads": 2, "ff_width": 24, "frames": 48}


def line(age_s: torch.Tensor, slope: float = 0.3) -> torch.Tensor:
    """(B,F,147): a place that moves at constant speed, joints at rest."""
    motion = torch.tensor([1.0, 0, 0, 0, 1, 0] * 24 + [0, 0, 1.2]).expand(*age_s.shape, MOTION_WIDTH).clone()
    motion[..., 144] = 0.1 - slope * age_s
    return motion


def ages(rate_hz: float, seconds: float = 1.4) -> torch.Tensor:
    return (torch.arange(int(seconds * rate_hz)) / rate_hz)[None]


@pytest.mark.parametrize("rate_hz", [15.0, 24.0, 30.0, 60.0])
def test_a_straight_motion_comes_out_as_it_is_at_every_rate(rate_hz: float) -> None:
    window = MotionWindow(ridge=1e-6)
    age_s = ages(rate_hz)
    found = window(line(age_s), age_s, torch.ones_like(age_s)).values
    wanted = line(window.ages_s[None])[:, :, None]
    # Beyond the frames, and where a narrow kernel reaches no two of them, there is no slope to see.
    inside = window.ages_s < 1.2
    assert (found - wanted)[:, inside][:, :, 2:].abs().max() < 2e-3


def test_order_and_padding_of_the_frames_do_not_matter() -> None:
    window = MotionWindow()
    generator = torch.Generator().manual_seed(0)
    age_s = ages(30.0)
    motion = line(age_s) + 0.05 * torch.randn(1, age_s.shape[1], MOTION_WIDTH, generator=generator)
    wanted = window(motion, age_s, torch.ones_like(age_s)).values
    order = torch.randperm(age_s.shape[1], generator=generator)
    padded = torch.cat((motion[:, order], torch.randn(1, 5, MOTION_WIDTH)), 1)
    padded_age = torch.cat((age_s[:, order], torch.zeros(1, 5)), 1)
    weight = torch.cat((torch.ones(1, len(order)), torch.zeros(1, 5)), 1)
    torch.testing.assert_close(window(padded, padded_age, weight).values, wanted, atol=1e-5, rtol=0)


def test_frames_that_face_the_other_way_are_not_believed() -> None:
    window = MotionWindow()
    age_s = ages(30.0)
    motion = line(age_s, slope=0.0)
    turned = motion.clone()
    turned[:, 6:9, :6] = torch.tensor([-1.0, 0, 0, 0, 1, 0])
    belief = window.belief(turned, age_s, torch.ones_like(age_s))
    assert belief[:, 6:9].max() < 0.05 and belief[:, 12:].min() > 0.95
    fit = window(turned, age_s, torch.ones_like(age_s)).values[:, :, REFERENCE]
    assert (fit - motion[:, :1])[..., :6].abs().max() < 0.06


def test_a_trajectory_is_read_between_its_slots_and_a_little_ahead() -> None:
    window = MotionWindow()
    trajectory = (2.0 - window.ages_s)[None, :, None]
    at = torch.tensor([[0.0, 0.05, 0.31, 0.9, 1.3, 5.0, -0.04, -3.0]])
    found = (window.between(at) @ trajectory)[0, :, 0]
    torch.testing.assert_close(found, torch.tensor([2.0, 1.95, 1.69, 1.1, 0.7, 0.7, 2.04, 2.1]), atol=1e-5, rtol=0)


def test_untrained_it_is_the_local_fit_and_rotations_are_rotations() -> None:
    net = WindowSmoother(**TINY)
    inputs = example_window(net, 3)
    found = net(*inputs)
    fit = net.window(*inputs[:3]).values[:, :, REFERENCE]
    torch.testing.assert_close(rotations_of(found.trajectory), rotations_of(fit), atol=1e-5, rtol=0)
    torch.testing.assert_close(found.pose @ found.pose.mT, torch.eye(3).expand(3, 24, 3, 3), atol=1e-5, rtol=0)
    torch.testing.assert_close(columns_of(found.pose)[:, :6], found.pose[:, 0, :, :2].mT.flatten(1))


def test_whatever_it_has_learnt_a_still_body_stays() -> None:
    net = WindowSmoother(**TINY)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    age_s = (torch.arange(48) / 30)[None]
    motion = line(age_s, slope=0.0)
    previous = line(net.window.ages_s[None], slope=0.0)
    one = torch.ones(1)
    found = net(motion, age_s, (age_s < 1.4).float(), previous, one / 30, one, one * 0)
    torch.testing.assert_close(found.trajectory, previous, atol=1e-4, rtol=0)


def test_mixtures_go_to_the_numbers_of_their_joint() -> None:
    numbers = per_number(torch.arange(26.0))
    assert numbers.shape == (147,)
    assert numbers[6 * 7 : 6 * 8].tolist() == [7.0] * 6 and numbers[144:].tolist() == [24, 24, 25]


def test_velocity_is_minus_the_clean_window_where_it_starts_from_noise() -> None:
    net = WindowSmoother(**TINY)
    clean, start = torch.randn(2, 22, 147), torch.randn(2, 22, 147)
    assert torch.equal(net.velocity(clean, start, torch.zeros(2)), -clean)
    warm = torch.ones(2)
    kept = net.schedule.alphas_cumprod[400]
    back = kept.sqrt() * start - (1 - kept).sqrt() * net.velocity(clean, start, warm)
    torch.testing.assert_close(back, clean, atol=1e-5, rtol=1e-5)


def shaking_batch(rows: int = 4, answers: int = 4) -> WindowBatch:
    """People at rest who are seen shaking."""
    generator = torch.Generator().manual_seed(3)
    now_s = 1.4 + torch.arange(answers) / 30
    time_s = torch.arange(42 + answers) / 30
    age_s = (now_s[:, None] - time_s[None]).expand(rows, -1, -1)
    truth = line(torch.zeros(rows, answers, 22), slope=0.0)
    motion = line(torch.zeros(rows, len(time_s)), slope=0.0)
    motion = motion + 0.1 * torch.randn(motion.shape, generator=generator)
    step_s = torch.full((rows, answers), 1 / 30)
    return WindowBatch(motion, age_s.clamp(min=0), (age_s > -1e-6).float(), step_s, truth)


def test_the_loss_falls_and_every_weight_learns() -> None:
    torch.manual_seed(0)
    net = WindowSmoother(**TINY)
    batch = shaking_batch()
    optimiser = torch.optim.AdamW(net.parameters(), lr=3e-3)
    losses = []
    for _ in range(25):
        terms = smoother_loss(net, batch, MotionWeights(), noise_share=0.2)
        optimiser.zero_grad()
        terms["total"].backward()
        optimiser.step()
        losses.append(float(terms["total"].detach()))
    assert losses[-1] < 0.8 * losses[0]
    assert all(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in net.parameters())
    trajectories, _ = rollout(net, batch)
    assert len(trajectories) == 4 and trajectories[0].shape == (4, 22, 147)


def test_recipes_are_closed(tmp_path: Path) -> None:
    recipe = load_motion_recipe("motion-diffusion")
    assert WindowSmoother(**recipe.arguments).frames == 64
    (tmp_path / "x.toml").write_text('name = "x"\nspeed = 3\n')
    with pytest.raises(ValueError, match=r"x\.toml: unknown speed; there are name, batch"):
        load_motion_recipe(str(tmp_path / "x.toml"))
    with pytest.raises(ValueError, match=r"no recipe 'y'; there are .*motion-diffusion"):
        load_motion_recipe("y")


def test_slots_must_rise_from_now() -> None:
    for wrong in ((0.1, 0.2, 0.3), (0.0, 0.2, 0.1), (0.0, 0.1)):
        with pytest.raises(ValueError, match="slot ages"):
            MotionWindow(wrong)


@pytest.mark.trt
def test_the_graph_is_the_network(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = WindowSmoother(**TINY).eval()
    for head in (net.mix, net.free):
        torch.nn.init.normal_(head.weight, std=0.1)
    path = export_and_compare(net, example_window(net, 3), ["pose", "place", "trajectory"], tmp_path)
    build_with_tensorrt_rtx(path)
