"""VRM animation 1.0 (.vrma) of one person: a humanoid's bones and their motion, for VRM avatars.

Written from the VRMC_vrm_animation 1.0 specification (VRM Consortium): a glTF without a mesh, whose nodes rest in a
T-pose that faces +z; rotations are local, the hips move. Avatars turn their bones from their own T-pose, SMPL's rest
pose is only near one: limbs are straightened, and the rotations made up for it, as the live senders do.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bodycast.app.files.glb import Asset, Json, add_animation, add_skeleton
from bodycast.app.files.joint_names import joint_names
from bodycast.app.files.person_motion import PersonMotion
from bodycast.app.senders.skeleton import BONE_COUNT, TPose, bone_rotations, t_pose
from bodycast.hmr.body.joints import PARENTS

EXTENSION = "VRMC_vrm_animation"


def encode(person: PersonMotion, start_s: float) -> bytes:
    """The file's content. Animation time 0 is `start_s` of the clip; before they come, players hold the first pose."""
    rest = t_pose(person.offsets_m)
    turned = np.stack([bone_rotations(pose, pose[0], rest) for pose in person.rotations])
    asset = Asset()
    # SMPL's two hand joints, behind the others, have no bone in VRM.
    names = joint_names("vrm")[:BONE_COUNT]
    nodes = add_skeleton(asset, person, standing(rest), names)
    # The resting hips stand above the origin: avatars scale the motion by their height there.
    asset.lists["nodes"][nodes[0]]["translation"] = [0.0, rest.hips_m, 0.0]
    samplers: list[Json] = []
    channels: list[Json] = []
    add_animation(asset, replace(person, rotations=turned), nodes, start_s, samplers, channels)
    asset.add("animations", name="motion", samplers=samplers, channels=channels)
    asset.add("scenes", nodes=[nodes[0]])
    bones = {name: {"node": node} for name, node in zip(names, nodes, strict=True)}
    return asset.encode({EXTENSION: {"specVersion": "1.0", "humanoid": {"humanBones": bones}}})


def standing(rest: TPose) -> np.ndarray:
    """(22,3) places of the bones in the T-pose, its soles at y = 0, m."""
    places = np.empty((BONE_COUNT, 3))
    places[0] = (0.0, rest.hips_m, 0.0)
    for bone in range(1, BONE_COUNT):
        places[bone] = places[int(PARENTS[bone])] + rest.offsets_m[bone]
    return places
