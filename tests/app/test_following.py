"""Following people with synthetic boxes: meshes that fit, drift, jump, collapse, converge, leave."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.followed_person import FollowOptions
from app.following import Confirmed, Follower, mesh_boxes
from app.records import F32, BodyEstimates, Detections, Frame, PosedBodies, Tracks
from hmr.geometry.camera import Intrinsics
from tests.live.fakes import FakeTracker

WH = (640, 480)
CAMERA = Intrinsics.from_focal(500.0, WH)
DEPTH_M = 4.0
STEP_S = 1 / 30

Box = tuple[float, float, float, float]


def frame_at(time_s: float) -> Frame:
    return Frame(np.zeros((WH[1], WH[0], 3), np.uint8), round(time_s / STEP_S), time_s)


def detections(*people: Box) -> Detections:
    return Detections(np.array(people, np.float32).reshape(-1, 4), np.ones(len(people), np.float32))


def bodies_in(people: Sequence[Box]) -> PosedBodies:
    """Flat bodies whose projection is exactly the given boxes; their joints lie on the diagonal."""
    boxes_px = np.array(people, np.float64).reshape(-1, 4)
    corners = boxes_px[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 4, 2)
    weight = np.linspace(0, 1, 24)[None, :, None]
    joints_px = boxes_px[:, None, :2] * (1 - weight) + boxes_px[:, None, 2:] * weight
    centre = np.array([CAMERA.cx, CAMERA.cy])

    def lifted(points_px: np.ndarray) -> F32:
        xy = (points_px - centre) * DEPTH_M / CAMERA.focal_px
        return np.concatenate([xy, np.full((*xy.shape[:-1], 1), DEPTH_M)], axis=-1).astype(np.float32)

    return PosedBodies(lifted(corners), lifted(joints_px), joints_px.astype(np.float32))


def estimates_for(tracks: Tracks, score: float | Sequence[float] = 0.9) -> BodyEstimates:
    count = len(tracks)
    return BodyEstimates(
        id=tracks.id,
        pose=np.broadcast_to(np.eye(3, dtype=np.float32), (count, 24, 3, 3)).copy(),
        betas=np.zeros((count, 10), np.float32),
        transl_m=np.zeros((count, 3), np.float32),
        score=np.broadcast_to(np.float32(score), (count,)).astype(np.float32),
        token=np.zeros((count, 0), np.float32),
    )


class Walkthrough:
    """A follower and a clock. `see` takes one frame whose meshes land where `meshes` says, in row order."""

    def __init__(self, options: FollowOptions | None = None) -> None:
        self.tracker = FakeTracker()
        self.follower = Follower(self.tracker, options)
        self.time_s = 0.0
        self.tracks = Tracks.empty()

    def detect(self, *people: Box, late_s: float = 0.0) -> None:
        self.follower.observe(detections(*people), self.time_s - late_s)

    def see(self, *meshes: Box, score: float | Sequence[float] = 0.9, step_s: float = STEP_S) -> Confirmed:
        self.tracks = self.follower.boxes_for(frame_at(self.time_s))
        assert len(self.tracks) == len(meshes), "the test gives one mesh per followed person"
        confirmed = self.follower.confirm(estimates_for(self.tracks, score), bodies_in(meshes), CAMERA)
        self.time_s += step_s
        return confirmed


MAN: Box = (100, 100, 180, 340)
WOMAN: Box = (400, 120, 470, 330)


def moved(box: Box, dx: float, dy: float = 0.0) -> Box:
    return box[0] + dx, box[1] + dy, box[2] + dx, box[3] + dy


def padded(box: Box, fraction: float = 0.05) -> list[float]:
    width, height = (box[2] - box[0]) * fraction, (box[3] - box[1]) * fraction
    return [box[0] - width, box[1] - height, box[2] + width, box[3] + height]


def test_nobody_is_followed_until_the_detector_has_seen_somebody() -> None:
    walk = Walkthrough()
    assert len(walk.see().id) == 0
    walk.detect(MAN)
    assert walk.see(MAN).id.tolist() == [1]


def test_the_next_crop_is_the_mesh_of_this_frame_padded() -> None:
    walk = Walkthrough()
    walk.detect(MAN)
    walk.see(MAN)
    walk.see(MAN)
    np.testing.assert_allclose(walk.tracks.xyxy[0], padded(MAN), atol=0.1)


def test_constant_motion_is_predicted_one_frame_ahead() -> None:
    walk = Walkthrough()
    walk.detect(MAN)
    for frame in range(25):
        walk.see(moved(MAN, 6.0 * frame))
    walk.tracks = walk.follower.boxes_for(frame_at(walk.time_s))
    np.testing.assert_allclose(walk.tracks.xyxy[0], padded(moved(MAN, 6.0 * 25)), atol=0.5)


def test_the_prediction_goes_by_time_and_not_by_frames() -> None:
    walk = Walkthrough()
    walk.detect(MAN)
    for frame in range(20):
        walk.see(moved(MAN, 4.0 * frame))
    walk.tracks = walk.follower.boxes_for(frame_at(walk.time_s + 2 * STEP_S))
    np.testing.assert_allclose(walk.tracks.xyxy[0], padded(moved(MAN, 4.0 * 22)), atol=1.0)


def test_after_a_long_gap_nobody_is_thrown_across_the_picture() -> None:
    walk = Walkthrough()
    walk.detect(MAN)
    for frame in range(20):
        walk.see(moved(MAN, 6.0 * frame))
    last = moved(MAN, 6.0 * 19)
    walk.tracks = walk.follower.boxes_for(frame_at(walk.time_s + 30.0))
    shift = abs(float(walk.tracks.xyxy[0, 0]) - padded(last)[0])
    assert shift <= 0.25 * (padded(MAN)[2] - padded(MAN)[0]) + 0.1


@pytest.mark.parametrize(
    ("mesh", "what"),
    [
        (moved(MAN, 300), "jumped"),
        ((138, 216, 142, 224), "collapsed"),
        ((0, 0, 640, 480), "exploded"),
        ((0, 215, 600, 225), "became a line"),
        ((float("nan"),) * 4, "is no number"),
    ],
)
def test_a_mesh_not_to_be_believed_does_not_move_the_box(mesh: Box, what: str) -> None:
    del what
    walk = Walkthrough()
    walk.detect(MAN)
    for _ in range(5):
        walk.see(MAN)
    walk.see(mesh)
    walk.see(MAN)
    # The detector's box is the fall-back while it is recent; it lies within the padding of the mesh's own.
    np.testing.assert_allclose(walk.tracks.xyxy[0], MAN, atol=13)
    assert len(walk.follower) == 1


def test_a_mesh_that_stays_unbelievable_ends_its_track() -> None:
    walk = Walkthrough()
    walk.detect(MAN)
    for _ in range(5):
        walk.see(MAN)
    for _ in range(17):
        walk.see(*([moved(MAN, 300)] * len(walk.follower)))
    assert len(walk.follower) == 0
    assert walk.follower.last_loss_s is not None


def test_a_low_score_ends_a_track_after_a_while_and_not_at_once() -> None:
    walk = Walkthrough(FollowOptions(min_score=0.3, low_score_s=0.5))
    walk.detect(MAN)
    walk.see(MAN)
    shown = 0
    while len(walk.follower):
        shown += len(walk.see(MAN, score=0.1).id)
    assert 14 <= shown <= 16  # half a second of frames


def test_one_good_score_forgives_the_low_ones_before_it() -> None:
    walk = Walkthrough()
    walk.detect(MAN)
    walk.see(MAN)
    for frame in range(40):
        assert walk.see(MAN, score=0.9 if frame % 10 == 9 else 0.1).id.tolist() == [1]


def test_a_detection_that_the_network_does_not_believe_is_never_shown_and_uses_up_no_id() -> None:
    walk = Walkthrough()
    walk.detect(WOMAN)
    assert len(walk.see(WOMAN, score=0.05).id) == 0
    assert len(walk.follower) == 0
    walk.detect(MAN)
    assert walk.see(MAN).id.tolist() == [1]


def test_a_second_person_gets_the_next_id_and_the_first_keeps_his() -> None:
    walk = Walkthrough()
    walk.detect(MAN)
    walk.see(MAN)
    walk.detect(WOMAN, MAN)
    assert walk.see(MAN, WOMAN).id.tolist() == [1, 2]


def test_ids_stay_while_two_people_pass_each_other() -> None:
    walk = Walkthrough()
    other: Box = (440, 100, 520, 340)
    walk.detect(MAN, other)
    for frame in range(60):
        here, there = moved(MAN, 5.0 * frame), moved(other, -5.0 * frame)
        if frame % 15 == 0 and frame:
            walk.detect(here, there)
        confirmed = walk.see(here, there)
        assert confirmed.id.tolist() == [1, 2]
        np.testing.assert_allclose(confirmed.xyxy[0], padded(here), atol=0.1)


def test_somebody_who_comes_back_soon_gets_his_id_back_and_a_stranger_does_not() -> None:
    walk = Walkthrough()
    walk.detect(MAN)
    walk.see(MAN)
    while len(walk.follower):
        walk.see(MAN, score=0.0)
    walk.detect(moved(MAN, 5), WOMAN)
    newcomers = walk.see(moved(MAN, 5), WOMAN)
    assert sorted(newcomers.id.tolist()) == [1, 2]
    assert newcomers.id[int(newcomers.xyxy[:, 0].argmin())] == 1


def test_no_more_people_than_asked_for_the_largest_first() -> None:
    walk = Walkthrough(FollowOptions(max_people=2))
    child: Box = (300, 300, 330, 380)
    walk.detect(child, WOMAN, MAN)
    confirmed = walk.see(MAN, WOMAN)
    np.testing.assert_allclose(confirmed.xyxy[:, 0], [padded(MAN)[0], padded(WOMAN)[0]], atol=0.1)


def drifted(walk: Walkthrough) -> Box:
    """A man is followed; then his mesh wanders off and he has not moved."""
    walk.detect(MAN)
    walk.see(MAN)
    box = MAN
    for _ in range(12):
        box = moved(box, 4.0)
        walk.see(box)
    return box


def test_a_mesh_that_has_drifted_off_loses_to_the_detection_if_the_network_says_so() -> None:
    walk = Walkthrough()
    box = drifted(walk)
    walk.detect(moved(MAN, -2))
    confirmed = walk.see(box, MAN, score=[0.5, 0.9])
    np.testing.assert_allclose(walk.tracks.xyxy[1], moved(MAN, -2), atol=0.1)
    assert confirmed.id.tolist() == [1]
    assert confirmed.rows.tolist() == [1]
    np.testing.assert_allclose(confirmed.xyxy[0], padded(MAN), atol=0.1)
    assert walk.see(MAN).id.tolist() == [1]


@pytest.mark.parametrize("rival_score", [0.05, 0.85, 0.95])
def test_a_wrong_detection_beside_a_good_mesh_changes_nothing(rival_score: float) -> None:
    walk = Walkthrough()
    box = drifted(walk)
    walk.detect(moved(MAN, -2))
    confirmed = walk.see(box, moved(MAN, 6), score=[0.9, rival_score])
    assert confirmed.id.tolist() == [1]
    np.testing.assert_allclose(confirmed.xyxy[0], padded(box), atol=0.1)
    walk.see(box)


def test_a_detection_between_two_people_may_turn_out_to_be_somebody_else() -> None:
    walk = Walkthrough()
    walk.detect(MAN)
    walk.see(MAN)
    between = moved(MAN, 45)
    walk.detect(between)
    confirmed = walk.see(MAN, moved(MAN, 80))
    assert confirmed.id.tolist() == [1, 2]


def test_a_detection_near_the_mesh_leaves_the_box_to_the_mesh() -> None:
    walk = Walkthrough()
    walk.detect(MAN)
    walk.see(MAN)
    walk.detect(moved(MAN, 12, 10))
    walk.see(MAN)
    np.testing.assert_allclose(walk.tracks.xyxy[0], padded(MAN), atol=0.1)


def test_a_detection_of_the_upper_body_is_the_same_person() -> None:
    walk = Walkthrough()
    walk.detect(MAN)
    walk.see(MAN)
    walk.detect((105, 105, 175, 180))
    assert walk.see(MAN).id.tolist() == [1]
    np.testing.assert_allclose(walk.tracks.xyxy[0], padded(MAN), atol=0.1)


def test_a_late_detection_is_compared_with_where_people_were_then() -> None:
    walk = Walkthrough()
    walk.detect(MAN)
    for frame in range(20):
        walk.see(moved(MAN, 8.0 * frame))
    # The frame that the detector was given is six frames (48 px) old: more than half the man's width.
    walk.detect(moved(MAN, 8.0 * 13), late_s=7 * STEP_S)
    confirmed = walk.see(moved(MAN, 8.0 * 20))
    assert confirmed.id.tolist() == [1]
    np.testing.assert_allclose(walk.tracks.xyxy[0], padded(moved(MAN, 8.0 * 20)), atol=1.0)


def test_two_tracks_on_one_person_become_one_and_the_older_stays() -> None:
    walk = Walkthrough()
    walk.detect(MAN, WOMAN)
    assert walk.see(MAN, WOMAN).id.tolist() == [1, 2]
    box = WOMAN
    while len(walk.follower) == 2:  # the second mesh wanders over to the first person
        box = tuple(0.8 * b + 0.2 * m for b, m in zip(box, MAN, strict=True))  # type: ignore[assignment]
        confirmed = walk.see(MAN, box)
        assert walk.time_s < 3.0
    assert walk.see(MAN).id.tolist() == [1]
    assert confirmed.id.tolist() == [1]


def test_two_people_close_together_stay_two() -> None:
    walk = Walkthrough()
    neighbour = moved(MAN, 40)
    walk.detect(MAN, neighbour)
    for _ in range(30):
        assert len(walk.see(MAN, neighbour).id) == 2


def test_somebody_who_walks_out_of_the_picture_is_ended() -> None:
    walk = Walkthrough()
    box: Box = (560, 100, 640, 340)
    walk.detect(box)
    walk.see(box)
    for frame in range(40):
        if not len(walk.follower):
            break
        seen = moved(box, 4.0 * frame)
        walk.see(*([seen] * len(walk.follower)))
    assert len(walk.follower) == 0


def test_boxes_stay_inside_the_picture() -> None:
    walk = Walkthrough()
    close_up: Box = (-200, 100, 700, 900)
    walk.detect((0, 100, 640, 480))
    for _ in range(3):
        confirmed = walk.see(close_up)
        np.testing.assert_allclose(confirmed.xyxy[0], [0, 60, 640, 480], atol=1)


def test_someone_the_detector_keeps_missing_and_the_network_doubts_is_ended() -> None:
    walk = Walkthrough(FollowOptions(max_missed=4))
    walk.detect(MAN)
    walk.see(MAN, score=0.4)
    for _ in range(4):
        walk.detect()
        if len(walk.follower):
            walk.see(MAN, score=0.4)
    assert len(walk.follower) == 0


def test_someone_the_detector_keeps_missing_and_the_network_is_sure_of_stays() -> None:
    walk = Walkthrough(FollowOptions(max_missed=4))
    walk.detect(MAN)
    for _ in range(20):
        walk.see(MAN, score=0.9)
        walk.detect()
    assert len(walk.follower) == 1


def test_a_person_without_an_estimate_is_kept_for_a_moment_only() -> None:
    walk = Walkthrough()
    walk.detect(MAN)
    walk.see(MAN)
    for _ in range(20):
        tracks = walk.follower.boxes_for(frame_at(walk.time_s))
        walk.follower.confirm(estimates_for(Tracks.empty()), bodies_in([]), CAMERA)
        walk.time_s += STEP_S
    assert len(tracks) == 0


def test_reset_forgets_everybody_and_ids_go_on() -> None:
    walk = Walkthrough()
    walk.detect(MAN)
    walk.see(MAN)
    walk.follower.reset()
    assert len(walk.follower) == 0
    assert walk.tracker.resets == 1
    walk.detect(MAN)
    assert walk.see(MAN).id.tolist() == [2]


def test_confirm_refuses_bodies_that_are_not_those_of_the_estimates() -> None:
    walk = Walkthrough()
    walk.detect(MAN)
    tracks = walk.follower.boxes_for(frame_at(0.0))
    with pytest.raises(ValueError, match="1 estimates but 2"):
        walk.follower.confirm(estimates_for(tracks), bodies_in([MAN, WOMAN]), CAMERA)


def test_mesh_boxes_leave_out_what_lies_behind_the_camera() -> None:
    vertices = np.array([[[0, 0, 2], [0.4, 0.8, 2], [9, 9, -1], [0, 0, 0.001]]], np.float32)
    np.testing.assert_allclose(mesh_boxes(vertices, CAMERA), [[320, 240, 420, 440]], atol=1e-3)
    assert np.isnan(mesh_boxes(-vertices[:, :2], CAMERA)).all()
    assert mesh_boxes(np.zeros((0, 4, 3), np.float32), CAMERA).shape == (0, 4)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_whatever_comes_ids_are_unique_boxes_are_sane_and_people_bounded(data: st.DataObject) -> None:
    coordinate = st.floats(-500, 1200, width=32)
    walk = Walkthrough(FollowOptions(max_people=3))
    seen: dict[int, int] = {}
    for _ in range(data.draw(st.integers(1, 12))):
        if data.draw(st.booleans()):
            corners = data.draw(st.lists(st.tuples(coordinate, coordinate, coordinate, coordinate), max_size=4))
            walk.detect(*[(min(a, c), min(b, d), max(a, c), max(b, d)) for a, b, c, d in corners])
        tracks = walk.follower.boxes_for(frame_at(walk.time_s))
        assert len(tracks) <= 2 * 3  # each of three people may have a rival for one frame
        assert np.isfinite(tracks.xyxy).all()
        assert ((tracks.xyxy[:, 2:] - tracks.xyxy[:, :2]) > 0).all()
        people = [data.draw(st.tuples(coordinate, coordinate, coordinate, coordinate)) for _ in range(len(tracks))]
        meshes: list[Box] = [(min(a, c), min(b, d), max(a, c), max(b, d)) for a, b, c, d in people]
        score = data.draw(st.lists(st.floats(0, 1), min_size=len(tracks), max_size=len(tracks)))
        confirmed = walk.follower.confirm(estimates_for(tracks, score or 0.0), bodies_in(meshes), CAMERA)
        shown = confirmed.id[confirmed.shown].tolist()
        assert len(set(shown)) == len(shown)
        assert len(set(confirmed.key.tolist())) == len(confirmed.key) <= 3
        assert (confirmed.id >= 0).all()
        assert (confirmed.xyxy >= 0).all() and (confirmed.xyxy[:, 2:] <= WH).all()
        for row, person in zip(confirmed.rows, confirmed.id.tolist(), strict=True):
            key = int(tracks.id[row])
            if person:
                assert seen.setdefault(key, person) == person, "a followed person changed his id"
            assert person or key not in seen, "somebody shown became a newcomer again"
        walk.time_s += data.draw(st.floats(0.001, 2.0))


def test_a_mesh_that_has_grown_without_measure_is_pulled_back_by_a_detection_inside_it() -> None:
    walk = Walkthrough()
    walk.detect(MAN)
    box = MAN
    for _ in range(25):
        walk.see(box)
        width, height = box[2] - box[0], box[3] - box[1]
        box = (box[0] - 0.02 * width, box[1] - 0.02 * height, box[2] + 0.02 * width, box[3] + 0.02 * height)
    assert len(walk.follower) == 1
    walk.detect(MAN)
    confirmed = walk.see(box, MAN, score=[0.6, 0.9])
    assert confirmed.id.tolist() == [1]
    np.testing.assert_allclose(confirmed.xyxy[0], padded(MAN), atol=0.1)


def test_one_strong_or_several_weak_detections_do_not_show_a_newcomer_at_once() -> None:
    walk = Walkthrough()
    seen_at: list[int] = []
    for score in (0.9, 0.5):
        walk.follower.reset()
        for look in range(1, 9):
            walk.follower.observe(Detections(np.array([MAN], np.float32), np.array([score], np.float32)), walk.time_s)
            confirmed = walk.see(MAN)
            if confirmed.shown.any():
                seen_at.append(look)
                break
        walk.time_s += 10.0  # nobody is remembered
    assert seen_at == [2, 4]


def test_a_newcomer_whom_the_detector_does_not_see_again_goes_unseen() -> None:
    walk = Walkthrough()
    walk.follower.observe(Detections(np.array([MAN], np.float32), np.array([0.6], np.float32)), 0.0)
    for _ in range(2):
        assert not walk.see(MAN).shown.any()
        walk.detect()
    assert len(walk.follower) == 0
    assert walk.follower.last_loss_s is None
