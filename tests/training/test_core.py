"""What all trainings share: the budget ends a run, resumed or not; schedules, averages, checkpoints and logs."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
import torch
from torch import nn

from training import core
from training.core import Clock, JsonLog, Timer, WeightAverage, cosine, rising_keep, set_rate, train, warmed


def test_steps_end_a_run_and_a_resumed_one() -> None:
    seen: list[float] = []
    clock = Clock(None, steps=4)
    train(clock, seen.append, lambda: len(seen))
    assert seen == [0, 0.25, 0.5, 0.75] and clock.spent_s > 0
    train(Clock(None, steps=6, spent_s=clock.spent_s), seen.append, lambda: len(seen))
    assert len(seen) == 6
    train(Clock(0.0), seen.append, lambda: len(seen))
    assert len(seen) == 6
    with pytest.raises(ValueError, match="minutes or steps"):
        Clock(None)


def test_time_ends_a_run_and_earlier_runs_count() -> None:
    clock = Clock(1.0, spent_s=59.95)
    train(clock, lambda fraction: time.sleep(0.02), lambda: 0)
    assert 60.0 <= clock.spent_s < 61.0 and clock.minutes > 1.0 - 1e-9


def test_own_work_counts_neither_waiting_nor_checks() -> None:
    clock = Clock(None, steps=2, own_work=True)
    done: list[float] = []

    def step(fraction: float) -> None:
        done.append(fraction)
        time.sleep(0.05)

    train(clock, step, lambda: len(done), [Timer(lambda: time.sleep(0.05), 0.0)])
    assert clock.spent_s < 0.05


def test_timers_fire_when_they_are_due() -> None:
    calls: list[float] = []
    timer = Timer(lambda: calls.append(0), every_s=10.0, next_s=5.0)
    for now_s in (0.0, 5.0, 6.0, 14.9, 15.0, 40.0, 41.0):
        timer.poll(now_s)
    assert len(calls) == 3


def test_schedules() -> None:
    assert cosine(1.0, 0.1, 0.0) == pytest.approx(1.0) and cosine(1.0, 0.1, 1.7) == pytest.approx(0.1)
    assert cosine(1.0, 0.0, 0.5) == pytest.approx(0.5)
    assert warmed(2.0, 5, 10) == 1.0 and warmed(2.0, 50, 10) == 2.0
    assert rising_keep(0, 0.99) == 0.1 and rising_keep(10_000, 0.99) == 0.99
    weight = nn.Parameter(torch.zeros(1))
    optimiser = torch.optim.SGD([{"params": [weight], "factor": 0.5}], lr=1.0)
    set_rate(optimiser, 0.2)
    assert optimiser.param_groups[0]["lr"] == pytest.approx(0.1)


@pytest.mark.parametrize("buffers", [False, True])
def test_an_average_follows_and_leaves_what_is_frozen(buffers: bool) -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    net[0].bias.requires_grad_(False)
    average = WeightAverage(net, buffers=buffers)
    with torch.no_grad():
        for tensor in (net[0].weight, net[0].bias, net[1].running_mean):
            tensor.fill_(1.0)
        average.mean[0].weight.fill_(0.0)
        before = average.mean[0].bias.clone()
    average.follow(0.75)
    mean = average.mean
    torch.testing.assert_close(mean[0].weight, torch.full((2, 2), 0.25))
    torch.testing.assert_close(mean[0].bias, before)
    torch.testing.assert_close(mean[1].running_mean, torch.full((2,), 0.25 if buffers else 1.0))
    assert not mean.training and not any(parameter.requires_grad for parameter in mean.parameters())


def test_a_checkpoint_is_the_old_one_or_the_new_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "last.pt"
    core.save_checkpoint(path, {"steps": 1, "weight": torch.ones(2)})

    def killed(state: object, part: Path) -> None:
        part.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(core.torch, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        core.save_checkpoint(path, {"steps": 2})
    assert core.load_checkpoint(path)["steps"] == 1


def test_a_log_forgets_what_is_done_again(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    log = JsonLog(path)
    log.open(None)
    for minutes in (1.0, 2.0, 3.0):
        log.add({"minutes": minutes, "loss": 0.5})
    with path.open("a") as file:
        file.write('{"minutes": 3.5, "lo')
    again = JsonLog(path)
    again.open(2.0)
    assert [entry["minutes"] for entry in again.entries] == [1.0, 2.0]
    assert [json.loads(line)["minutes"] for line in path.read_text().splitlines()] == [1.0, 2.0]
    again.open(None)
    assert not path.exists() and not again.entries
