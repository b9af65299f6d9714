"""Readers of files that users name, and small files of each kind to begin from; all of them are made here."""

from __future__ import annotations

import io
import json
import pickle
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np

from bodycast.app.errors import BodycastError
from bodycast.engines.errors import EngineError
from bodycast.hmr.body.body_files import BodyFileError
from bodycast.npz import NpzError
from evaluation.fuzz_lens_seeds import (
    CALIBRATIONS,
    LENS_TAG,
    exif_blocks,
    read_and_use_calibration,
    read_lens,
    with_exif,
    with_track_metadata,
)

OURS = (BodycastError, EngineError, BodyFileError, NpzError)
MOST_FRAMES = 40
Damage = Callable[[bytes], bytes]


def _plainly(content: bytes, damage: Damage, rng: np.random.Generator) -> bytes:
    del rng
    return damage(content)


def _in_archive(content: bytes, damage: Damage, rng: np.random.Generator) -> bytes:
    """Half of the time one member is damaged before it is packed: else the checksum would stop everything."""
    if rng.random() < 0.5:
        return damage(content)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = sorted(members)[int(rng.integers(len(members)))]
    members[name] = damage(members[name])
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for member, data in members.items():
            archive.writestr(member, data)
    return packed.getvalue()


@dataclass(frozen=True)
class Reader:
    """`read` opens a file with this `suffix` and uses what is in it; `around` damages a seed."""

    name: str
    suffix: str
    read: Callable[[Path], object]
    around: Callable[[bytes, Damage, np.random.Generator], bytes] = _plainly

    def outcome(self, path: Path) -> str:
        """ "read", "refused", or what a stray exception says."""
        try:
            self.read(path)
        except OURS as error:
            return "refused" if str(error).isprintable() else f"{type(error).__name__} is not one plain line"
        except Exception as error:
            return f"{type(error).__name__}: {str(error)[:200]}"
        return "read"


def _motion(path: Path) -> None:
    from bodycast.app.files import export_motion

    kinds = {".bvh": "bvh", ".glb": "glb", ".csv": "angles", ".trc": "trc", ".json": "coco"}
    for suffix, kind in kinds.items():
        export_motion(path, path.with_name(f"out{suffix}"), overwrite=True, format=kind)


def _body(path: Path) -> None:
    from bodycast.hmr.body.body_files import load_body_arrays

    load_body_arrays(path)


def _metadata(path: Path) -> None:
    from bodycast.engines.package import read_metadata

    folder = path.parent / "package"
    folder.mkdir(exist_ok=True)
    (folder / "package.json").write_bytes(path.read_bytes())
    read_metadata(folder)


def _golden(path: Path) -> None:
    from bodycast.app.model_packages import REPOSITORY_MODELS
    from bodycast.engines.package import GOLDEN_FILE, ModelPackage, read_metadata

    source = next(iter(sorted(REPOSITORY_MODELS.glob("*/package.json")))).parent
    folder = path.parent / "golden"
    folder.mkdir(exist_ok=True)
    (folder / GOLDEN_FILE).write_bytes(path.read_bytes())
    ModelPackage(folder, *read_metadata(source)).golden()


def _onnx(path: Path) -> None:
    from bodycast.engines.onnx_file import check_onnx_file

    check_onnx_file(path, None)


def _source(path: Path) -> None:
    import av.logging

    from bodycast.app.sources import open_source

    av.logging.set_level(av.logging.PANIC)
    source = open_source(str(path))
    try:
        for count, _ in enumerate(source):
            if count >= MOST_FRAMES:
                break
    finally:
        source.close()


def _films_of_list(path: Path) -> None:
    from bodycast.app.batch.films import find_films

    for film in find_films([str(path)], None):
        _ = film.size_bytes, str(film.folder)


def _parts(path: Path) -> None:
    from bodycast.app.files.motion_parts import read_parts

    folder = path.parent / "parts"
    folder.mkdir(exist_ok=True)
    content = path.read_bytes()
    head, _, rest = content.partition(b"\n--\n")
    frames, _, rows = rest.partition(b"\n--\n")
    for name, data in (("head.json", head), ("frames", frames), ("rows", rows)):
        (folder / name).write_bytes(data)
    read_parts(folder)


def _plan(path: Path) -> None:
    from bodycast.engines.plans import read_record

    read_record(path)


