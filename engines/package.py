"""The model package: a folder with `model.onnx`, `package.json` and `golden.npz` (docs/model_package.md).

`package.json` is typed and closed: a key that is missing, unknown or of the wrong type is refused by name, and so is a
file whose SHA-256 differs. Nothing here needs a machine-learning library.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias, cast
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from bodycast.engines.errors import PackageError
from bodycast.engines.json_fields import Fields
from bodycast.engines.onnx_file import check_onnx_file
from bodycast.npz import read_npz
from bodycast.plain_text import shortened

Tensor: TypeAlias = NDArray[Any]
Tensors: TypeAlias = dict[str, Tensor]

SCHEMA_VERSION = 1
MODEL_FILE = "model.onnx"
DATA_FILE = "model.onnx.data"
"""Weights of a graph that is too large for one protobuf (2 GB); absent otherwise."""
METADATA_FILE = "package.json"
GOLDEN_FILE = "golden.npz"

BATCH = "N"
"""The only symbol a shape may hold, and only as its first axis: height and width are fixed, the batch is not."""

TASKS = ("hmr", "pose", "fusion", "detector", "segmenter", "smoother", "fov")
DTYPES = ("uint8", "int32", "int64", "float16", "float32")
PRECISIONS = ("fp32", "fp16", "int8")
NORMALISATIONS = ("in-graph", "none")
CROP_RULES = ("hmr2-square", "padded", "udp", "letterbox", "white-square", "none")
"""padded: the box grown to the input's aspect, enlarged, black beyond the box's surroundings (hmr/geometry/crop.py).
white-square: the whole picture fitted into a square, white beyond it."""
FOCAL_CONVENTIONS = ("weak-perspective-crop", "none")
ORIENTATION_FRAMES = ("crop-ray", "camera", "none")
"""What the root rotation is relative to: the ray through the crop's centre, or the camera (HMR2.0's convention)."""

MASKS = ("none", "silhouette", "segmenter")
"""Where the person masks of an hmr package that takes some come from, unless a run says otherwise; none: it takes none,
or goes without."""
JOINT_SETS = ("smpl-24", "coco-17", "halpe-26", "coco-wholebody-133", "blazepose-33", "none")

_LARGEST = 1e300
MOST_FILE_NAME, MOST_AXES = 200, 16
LISTED_PLANS = "plans/"
UNREADABLE = (OSError, EOFError, ValueError, TypeError, KeyError, RuntimeError, MemoryError, BadZipFile, zlib.error)
"""What a crafted archive can make zipfile and numpy raise."""


class HasShape(Protocol):
    """What arrays and tensors on a device have in common."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def ndim(self) -> int: ...

    @property
    def dtype(self) -> np.dtype[Any]: ...


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output. `shape`: sizes, the first of which may be "N"; `unit`: "m", "px", "rad", "1", ..."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]
    unit: str
    meaning: str

    @property
    def batched(self) -> bool:
        """Whether the first axis is the batch."""
        return bool(self.shape) and self.shape[0] == BATCH

    def concrete(self, batch: int) -> tuple[int, ...]:
        """The shape with `batch` in place of N."""
        return tuple(batch if size == BATCH else int(size) for size in self.shape)

    def fits(self, array: HasShape) -> bool:
        """Whether dtype and shape agree (any size for N)."""
        same = len(self.shape) == array.ndim and all(
            want in (BATCH, got) for want, got in zip(self.shape, array.shape, strict=True)
        )
        return same and array.dtype == np.dtype(self.dtype)

    def __str__(self) -> str:
        return f"{self.name} {self.dtype} {shape_text(self.shape)}"


def shape_text(shape: tuple[int | str, ...]) -> str:
    """A shape as people write it: (N, 256, 192, 3)."""
    return f"({', '.join(map(str, shape))}{',' if len(shape) == 1 else ''})"


@dataclass(frozen=True, slots=True)
class PackageInfo:
    """What `package.json` says, the hashes apart.

    name: short name, also the folder's usual name. architecture, arguments: what rebuilds the network.
    body: whose shape basis `betas` belong to ("none" where the graph knows no body). metrics: name -> number,
    names with their unit ("mpjpe_mm"). tokens_of: the hmr package whose tokens a smoother reads. masks, tokens_of:
    stand in the file only where they are not "none". See the constants of this module for the closed vocabularies.
    """

    name: str
    task: str
    architecture: str
    arguments: dict[str, Any]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    normalisation: str
    crop_rule: str
    focal_convention: str
    orientation_frame: str
    body: str
    joint_set: str
    opset: int
    precision: str
    paper: str
    licence: str
    training_data: str
    metrics: dict[str, float]
    masks: str = "none"
    tokens_of: str = "none"

    def input(self, name: str) -> TensorSpec:
        """The input of this name. Raises PackageError, listing what there is."""
        return _by_name(self.inputs, name, f"package {self.name!r}: input")

    def output(self, name: str) -> TensorSpec:
        """The output of this name. Raises PackageError, listing what there is."""
        return _by_name(self.outputs, name, f"package {self.name!r}: output")


