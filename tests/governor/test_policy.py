"""What is traded, in which order, and when it is given back: on simulated costs."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from bodycast.app.governor.ladder import DETECTOR_SHARE, ladder, looked_at
from bodycast.app.governor.policy import Goals, Policy, Trade
from bodycast.app.governor.start import StartCosts
from tests.governor.plant import ALL, GOALS, Machine, run

ORDER = list(Trade)


def in_order(trades: list[Trade]) -> bool:
    return trades == sorted(trades, key=ORDER.index)


@pytest.mark.parametrize("noise", [0.0, 0.2])
@pytest.mark.parametrize("seed", range(5))
def test_nothing_is_traded_while_the_machine_keeps_up(noise: float, seed: int) -> None:
    assert run(Machine(noise=noise, seed=seed), 300).moves == []


def test_single_spikes_trade_nothing() -> None:
    spikes = Machine(load=lambda time_s: 6.0 if time_s % 20 == 0 else 1.0)
    assert run(spikes, 300).moves == []
    late = Machine(extra_latency_s=lambda time_s: 1.0 if time_s % 7 == 0 else 0.0)
    assert run(late, 300).moves == []


def test_a_camera_that_gives_fewer_pictures_than_it_says_trades_nothing() -> None:
    assert run(Machine(camera_fps=12.0), 120).moves == []


def test_under_load_steps_are_taken_in_order_and_given_back_in_reverse() -> None:
    trace = run(Machine(load=lambda time_s: 3.0 if time_s <= 120 else 1.0), 600)
    taken = [move.step.trade for _, move in trace.moves if move.taken]
    given = [move.step.trade for time_s, move in trace.moves if not move.taken and time_s > 120]
    assert taken and in_order(taken)
    assert Trade.KEYPOINTS in taken
    assert in_order(given[::-1])
    assert trace.taken == ()
    assert trace.windows[-1].fps == 30


@pytest.mark.parametrize("load", [1.5, 2.0, 2.5, 3.0, 4.0])
@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_no_oscillation_once_it_has_settled(load: float, noise: float) -> None:
    trace = run(Machine(load=lambda time_s: load, noise=noise, seed=3), 900)
    assert trace.most_in(10.0, after_s=30.0) <= 1
    late = {time_s for time_s, _ in trace.moves if time_s > 300}
    assert len(late) <= 6, trace.names()


def test_a_load_of_two_is_brought_to_fifteen_results_a_second_soon() -> None:
    trace = run(Machine(person_s=0.030, load=lambda time_s: 2.2), 60)
    assert trace.windows[0].fps < 15
    assert min(measured.fps for measured in trace.windows[10:]) >= 15
    assert max(measured.latency_s for measured in trace.windows[10:]) <= 0.25


def test_a_latency_that_is_too_long_is_traded_against_too() -> None:
    trace = run(Machine(extra_latency_s=lambda time_s: 0.3 if time_s > 20 else 0.0), 60)
    assert trace.moves and "latency" in trace.moves[0][1].reason


def test_a_slow_detector_gets_a_quarter_of_the_time_and_is_the_first_to_pay() -> None:
    trace = run(Machine(detector_s=0.3, person_s=0.026), 60)
    assert trace.moves[0][1].step.trade is Trade.DETECTOR
    last = trace.windows[-1]
    assert last.detector_s * last.detections <= DETECTOR_SHARE + 1e-9


def test_what_would_save_nothing_is_passed_over() -> None:
    cheap = run(Machine(draw_s=0.0005, detector_s=0.001, load=lambda time_s: 3.0), 60)
    trades = {move.step.trade for _, move in cheap.moves}
    assert trades and not trades & {Trade.OVERLAY, Trade.DETECTOR}


def test_one_person_is_always_looked_at_and_a_crowd_takes_turns() -> None:
    alone = run(Machine(load=lambda time_s: 8.0), 60)
    assert Trade.CROPS not in {step.trade for step in alone.taken}
    crowd = run(Machine(person_s=0.024, people=lambda time_s: 8 if 20 < time_s <= 120 else 1), 400)
    turns = [time_s for time_s, move in crowd.moves if move.step.trade is Trade.CROPS and move.taken]
    assert turns and 20 < turns[0] < 45
    assert crowd.taken == (), "the crowd has gone"


@pytest.mark.parametrize(
    ("people", "share", "looked"), [(1, 1 / 3, 1), (2, 0.5, 1), (5, 0.5, 3), (9, 1 / 3, 3), (0, 0.5, 0)]
)
def test_how_many_are_looked_at(people: int, share: float, looked: int) -> None:
    assert looked_at(people, share) == looked


def test_nothing_is_given_back_while_nobody_is_there() -> None:
    people = Machine(load=lambda time_s: 3.0, people=lambda time_s: 1 if time_s < 60 or time_s > 120 else 0)
    trace = run(people, 200)
    networks = [move for time_s, move in trace.moves if 60 <= time_s <= 120 and move.step.trade in ORDER[2:]]
    assert networks == []


def test_what_was_given_back_in_vain_is_waited_for_longer_each_time() -> None:
    """What is slow has nothing to do with what the step's own cost says."""
    policy = Policy(GOALS, ladder(replace(ALL, refines=False, draws=False, engine=None)))
    machine, times = Machine(detector_s=0.0001), []
    for second in range(1, 1500):
        small = any(step.trade is Trade.KEYPOINTS for step in policy.taken)
        measured = machine.window(float(second), policy.taken)
        if not small:
            measured = replace(measured, fps=20.0, frame_s=0.049)
        times += [second for move in policy.step(measured) if not move.taken]
    waits = [later - before for before, later in pairwise(times)]
    assert len(times) >= 3
    assert waits[-1] > 2 * waits[0], waits


