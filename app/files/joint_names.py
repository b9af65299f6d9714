"""What other programs call SMPL's joints."""

from __future__ import annotations

from typing import Literal, get_args

from bodycast.app.errors import UsageError
from bodycast.hmr.body.joints import JOINT_NAMES, Joint

NamesOf = Literal["smpl", "vrm", "mixamo", "ue", "rigify"]

_VRM = {
    Joint.PELVIS: "hips", Joint.SPINE1: "spine", Joint.SPINE2: "chest", Joint.SPINE3: "upperChest",
    Joint.NECK: "neck", Joint.HEAD: "head",
    Joint.LEFT_COLLAR: "leftShoulder", Joint.LEFT_SHOULDER: "leftUpperArm", Joint.LEFT_ELBOW: "leftLowerArm",
    Joint.LEFT_WRIST: "leftHand", Joint.LEFT_HAND: "leftHandEnd",
    Joint.LEFT_HIP: "leftUpperLeg", Joint.LEFT_KNEE: "leftLowerLeg", Joint.LEFT_ANKLE: "leftFoot",
    Joint.LEFT_FOOT: "leftToes",
}  # fmt: skip
_MIXAMO = {
    Joint.PELVIS: "mixamorig:Hips", Joint.SPINE1: "mixamorig:Spine", Joint.SPINE2: "mixamorig:Spine1",
    Joint.SPINE3: "mixamorig:Spine2", Joint.NECK: "mixamorig:Neck", Joint.HEAD: "mixamorig:Head",
    Joint.LEFT_COLLAR: "mixamorig:LeftShoulder", Joint.LEFT_SHOULDER: "mixamorig:LeftArm",
    Joint.LEFT_ELBOW: "mixamorig:LeftForeArm", Joint.LEFT_WRIST: "mixamorig:LeftHand",
    Joint.LEFT_HAND: "mixamorig:LeftHandMiddle1", Joint.LEFT_HIP: "mixamorig:LeftUpLeg",
    Joint.LEFT_KNEE: "mixamorig:LeftLeg", Joint.LEFT_ANKLE: "mixamorig:LeftFoot",
    Joint.LEFT_FOOT: "mixamorig:LeftToeBase",
}  # fmt: skip
_UNREAL = {
    Joint.PELVIS: "pelvis", Joint.SPINE1: "spine_01", Joint.SPINE2: "spine_02", Joint.SPINE3: "spine_03",
    Joint.NECK: "neck_01", Joint.HEAD: "head", Joint.LEFT_COLLAR: "clavicle_l", Joint.LEFT_SHOULDER: "upperarm_l",
    Joint.LEFT_ELBOW: "lowerarm_l", Joint.LEFT_WRIST: "hand_l", Joint.LEFT_HAND: "middle_01_l",
    Joint.LEFT_HIP: "thigh_l", Joint.LEFT_KNEE: "calf_l", Joint.LEFT_ANKLE: "foot_l", Joint.LEFT_FOOT: "ball_l",
}  # fmt: skip
_RIGIFY = {
    Joint.PELVIS: "spine", Joint.SPINE1: "spine.001", Joint.SPINE2: "spine.002", Joint.SPINE3: "spine.003",
    Joint.NECK: "spine.004", Joint.HEAD: "spine.006", Joint.LEFT_COLLAR: "shoulder.L",
    Joint.LEFT_SHOULDER: "upper_arm.L", Joint.LEFT_ELBOW: "forearm.L", Joint.LEFT_WRIST: "hand.L",
    Joint.LEFT_HAND: "palm.02.L", Joint.LEFT_HIP: "thigh.L", Joint.LEFT_KNEE: "shin.L", Joint.LEFT_ANKLE: "foot.L",
    Joint.LEFT_FOOT: "toe.L",
}  # fmt: skip
_TABLES: dict[str, tuple[dict[Joint, str], tuple[str, str]]] = {
    "vrm": (_VRM, ("left", "right")),
    "mixamo": (_MIXAMO, (":Left", ":Right")),
    "ue": (_UNREAL, ("_l", "_r")),
    "rigify": (_RIGIFY, (".L", ".R")),
}


def joint_names(of: str) -> tuple[str, ...]:
    """(24,) names in SMPL's order. Raises: UsageError for names that are not known."""
    if of == "smpl":
        return JOINT_NAMES
    if of not in _TABLES:
        raise UsageError(f"--names {of}: there are {', '.join(get_args(NamesOf))}")
    table, (left, right) = _TABLES[of]
    names: list[str] = []
    for joint in Joint:
        if joint in table:
            names.append(table[joint])
        else:
            names.append(table[Joint[joint.name.replace("RIGHT", "LEFT")]].replace(left, right))
    return tuple(names)
