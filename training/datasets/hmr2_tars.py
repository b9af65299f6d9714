"""4D-Humans' training tars: WebDataset shards of pictures with a list of people each (Goel et al., ICCV 2023).

Members `KEY.jpg`, `KEY.data.pyd` and perhaps `KEY.detection.npz`. The .pyd is a pickled list with one dictionary per
person: `keypoints_2d` (44,3) px and confidence, `keypoints_3d` (44,4) m and confidence, `center` (2,), `scale` (2,) in
units of 200 px, `body_pose` (72,) axis-angle with the root first, `betas` (10,), `has_body_pose`, `has_betas`. The
shards are read in order, without the `webdataset` package; nothing in the pickles is executed.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from bodycast.hmr.body.safe_pickle import RefusedPickle, load_tree_from_pickle
from training.datasets.errors import DatasetError
from training.datasets.files import take
from training.datasets.pictures import Picture
from training.datasets.sample import F64, Joints3d, Keypoints2d, PersonSample
from training.datasets.smpl_files import smpl_pose

SCALE_PX = 200.0


def read_hmr2_tars(paths: list[Path], split: str = "train") -> Iterator[PersonSample]:
    """People of the shards `paths`, one after the other. The picture's bytes ride in the sample.

    Raises: DatasetError for a shard that is missing or broken, or a person without the keys above.
    """
    for path in paths:
        if not path.is_file():
            raise DatasetError(f"{path}: no such shard; expected one of 4D-Humans' training tars")
        try:
            with tarfile.open(path) as shard:
                yield from _read_shard(path, shard, split)
        except tarfile.TarError as error:
            raise DatasetError(f"{path}: not a readable tar ({error})") from error


def _read_shard(path: Path, shard: tarfile.TarFile, split: str) -> Iterator[PersonSample]:
    """WebDataset: neighbouring members with the same name up to the first dot of the last part are one item."""
    key, parts = "", {}
    for member in shard:
        if not member.isfile():
            continue
        folder, _, name = member.name.rpartition("/")
        stem, _, extension = name.partition(".")
        current = f"{folder}/{stem}" if folder else stem
        if current != key:
            yield from _people(path, key, parts, split)
            key, parts = current, {}
        stream = shard.extractfile(member)
        if stream is not None and extension in ("jpg", "jpeg", "png", "data.pyd"):
            parts[extension] = stream.read()
    yield from _people(path, key, parts, split)


def _people(path: Path, key: str, parts: dict[str, bytes], split: str) -> Iterator[PersonSample]:
    picture = next((ext for ext in ("jpg", "jpeg", "png") if ext in parts), None)
    if picture is None or "data.pyd" not in parts:
        return
    where = f"{path}: {key}"
    try:
        people = load_tree_from_pickle(parts["data.pyd"])
    except RefusedPickle as error:
        raise DatasetError(f"{where}.data.pyd: {error}") from error
    if not isinstance(people, list) or not all(isinstance(person, dict) for person in people):
        raise DatasetError(f"{where}.data.pyd: expected a list of people, got {type(people).__name__}")
    source = Picture(path, member=f"{key}.{picture}", content=parts[picture])
    for number, person in enumerate(people):
        yield _sample(person, f"{where} person {number}", source, split, key, number)


def _sample(person: dict[str, Any], where: str, picture: Picture, split: str, key: str, number: int) -> PersonSample:
    points = take(person, "keypoints_2d", (44, 3), where)
    joints = take(person, "keypoints_3d", (44, 4), where)
    centre = take(person, "center", (2,), where)
    half = 0.5 * SCALE_PX * float(take(person, "scale", (2,), where).max())
    if not half > 0:
        raise DatasetError(f"{where}: scale: expected a positive size, got {person.get('scale')}")
    known = joints[:, 3] > 0
    return PersonSample(
        dataset="4d-humans",
        split=split,
        sequence=key,
        subject=str(number),
        frame=0,
        picture=picture,
        xyxy=np.concatenate([centre - half, centre + half]),
        **_body(person, where),
        joints_3d=Joints3d("hmr2-44", _finite(joints[:, :3]), known, absolute=False) if known.any() else None,
        keypoints=Keypoints2d("hmr2-44", _finite(points[:, :2]), np.nan_to_num(points[:, 2]).clip(0, 1)),
    )


def _finite(points: F64) -> F64:
    return np.nan_to_num(points, nan=0.0, posinf=0.0, neginf=0.0)


def _body(person: dict[str, Any], where: str) -> dict[str, Any]:
    """Pose and betas where the person has them; NaN is how broken pseudo labels look in these files: left out."""
    result: dict[str, Any] = {}
    if bool(np.asarray(person.get("has_body_pose", 0)).item()):
        pose = take(person, "body_pose", (72,), where)
        if np.isfinite(pose).all():
            result["pose"] = smpl_pose(pose)
    if bool(np.asarray(person.get("has_betas", 0)).item()):
        betas = take(person, "betas", (10,), where)
        if np.isfinite(betas).all():
            result |= {"betas": betas, "body": "smpl-neutral"}
    return result
