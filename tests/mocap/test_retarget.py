"""CMU clips on SMPL's joints: limbs point where the clip's do, feet on the floor, knees and elbows right."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bodycast.hmr.body.body_model import BodyModel, forward_kinematics
from bodycast.hmr.body.joints import NUM_JOINTS, Joint
from bodycast.hmr.geometry.rotations import axis_angle_to_matrix
from training.mocap.bvh import BvhClip, BvhError, axis_rotation, load_bvh
from training.mocap.retarget import (
    Motion,
    global_rotations,
    load_smpl_motion,
    plausible_frames,
    retarget,
    shortest_rotation,
)

LIMBS = {
    (Joint.LEFT_SHOULDER, Joint.LEFT_ELBOW): ("lShldr", "lForeArm"),
    (Joint.RIGHT_SHOULDER, Joint.RIGHT_ELBOW): ("rShldr", "rForeArm"),
    (Joint.LEFT_ELBOW, Joint.LEFT_WRIST): ("lForeArm", "lHand"),
    (Joint.RIGHT_ELBOW, Joint.RIGHT_WRIST): ("rForeArm", "rHand"),
    (Joint.LEFT_HIP, Joint.LEFT_KNEE): ("lThigh", "lShin"),
    (Joint.RIGHT_HIP, Joint.RIGHT_KNEE): ("rThigh", "rShin"),
    (Joint.LEFT_KNEE, Joint.LEFT_ANKLE): ("lShin", "lFoot"),
    (Joint.RIGHT_KNEE, Joint.RIGHT_ANKLE): ("rShin", "rFoot"),
}


@pytest.fixture(scope="module")
def body() -> BodyModel:
    return BodyModel.load()


def daz_clip(frames: int = 8, seed: int = 0) -> BvhClip:
    """A random clip on a small copy of the skeleton: the same names and tree, round offsets."""
    bones: dict[str, tuple[str | None, tuple[float, float, float]]] = {
        "hip": (None, (0, 0, 0)),
        "abdomen": ("hip", (0, 20, -1)),
        "chest": ("abdomen", (0, 12, 0)),
        "neck": ("chest", (0, 22, -2)),
        "head": ("neck", (0, 7, 1)),
    }
    for side, sign in (("l", 1.0), ("r", -1.0)):
        bones |= {
            f"{side}Collar": ("chest", (3 * sign, 19, -5)),
            f"{side}Shldr": (f"{side}Collar", (9 * sign, -2, 1)),
            f"{side}ForeArm": (f"{side}Shldr", (28 * sign, -2, 0.5)),
            f"{side}Hand": (f"{side}ForeArm", (22 * sign, 1, 7)),
            f"{side}Mid1": (f"{side}Hand", (8 * sign, 1, 3)),
            f"{side}Buttock": ("hip", (9 * sign, 4, 1)),
            f"{side}Thigh": (f"{side}Buttock", (0, -2, -2)),
            f"{side}Shin": (f"{side}Thigh", (0, -37, 1)),
            f"{side}Foot": (f"{side}Shin", (-1 * sign, -45, -5)),
        }
    names = tuple(bones)
    generator = np.random.default_rng(seed)
    rotations = axis_angle_to_matrix(generator.normal(0, 0.3, (frames, len(names), 3)))
    return BvhClip(
        names=names,
        parents=np.array([-1 if parent is None else names.index(parent) for parent, _ in bones.values()]),
        offsets=np.array([offset for _, offset in bones.values()], dtype=np.float64),
        end_offsets={},
        rotations=rotations,
        positions=np.tile([0.0, 85.0, 0.0], (frames, 1)) + np.arange(frames)[:, None] * [0.0, 0.0, 2.0],
        fps=30.0,
    )


def clip_places(clip: BvhClip) -> np.ndarray:
    """(T,J,3) joints of the clip in the world."""
    turned = global_rotations(clip)
    places = np.repeat(clip.positions[:, None], len(clip.names), axis=1)
    for joint, parent in enumerate(clip.parents):
        if parent >= 0:
            places[:, joint] = places[:, parent] + turned[:, parent] @ clip.offsets[joint]
    return places


def smpl_places(motion: Motion, body: BodyModel) -> np.ndarray:
    _, places = forward_kinematics(motion.pose, body.joints(np.zeros((1, 10))))
    return places + motion.transl_m[:, None]


def direction(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def check_limbs_agree(clip: BvhClip, motion: Motion, body: BodyModel) -> None:
    theirs, ours = clip_places(clip)[1:], smpl_places(motion, body)
    for (start, end), (start_bone, end_bone) in LIMBS.items():
        wanted = direction(theirs[:, clip.names.index(end_bone)] - theirs[:, clip.names.index(start_bone)])
        got = direction(ours[:, end] - ours[:, start])
        assert np.abs(got - wanted).max() < 1e-4, (start, end)


def test_limbs_point_where_the_clips_do(body: BodyModel):
    clip = daz_clip()
    check_limbs_agree(clip, retarget(clip, body, "random"), body)


def test_rest_pose_of_the_clip_stays_upright(body: BodyModel):
    clip = daz_clip()
    clip.rotations[:] = np.eye(3)
    motion = retarget(clip, body, "rest")
    for joint in (Joint.PELVIS, Joint.SPINE1, Joint.SPINE2, Joint.SPINE3, Joint.NECK, Joint.HEAD, Joint.LEFT_COLLAR):
        assert np.allclose(motion.pose[:, joint], np.eye(3), atol=1e-6)


def test_spine_adds_up_to_the_chests_rotation(body: BodyModel):
    clip = daz_clip()
    motion = retarget(clip, body, "random")
    chain = motion.pose[:, Joint.PELVIS] @ motion.pose[:, Joint.SPINE1] @ motion.pose[:, Joint.SPINE2]
    chest = global_rotations(clip)[1:, clip.names.index("chest")]
    assert np.allclose(chain @ motion.pose[:, Joint.SPINE3], chest, atol=1e-5)
    angles = [np.arccos((np.trace(motion.pose[:, j], axis1=1, axis2=2) - 1) / 2) for j in (3, 6, 9)]
    assert all((angle < 0.6 * sum(angles) + 1e-3).mean() > 0.5 for angle in angles)  # no joint takes it all


def test_hips_move_as_far_as_the_legs_are_long(body: BodyModel):
    clip = daz_clip()
    clip.rotations[:] = np.eye(3)
    motion = retarget(clip, body, "walk")
    joints = body.joints(np.zeros((1, 10)))[0]
    leg_m = np.linalg.norm(np.diff(joints[[Joint.LEFT_HIP, Joint.LEFT_KNEE, Joint.LEFT_ANKLE]], axis=0), axis=1).sum()
    clip_leg = np.linalg.norm([0, -37, 1]) + np.linalg.norm([-1, -45, -5])
    assert np.allclose(np.diff(motion.transl_m, axis=0), [0, 0, 2 * leg_m / clip_leg], atol=1e-5)


def test_first_frame_is_dropped_and_flips_are_marked():
    pose = np.broadcast_to(np.eye(3), (30, NUM_JOINTS, 3, 3)).copy()
    pose[12, Joint.LEFT_HIP] = axis_rotation(1, np.array([2.0]))[0]
    assert np.flatnonzero(~plausible_frames(pose, 30.0)).tolist() == list(range(9, 16))
    assert plausible_frames(pose[:12], 30.0).all()
    clip = daz_clip(frames=9)
    assert len(retarget(clip, BodyModel.load(), "random").pose) == 8


def test_shortest_rotation_turns_one_direction_into_the_other():
    generator = np.random.default_rng(0)
    for source, target in generator.normal(size=(20, 2, 3)):
        rotation = shortest_rotation(source, target)
        assert np.allclose(direction(rotation @ source), direction(target))
        assert np.allclose(rotation @ rotation.T, np.eye(3))
        assert np.allclose(rotation @ np.cross(source, target), np.cross(source, target))


def test_other_skeletons_are_refused(tmp_path: Path):
    path = tmp_path / "other.bvh"
    path.write_text(
        "HIERARCHY\nROOT Hips\n{\nOFFSET 0 0 0\nCHANNELS 3 Zrotation Xrotation Yrotation\n}\n"
        "MOTION\nFrames: 1\nFrame Time: 0.1\n0 0 0\n"
    )
    with pytest.raises(BvhError, match="lacks abdomen, chest"):
        load_smpl_motion(path)


@pytest.mark.parametrize("name", ["02_01", "06_09", "09_03", "13_30"])
def test_real_clips_look_like_people(shared_dir: Path, body: BodyModel, name: str):
    path = shared_dir / "data" / "mocap_cmu" / f"{name}.bvh.gz"
    motion = load_smpl_motion(path, body)
    assert motion.name == name and motion.fps == pytest.approx(30.0, abs=0.01)
    assert motion.pose.dtype == motion.transl_m.dtype == np.float32
    assert np.abs(motion.pose @ motion.pose.swapaxes(-1, -2) - np.eye(3)).max() < 1e-4
    check_limbs_agree(load_bvh(path), motion, body)
    every = slice(None, None, max(1, len(motion.pose) // 20))
    count = len(motion.pose[every])
    lowest = body(motion.pose[every], np.zeros((count, 10)), motion.transl_m[every]).vertices[:, :, 1].min(axis=1)
    assert lowest.min() > -0.2 and abs(np.median(lowest)) < 0.1
    assert motion.plausible.mean() > 0.95
    # Knees bend backwards (the shin turns about +x), elbows forwards.
    for knee in (Joint.LEFT_KNEE, Joint.RIGHT_KNEE):
        bend = motion.pose[:, knee, 2, 1]  # sine of the turn about x
        assert bend.max() > 0.3 and bend.min() > -0.3
    assert np.percentile(motion.pose[:, Joint.LEFT_ELBOW, 0, 2], 95) < 0.3  # +x turns to +z: about -y
    assert np.percentile(motion.pose[:, Joint.RIGHT_ELBOW, 0, 2], 5) > -0.3


def test_people_walk_forwards(shared_dir: Path, body: BodyModel):
    motion = load_smpl_motion(shared_dir / "data" / "mocap_cmu" / "02_01.bvh.gz", body)
    travel = motion.transl_m[-1] - motion.transl_m[0]
    facing = motion.pose[:, Joint.PELVIS, :, 2].mean(axis=0)
    assert np.linalg.norm(travel[[0, 2]]) > 1.0
    assert direction(travel[[0, 2]]) @ direction(facing[[0, 2]]) > 0.9