def _by_name(specs: tuple[TensorSpec, ...], name: str, where: str) -> TensorSpec:
    for spec in specs:
        if spec.name == name:
            return spec
    raise PackageError(f"{where} {name!r} is missing, there are {[spec.name for spec in specs]}")


@dataclass(frozen=True, slots=True)
class ModelPackage:
    """A package whose metadata was parsed and whose files have the recorded hashes."""

    folder: Path
    info: PackageInfo
    files: dict[str, str]

    @property
    def model_path(self) -> Path:
        """The graph."""
        return self.folder / MODEL_FILE

    @property
    def graph_bytes(self) -> int:
        """Size of the graph with its weights, wherever they lie."""
        beside = self.folder / DATA_FILE
        return self.model_path.stat().st_size + (beside.stat().st_size if DATA_FILE in self.files else 0)

    @property
    def sha256(self) -> str:
        """Hash of the graph and its weights: what run reports and plan caches key on."""
        if DATA_FILE not in self.files:
            return self.files[MODEL_FILE]
        return hashlib.sha256(f"{self.files[MODEL_FILE]} {self.files[DATA_FILE]}".encode()).hexdigest()

    def golden(self) -> tuple[Tensors, Tensors]:
        """The recorded inputs and the outputs that the reference gave for them, by name.

        Raises: PackageError where names, dtypes or shapes are not those of `package.json`, or a value is not finite.
        """
        path = self.folder / GOLDEN_FILE
        inputs: Tensors = {}
        outputs: Tensors = {}
        try:
            for key, array in read_npz(path).items():
                side, _, name = key.partition("/")
                {"in": inputs, "out": outputs}.get(side, {})[name] = array
        except UNREADABLE as error:
            raise PackageError(f"{path}: not an archive of plain arrays; export the package again") from error
        for specs, tensors, side in ((self.info.inputs, inputs, "in"), (self.info.outputs, outputs, "out")):
            for spec in specs:
                array = tensors.get(spec.name)
                actual = "absent" if array is None else f"{array.dtype} {array.shape}"
                if array is None or not spec.fits(array):
                    raise PackageError(f"{path}: expected {side}/{spec}, it is {actual}; export the package again")
                if not np.all(np.isfinite(array)):
                    raise PackageError(f"{path}: {side}/{spec.name} has values that are not finite; export it again")
        return inputs, outputs


def read_metadata(folder: Path | str) -> tuple[PackageInfo, dict[str, str]]:
    """What `package.json` of a folder says, and the files' SHA-256 by name; no other file is opened.

    Raises: PackageError naming what is missing, unknown or of the wrong type.
    """
    folder = Path(folder)
    if folder.is_file():
        raise PackageError(
            f"{folder}: a file; a model package is a folder with {MODEL_FILE} and {METADATA_FILE}, made by bodycast "
            "export package"
        )
    if not folder.is_dir():
        raise PackageError(f"{folder}: no such model package (a folder with {MODEL_FILE} and {METADATA_FILE})")
    path = folder / METADATA_FILE
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise PackageError(f"{folder}: {METADATA_FILE} is missing, so this is no model package") from None
    except OSError as error:
        raise PackageError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise PackageError(f"{path}: not valid JSON ({error})") from error
    return parse_metadata(document, str(path))


def load_package(folder: Path | str) -> ModelPackage:
    """Read and check a package folder.

    Raises: PackageError naming what is missing, unknown, of the wrong type, or changed since it was written; also for
    golden tensors that are not what the metadata says, and a graph with weights in other files than `DATA_FILE`.
    """
    folder = Path(folder)
    info, files = read_metadata(folder)
    for name, expected in files.items():
        if name.startswith(LISTED_PLANS):
            continue
        _check_hash(folder / name, expected)
    check_onnx_file(folder / MODEL_FILE, DATA_FILE if DATA_FILE in files else None)
    package = ModelPackage(folder, info, files)
    package.golden()
    return package


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, as hex. Raises PackageError where it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise PackageError(f"{path}: cannot be read ({error.strerror})") from error


def _check_hash(path: Path, expected: str) -> None:
    if not path.is_file():
        raise PackageError(f"{path}: the package lists this file, but it is missing; copy or export the package again")
    actual = sha256_of(path)
    if actual != expected:
        raise PackageError(
            f"{path}: changed or damaged (sha256 {actual[:12]}..., {METADATA_FILE} says {expected[:12]}...); "
            "copy or export the package again"
        )


