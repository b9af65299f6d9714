"""Which id a track gets: a new one, the one that it takes over, or that of somebody who was lost."""

from __future__ import annotations

import numpy as np
import pytest

from bodycast.app.tracking.box_motion import BoxMotion
from bodycast.app.tracking.identities import Identities
from bodycast.app.tracking.options import FollowOptions
from bodycast.app.tracking.track import Track
from bodycast.app.tracking.track_state import TrackEvent, TrackState
from tests.live.fakes import FakeTracker

WH = (640, 480)


def track(key: int, x: float = 100.0, born_s: float = 0.0, state: TrackState = TrackState.TENTATIVE) -> Track:
    box = np.array([x, 100.0, x + 80, 340.0])
    made = Track(key, born_s, BoxMotion(born_s, box, born_s, box), state)
    made.motion.remember(born_s, box, 1.0)
    return made


@pytest.fixture
def identities() -> Identities:
    return Identities(FakeTracker(), FollowOptions())


def confirmed(identities: Identities, key: int, x: float = 100.0) -> Track:
    made = track(key, x)
    identities.confirm(made, [made])
    return made


def test_ids_count_from_one_and_are_not_used_again(identities: Identities) -> None:
    assert [confirmed(identities, key).id for key in (7, 8)] == [1, 2]
    identities.reset()
    assert confirmed(identities, 9).id == 3


@pytest.mark.parametrize(
    ("x", "born_s", "expected"), [(120.0, 1.0, 1), (560.0, 0.1, 2), (120.0, 9.0, 2)]
)  # near and soon, too far, too late
def test_who_was_lost_in_the_middle_and_is_found_again_near_there_has_the_old_id(
    identities: Identities, x: float, born_s: float, expected: int
) -> None:
    lost = confirmed(identities, 1)
    lost.happen(TrackEvent.NO_MESH)
    assert lost.state is TrackState.LOST
    identities.lose(lost, 0.0, WH)
    again = track(2, x, born_s)
    identities.confirm(again, [again])
    assert again.id == expected and again.state is TrackState.CONFIRMED


def test_who_left_over_the_border_is_not_expected_back(identities: Identities) -> None:
    left = confirmed(identities, 1, x=0.0)
    left.happen(TrackEvent.LEFT)
    identities.lose(left, 0.0, WH)
    assert left.state is TrackState.ENDED
    assert confirmed(identities, 2, x=10.0).id == 2


@pytest.mark.parametrize("state", [TrackState.RIVAL, TrackState.TENTATIVE])
def test_who_goes_on_for_somebody_shown_is_shown_under_their_id_and_no_rival_any_more(
    identities: Identities, state: TrackState
) -> None:
    old, new = confirmed(identities, 1), track(2, 130.0, 0.5, state)
    identities.hand_over(old, new)
    assert (new.id, new.state, new.born_s) == (1, TrackState.CONFIRMED, 0.0)


def test_who_goes_on_for_a_tentative_track_is_tentative(identities: Identities) -> None:
    new = track(2, 130.0, 0.5, TrackState.RIVAL)
    identities.hand_over(track(1), new)
    assert (new.id, new.state) == (0, TrackState.TENTATIVE)
