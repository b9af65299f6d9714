"""From motion.npz to the file that the target's suffix names."""

from __future__ import annotations

from pathlib import Path

from bodycast.app.errors import UsageError, cannot_write
from bodycast.app.files import bvh, csv, glb
from bodycast.app.files import smplx_npz as npz
from bodycast.app.files.motion_file import Motion, read_motion
from bodycast.app.files.output_file import check_target, write_whole
from bodycast.app.files.person_motion import PersonMotion, clip_start_s, people_in_world
from bodycast.hmr.body.body_model import BodyModel

SUFFIXES = (".bvh", ".glb", ".csv", ".npz")


def export_motion(
    source: str | Path,
    target: str | Path,
    *,
    person_id: int | None = None,
    overwrite: bool = False,
    centimetres: bool = False,
    body: str | Path | None = None,
) -> tuple[Path, ...]:
    """Write the motion of one person, or of everybody, and return the files written.

    The world frame is y up, right-handed, metres, its floor at y = 0, its origin below whoever is seen first. `.glb`
    and `.csv` hold all people; `.bvh` and `.npz` hold one, so several people become `NAME_person1.bvh`,
    `NAME_person2.bvh`. All start with the clip's frame 0: in a `.glb` who is not there yet is not seen, a `.bvh` holds
    the first pose until then, and an `.npz` says when it starts. `centimetres` scales a BVH for programs that want it.
    `body`: the body file that the betas belong to, needed for `.glb` when it is not the embedded one.

    Raises: UsageError for a source that is no motion file or holds nobody, an unknown person or suffix, a body that
    does not match, or a target that exists; RunError where the disk does not take it.
    """
    target = Path(target)
    if target.suffix not in SUFFIXES:
        raise UsageError(f"{target}: cannot export to '{target.suffix}'; known: {', '.join(SUFFIXES)}")
    if centimetres and target.suffix != ".bvh":
        raise UsageError(f"centimetres apply to .bvh only; {target.suffix} files are in metres")
    if target.resolve() == Path(source).resolve():
        raise UsageError(f"{target}: the export would replace its own source; give another name")
    motion = read_motion(source)
    people = people_in_world(motion, _chosen(motion, person_id, source))
    files = _encode(motion, people, target, centimetres, body)
    for path in files:
        check_target(path, overwrite)
    for path, content in files.items():
        try:
            write_whole(path, lambda stream, content=content: stream.write(content))
        except OSError as error:
            raise cannot_write(path, error) from error
    return tuple(files)


def _chosen(motion: Motion, person_id: int | None, source: str | Path) -> list[int]:
    present = motion.person_ids
    if not present:
        raise UsageError(f"{source}: there is nobody in this motion file, so there is nothing to export")
    if person_id is None:
        return present
    if person_id not in present:
        raise UsageError(f"{source}: no person {person_id}; there are {', '.join(map(str, present))}")
    return [person_id]


def _encode(
    motion: Motion, people: list[PersonMotion], target: Path, centimetres: bool, body: str | Path | None
) -> dict[Path, bytes]:
    """File -> content."""
    start_s = clip_start_s(motion)
    if target.suffix == ".csv":
        return {target: csv.encode(people)}
    if target.suffix == ".glb":
        return {target: glb.encode(people, _load_body(motion, body), start_s)}
    files: dict[Path, bytes] = {}
    for person in people:
        path = target if len(people) == 1 else target.with_stem(f"{target.stem}_person{person.person_id}")
        if target.suffix == ".bvh":
            from_start = person.from_time(start_s).at_steady_rate(motion.fps)
            files[path] = bvh.encode(from_start, motion.fps, centimetres)
        else:
            files[path] = npz.encode(person.at_steady_rate(motion.fps), motion.fps)
    return files


def _load_body(motion: Motion, path: str | Path | None) -> BodyModel:
    try:
        body = BodyModel.load() if path is None else BodyModel.load(path)
    except ValueError as error:
        raise UsageError(str(error)) from error
    if body.name != motion.meta.body:
        raise UsageError(
            f"the motion belongs to the body '{motion.meta.body}', not to '{body.name}': "
            "give the body file with --body, or export a skeleton alone (.bvh)"
        )
    return body
