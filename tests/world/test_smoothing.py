"""Poses of a clip smoothed, and limbs that leap."""

from __future__ import annotations

import numpy as np
import pytest

from bodycast.app.records import F32, F64
from bodycast.app.world.clip_smoothing import LONGEST_S, WINDOW, smooth_clip
from bodycast.app.world.held_feet import REACH_M, in_reach
from bodycast.app.world.leaps import WAITS_S, hold_leaps, nobody
from bodycast.app.world.standing import balance_sight
from bodycast.hmr.body.joints import Joint
from bodycast.hmr.geometry.rotations import axis_angle_to_matrix
from tests.world.scenes import AVERAGE, FPS, skeleton

HIPS = (Joint.LEFT_HIP, Joint.RIGHT_HIP)


def poses(hips_rad: F64, trunk_rad: F64 | None = None) -> F32:
    """(F,24,3,3): hips (F,2) turned forwards, trunk (F,) about the vertical."""
    turns = np.zeros((len(hips_rad), 24, 3))
    turns[:, list(HIPS), 0] = hips_rad
    if trunk_rad is not None:
        turns[:, 0, 1] = trunk_rad
    return axis_angle_to_matrix(turns).astype(np.float32)


def joints(pose: F32) -> F32:
    rest = np.repeat(skeleton().rest(AVERAGE[None]), len(pose), axis=0)
    return skeleton().place(pose, rest, rest[:, 0])[0]


def smoothed(pose: F32, fps: float = FPS) -> F32:
    """Joints (F,24,3) of the smoothed clip."""
    return joints(smooth_clip(np.arange(len(pose)) / fps, pose, joints(pose)))


def off_m(got: F32, wanted: F32) -> F32:
    """(F,) largest distance of a foot."""
    feet = [Joint.LEFT_FOOT, Joint.RIGHT_FOOT]
    return np.linalg.norm(got[:, feet] - wanted[:, feet], axis=-1).max(axis=1)


def way_m(got: F32) -> float:
    """How far the left foot comes from where it was at first."""
    foot = got[:, Joint.LEFT_FOOT]
    return float(np.linalg.norm(foot - foot[0], axis=1).max())


def stride(frames: int) -> F64:
    """(F,2) legs that swing as in walking."""
    phase = 2 * np.pi * np.arange(frames) / FPS
    return np.stack([0.3 * np.sin(phase), -0.3 * np.sin(phase)], axis=1)


def test_legs_that_change_places_for_some_frames_do_not() -> None:
    true = poses(stride(90))
    seen = true.copy()
    seen[40:43] = poses(-stride(90) - 0.3)[40:43]
    assert off_m(joints(seen), joints(true)).max() > 0.5
    assert off_m(smoothed(seen), joints(true)).max() < 0.08


def test_a_trunk_that_turns_round_for_some_frames_does_not() -> None:
    turns = np.zeros(90)
    turns[40:44] = np.pi
    seen = poses(stride(90), turns)
    assert off_m(smoothed(seen), joints(poses(stride(90)))).max() < 0.08


@pytest.mark.parametrize(("kick_s", "kept"), [(0.6, 0.98), (0.4, 0.95), (0.3, 0.9)])
@pytest.mark.parametrize("fps", [30.0, 60.0])
def test_a_kick_is_no_leap(kick_s: float, kept: float, fps: float) -> None:
    """Foot at 7, 10 and 14 m/s: it takes some frames to get fast. Of a file, its way is nearly kept; live, all."""
    time_s = np.arange(round(3 * fps)) / fps
    kicks = (time_s >= 1) & (time_s < 1 + kick_s)
    hips = np.zeros((len(time_s), 2))
    hips[kicks, 0] = -1.6 * np.sin(np.pi * (time_s[kicks] - 1) / kick_s) ** 2
    kicked = poses(hips)
    assert way_m(smoothed(kicked, fps)) > kept * way_m(joints(kicked))
    np.testing.assert_array_equal(held(kicked, fps), kicked)


def test_who_turns_and_stays_so_has_turned() -> None:
    """However fast, and whatever lies on the other side of it is longer."""
    turns = np.zeros(150)
    begins = 149 - round((LONGEST_S + 0.3) * FPS)
    turns[begins:] = 2.0
    seen = poses(np.zeros((150, 2)), turns)
    assert off_m(smoothed(seen)[begins + 5 :], joints(seen)[begins + 5 :]).max() < 0.05


def test_noise_becomes_less_and_windows_do_not_show() -> None:
    frames = 2 * WINDOW + 50
    true = poses(stride(frames))
    noise = np.random.default_rng(3).normal(0, 0.04, (frames, 2))
    got = smoothed(poses(stride(frames) + noise))
    raw = off_m(joints(poses(stride(frames) + noise)), joints(true))
    assert off_m(got, joints(true)).mean() < 0.6 * raw.mean()
    # As large as the motion's own steps, not those of the noise.
    assert np.linalg.norm(np.diff(got[:, Joint.LEFT_FOOT], axis=0), axis=-1).max() < 0.1


