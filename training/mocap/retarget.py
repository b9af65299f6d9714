"""Carries motion of the CMU (Daz-friendly) BVH skeleton over to SMPL's joints.

The clips of the CMU Graphics Lab database come on a skeleton whose rest pose is a T-pose with axes parallel to the
world, as SMPL's is. A bone's *global* rotation therefore carries over; what remains is to choose the bone of the
clip that drives each SMPL joint, to spread the spine's bending, and to correct for limbs whose rest directions
differ.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bodycast.hmr.body.body_model import BodyModel, forward_kinematics
from bodycast.hmr.body.joints import NUM_JOINTS, PARENTS, Joint
from bodycast.hmr.geometry.rotations import geodesic_distance, interpolate_rotations
from training.mocap.bvh import BvhClip, BvhError, load_bvh

Floats = NDArray[np.float64]

MAX_SPIN_RAD_S = np.deg2rad(1500.0)  # fast throws reach about 1000 degrees a second at the shoulder
MARGIN = 2
FLOOR_PERCENTILE = 10.0
BALL_OF_FOOT_HEIGHT_M = 0.027  # of the embedded body, sole to foot joint

# SMPL joint -> the bone of the clip whose global rotation it takes. The spine is dealt with apart.
_DRIVER: dict[Joint, str] = {
    Joint.PELVIS: "hip",
    Joint.LEFT_HIP: "lThigh",
    Joint.RIGHT_HIP: "rThigh",
    Joint.LEFT_KNEE: "lShin",
    Joint.RIGHT_KNEE: "rShin",
    Joint.LEFT_ANKLE: "lFoot",
    Joint.RIGHT_ANKLE: "rFoot",
    Joint.LEFT_FOOT: "lFoot",
    Joint.RIGHT_FOOT: "rFoot",
    Joint.SPINE3: "chest",
    Joint.NECK: "neck",
    Joint.HEAD: "head",
    Joint.LEFT_COLLAR: "lCollar",
    Joint.RIGHT_COLLAR: "rCollar",
    Joint.LEFT_SHOULDER: "lShldr",
    Joint.RIGHT_SHOULDER: "rShldr",
    Joint.LEFT_ELBOW: "lForeArm",
    Joint.RIGHT_ELBOW: "rForeArm",
    Joint.LEFT_WRIST: "lHand",
    Joint.RIGHT_WRIST: "rHand",
    Joint.LEFT_HAND: "lHand",
    Joint.RIGHT_HAND: "rHand",
}

# SMPL joint -> (its end in SMPL, start bone and end bone in the clip): limbs whose rest directions are matched.
_LIMBS: dict[Joint, tuple[Joint, str, str]] = {
    Joint.LEFT_HIP: (Joint.LEFT_KNEE, "lThigh", "lShin"),
    Joint.RIGHT_HIP: (Joint.RIGHT_KNEE, "rThigh", "rShin"),
    Joint.LEFT_KNEE: (Joint.LEFT_ANKLE, "lShin", "lFoot"),
    Joint.RIGHT_KNEE: (Joint.RIGHT_ANKLE, "rShin", "rFoot"),
    Joint.LEFT_SHOULDER: (Joint.LEFT_ELBOW, "lShldr", "lForeArm"),
    Joint.RIGHT_SHOULDER: (Joint.RIGHT_ELBOW, "rShldr", "rForeArm"),
    Joint.LEFT_ELBOW: (Joint.LEFT_WRIST, "lForeArm", "lHand"),
    Joint.RIGHT_ELBOW: (Joint.RIGHT_WRIST, "rForeArm", "rHand"),
    Joint.LEFT_WRIST: (Joint.LEFT_HAND, "lHand", "lMid1"),
    Joint.RIGHT_WRIST: (Joint.RIGHT_HAND, "rHand", "rMid1"),
}


@dataclass(frozen=True)
class Motion:
    """A clip on SMPL's joints, in a y-up world whose floor is at y = 0, metres.

    pose (T,24,3,3) float32 relative to the parent; transl_m (T,3) float32: SMPL translation; fps; name: of the clip;
    plausible (T,) bool: False at and next to frames where a joint spins faster than a person can, which some clips
    have.
    """

    pose: NDArray[np.float32]
    transl_m: NDArray[np.float32]
    fps: float
    name: str
    plausible: NDArray[np.bool_]


def load_smpl_motion(path: Path, body: BodyModel | None = None) -> Motion:
    """Read a CMU clip (`.bvh` or `.bvh.gz`) as poses of `body` (the embedded body when not given), at mean shape.

    Raises BvhError when the file is damaged or has another skeleton than CMU's Daz-friendly one.
    """
    clip = load_bvh(path)
    missing = sorted({"abdomen", "lMid1", "rMid1", *_DRIVER.values()} - set(clip.names))
    if missing:
        raise BvhError(f"{path}: expected CMU's Daz-friendly skeleton; it lacks {', '.join(missing)}")
    name = path.name.removesuffix(".gz").removesuffix(".bvh")
    return retarget(clip, BodyModel.load() if body is None else body, name)


def retarget(clip: BvhClip, body: BodyModel, name: str) -> Motion:
    """Carry a clip on CMU's Daz-friendly skeleton over to `body` at mean shape."""
    index = {bone: position for position, bone in enumerate(clip.names)}
    turned = global_rotations(clip)
    joints_rest = body.joints(np.zeros((1, 10)))[0].astype(np.float64)
    world = np.empty((len(turned), NUM_JOINTS, 3, 3))
    for joint, bone in _DRIVER.items():
        world[:, joint] = turned[:, index[bone]]
    _spread_spine(world, turned[:, index["abdomen"]])
    rest = clip.rest_places()
    for joint, (end, start_bone, end_bone) in _LIMBS.items():
        ours = joints_rest[end] - joints_rest[joint]
        theirs = rest[index[end_bone]] - rest[index[start_bone]]
        world[:, joint] = world[:, joint] @ shortest_rotation(ours, theirs)
    for joint in (Joint.LEFT_HAND, Joint.RIGHT_HAND):
        world[:, joint] = world[:, PARENTS[joint]]
    pose = world.copy()
    for joint in range(1, NUM_JOINTS):
        pose[:, joint] = world[:, PARENTS[joint]].swapaxes(-1, -2) @ world[:, joint]
    transl = _translation(clip, index, turned, joints_rest, world)
    transl[:, 1] -= _floor_height(pose, transl, joints_rest)
    # The first frame of the clips is a mixture of their T-pose and the first captured frame.
    return Motion(
        pose=pose[1:].astype(np.float32),
        transl_m=transl[1:].astype(np.float32),
        fps=clip.fps,
        name=name,
        plausible=plausible_frames(pose[1:], clip.fps),
    )