def test_a_load_that_ends_just_after_a_trade_does_not_make_it_look_better_than_it_is() -> None:
    trace = run(Machine(load=lambda time_s: 6.0 if time_s < 5 else 1.0), 300)
    assert trace.moves and trace.taken == ()


def test_what_cannot_be_had_is_not_asked_for_again() -> None:
    policy, machine = Policy(GOALS, ladder(ALL)), Machine(load=lambda time_s: 4.0)
    refused = 0
    for second in range(1, 200):
        for move in policy.step(machine.window(float(second), policy.taken)):
            if move.step.trade is Trade.KEYPOINTS:
                policy.refuse(move.step)
                refused += 1
    assert refused == 1
    assert Trade.ENGINE in {step.trade for step in policy.taken}
    assert policy.exhausted


@pytest.mark.parametrize("person_ms", [16, 24, 30])
@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_what_fits_starts_with_everything_and_runs_with_it(person_ms: int, noise: float) -> None:
    """30 ms is what the preset's networks take on two cores."""
    for seed in range(5):
        machine = Machine(person_s=1e-3 * person_ms, detector_s=0.028, noise=noise, seed=seed)
        start = StartCosts(1e-3 * person_ms, 0.95e-3 * person_ms, 0.028)
        assert run(machine, 60, start=start).moves == []


@pytest.mark.parametrize("person_ms", [36, 45, 60, 80, 120])
@pytest.mark.parametrize("load", [1.0, 1.6, 2.5])
def test_what_does_not_fit_settles_soon_and_stays(person_ms: int, load: float) -> None:
    for seed in range(3):
        machine = Machine(person_s=1e-3 * person_ms, load=lambda time_s: load, noise=0.1, seed=seed)
        trace = run(machine, 120, start=StartCosts(1e-3 * person_ms, 0.8e-3 * person_ms, 0.04))
        assert trace.moves and trace.most_in(10.0, after_s=20.0) <= 1, trace.names()
        assert in_order([move.step.trade for time_s, move in trace.moves if time_s == 0])


def test_a_machine_that_is_busy_at_first_keeps_what_it_has_once_it_is_free() -> None:
    """The start leaves other programs out, and what they take in the first second is no reason yet."""
    machine = Machine(person_s=0.024, load=lambda time_s: 4.0 if time_s <= 1 else 1.0)
    assert run(machine, 60, start=StartCosts(0.024, 0.022, 0.028)).moves == []


def test_the_first_trade_does_not_wait_for_calm() -> None:
    machine = Machine(person_s=0.024, load=lambda time_s: 1.9)  # slow, and not severely so
    trace = run(machine, 60, start=StartCosts(0.024, 0.022, 0.028))
    assert 14.4 < trace.windows[0].fps < 24 and 2 <= trace.moves[0][0] <= 3


def test_the_start_takes_what_the_measurement_says_and_no_more() -> None:
    slow, quick = Machine(person_s=0.060), Machine()
    policy = Policy(GOALS, ladder(ALL))
    moves = policy.start(slow.window(0.0, ()))
    assert [move.step.trade for move in moves] == [Trade.KEYPOINTS], "the rest is not needed with the quicker network"
    assert policy.taken == tuple(move.step for move in moves)
    worse = [move.step.trade for move in Policy(GOALS, ladder(ALL)).start(Machine(person_s=0.2).window(0.0, ()))]
    assert {Trade.REFINEMENT, Trade.KEYPOINTS, Trade.ENGINE} <= set(worse) and in_order(worse)
    assert Policy(GOALS, ladder(ALL)).start(quick.window(0.0, ())) == []
    for person_s in (0.03, 0.04, 0.06, 0.1, 0.2):
        policy = Policy(GOALS, ladder(ALL))
        policy.start(Machine(person_s=person_s, detector_s=0.1).window(0.0, ()))
        befores = {step.before: step.after for step in policy.taken if step.trade is Trade.DETECTOR}
        assert "0.5 s" not in befores or "0.5 s" in befores.values(), "no step without the one that it builds on"
    easy = Policy(Goals(10.0, 0.25), ladder(ALL))
    assert easy.start(slow.window(0.0, ())) == []