@pytest.mark.parametrize("frames", [1, 2, 3, 4])
def test_the_shortest_clips_go_through(frames: int) -> None:
    pose = poses(stride(frames))
    assert off_m(smoothed(pose), joints(pose)).max() < 0.02


@pytest.mark.parametrize("frames", [1, 3, 60])
def test_frames_at_one_time_go_through(frames: int) -> None:
    """As files with damaged times give them."""
    pose = poses(stride(frames))
    time_s = np.repeat(np.arange(frames), 2)[:frames] / FPS
    assert np.isfinite(smooth_clip(time_s, pose, joints(pose))).all()


def test_what_is_no_number_ends() -> None:
    pose = poses(stride(20))
    pose[3] = np.nan
    with pytest.raises(np.linalg.LinAlgError):
        smooth_clip(np.arange(20) / FPS, pose, joints(pose))


def held(pose: F32, fps: float = FPS) -> F32:
    """The poses live, frame by frame."""
    state = nobody()[None]
    at = joints(pose)
    frames = [hold_leaps(state, pose[row : row + 1], at[row : row + 1], row / fps) for row in range(len(pose))]
    return np.concatenate(frames)


def test_live_a_limb_that_leaps_waits_and_then_follows() -> None:
    hips = np.zeros((40, 2))
    hips[20:, 0] = -1.0
    seen = poses(hips)
    got = held(seen)
    waits = round(WAITS_S * FPS)
    np.testing.assert_array_equal(got[20 : 20 + waits], np.repeat(seen[19:20], waits, axis=0))
    np.testing.assert_array_equal(got[20 + waits + 1 :], seen[20 + waits + 1 :])


def test_live_a_limb_that_comes_back_was_never_away() -> None:
    hips = np.zeros((30, 2))
    hips[20:23, 1] = 1.0
    np.testing.assert_array_equal(held(poses(hips)), poses(np.zeros((30, 2))))


def test_live_a_trunk_that_leaps_takes_the_limbs_with_it() -> None:
    hips, turns = np.zeros((30, 2)), np.zeros(30)
    hips[20:22, 1], turns[20:22] = 0.1, np.pi
    np.testing.assert_array_equal(held(poses(hips, turns)), poses(np.zeros((30, 2))))


def test_live_who_is_looked_at_in_turn_moves_as_fast_as_everybody() -> None:
    """Every third frame of a foot at 6.5 m/s; between them the last pose comes again."""
    hips = np.zeros((60, 2))
    hips[:, 0] = 0.6 * np.sin(4 * np.pi * np.arange(60) / FPS)
    seen = np.repeat(poses(hips)[::3], 3, axis=0)
    state, at = nobody()[None], joints(seen)
    for row in range(60):
        looked = np.array([row % 3 == 0])
        got = hold_leaps(state, seen[row : row + 1], at[row : row + 1], row / FPS, looked)
        np.testing.assert_array_equal(got, seen[row : row + 1])
    assert (held(seen) != seen).any()


def test_live_after_a_gap_nothing_leaps() -> None:
    seen = poses(np.array([[0.0, 0.0], [-1.0, 0.0]]))
    np.testing.assert_array_equal(held(seen, fps=2.0), seen)


def test_who_stands_upright_is_above_their_feet_and_who_sits_need_not_be() -> None:
    up = np.array([0.0, -1.0, 0.0])
    soles = np.array([[-0.1, 1.0, 4.0], [-0.1, 1.0, 4.2], [0.1, 1.0, 4.0], [0.1, 1.0, 4.2]])
    root = np.array([0.0, 0.1, 4.4])
    precision, vector = balance_sight(soles[None], np.ones((1, 4)), root[None], soles[None], 0.95, up, 1.0)
    away = precision[0] / np.trace(precision[0])
    assert np.trace(precision[0]) > 50
    np.testing.assert_allclose(away @ vector[0] / np.trace(precision[0]), [0, 0, 4.1], atol=1e-6)
    sits, _ = balance_sight(soles[None], np.ones((1, 4)), root[None] + [0, 0.4, 0], soles[None], 0.95, up, 1.0)
    one_foot, _ = balance_sight(soles[None], np.array([[1.0, 1, 0, 0]]), root[None], soles[None], 0.95, up, 1.0)
    assert not sits.any()
    assert not one_foot.any()


def test_a_foot_is_not_brought_where_no_leg_reaches() -> None:
    near, far = REACH_M
    off = np.array([[[near / 2, 0, 0], [0, 0, near], [0, 0, (near + far) / 2], [0, far, 0]]])
    np.testing.assert_allclose(in_reach(off), [[1, 1, 0.5, 0]])