def global_rotations(clip: BvhClip) -> Floats:
    """(T,J,3,3) rotations of the clip's bones in the world."""
    turned = clip.rotations.copy()
    for joint, parent in enumerate(clip.parents):
        if parent >= 0:
            turned[:, joint] = turned[:, parent] @ turned[:, joint]
    return turned


def plausible_frames(pose: Floats, fps: float) -> NDArray[np.bool_]:
    """(T,) False where a joint of `pose` (T,24,3,3) turns faster than MAX_SPIN_RAD_S, and MARGIN frames around it.

    Marker swaps and angles that went wrong in the clips' history make limbs flip within a frame or two.
    """
    step = geodesic_distance(pose[:-1], pose[1:]).max(axis=1) * fps
    plausible = np.ones(len(pose), dtype=bool)
    for frame in np.flatnonzero(step > MAX_SPIN_RAD_S):
        plausible[max(0, frame - MARGIN) : frame + 2 + MARGIN] = False
    return plausible


def _floor_height(pose: Floats, transl: Floats, joints_rest: Floats) -> float:
    """Height of the floor: where the ball of the lower foot is at rest in nearly the lowest frames of the clip.

    Nearly the lowest, because single frames dip below it. Most clips have their floor at 0 already, a few far off.
    """
    _, places = forward_kinematics(pose[1:].astype(np.float32), joints_rest[None].astype(np.float32))
    feet = (Joint.LEFT_FOOT, Joint.RIGHT_FOOT)
    lower = (places[:, feet, 1] + transl[1:, None, 1]).min(axis=1)
    return float(np.percentile(lower, FLOOR_PERCENTILE)) - BALL_OF_FOOT_HEIGHT_M


def shortest_rotation(source: Floats, target: Floats) -> Floats:
    """(3,3) smallest rotation that turns the direction `source` (3,) into `target` (3,); not for opposite ones."""
    a, b = source / np.linalg.norm(source), target / np.linalg.norm(target)
    x, y, z = np.cross(a, b)
    skew = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    return np.eye(3) + skew + skew @ skew / (1.0 + a @ b)


def _spread_spine(world: Floats, abdomen: Floats) -> None:
    """Fill in spine1 and spine2 between pelvis and chest: the clip bends at two joints, SMPL at three.

    The clip's abdomen joint lies low in the back, its chest joint at the waist. Spine1 goes two thirds of the way
    to the abdomen's rotation, spine2 half of the way from there to the chest's.
    """
    pelvis, chest = world[:, Joint.PELVIS], world[:, Joint.SPINE3]
    world[:, Joint.SPINE1] = interpolate_rotations(pelvis, abdomen, np.full(len(world), 2.0 / 3.0))
    world[:, Joint.SPINE2] = interpolate_rotations(abdomen, chest, np.full(len(world), 0.5))


def _translation(clip: BvhClip, index: dict[str, int], turned: Floats, joints_rest: Floats, world: Floats) -> Floats:
    """SMPL translation that puts the middle of the hip joints where the clip has it, scaled by the length of the legs.

    The hip joints are what both skeletons agree on; their roots lie at different heights above them.
    """
    rest = clip.rest_places()
    middle = 0.5 * (rest[index["lThigh"]] + rest[index["rThigh"]]) - rest[0]
    clip_hips = clip.positions + turned[:, 0] @ middle
    legs = ("lThigh", "lShin", "lFoot")
    clip_leg = _chain_length(rest[[index[bone] for bone in legs]])
    our_leg = _chain_length(joints_rest[[Joint.LEFT_HIP, Joint.LEFT_KNEE, Joint.LEFT_ANKLE]])
    our_middle = 0.5 * (joints_rest[Joint.LEFT_HIP] + joints_rest[Joint.RIGHT_HIP]) - joints_rest[Joint.PELVIS]
    hips = clip_hips * (our_leg / clip_leg)
    return hips - world[:, Joint.PELVIS] @ our_middle - joints_rest[Joint.PELVIS]


def _chain_length(places: Floats) -> float:
    """Length of the path through (K,3) places."""
    return float(np.linalg.norm(np.diff(places, axis=0), axis=1).sum())