FILMS = {
    "mp4": "libx264",
    "mov": "libx264",
    "mkv": "libx264",
    "ts": "libx264",
    "webm": "libvpx",
    "avi": "mpeg4",
    "flv": "flv",
    "gif": "gif",
}
PICTURES = (".png", ".jpg", ".webp", ".bmp")
READERS: tuple[Reader, ...] = (
    Reader("motion", ".npz", _motion, _in_archive),
    Reader("body npz", ".npz", _body, _in_archive),
    Reader("body pickle", ".pkl", _body),
    Reader("package.json", ".json", _metadata),
    Reader("golden", ".npz", _golden, _in_archive),
    Reader("graph", ".onnx", _onnx),
    Reader("parts", ".parts", _parts),
    Reader("plan record", ".json", _plan),
    *(Reader(f"calibration {suffix}", suffix, read_and_use_calibration) for suffix in CALIBRATIONS),
    Reader("lens", ".bin", read_lens),
    Reader("list of films", ".txt", _films_of_list),
    *(Reader(f"picture {suffix}", suffix, _source) for suffix in PICTURES),
    Reader("animation .webp", ".webp", _source),
    *(Reader(f"film {container}", f".{container}", _source) for container in FILMS),
)


def make_seeds() -> dict[str, list[bytes]]:
    """Reader's name -> its seeds."""
    seeds = {f"calibration {suffix}": list(texts) for suffix, texts in CALIBRATIONS.items()}
    seeds["list of films"] = [b"# films\na film.mp4\n\n../b.mov\n/c/d.mkv\n", "\ufeffé.mp4\r\nx\r\n".encode()]
    with tempfile.TemporaryDirectory() as folder:
        seeds |= _arrays(Path(folder)) | _pictures() | _films(Path(folder)) | _packages()
    for kind in (".jpg", ".webp"):
        seeds[f"picture {kind}"] += [with_exif(seeds[f"picture {kind}"][0], block) for block in exif_blocks()]
    seeds["film mov"] += [with_track_metadata(seeds["film mov"][0])]
    seeds["lens"] = seeds["picture .jpg"][1:] + seeds["picture .webp"][1:] + seeds["film mov"]
    return seeds


def _arrays(folder: Path) -> dict[str, list[bytes]]:
    from bodycast.app.files.motion_file import ROW, SINCE_SCHEMA_2, MotionMeta, motion_from_rows, write_motion
    from bodycast.app.files.motion_parts import FRAME, SMOOTHED
    from bodycast.hmr.body.body_model import BodyModel
    from bodycast.hmr.body.joints import NUM_JOINTS, PARENTS

    rows = np.zeros(6, ROW)
    rows["frame"], rows["time_s"], rows["person_id"] = np.arange(6), np.arange(6) / 30, 1
    rows["joints_3d"] = np.random.default_rng(0).normal(size=(6, 24, 3))
    meta = MotionMeta("net", BodyModel.load().name, "none", 0.0, "film.mp4", 6)
    motions = [motion_from_rows(rows, 500.0, (640, 480), 30.0, meta)]
    for name in SINCE_SCHEMA_2:
        rows[name] = np.random.default_rng(1).normal(size=rows[name].shape)
    seen = motion_from_rows(rows, 500.0, (640, 480), 30.0, meta)
    motions.append(replace(seen, floor=np.array([0, 1.0, 0, 0]), camera_to_world=np.eye(4), start_s=0.0))
    packed_motions: list[bytes] = []
    for motion in motions:
        write_motion(folder / "m.npz", motion)
        packed_motions.append((folder / "m.npz").read_bytes())
    generator = np.random.default_rng(0)
    body = {
        "v_template": generator.normal(size=(30, 3)),
        "shapedirs": generator.normal(size=(30, 3, 10)),
        "posedirs": np.zeros((30, 3, 207)),
        "J_regressor": generator.random((NUM_JOINTS, 30)),
        "weights": np.full((30, NUM_JOINTS), 1 / NUM_JOINTS),
        "kintree_table": np.stack([np.where(PARENTS < 0, 2**32 - 1, PARENTS), np.arange(NUM_JOINTS)]),
        "f": generator.integers(0, 30, (40, 3)).astype(np.uint32),
    }
    packed: list[bytes] = []
    for save in (np.savez, np.savez_compressed):
        stream = io.BytesIO()
        save(stream, **body)
        packed.append(stream.getvalue())
    pickles = [pickle.dumps(body, protocol=protocol) for protocol in (0, 2, 4)]
    frames = np.zeros(6, FRAME)
    frames["frame"], frames["time_s"], frames["end_row"] = np.arange(6), np.arange(6) / 30, np.arange(1, 7)
    frames["focal_px"], frames["image_wh"] = 500, (640, 480)
    head = {"format": 1, "row_bytes": ROW.itemsize, "smoothed_bytes": SMOOTHED.itemsize, "fps": 30.0, "body": "auto"}
    whole = json.dumps({**head, "meta": vars_of(meta), "finish": None}).encode()
    parts = b"\n--\n".join([whole, frames.tobytes(), rows.tobytes()])
    return {"motion": packed_motions, "body npz": packed, "body pickle": pickles, "parts": [parts]}


