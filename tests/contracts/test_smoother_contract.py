"""What every smoother must do (app/smoothers/base.py), on all of them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from bodycast.app.errors import UsageError
from bodycast.app.records import BodyEstimates
from bodycast.app.smoothers import SMOOTHER_NAMES, open_smoother
from bodycast.app.smoothers.base import Smoother
from bodycast.engines.base import Engine
from bodycast.hmr.geometry.rotations import axis_angle_to_matrix, geodesic_distance


@pytest.fixture(params=["none", "one-euro", "diffusion", "diffusion --offline"])
def opened(request: pytest.FixtureRequest) -> Callable[[], Smoother]:
    """Opens a smoother of each kind."""
    name, _, offline = str(request.param).partition(" ")
    return lambda: open_smoother(name, offline=bool(offline))


@pytest.fixture
def smoother(opened: Callable[[], Smoother]) -> Smoother:
    """Each smoother, new."""
    return opened()


def people(ids: list[int], seed: int = 0) -> BodyEstimates:
    """Bodies in random poses, in front of the camera; a person's body depends on his id and the seed alone."""
    rows = [np.random.default_rng([seed, person]) for person in ids]
    return BodyEstimates(
        id=np.array(ids, np.int32),
        pose=np.array([axis_angle_to_matrix(row.normal(0, 0.7, (24, 3))) for row in rows], np.float32).reshape(
            -1, 24, 3, 3
        ),
        betas=np.array([row.normal(0, 1, 10) for row in rows], np.float32).reshape(-1, 10),
        transl_m=np.array([[*row.uniform(-1, 1, 2), row.uniform(2, 5)] for row in rows], np.float32).reshape(-1, 3),
        score=np.array([row.uniform(0, 1) for row in rows], np.float32),
        token=np.array([row.normal(0, 1, 8) for row in rows], np.float32).reshape(-1, 8),
    )


def assert_same_bodies(got: BodyEstimates, wanted: BodyEstimates) -> None:
    assert geodesic_distance(got.pose, wanted.pose).max(initial=0) < 2e-3
    assert np.allclose(got.betas, wanted.betas, atol=1e-5)
    assert np.allclose(got.transl_m, wanted.transl_m, atol=1e-5)


def test_nobody(smoother: Smoother) -> None:
    assert len(smoother.update(BodyEstimates.empty(8), 0.0)) == 0
    smoother.update(people([1]), 0.1)
    assert len(smoother.update(BodyEstimates.empty(8), 0.2)) == 0
    assert len(smoother.update(people([1]), 0.3)) == 1


def test_rows_ids_scores_and_tokens_stay(smoother: Smoother) -> None:
    for frame, ids in enumerate(([3, 1], [1, 3, 7], [7], [3, 7, 1])):
        before = people(ids, seed=frame)
        after = smoother.update(before, frame / 30)
        assert np.array_equal(after.id, before.id)
        assert np.array_equal(after.score, before.score)
        assert np.array_equal(after.token, before.token)
        assert np.allclose(np.linalg.det(after.pose), 1, atol=1e-4)


def test_a_person_is_first_seen_as_he_is(smoother: Smoother) -> None:
    smoother.update(people([1]), 0.0)
    both = people([1, 2], seed=5)
    after = smoother.update(both, 1 / 30)
    assert_same_bodies(after.select(np.array([1])), both.select(np.array([1])))


def test_people_do_not_disturb_each_other(smoother: Smoother, opened: Callable[[], Smoother]) -> None:
    alone = opened()
    for frame in range(6):
        together = smoother.update(people([2, 1] if frame % 2 else [1, 2], seed=frame), frame / 30)
        apart = alone.update(people([1], seed=frame), frame / 30)
        assert_same_bodies(together.select(together.id == 1), apart)


def test_after_a_reset_everybody_is_as_he_is(smoother: Smoother) -> None:
    smoother.update(people([1]), 0.0)
    smoother.reset()
    new = people([1], seed=9)
    assert_same_bodies(smoother.update(new, 1 / 30), new)


def test_who_stands_still_stays_where_he_is(smoother: Smoother) -> None:
    still = people([1, 2])
    for frame in range(20):
        after = smoother.update(still, frame / 30)
    assert_same_bodies(after, still)


def test_what_went_in_is_left_alone(smoother: Smoother) -> None:
    smoother.update(people([1]), 0.0)
    estimates, before = people([1], seed=2), people([1], seed=2)
    smoother.update(estimates, 0.1)
    assert np.array_equal(estimates.pose, before.pose) and np.array_equal(estimates.transl_m, before.transl_m)


def test_wrong_names_and_useless_lags_are_refused() -> None:
    with pytest.raises(UsageError) as caught:
        open_smoother("kalman")
    assert all(name in str(caught.value) for name in SMOOTHER_NAMES)
    with pytest.raises(UsageError, match="--lag"):
        open_smoother("one-euro", lag_s=0.2)
    with pytest.raises(UsageError, match="--lag"):
        open_smoother("none", lag_s=-1.0)


def test_it_can_be_closed_and_closed_again(opened: Callable[[], Smoother], monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever engines it opened are released."""
    left: set[Engine] = set()
    open_it, close_it = Engine.open, Engine.close

    def opening(engine: Engine) -> Engine:
        left.add(engine)
        return open_it(engine)

    def closing(engine: Engine) -> None:
        left.discard(engine)
        close_it(engine)

    monkeypatch.setattr(Engine, "open", opening)
    monkeypatch.setattr(Engine, "close", closing)
    smoother = opened()
    assert bool(left) == (smoother.name == "diffusion")
    for _ in range(2):
        smoother.close()
        assert not left
