"""VRM animation 1.0 (.vrma) of one person: a humanoid's bones and their motion, for VRM avatars.

Written from the VRMC_vrm_animation 1.0 specification (VRM Consortium): a glTF without a mesh, whose nodes rest in a
T-pose that faces +z, as SMPL's does; rotations are local, the hips move.
"""

from __future__ import annotations

from bodycast.app.files.glb import Asset, Json, add_animation, add_skeleton
from bodycast.app.files.joint_names import joint_names
from bodycast.app.files.person_motion import PersonMotion
from bodycast.hmr.body.joints import Joint

EXTENSION = "VRMC_vrm_animation"
_NO_VRM_BONE = (Joint.LEFT_HAND, Joint.RIGHT_HAND)


def encode(person: PersonMotion, start_s: float) -> bytes:
    """The file's content. Animation time 0 is `start_s` of the clip."""
    asset = Asset()
    names = joint_names("vrm")
    nodes = add_skeleton(asset, person, person.rest_joints(), names)
    # The resting hips stand above the origin: avatars scale the motion by their height there.
    rest = person.rest_joints()
    height = float(rest[0, 1] - rest[:, 1].min())
    asset.lists["nodes"][nodes[0]]["translation"] = [0.0, height, 0.0]
    samplers: list[Json] = []
    channels: list[Json] = []
    add_animation(asset, person, nodes, start_s, samplers, channels)
    asset.add("animations", name="motion", samplers=samplers, channels=channels)
    asset.add("scenes", nodes=[nodes[0]])
    bones = {names[joint]: {"node": nodes[joint]} for joint in Joint if joint not in _NO_VRM_BONE}
    return asset.encode({EXTENSION: {"specVersion": "1.0", "humanoid": {"humanBones": bones}}})