def vars_of(record: object) -> dict[str, object]:
    """Fields of a dataclass."""
    from dataclasses import asdict

    return asdict(record)  # type: ignore[call-overload]


def _pictures() -> dict[str, list[bytes]]:
    import cv2

    image = cv2.resize(np.random.default_rng(0).integers(0, 255, (6, 8, 3)).astype(np.uint8), (96, 64))
    seeds = {f"picture {suffix}": [cv2.imencode(suffix, image)[1].tobytes()] for suffix in PICTURES}
    still = seeds["picture .webp"][0]
    frame = (
        bytes(6)
        + (95).to_bytes(3, "little")
        + (63).to_bytes(3, "little")
        + (80).to_bytes(3, "little")
        + b"\0"
        + still[12:]
    )
    size = (95).to_bytes(3, "little") + (63).to_bytes(3, "little")
    chunks = [(b"VP8X", b"\x02\0\0\0" + size), (b"ANIM", bytes(6)), *[(b"ANMF", frame)] * 3]
    body = b"WEBP" + b"".join(
        kind + len(data).to_bytes(4, "little") + data + bytes(len(data) % 2) for kind, data in chunks
    )
    return {**seeds, "animation .webp": [b"RIFF" + len(body).to_bytes(4, "little") + body]}


def _films(folder: Path) -> dict[str, list[bytes]]:
    import av

    seeds: dict[str, list[bytes]] = {}
    for container, codec in FILMS.items():
        path = folder / f"film.{container}"
        tags = {"movflags": "use_metadata_tags"} if container == "mov" else {}
        with av.open(str(path), "w", options=tags) as film:
            stream = film.add_stream(codec, rate=24)
            stream.width, stream.height = 96, 64
            stream.pix_fmt = "rgb8" if codec == "gif" else "yuv420p"
            film.metadata["title"] = "a film"
            film.metadata[LENS_TAG] = "26"
            for index in range(12):
                image = np.full((64, 96, 3), 20 * index, np.uint8)
                image[index : index + 20, 2 * index : 2 * index + 20] = 255 - 20 * index
                picture = av.VideoFrame.from_ndarray(image, format="bgr24").reformat(format=stream.pix_fmt)
                picture.pts, picture.time_base = index, Fraction(1, 24)
                film.mux(stream.encode(picture))
            film.mux(stream.encode(None))
        seeds[f"film {container}"] = [path.read_bytes()]
    return seeds


def _packages() -> dict[str, list[bytes]]:
    from bodycast.app.model_packages import REPOSITORY_MODELS
    from bodycast.engines.package import GOLDEN_FILE, MODEL_FILE

    folders = [path.parent for path in sorted(REPOSITORY_MODELS.glob("*/package.json"))]
    smallest = min(folders, key=lambda folder: (folder / MODEL_FILE).stat().st_size)
    key = {"library": "tensorrt", "version": "1", "gpu": "any", "compute_capability": "8.6", "platform": "linux-x86_64"}
    shapes = {"x": [[1, 3], [4, 3], [16, 3]]}
    record = {
        "key": {**key, "graph": "ab" * 32, "precision": "fp16", "shapes": shapes},
        "sha256": "0" * 64,
        "size_bytes": 9,
    }
    return {
        "package.json": [(folder / "package.json").read_bytes() for folder in folders],
        "golden": [(folders[0] / GOLDEN_FILE).read_bytes()],
        "graph": [(smallest / MODEL_FILE).read_bytes()],
        "plan record": [json.dumps(record).encode()],
    }
