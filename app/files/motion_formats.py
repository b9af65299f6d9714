"""The formats that a recorded motion is converted to, and what each takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from bodycast.app.errors import UsageError
from bodycast.app.files import amass_npz, bvh, c3d, coco_json, csv, glb, joint_angles, phalp_npz, smplx_npz, trc, vrma
from bodycast.app.files.joint_names import joint_names
from bodycast.app.files.mesh_sequence import mesh_files
from bodycast.app.files.motion_file import Motion
from bodycast.app.files.person_motion import MOST_FRAMES, Z_UP, PersonMotion, clip_start_s
from bodycast.hmr.body.body_model import BodyModel

Content = Callable[[], bytes]
Files = Iterator[tuple[Path, Content]]


@dataclass(frozen=True)
class Conversion:
    """What is converted: `motion`; `people` in the world, y up; `target`; `fps` of formats without time stamps; `names`
    of the bones; `z_up`; `centimetres`; `body` loads the body that the betas belong to; `start`: see
    `export_motion`."""

    motion: Motion
    people: list[PersonMotion]
    target: Path
    fps: float
    names: str
    z_up: bool
    centimetres: bool
    body: Callable[[], BodyModel]
    start: str | None = None

    @property
    def start_s(self) -> float:
        """When the clip's frame 0 was."""
        return clip_start_s(self.motion)

    def path_of(self, person: PersonMotion) -> Path:
        """The target, with the person's id where there are several."""
        if len(self.people) == 1:
            return self.target
        return self.target.with_stem(f"{self.target.stem}_person{person.person_id}")

    def turned(self) -> list[PersonMotion]:
        """The people, z up where that was asked for."""
        return [person.turned(Z_UP) for person in self.people] if self.z_up else self.people


@dataclass(frozen=True)
class Format:
    """`suffix`, what `files` makes, and which flags apply."""

    suffix: str
    files: Callable[[Conversion], Files]
    names: bool = False
    up: bool = False
    fps: bool = False
    centimetres: bool = False
    start: bool = False
    meshes: bool = False


def _each(given: Conversion, encode: Callable[[PersonMotion], bytes], start: str = "common") -> Files:
    """One file a person, at a steady rate; start, unless it is given, "common": from the clip's frame 0, the first pose
    before they come; "person": from where they come."""
    held = (given.start or start) == "common"
    people = [turned.from_time(given.start_s) if held else turned for turned in given.turned()]
    frames = sum(person.count_at(given.fps) for person in people)
    if len(people) > 1 and frames > MOST_FRAMES + len(given.motion):
        raise UsageError(f"{len(people)} people of {frames} frames are too many at once; give --person-id")
    for person, whole in zip(given.people, people, strict=True):
        yield given.path_of(person), partial(_steady, whole, given.fps, encode)


def _steady(person: PersonMotion, fps: float, encode: Callable[[PersonMotion], bytes]) -> bytes:
    return encode(person.at_steady_rate(fps))


def _bvh(given: Conversion) -> Files:
    names = joint_names(given.names)
    return _each(given, lambda person: bvh.encode(person, given.fps, given.centimetres, names))


def _glb(given: Conversion) -> Files:
    floor = bool(np.isfinite(given.motion.floor).all())
    names = joint_names(given.names)
    yield given.target, lambda: glb.encode(given.people, given.body(), given.start_s, names, floor=floor)


def _meshes(given: Conversion) -> Files:
    return mesh_files(given.people, given.body(), given.target, Z_UP if given.z_up else np.eye(3))


def _one(encode: Callable[[Conversion], bytes], given: Conversion) -> Files:
    yield given.target, lambda: encode(given)


def _vrma(given: Conversion) -> Files:
    for person in given.people:
        start_s = float(person.time_s[0]) if given.start == "person" else given.start_s
        yield given.path_of(person), partial(vrma.encode, person, start_s)


FORMATS: dict[str, Format] = {
    "glb": Format(".glb", _glb, names=True, meshes=True),
    "vrma": Format(".vrma", _vrma, start=True),
    "bvh": Format(".bvh", _bvh, names=True, up=True, fps=True, centimetres=True, start=True),
    "csv": Format(".csv", partial(_one, lambda given: csv.encode(given.turned())), up=True),
    "angles": Format(".csv", partial(_one, lambda given: joint_angles.encode(given.people))),
    "smpl": Format(
        ".npz",
        lambda given: _each(given, lambda one: smplx_npz.encode(one, given.fps), "person"),
        up=True,
        fps=True,
        start=True,
    ),
    "amass": Format(
        ".npz", lambda given: _each(given, lambda one: amass_npz.encode(one, given.fps)), fps=True, start=True
    ),
    "phalp": Format(".npz", partial(_one, lambda given: phalp_npz.encode(given.motion))),
    "coco": Format(".json", partial(_one, lambda given: coco_json.encode(given.motion))),
    "trc": Format(
        ".trc",
        lambda given: _each(given, lambda one: trc.encode(one, given.fps, given.target.name)),
        fps=True,
        start=True,
    ),
    "c3d": Format(".c3d", lambda given: _each(given, lambda one: c3d.encode(one, given.fps)), fps=True, start=True),
    "obj": Format(".obj", _meshes, up=True, meshes=True),
    "ply": Format(".ply", _meshes, up=True, meshes=True),
}
"""By name; of several with one ending, the first is the ending's own."""

THROUGH_BLENDER = (".fbx", ".usd", ".usda", ".usdc")


def format_of(target: Path, name: str | None) -> Format:
    """By name, or by the target's ending. Raises: UsageError."""
    suffix = target.suffix.lower()
    if name is not None:
        if name not in FORMATS:
            raise UsageError(f"--format {name}: there are {', '.join(FORMATS)}")
        if FORMATS[name].suffix != suffix:
            raise UsageError(f"--format {name} writes {FORMATS[name].suffix} files, not '{target.suffix}'")
        return FORMATS[name]
    for known in FORMATS.values():
        if known.suffix == suffix:
            return known
    known_suffixes = dict.fromkeys([*(one.suffix for one in FORMATS.values()), *THROUGH_BLENDER])
    raise UsageError(f"{target}: cannot export to '{target.suffix}'; known: {', '.join(known_suffixes)}")
