"""From motion.npz to the file that the target's ending, or a format's name, says."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from bodycast.app.errors import UsageError, cannot_write
from bodycast.app.files.blender import convert_with_blender
from bodycast.app.files.motion_file import Motion, read_motion
from bodycast.app.files.motion_formats import THROUGH_BLENDER, Conversion, Format, format_of
from bodycast.app.files.output_file import check_target, write_whole
from bodycast.app.files.person_motion import people_in_world
from bodycast.hmr.body.body_model import BodyModel
from bodycast.plain_text import shortened

FPS_RANGE = (1.0, 1000.0)
MOST_PEOPLE, MOST_MESHES = 5_000, 300
"""At once; each mesh takes 1.6 MB."""


def export_motion(
    source: str | Path,
    target: str | Path,
    *,
    person_id: int | None = None,
    overwrite: bool = False,
    centimetres: bool = False,
    body: str | Path | None = None,
    format: str | None = None,
    names: str = "smpl",
    fps: float | None = None,
    up: str = "y",
    blender: str | None = None,
    start: str | None = None,
) -> tuple[Path, ...]:
    """Write the motion of one person, or of everybody, and return the files written (docs/animation.md).

    The world frame is y up, right-handed, metres, its floor at y = 0, its origin below whoever is seen first. Formats
    of one person make `NAME_person1.bvh`, `NAME_person2.bvh` of several. All start with the clip's frame 0: in a `.glb`
    who is not there yet is not seen, a `.bvh` holds the first pose until then, SMPL's `.npz` says when it starts.
    start: of formats of one person, "common": with the clip's frame 0; "person": where they come; None: as said.
    format: one of `motion_formats.FORMATS`; None: what the ending says. names: of the bones. fps: of formats without
    time stamps; None: the motion's. up: "y" or "z". centimetres: scales a BVH for programs that want it. body: the file
    of the body that the betas belong to, for meshes, when it is not the embedded one. blender: for .fbx and .usd.

    Raises: UsageError for a source that is no motion file or holds nobody, an unknown person, ending or flag, a body
    that does not match, or a target that exists; RunError where the disk does not take it.
    """
    target = Path(target)
    if target.resolve() == Path(source).resolve():
        raise UsageError(f"{target}: the export would replace its own source; give another name")
    if target.suffix.lower() in THROUGH_BLENDER:
        _check_start(target, start, False)
        check_target(target, overwrite)
        write = partial(export_motion, source, person_id=person_id, body=body, names=names)
        return (convert_with_blender(write, target, blender, fps or read_motion(source).fps),)
    chosen = format_of(target, format)
    _check_flags(target, chosen, names, fps, up, centimetres)
    _check_start(target, start, chosen.start)
    motion = read_motion(source)
    people = _chosen(motion, person_id, source)
    most = MOST_MESHES if chosen.meshes else MOST_PEOPLE
    if len(people) > most:
        raise UsageError(f"{source}: {len(people)} people, a {target.suffix} takes {most} at once; give --person-id")
    given = Conversion(
        motion=motion,
        people=people_in_world(motion, people),
        target=target,
        fps=fps or motion.fps,
        names=names,
        z_up=up == "z",
        centimetres=centimetres,
        body=partial(_load_body, motion, body),
        start=start,
    )
    return _write(chosen, given, overwrite, (Path(source), *([] if body is None else [Path(body)])))


def _write(chosen: Format, given: Conversion, overwrite: bool, reads: Sequence[Path]) -> tuple[Path, ...]:
    if chosen.meshes:
        given.body()  # refused before a file is made
    given.target.parent.mkdir(parents=True, exist_ok=True)
    files = list(chosen.files(given))
    for path, _ in files:
        check_target(path, overwrite)
        if any(path.exists() and path.samefile(one) for one in reads):
            raise UsageError(f"{path}: the export would replace what it reads; give another name")
    for path, content in files:
        made = content()
        try:
            write_whole(path, lambda stream, made=made: stream.write(made))
        except OSError as error:
            raise cannot_write(path, error) from error
    return tuple(path for path, _ in files)


def _check_flags(target: Path, chosen: Format, names: str, fps: float | None, up: str, centimetres: bool) -> None:
    """Raises: UsageError for what this format does not know."""
    if centimetres and not chosen.centimetres:
        raise UsageError(f"centimetres apply to .bvh only; {target.suffix} files are in metres")
    if names != "smpl" and not chosen.names:
        raise UsageError(f"--names apply to .bvh, .glb and what is made of them; {target.suffix} files have their own")
    if up not in ("y", "z"):
        raise UsageError(f"--up {up}: expected y or z")
    if up == "z" and not chosen.up:
        raise UsageError(f"--up z does not apply: which axis is up in this {target.suffix} file is its format's to say")
    if fps is not None and not chosen.fps:
        raise UsageError(f"--fps does not apply: this {target.suffix} file has the motion's own times")
    if fps is not None and not FPS_RANGE[0] <= fps <= FPS_RANGE[1]:
        raise UsageError(f"--fps {fps:g}: expected {FPS_RANGE[0]:g} to {FPS_RANGE[1]:g}")


def _check_start(target: Path, start: str | None, own: bool) -> None:
    """own: whether the format knows files that start where a person comes. Raises: UsageError."""
    if start not in (None, "common", "person"):
        raise UsageError(f"--start {start}: expected common or person")
    if start == "person" and not own:
        raise UsageError(f"--start person does not apply: a {target.suffix} file has one clock for everybody")


def _chosen(motion: Motion, person_id: int | None, source: str | Path) -> list[int]:
    present = motion.person_ids
    if not present:
        raise UsageError(f"{source}: there is nobody in this motion file, so there is nothing to export")
    if person_id is None:
        return present
    if person_id not in present:
        raise UsageError(f"{source}: no person {person_id}; there are {shortened(', '.join(map(str, present)))}")
    return [person_id]


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