def parse_metadata(document: object, where: str) -> tuple[PackageInfo, dict[str, str]]:
    """The parsed content of `package.json` -> typed metadata and the files' hashes. Raises PackageError."""
    top = Fields(document, where)
    version = top.integer("schema_version")
    if version != SCHEMA_VERSION:
        raise PackageError(
            f"{where}: schema_version {version}, this program reads {SCHEMA_VERSION}; "
            f"{'update the program' if version > SCHEMA_VERSION else 'export the package again'}"
        )
    architecture = top.fields("architecture")
    info = PackageInfo(
        name=top.text("name"),
        task=top.choice("task", TASKS),
        architecture=architecture.text("name"),
        arguments=architecture.mapping("arguments"),
        inputs=_tensors(top, "inputs"),
        outputs=_tensors(top, "outputs"),
        normalisation=top.choice("normalisation", NORMALISATIONS),
        crop_rule=top.choice("crop_rule", CROP_RULES),
        focal_convention=top.choice("focal_convention", FOCAL_CONVENTIONS),
        orientation_frame=top.choice("orientation_frame", ORIENTATION_FRAMES),
        body=top.text("body"),
        joint_set=top.choice("joint_set", JOINT_SETS),
        opset=top.integer("opset"),
        precision=top.choice("precision", PRECISIONS),
        paper=top.text("paper"),
        licence=top.text("licence"),
        training_data=top.text("training_data"),
        metrics=_metrics(top),
        masks=top.choice("masks", MASKS) if top.has("masks") else "none",
        tokens_of=top.text("tokens_of") if top.has("tokens_of") else "none",
    )
    files = _files(top)
    architecture.close()
    top.close()
    return info, files


def _tensors(top: Fields, key: str) -> tuple[TensorSpec, ...]:
    items = top.take(key, list)
    specs: list[TensorSpec] = []
    for index, item in enumerate(items):
        fields = Fields(item, f"{top.where}: {key}[{index}]")
        spec = TensorSpec(
            name=fields.text("name"),
            dtype=fields.choice("dtype", DTYPES),
            shape=_shape(fields),
            unit=fields.text("unit"),
            meaning=fields.text("meaning"),
        )
        fields.close()
        specs.append(spec)
    names = [spec.name for spec in specs]
    if not specs or len(set(names)) != len(names):
        raise PackageError(f"{top.where}: {key} must be a non-empty list of different names, it is {shortened(names)}")
    return tuple(specs)


def _shape(fields: Fields) -> tuple[int | str, ...]:
    sizes = cast("list[object]", fields.take("shape", list))
    shape: list[int | str] = []
    if len(sizes) > MOST_AXES:
        raise PackageError(f"{fields.where}: a shape of {len(sizes)} axes, expected {MOST_AXES} at most")
    for axis, size in enumerate(sizes):
        if (size == BATCH and axis == 0) or (type(size) is int and size > 0):
            shape.append(cast("int | str", size))
        else:
            raise PackageError(
                f"{fields.where}: shape {shortened(sizes)}: sizes are positive integers, "
                f"and only the first may be {BATCH!r}"
            )
    return tuple(shape)


def _metrics(top: Fields) -> dict[str, float]:
    metrics = top.mapping("metrics")
    for name, value in metrics.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < _LARGEST:
            raise PackageError(f"{top.where}: metrics.{name}: expected a number, it is {repr(value)[:40]}")
    return {name: float(value) for name, value in metrics.items()}


def _files(top: Fields) -> dict[str, str]:
    files = top.mapping("files")
    for name, digest in files.items():
        if len(name) > MOST_FILE_NAME or not name.isprintable():
            raise PackageError(f"{top.where}: a file's name is {len(name)} characters long or has others than letters")
        if not isinstance(digest, str) or len(digest) != 64:
            raise PackageError(
                f"{top.where}: files.{name}: expected a SHA-256 of 64 hex digits, it is {shortened(repr(digest))}"
            )
        if name.startswith(LISTED_PLANS) and Path(name).parts == ("plans", Path(name).name):
            continue  # built plans that are shipped: held against their hash when one is about to run
        if Path(name).name != name or name == METADATA_FILE:
            raise PackageError(f"{top.where}: files.{name}: a package lists plain files of its own folder only")
    for name in (MODEL_FILE, GOLDEN_FILE):
        if name not in files:
            raise PackageError(f"{top.where}: files must list {name}, it lists {shortened(sorted(files))}")
    return cast("dict[str, str]", files)
