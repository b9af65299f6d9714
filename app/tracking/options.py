"""The numbers of the follower."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FollowOptions:
    """When to believe a mesh, show a person, end a track. Times in seconds, sizes in pixels, the rest are ratios."""

    max_people: int = 10
    padding: float = 0.05  # of the mesh box on every side: clothes and hair lie outside the naked mesh
    max_edge_speed: float = 1.0  # box sizes per second by which a mesh may move an edge away from its prediction
    min_score: float = 0.3
    low_score_s: float = 0.5  # a score below min_score, or a mesh not to be believed, ends a track after this time
    sure_score: float = 0.5  # mean score below which no track is confirmed, and the detector is asked about the others
    fading: float = 0.85  # share of a track's best mean score below which it fades: a reason to look soon
    mean_score_s: float = 0.3  # time constant of the mean score
    max_missed: int = 4  # detections in a row that miss a person whose mean score is below sure_score
    max_replaced: int = 2  # detections in a row that see a newcomer there: the mesh has slid off that body
    max_hidden: int = 10  # the same where it is a confirmed track: the person may be behind
    replaced_fraction: float = 0.3  # of the track's box that such a detection covers
    confirm_evidence: float = 1.0  # summed squares of the detections' scores that confirm a tentative track
    hidden_evidence: float = 6.0  # the same half within somebody shown: more likely a part of that person
    hidden_fraction: float = 0.5
    evidence_per_look: float = 0.25  # a shot that ends after fewer looks than evidence takes asks for this much of each
    miss_cost: float = 0.2  # what a detection that misses a tentative track takes off that sum
    match_iou: float = 0.2
    drift_iou: float = 0.35  # matched, yet overlapping less than this: the network looks at the detector's box too
    rival_margin: float = 0.1  # and believes that one if it scores so much better
    twin_iou: float = 0.6
    twin_joints: float = 0.06  # mean joint distance over the box diagonal
    twin_s: float = 0.15
    newcomer_twin_iou: float = 0.4  # twin_iou and twin_joints for somebody who has not been shown yet
    newcomer_twin_joints: float = 0.15
    max_predict_s: float = 0.25
    velocity_s: float = 0.08  # time constant of the velocity average
    min_size_px: float = 12.0
    return_s: float = 2.5  # somebody lost away from the picture's border is expected again for so long
    return_speed: float = 3.0  # and no further away than so many of their sizes a second
    return_reach: float = 3.0  # nor than so many sizes in all
    return_ratio: float = 1.8  # and at most so much larger or smaller
    border: float = 0.02  # share of the picture's sides within which a box touches its border
    memory_s: float = 1.0  # how long old boxes are kept, for detections that arrive late

    def __post_init__(self) -> None:
        if self.max_people < 1:
            raise ValueError(f"max_people must be at least 1, got {self.max_people}")
