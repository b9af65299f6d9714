"""Single poses of MakeHuman (`.bvh` on its 163-bone default skeleton) as poses of SMPL's joints.

The skeleton rests in an A-pose, z up, facing -y, its bones' rest frames parallel to the world. As with motion capture,
a bone's global rotation carries over once the rest direction of each limb is matched.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bodycast.hmr.body.body_model import BodyModel
from bodycast.hmr.body.joints import NUM_JOINTS, PARENTS, Joint
from training.mocap.bvh import BvhError, load_bvh
from training.mocap.retarget import global_rotations, shortest_rotation

# SMPL joint -> bone that drives it, and the bones between which its limb lies.
_DRIVER: dict[Joint, tuple[str, str | None, str | None]] = {
    Joint.PELVIS: ("root", None, None),
    Joint.SPINE1: ("spine04", None, None),
    Joint.SPINE2: ("spine03", None, None),
    Joint.SPINE3: ("spine01", None, None),
    Joint.NECK: ("neck02", None, None),
    Joint.HEAD: ("head", None, None),
}
for _side, _letter in (("LEFT", "L"), ("RIGHT", "R")):
    for _joint, _bone, _start, _end in (
        ("COLLAR", "clavicle", None, None),
        ("SHOULDER", "upperarm02", "upperarm01", "lowerarm01"),
        ("ELBOW", "lowerarm02", "lowerarm01", "wrist"),
        ("WRIST", "wrist", "wrist", "finger3-1"),
        ("HIP", "upperleg02", "upperleg01", "lowerleg01"),
        ("KNEE", "lowerleg02", "lowerleg01", "foot"),
        ("ANKLE", "foot", None, None),
    ):
        _DRIVER[Joint[f"{_side}_{_joint}"]] = (
            f"{_bone}.{_letter}", _start and f"{_start}.{_letter}", _end and f"{_end}.{_letter}",
        )  # fmt: skip
_CHILD = {16: 18, 17: 19, 18: 20, 19: 21, 20: 22, 21: 23, 1: 4, 2: 5, 4: 7, 5: 8}
_TO_Y_UP = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])


def load_makehuman_pose(path: Path, body: BodyModel) -> NDArray[np.float32]:
    """(24, 3, 3) pose of the clip's first frame. Raises BvhError where a bone is missing."""
    clip = load_bvh(path, moving_bones=True)
    index = {name: number for number, name in enumerate(clip.names)}
    missing = sorted({bone for row in _DRIVER.values() for bone in row if bone} - set(index))
    if missing:
        raise BvhError(f"{path}: expected MakeHuman's default skeleton; it lacks {', '.join(missing)}")
    turned = _TO_Y_UP @ global_rotations(clip)[0] @ _TO_Y_UP.T
    rest = clip.rest_places() @ _TO_Y_UP.T
    ours_rest = body.joints(np.zeros((1, 10), np.float32))[0].astype(np.float64)
    world = np.tile(np.eye(3), (NUM_JOINTS, 1, 1))
    for joint, (bone, start, end) in _DRIVER.items():
        world[joint] = turned[index[bone]]
        if start and end:
            ours = ours_rest[_CHILD[joint]] - ours_rest[joint]
            world[joint] = world[joint] @ shortest_rotation(ours, rest[index[end]] - rest[index[start]])
    for joint in (Joint.LEFT_FOOT, Joint.RIGHT_FOOT, Joint.LEFT_HAND, Joint.RIGHT_HAND):
        world[joint] = world[PARENTS[joint]]
    pose = world.copy()
    for joint in range(1, NUM_JOINTS):
        pose[joint] = world[PARENTS[joint]].T @ world[joint]
    return pose.astype(np.float32)
