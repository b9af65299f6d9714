"""The life of a track: its states, what can happen to it, and the table of what follows.

`event_of` is the one place where the evidence of a frame is judged; `next_state` looks up what an event leads to.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from bodycast.app.tracking.options import FollowOptions


class TrackState(Enum):
    """RIVAL: for its first frame, a detection away from the mesh of a followed person; the network looks at both
    places. TENTATIVE: followed, not shown. CONFIRMED: has an id and is shown. OCCLUDED: the same, but poorly seen: a
    reason to detect soon. LOST: ended in the middle of the picture, where nobody vanishes; the id is given back if the
    person is found again soon. ENDED: over."""

    RIVAL = "rival"
    TENTATIVE = "tentative"
    CONFIRMED = "confirmed"
    OCCLUDED = "occluded"
    LOST = "lost"
    ENDED = "ended"

    @property
    def shown(self) -> bool:
        """Whether users see the track."""
        return self in (TrackState.CONFIRMED, TrackState.OCCLUDED)

    @property
    def over(self) -> bool:
        """Whether the track is followed no more."""
        return self in (TrackState.LOST, TrackState.ENDED)


class TrackEvent(Enum):
    """What can happen to a track."""

    CONVINCES = "enough detections and a sure network, or known to the tracker's memory"
    WEAKENS = "a low mean score, no believable mesh, or not seen by the detector while the score falls"
    RECOVERS = "none of that any more"
    STANDS = "a rival is somebody else than the track that it questions"
    TAKES_OVER = "goes on for another track, whose place was wrong"
    REFUSED = "a rival is no better than the track that it questions"
    REPLACED = "another track goes on for this one"
    LEFT = "no longer in the picture"
    UNSEEN = "the detector has missed it more often than its detections count"
    LOW_SCORE = "the network's score has been low for too long"
    NO_MESH = "no mesh could be believed for too long"
    MISSED = "the detector keeps missing it and the network is unsure"
    HIDDEN = "the detector has seen a shown person in its place for too long"
    TWIN = "another track has the same mesh"
    AT_BORDER = "was last seen at the picture's border"


_ENDINGS = (
    TrackEvent.LEFT,
    TrackEvent.UNSEEN,
    TrackEvent.LOW_SCORE,
    TrackEvent.NO_MESH,
    TrackEvent.MISSED,
    TrackEvent.HIDDEN,
    TrackEvent.TWIN,
)


def _ending_in(state: TrackState) -> dict[TrackEvent, TrackState]:
    return {**dict.fromkeys(_ENDINGS, state), TrackEvent.REPLACED: TrackState.ENDED}


TRANSITIONS: Mapping[TrackState, Mapping[TrackEvent, TrackState]] = {
    TrackState.RIVAL: {
        **_ending_in(TrackState.ENDED),
        TrackEvent.STANDS: TrackState.TENTATIVE,
        TrackEvent.TAKES_OVER: TrackState.CONFIRMED,
        TrackEvent.REFUSED: TrackState.ENDED,
    },
    TrackState.TENTATIVE: {
        **_ending_in(TrackState.ENDED),
        TrackEvent.CONVINCES: TrackState.CONFIRMED,
        TrackEvent.TAKES_OVER: TrackState.CONFIRMED,
    },
    TrackState.CONFIRMED: {**_ending_in(TrackState.LOST), TrackEvent.WEAKENS: TrackState.OCCLUDED},
    TrackState.OCCLUDED: {**_ending_in(TrackState.LOST), TrackEvent.RECOVERS: TrackState.CONFIRMED},
    TrackState.LOST: {TrackEvent.AT_BORDER: TrackState.ENDED},
    TrackState.ENDED: {},
}
"""State -> event -> state. What is not here cannot happen. A lost track is over: it waits in `identities.py`, where its
id is given to whoever comes back in its place, or is forgotten after a while."""


def next_state(state: TrackState, event: TrackEvent) -> TrackState:
    """What follows. Raises: ValueError for an event that cannot happen in this state."""
    try:
        return TRANSITIONS[state][event]
    except KeyError:
        raise ValueError(f"a track that is {state.value} cannot have the event {event.name}") from None


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of a track at one moment of a frame; what is not looked at then keeps its default.

    `seen`: summed squares of the detections' scores, less those that missed it. `low_s`, `doubted_s`, `twin_s`: for
    how long the score has been low, no mesh believed, another track had its mesh; None: not so now. `missed`,
    `replaced`: detections in a row that did not see it, that saw somebody in its place. `unsure`: low mean score.
    `successor`: a tentative track lies in its place. `weak`: see `TrackEvent.WEAKENS`. `convincing`: see
    `TrackEvent.CONVINCES`.
    """

    in_picture: bool = True
    seen: float = float("inf")
    low_s: float | None = None
    doubted_s: float | None = None
    missed: int = 0
    unsure: bool = False
    replaced: int = 0
    successor: bool = False
    twin_s: float | None = None
    convincing: bool = False
    weak: bool | None = None


def event_of(state: TrackState, evidence: Evidence, options: FollowOptions) -> TrackEvent | None:
    """What the evidence makes happen to a track in this state; None: nothing."""
    shown = state.shown
    # A track that was never shown gets no time of grace: a false positive must not flash up.
    low_grace_s, twin_grace_s = (options.low_score_s, options.twin_s) if shown else (0.0, 0.0)
    endings = {
        TrackEvent.LEFT: not evidence.in_picture,
        TrackEvent.UNSEEN: not shown and evidence.seen <= 0,
        TrackEvent.LOW_SCORE: evidence.low_s is not None and evidence.low_s >= low_grace_s,
        TrackEvent.NO_MESH: evidence.doubted_s is not None and evidence.doubted_s >= options.low_score_s,
        TrackEvent.MISSED: evidence.missed >= options.max_missed and evidence.unsure,
        TrackEvent.REPLACED: shown and evidence.successor and evidence.replaced >= max(options.max_replaced, 1),
        TrackEvent.HIDDEN: shown and not evidence.successor and evidence.replaced >= max(options.max_hidden, 1),
        TrackEvent.TWIN: evidence.twin_s is not None and evidence.twin_s >= twin_grace_s,
    }
    ending = next((event for event, happens in endings.items() if happens), None)
    if ending is not None:
        return ending
    if state is TrackState.TENTATIVE and evidence.convincing:
        return TrackEvent.CONVINCES
    if state is TrackState.CONFIRMED and evidence.weak is True:
        return TrackEvent.WEAKENS
    if state is TrackState.OCCLUDED and evidence.weak is False:
        return TrackEvent.RECOVERS
    return None
