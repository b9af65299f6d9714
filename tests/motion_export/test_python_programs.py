"""Exported files in other programs' own loaders: smplx, aitviewer, OpenSim, Blender.

The last three want an environment of their own: BODYCAST_AITVIEWER, BODYCAST_OPENSIM and BODYCAST_BPY name a Python
that has aitviewer, opensim, bpy.
"""

from __future__ import annotations

import json
import os
import pickle
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bodycast.app.files import export_motion
from bodycast.app.files.motion_file import read_motion, write_motion
from bodycast.app.files.person_motion import Z_UP, PersonMotion, people_in_world
from bodycast.hmr.body.body_model import BodyModel
from bodycast.hmr.body.joints import JOINT_NAMES, PARENTS, Joint
from tests.viewer.clips import FPS, walk

AITVIEWER, OPENSIM, BPY = (os.environ.get(f"BODYCAST_{name}", "") for name in ("AITVIEWER", "OPENSIM", "BPY"))
FRAMES, BODY_JOINTS, FINGERS = 20, 22, 15


def needs(python: str, name: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(not python, reason=f"BODYCAST_{name} does not name a Python with {name.lower()}")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("walk") / "motion.npz"
    write_motion(path, walk(2, FRAMES))
    return path


def people_of(source: Path) -> list[PersonMotion]:
    motion = read_motion(source)
    return people_in_world(motion, motion.person_ids)


def asked(python: str, script: Path, code: str, *arguments: object) -> Any:
    """What `code` prints behind ANSWER, as JSON; run by another Python that knows nothing of ours."""
    script.write_text(f"import json, sys\n{code}")
    environment = {"PATH": os.environ["PATH"], "HOME": str(script.parent), "OMP_NUM_THREADS": "1"}
    command = [python, "-I", str(script), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=script.parent, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(next(line for line in done.stdout.splitlines() if line.startswith("ANSWER"))[6:])


def write_smplh(folder: Path) -> Path:
    """Our body as a file of SMPL-H, 52 joints: the fingers' lie in the wrists and move nothing. Its folder."""
    arrays = BodyModel.load().arrays
    parents = np.concatenate([PARENTS[:BODY_JOINTS], [Joint.LEFT_WRIST] * FINGERS, [Joint.RIGHT_WRIST] * FINGERS])
    joints = [*range(BODY_JOINTS), *parents[BODY_JOINTS:].tolist()]
    weights = np.zeros((len(arrays.v_template), len(parents)))
    weights[:, :BODY_JOINTS] = arrays.weights[:, :BODY_JOINTS]
    for hand, wrist in ((Joint.LEFT_HAND, Joint.LEFT_WRIST), (Joint.RIGHT_HAND, Joint.RIGHT_WRIST)):
        weights[:, wrist] += arrays.weights[:, hand]
    content = {
        "v_template": arrays.v_template,
        "shapedirs": arrays.shapedirs,
        "posedirs": np.zeros((len(arrays.v_template), 3, 9 * (len(parents) - 1))),
        "J_regressor": arrays.J_regressor[joints],
        "weights": weights,
        "kintree_table": np.stack([np.where(parents < 0, 2**32 - 1, parents), np.arange(len(parents))]),
        "f": arrays.faces.astype(np.uint32),
        **{f"hands_components{side}": np.eye(3 * FINGERS) for side in "lr"},
        **{f"hands_mean{side}": np.zeros(3 * FINGERS) for side in "lr"},
    }
    (folder / "smplh").mkdir(parents=True)
    (folder / "smplh" / "SMPLH_FEMALE.pkl").write_bytes(pickle.dumps(content))
    return folder


def test_smplx_puts_amass_where_the_person_was(source: Path, tmp_path: Path) -> None:
    smplx, torch = pytest.importorskip("smplx"), pytest.importorskip("torch")
    files = export_motion(source, tmp_path / "am.npz", format="amass")
    model = smplx.create(
        str(write_smplh(tmp_path)), "smplh", gender="female", use_pca=False, flat_hand_mean=True, batch_size=FRAMES
    )
    for person, path in zip(people_of(source), files, strict=True):
        with np.load(path, allow_pickle=False) as stored:
            values = {key: torch.from_numpy(stored[key].astype(np.float32)) for key in ("poses", "trans", "betas")}
        poses = values["poses"]
        made = model(
            betas=values["betas"][None, :10].expand(FRAMES, 10),
            global_orient=poses[:, :3],
            body_pose=poses[:, 3:66],
            left_hand_pose=poses[:, 66:111],
            right_hand_pose=poses[:, 111:],
            transl=values["trans"],
        )
        joints = made.joints.detach().numpy()[:, :BODY_JOINTS]
        np.testing.assert_allclose(joints, (person.joints_m() @ Z_UP.T)[:, :BODY_JOINTS], atol=1e-3)
        vertices = made.vertices.detach().numpy()
        assert np.abs(vertices[..., 2].min(axis=1)).max() < 0.1, "the feet are near the floor, z = 0"
        assert (vertices[..., 2].max(axis=1) > 1.4).all(), "they are upright"


_AITVIEWER = """
from aitviewer.configuration import CONFIG
CONFIG.update_conf({"smplx_models": sys.argv[2], "device": "cpu"})
from aitviewer.renderables.smpl import SMPLSequence
made = SMPLSequence.from_amass(sys.argv[1], log=False, fps_out=15.0 if len(sys.argv) > 3 else None)
shown = made.joints @ made.rotation.T + made.position
skin = made.vertices @ made.rotation.T + made.position
print("ANSWER" + json.dumps([shown[:, :22].tolist(), skin[..., 1].min(axis=1).tolist()]))
"""


@pytest.mark.slow
@needs(AITVIEWER, "AITVIEWER")
def test_aitviewer_shows_amass_upright(source: Path, tmp_path: Path) -> None:
    (path,) = export_motion(source, tmp_path / "am.npz", format="amass", person_id=1)
    motion = read_motion(source)
    expected = people_in_world(motion, [1])[0].joints_m()[:, :BODY_JOINTS]
    models = write_smplh(tmp_path)
    joints, lowest = (np.array(one) for one in asked(AITVIEWER, tmp_path / "show.py", _AITVIEWER, path, models))
    print(f"aitviewer: joints within {1000 * np.abs(joints - expected).max():.3f} mm")
    np.testing.assert_allclose(joints, expected, atol=1e-3)
    assert (joints[:, Joint.HEAD, 1] - joints[:, Joint.LEFT_ANKLE, 1] > 1.2).all(), "y is up there"
    assert np.abs(lowest).max() < 0.1, "the feet are near its floor"
    halved, _ = asked(AITVIEWER, tmp_path / "half.py", _AITVIEWER, path, models, "15")
    assert len(halved) == FRAMES // 2, "it knows the frame rate"


_OPENSIM = """
import opensim
table = opensim.TimeSeriesTableVec3(sys.argv[1])
places = [[list(table.getRowAtIndex(row).getElt(0, column).to_numpy()) for column in range(table.getNumColumns())]
          for row in range(table.getNumRows())]
markers = opensim.MarkerData(sys.argv[1])
print("ANSWER" + json.dumps([list(table.getColumnLabels()), list(table.getIndependentColumn()), places,
    table.getTableMetaDataString("DataRate"), table.getTableMetaDataString("Units"),
    markers.getNumFrames(), markers.getNumMarkers(), markers.getDataRate(), markers.getUnits().getAbbreviation()]))
"""


@pytest.mark.slow
@needs(OPENSIM, "OPENSIM")
def test_opensim_reads_a_trc(source: Path, tmp_path: Path) -> None:
    for person, path in zip(people_of(source), export_motion(source, tmp_path / "walk.trc"), strict=True):
        labels, times, places, rate, units, *markers = asked(OPENSIM, tmp_path / "read.py", _OPENSIM, path)
        assert labels == list(JOINT_NAMES)
        assert (float(rate), units) == (FPS, "m")
        assert markers == [FRAMES, len(JOINT_NAMES), FPS, "m"]
        np.testing.assert_allclose(times, np.arange(FRAMES) / FPS, atol=1e-5)
        off_m = np.abs(np.array(places) - person.joints_m()).max()
        print(f"OpenSim: markers within {1000 * off_m:.4f} mm")
        assert off_m < 1e-4


_BLENDER = """
import bpy
bpy.ops.wm.read_factory_settings(use_empty=True)
scene = bpy.context.scene
scene.render.fps, scene.render.fps_base = 24 if sys.argv[1].endswith("bvh") else 30, 1.0
for path in sys.argv[1:]:
    kind = path.rpartition(".")[2]
    if kind == "bvh":
        bpy.ops.import_anim.bvh(filepath=path, update_scene_fps=True, update_scene_duration=True, frame_start=0)
    elif kind == "glb":
        bpy.ops.import_scene.gltf(filepath=path, disable_bone_shape=True)
    elif kind == "fbx":
        bpy.ops.import_scene.fbx(filepath=path)
    else:
        bpy.ops.wm.usd_import(filepath=path)
arms = sorted((one for one in bpy.data.objects if one.type == "ARMATURE"), key=lambda one: one.name)
first = min(action.frame_range[0] for action in bpy.data.actions)
last = max(action.frame_range[1] for action in bpy.data.actions)
joints, lowest = [], []
for frame in range(int(round(first)), int(round(last)) + 1):
    scene.frame_set(frame)
    graph = bpy.context.evaluated_depsgraph_get()
    joints.append([{bone.name: list(one.evaluated_get(graph).matrix_world @ bone.head)
                    for bone in one.evaluated_get(graph).pose.bones} for one in arms])
    heights = []
    for one in bpy.data.objects:
        if one.type == "MESH" and any(change.type == "ARMATURE" for change in one.modifiers):
            shown = one.evaluated_get(graph)
            mesh = shown.to_mesh()
            heights.append(min((shown.matrix_world @ vertex.co).z for vertex in mesh.vertices))
            shown.to_mesh_clear()
    lowest.append(heights)
print("ANSWER" + json.dumps({"names": [one.name for one in arms], "joints": joints, "lowest": lowest,
    "fps": scene.render.fps / scene.render.fps_base, "frames": [first, last]}))
"""


@pytest.mark.slow
@needs(BPY, "BPY")
@pytest.mark.parametrize(("suffix", "limit_m"), [(".glb", 1e-3), (".bvh", 1e-3), (".fbx", 5e-3), (".usdc", 5e-3)])
def test_blender_has_two_clean_armatures_that_move_as_the_people(
    source: Path, tmp_path: Path, suffix: str, limit_m: float
) -> None:
    flags = {"blender": BPY} if suffix in (".fbx", ".usdc") else {}
    files = export_motion(source, tmp_path / f"walk{suffix}", **flags)
    found = asked(BPY, tmp_path / "read.py", _BLENDER, *files)
    assert len(found["names"]) == 2, found["names"]
    assert len(found["joints"]) == FRAMES and found["fps"] == pytest.approx(FPS)
    expected = [person.joints_m() @ Z_UP.T for person in people_of(source)]
    for number, person in enumerate(expected):
        bones = [frame[number] for frame in found["joints"]]
        assert sorted(bones[0]) == sorted(JOINT_NAMES), "bare names, 24 bones"
        places = np.array([[bone[name] for name in JOINT_NAMES] for bone in bones])
        off_m = np.abs(places - person).max()
        print(f"{suffix}, {found['names'][number]}: joints within {1000 * off_m:.3f} mm")
        assert off_m < limit_m
        # They look at the camera: along -y, as a front view in Blender has it.
        left = places[:, Joint.LEFT_HIP] - places[:, Joint.RIGHT_HIP]
        assert (np.cross(left, [0, 0, 1])[:, 1] < 0).all()
    if suffix != ".bvh":
        lowest = np.array(found["lowest"])
        print(f"{suffix}: soles within {1000 * np.abs(lowest).max():.2f} mm of the floor")
        assert lowest.shape == (FRAMES, 2) and np.abs(lowest).max() < 0.02
