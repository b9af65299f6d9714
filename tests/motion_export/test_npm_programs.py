"""Exported files in the web's own programs: Khronos's validator, three.js, three-vrm."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bodycast.app.files import export_motion
from bodycast.app.files.glb import Asset, add_skeleton
from bodycast.app.files.joint_names import joint_names
from bodycast.app.files.motion_file import read_motion, write_motion
from bodycast.app.files.person_motion import PersonMotion, clip_start_s, people_in_world
from bodycast.app.files.vrma import standing
from bodycast.app.senders.skeleton import BONE_COUNT, t_pose
from bodycast.hmr.body.body_model import BodyModel
from tests.motion_export.npm_pages import NODE_MODULES, needs_npm, page_server
from tests.viewer.browser import Browser, needs_chromium
from tests.viewer.clips import FPS, walk

pytestmark = pytest.mark.slow

LIMIT_M = 0.002
FRAMES, LATE = 45, 12
BONES = joint_names("vrm")[:BONE_COUNT]

_VALIDATE = """
const validator = require('gltf-validator'), fs = require('fs');
(async () => {
  for (const file of process.argv.slice(1)) {
    const found = await validator.validateBytes(new Uint8Array(fs.readFileSync(file)));
    console.log(JSON.stringify(found.issues));
  }
})()
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two people, the second of whom comes later, and everything that is exported of them."""
    folder = tmp_path_factory.mktemp("export")
    motion = walk(2, FRAMES)
    write_motion(folder / "motion.npz", motion.select((motion.person_id == 1) | (motion.frame >= LATE)))
    for target, flags in (
        ("out.glb", {}),
        ("mixamo.glb", {"names": "mixamo"}),
        ("one.vrma", {"person_id": 1}),
        ("late.vrma", {"person_id": 2}),
    ):
        export_motion(folder / "motion.npz", folder / target, **flags)
    return folder


@pytest.fixture(scope="module")
def page(folder: Path) -> Iterator[Browser]:
    with page_server(folder) as address, Browser() as browser:
        browser.open(address)
        browser.wait_for("window.ready")
        yield browser


def person_of(folder: Path, number: int, *, alone: bool = False) -> PersonMotion:
    motion = read_motion(folder / "motion.npz")
    return people_in_world(motion, [number] if alone else motion.person_ids)[0 if alone else number - 1]


def clip_times(folder: Path, person: PersonMotion) -> list[float]:
    """Of the person's frames and of moments halfway between, on the files' clock."""
    start_s = clip_start_s(read_motion(folder / "motion.npz"))
    return (person.at_steady_rate(2 * FPS).time_s - start_s + 1e-4).tolist()


@needs_npm("gltf-validator")
@pytest.mark.skipif(not shutil.which("node"), reason="node is not installed")
def test_khronos_validator_has_nothing_to_say(folder: Path) -> None:
    files = sorted(str(path) for path in folder.iterdir() if path.suffix in (".glb", ".vrma"))
    assert len(files) == 4
    node = [shutil.which("node") or "", "-e", _VALIDATE, "--", *files]
    done = subprocess.run(node, capture_output=True, text=True, check=True, cwd=Path(NODE_MODULES).parent)
    for file, line in zip(files, done.stdout.splitlines(), strict=True):
        issues = json.loads(line)
        assert (issues["numErrors"], issues["numWarnings"]) == (0, 0), f"{file}: {issues['messages']}"


@needs_chromium
@needs_npm("three")
@pytest.mark.parametrize("name", ["out.glb", "mixamo.glb"])
def test_three_js_plays_a_glb(page: Browser, folder: Path, name: str) -> None:
    people = [person_of(folder, number) for number in (1, 2)]
    for person in people:
        times = clip_times(folder, person)
        played: dict[str, Any] = page.evaluate(f"playGlb({name!r}, {times})")
        assert played["floor"] and played["length"] == pytest.approx((FRAMES - 1) / FPS)
        seen = played["people"][f"person_{person.person_id}_body"]
        off_m = np.abs(np.array(seen["joints"]) - person.at_steady_rate(2 * FPS).joints_m()).max()
        print(f"{name}, person {person.person_id}: joints within {1000 * off_m:.3f} mm")
        assert off_m < LIMIT_M
        skin = np.array(seen["skin"])
        assert np.abs(skin - skinned(person.at_steady_rate(2 * FPS), skin.shape[1])).max() < LIMIT_M
    before: dict[str, Any] = page.evaluate(f"playGlb({name!r}, [0.1])")
    skins = {key: np.array(value["skin"][0]) for key, value in before["people"].items()}
    assert np.ptp(skins["person_1_body"], axis=0).max() > 1.0
    assert np.ptp(skins["person_2_body"], axis=0).max() < 1e-6, "nobody sees them before they come"
    assert page.errors == []


def skinned(person: PersonMotion, count: int) -> np.ndarray:
    """(F,count,3) every hundredth vertex, by linear blend skinning with the four strongest joints; no correctives."""
    from bodycast.app.files.glb import strongest_influences
    from bodycast.app.files.person_motion import forward_kinematics

    body = BodyModel.load()
    betas = person.betas[None].astype(np.float32)
    vertices, rest = body.rest_vertices(betas)[0, ::100][:count], body.joints(betas)[0]
    joints, weights = (array[::100][:count] for array in strongest_influences(body.weights))
    places, turns = forward_kinematics(person.rotations, person.offsets_m, person.root_m)
    around = vertices[:, None] - rest[joints]
    moved = np.einsum("fvkij,vkj->fvki", turns[:, joints], around) + places[:, joints]
    return (moved * weights[..., None]).sum(axis=2)


def write_avatar(path: Path, person: PersonMotion, scale: float, turned: bool) -> None:
    """A VRM 1.0 humanoid without a mesh, in a T-pose, of the person's proportions; turned: its bones rest in axes of
    their own."""
    rest = standing(t_pose(person.offsets_m)) * scale
    asset = Asset()
    nodes = add_skeleton(asset, replace(person, root_m=rest[:1]), rest, BONES)
    if turned:
        turn_rests(asset.lists["nodes"], nodes)
    asset.add("scenes", nodes=[nodes[0]])
    bones = {name: {"node": node} for name, node in zip(BONES, nodes, strict=True)}
    meta = {"name": "test", "authors": ["test"], "licenseUrl": "https://vrm.dev/licenses/1.0/"}
    path.write_bytes(
        asset.encode({"VRMC_vrm": {"specVersion": "1.0", "meta": meta, "humanoid": {"humanBones": bones}}})
    )


def turn_rests(entries: list[dict[str, Any]], nodes: list[int]) -> None:
    """Give every node a half turn about an axis of its own, which leaves all places where they are."""
    world = {}
    parents = {child: node for node in nodes for child in entries[node].get("children", [])}
    axes = np.array([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [0, 1, 1]])
    for number, node in enumerate(nodes):
        axis = axes[number % 5] / np.linalg.norm(axes[number % 5])
        world[node] = 2 * np.outer(axis, axis) - np.eye(3)
        above = world.get(parents.get(node, -1), np.eye(3))
        entries[node]["translation"] = (above.T @ entries[node]["translation"]).tolist()
        entries[node]["rotation"] = quaternion(above.T @ world[node])


def quaternion(matrix: np.ndarray) -> list[float]:
    """x, y, z, w."""
    from bodycast.hmr.geometry.rotations import matrix_to_quaternion

    w, x, y, z = matrix_to_quaternion(matrix).tolist()
    return [x, y, z, w]


@needs_chromium
@needs_npm("three", "@pixiv/three-vrm", "@pixiv/three-vrm-animation")
@pytest.mark.parametrize(("scale", "turned"), [(1.0, False), (1.0, True), (0.6, True)])
def test_three_vrm_plays_a_vrma(page: Browser, folder: Path, scale: float, turned: bool) -> None:
    """An avatar of the person's own proportions has the person's joints; a smaller one, a smaller picture of them."""
    for number, name in ((1, "one.vrma"), (2, "late.vrma")):
        person = person_of(folder, number, alone=True)
        write_avatar(folder / "avatar.vrm", person, scale, turned)
        query = f"avatar.vrm?{number}{scale}{turned}"
        played = page.evaluate(f"playVrma({query!r}, {name!r}, {list(BONES)}, {clip_times(folder, person)})")
        assert played["count"] == 1
        expected = person.at_steady_rate(2 * FPS).joints_m()[:, :BONE_COUNT] * scale
        off_m = np.abs(np.array(played["joints"]) - expected).max()
        print(f"{name}, scale {scale}: joints within {1000 * off_m:.3f} mm")
        assert off_m < LIMIT_M
    assert page.errors == []
