"""The life of a track: what the table allows, and what a frame's evidence leads to."""

from __future__ import annotations

import pytest

from bodycast.app.tracking.options import FollowOptions
from bodycast.app.tracking.track_state import TRANSITIONS, Evidence, TrackEvent, TrackState, event_of, next_state

S, E = TrackState, TrackEvent
OPTIONS = FollowOptions(low_score_s=0.5, max_missed=4, max_replaced=2, max_hidden=10, twin_s=0.15)


def reachable(start: TrackState) -> set[TrackState]:
    found, left = {start}, [start]
    while left:
        new = set(TRANSITIONS[left.pop()].values()) - found
        found |= new
        left += new
    return found


def test_every_state_has_its_row_and_every_event_its_use() -> None:
    assert set(TRANSITIONS) == set(S)
    assert {event for row in TRANSITIONS.values() for event in row} == set(E)


def test_a_track_begins_as_a_rival_or_tentative_and_always_can_end() -> None:
    assert reachable(S.RIVAL) == set(S)
    assert reachable(S.TENTATIVE) == set(S) - {S.RIVAL}
    for state in S:
        assert S.ENDED in reachable(state)


def test_nobody_is_shown_without_having_convinced_and_nobody_shown_becomes_tentative_again() -> None:
    for state in (S.RIVAL, S.TENTATIVE):
        ways = {event for event, to in TRANSITIONS[state].items() if to.shown}
        assert ways <= {E.CONVINCES, E.TAKES_OVER}
    for state in (S.CONFIRMED, S.OCCLUDED):
        assert not reachable(state) & {S.RIVAL, S.TENTATIVE}


def test_only_who_was_shown_is_lost_and_who_is_over_stays_over() -> None:
    assert S.LOST not in TRANSITIONS[S.TENTATIVE].values() and S.LOST not in TRANSITIONS[S.RIVAL].values()
    assert all(S.LOST in TRANSITIONS[state].values() for state in (S.CONFIRMED, S.OCCLUDED))
    assert reachable(S.LOST) == {S.LOST, S.ENDED} and reachable(S.ENDED) == {S.ENDED}


def test_an_event_that_cannot_happen_is_an_error() -> None:
    with pytest.raises(ValueError, match="a track that is ended cannot have the event LEFT"):
        next_state(S.ENDED, E.LEFT)


@pytest.mark.parametrize(
    ("state", "evidence", "expected"),
    [
        (S.CONFIRMED, Evidence(), None),
        (S.TENTATIVE, Evidence(), None),
        (S.CONFIRMED, Evidence(in_picture=False), E.LEFT),
        (S.TENTATIVE, Evidence(seen=0.0), E.UNSEEN),
        (S.CONFIRMED, Evidence(seen=-1.0), None),
        (S.TENTATIVE, Evidence(low_s=0.0), E.LOW_SCORE),  # a false positive must not flash up
        (S.RIVAL, Evidence(low_s=0.0), E.LOW_SCORE),
        (S.CONFIRMED, Evidence(low_s=0.49), None),
        (S.CONFIRMED, Evidence(low_s=0.5), E.LOW_SCORE),
        (S.TENTATIVE, Evidence(doubted_s=0.49), None),
        (S.OCCLUDED, Evidence(doubted_s=0.5), E.NO_MESH),
        (S.OCCLUDED, Evidence(missed=4, unsure=True), E.MISSED),
        (S.OCCLUDED, Evidence(missed=40), None),
        (S.OCCLUDED, Evidence(missed=3, unsure=True), None),
        (S.OCCLUDED, Evidence(replaced=2, successor=True), E.REPLACED),
        (S.OCCLUDED, Evidence(replaced=1, successor=True), None),
        (S.OCCLUDED, Evidence(replaced=9), None),
        (S.OCCLUDED, Evidence(replaced=10), E.HIDDEN),
        (S.TENTATIVE, Evidence(replaced=10, successor=True), None),
        (S.TENTATIVE, Evidence(twin_s=0.0), E.TWIN),
        (S.CONFIRMED, Evidence(twin_s=0.1), None),
        (S.CONFIRMED, Evidence(twin_s=0.15), E.TWIN),
        (S.TENTATIVE, Evidence(convincing=True), E.CONVINCES),
        (S.RIVAL, Evidence(convincing=True), None),
        (S.CONFIRMED, Evidence(weak=True), E.WEAKENS),
        (S.OCCLUDED, Evidence(weak=False), E.RECOVERS),
        (S.OCCLUDED, Evidence(), None),  # weakness was not looked at
        (S.TENTATIVE, Evidence(weak=True), None),
        (S.TENTATIVE, Evidence(convincing=True, low_s=0.0), E.LOW_SCORE),  # an end goes before everything else
        (S.CONFIRMED, Evidence(in_picture=False, twin_s=1.0), E.LEFT),
    ],
)
def test_what_the_evidence_of_a_frame_leads_to(
    state: TrackState, evidence: Evidence, expected: TrackEvent | None
) -> None:
    assert event_of(state, evidence, OPTIONS) is expected


@pytest.mark.parametrize("state", [S.RIVAL, S.TENTATIVE, S.CONFIRMED, S.OCCLUDED])
def test_whatever_is_judged_of_a_followed_track_is_in_the_table(state: TrackState) -> None:
    for evidence in (
        Evidence(in_picture=False),
        Evidence(seen=-1.0),
        Evidence(low_s=9.0),
        Evidence(doubted_s=9.0),
        Evidence(missed=9, unsure=True),
        Evidence(replaced=99),
        Evidence(replaced=99, successor=True),
        Evidence(twin_s=9.0),
        Evidence(convincing=True),
        Evidence(weak=True),
        Evidence(weak=False),
    ):
        event = event_of(state, evidence, OPTIONS)
        assert event is None or event in TRANSITIONS[state]
