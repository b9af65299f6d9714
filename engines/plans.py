"""Built TensorRT plans on disk: what each was built for, and whether it fits this machine.

A plan is machine code for one GPU generation, made by one version of one library from one graph. Beside each `.plan`
lies a `.json` with its key and its SHA-256; a plan whose key or hash is off is refused by name and never handed to the
library. Plans are looked for in the package's folder (`plans/`, to ship them with it) and in the user's cache.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from math import prod
from pathlib import Path
from typing import Any, cast

from bodycast.engines.devices import CudaGpu
from bodycast.engines.errors import PlanError
from bodycast.engines.package import LISTED_PLANS, METADATA_FILE, ModelPackage, sha256_of
from bodycast.engines.user_cache import cache_folder, write_whole

PLAN_SUFFIX = ".plan"
PLANS_FOLDER = "plans"
ANY_GPU = "any"
"""In place of a GPU's name: TensorRT-RTX compiles for a compute capability, and finishes where the plan is run."""


@dataclass(frozen=True, slots=True)
class PlanKey:
    """What a plan was built for.

    library: "tensorrt" or "tensorrt_rtx"; version: of that library, in full. gpu: its name, or "any".
    compute_capability: "8.6". platform: "linux-x86_64". graph: SHA-256 of the ONNX file. precision: of the package,
    with "+fp16-products" where the build turned fp32 matrix products into fp16. shapes: input name -> (least, best,
    most).
    """

    library: str
    version: str
    gpu: str
    compute_capability: str
    platform: str
    graph: str
    precision: str
    shapes: dict[str, tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]]

    @property
    def stem(self) -> str:
        """File name without suffix: readable, and different for different keys."""
        digest = hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()
        capability = self.compute_capability.replace(".", "")
        gpu = "" if self.gpu == ANY_GPU else "-" + re.sub(r"[^A-Za-z0-9]+", "-", self.gpu).strip("-").lower()
        return f"{self.library}-{self.version}-sm{capability}{gpu}-{self.precision}-{self.platform}-{digest[:12]}"

    @property
    def most_elements(self) -> int:
        """Elements of the largest inputs together: of two plans that fit, the larger serves more."""
        return sum(prod(most) for _, _, most in self.shapes.values())

    def differences(self, expected: PlanKey) -> list[str]:
        """What keeps this plan from running where `expected` is asked for; shapes are the plan's own business."""
        found: list[str] = []
        words = {
            "library": "library",
            "version": f"version of {expected.library}",
            "compute_capability": "compute capability",
            "platform": "platform",
            "graph": "graph (the package was exported again)",
        }
        for field, word in words.items():
            ours, theirs = getattr(self, field), getattr(expected, field)
            if ours != theirs:
                short = slice(12) if field == "graph" else slice(None)
                found.append(f"{word}: built for {ours[short]}, here is {theirs[short]}")
        if self.gpu not in (ANY_GPU, expected.gpu):
            found.append(f"GPU: built for {self.gpu}, here is {expected.gpu}")
        return found


@dataclass(frozen=True, slots=True)
class Plan:
    """A plan on disk. `sha256`, `size_bytes`: of the `.plan` file as it was written."""

    path: Path
    key: PlanKey
    sha256: str
    size_bytes: int

    def read(self) -> bytes:
        """The plan. Raises PlanError where the file is missing, its hash is not the recorded one, or somebody else
        could have put it there: a plan is machine code, and whoever can change it can change its record too."""
        if not self.path.is_file():
            raise PlanError(f"{self.path}: the plan is missing; build it again: bodycast export tensorrt")
        self._check_hands()
        actual = sha256_of(self.path)
        if actual != self.sha256:
            raise PlanError(
                f"{self.path}: changed or damaged (sha256 {actual[:12]}..., its record says {self.sha256[:12]}...); "
                "build it again: bodycast export tensorrt"
            )
        return self.path.read_bytes()

    def _check_hands(self) -> None:
        """A plan in a package's folder must be listed in its `package.json`; one in the cache be its owner's alone."""
        metadata = self.path.parent.parent / METADATA_FILE
        if self.path.parent.name == PLANS_FOLDER and metadata.is_file():
            if _listed_hash(metadata, self.path.name) != self.sha256:
                raise PlanError(
                    f"{self.path}: not listed in package.json with this hash; build it again: "
                    f"bodycast export tensorrt {metadata.parent} --beside --rebuild"
                )
            return
        for path in (self.path, self.path.with_suffix(".json"), self.path.parent):
            if reason := others_may_write(path):
                raise PlanError(f"{path}: {reason}; a plan is machine code: remove it and build it again")


def others_may_write(path: Path) -> str | None:
    """Why a file or folder could hold what another user put there; None: it could not, or this system does not say."""
    if os.name != "posix":
        return None
    facts = path.stat()
    if facts.st_uid not in (os.getuid(), 0):
        return f"belongs to another user (number {facts.st_uid})"
    if facts.st_mode & 0o022:
        return "other users may change it (chmod go-w)"
    return None


def _listed_hash(metadata: Path, plan: str) -> str | None:
    """SHA-256 that a `package.json` lists for a plan; None: it lists none."""
    try:
        document: object = json.loads(metadata.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    files: object = cast("dict[str, Any]", document).get("files") if isinstance(document, dict) else None
    return cast("dict[str, Any]", files).get(LISTED_PLANS + plan) if isinstance(files, dict) else None


def list_in_package(folder: Path, plan: Plan) -> None:
    """Note the hash of a plan, which lies in a package's folder `plans`, in its `package.json`. Raises OSError."""
    path = folder / METADATA_FILE
    document = json.loads(path.read_text(encoding="utf-8"))
    document["files"][LISTED_PLANS + plan.path.name] = plan.sha256
    write_whole(path, (json.dumps(document, indent=2) + "\n").encode())


def this_platform() -> str:
    """The platform as plans name it: "linux-x86_64"."""
    return f"{sys.platform}-{platform.machine().lower()}"


def expected_key(package: ModelPackage, library: str, version: str, gpu: CudaGpu) -> PlanKey:
    """What a plan must have been built for to run a package here; without shapes, which are the plan's business."""
    return PlanKey(
        library=library,
        version=version,
        gpu=gpu.name,
        compute_capability=gpu.compute_capability,
        platform=this_platform(),
        graph=package.sha256,
        precision=package.info.precision,
        shapes={},
    )


def plan_folders(package: ModelPackage) -> tuple[Path, Path]:
    """Beside the package, and in the user's cache."""
    return package.folder / PLANS_FOLDER, cache_folder() / PLANS_FOLDER / package.sha256[:16]


def timing_cache_path(library: str, version: str) -> Path:
    """Where the builder keeps measured kernel times between builds."""
    return cache_folder() / "timing" / f"{library}-{version}.cache"


def save_plan(folder: Path, key: PlanKey, content: bytes) -> Plan:
    """Write a plan and its record; both appear whole, the record last. In the user's cache only its owner may read
    them; in a package's folder they are shipped. Raises OSError."""
    private = folder.is_relative_to(cache_folder())
    path = folder / f"{key.stem}{PLAN_SUFFIX}"
    digest = hashlib.sha256(content).hexdigest()
    write_whole(path, content, private=private)
    record = {"key": asdict(key), "sha256": digest, "size_bytes": len(content)}
    write_whole(path.with_suffix(".json"), json.dumps(record, indent=2).encode(), private=private)
    return Plan(path, key, digest, len(content))


def read_record(path: Path) -> Plan:
    """The record beside a plan. Raises PlanError naming what is missing, unknown or of the wrong type."""
    try:
        record = cast("object", json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, RecursionError) as error:
        raise PlanError(f"{path}: not a plan's record ({error})") from error
    parts = _closed(record, {"key": dict, "sha256": str, "size_bytes": int}, path)
    texts = {field.name: str for field in fields(PlanKey) if field.name != "shapes"}
    key = _closed(parts["key"], {**texts, "shapes": dict}, path)
    shapes: dict[str, tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]] = {}
    for name, ranges in cast("dict[str, Any]", key.pop("shapes")).items():
        least, best, most = _ranges(ranges, path)
        shapes[name] = (least, best, most)
    return Plan(path.with_suffix(PLAN_SUFFIX), PlanKey(**key, shapes=shapes), parts["sha256"], parts["size_bytes"])


def installed_plans(package: ModelPackage) -> Iterator[Plan | PlanError]:
    """Every plan of a package on this machine, damaged records as the error they make."""
    for folder in plan_folders(package):
        for path in sorted(folder.glob("*.json")):
            try:
                yield read_record(path)
            except PlanError as error:
                yield error


def find_plan(package: ModelPackage, expected: PlanKey, runtime_flag: str) -> Plan:
    """The plan that fits; where several do, the one for the largest batch.

    expected: what is here (its shapes are not looked at). runtime_flag: for the command in the error.

    Raises: PlanError that names every plan there is, and what keeps it from fitting.
    """
    fitting: list[Plan] = []
    reasons: list[str] = []
    for plan in installed_plans(package):
        if isinstance(plan, PlanError):
            reasons.append(str(plan))
            continue
        if plan.key.library != expected.library:
            continue
        differences = plan.key.differences(expected)
        if differences:
            reasons.append(f"{plan.path.name}: {', '.join(differences)}")
        else:
            fitting.append(plan)
    if fitting:
        return max(fitting, key=lambda plan: plan.key.most_elements)
    why = f"none of the plans that are there fits ({'; '.join(reasons)})" if reasons else "no plan was built"
    raise PlanError(
        f"{package.info.name} for {expected.gpu} ({expected.compute_capability}) and {expected.library} "
        f"{expected.version}: {why}; build one: bodycast export tensorrt {package.folder} --runtime {runtime_flag} "
        f"--compute-capability {expected.compute_capability}"
    )


def _closed(value: object, keys: dict[str, type], path: Path) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise PlanError(f"{path}: not a plan's record (expected an object, it is {type(value).__name__})")
    found = cast("dict[str, Any]", value)
    if set(found) != set(keys):
        raise PlanError(f"{path}: not a plan's record of this version: expected {sorted(keys)}, it has {sorted(found)}")
    for key, kind in keys.items():
        if type(found[key]) is not kind:
            raise PlanError(f"{path}: {key!r}: expected {kind.__name__}, it is {type(found[key]).__name__}")
    return dict(found)


def _ranges(value: object, path: Path) -> list[tuple[int, ...]]:
    rows = cast("list[Any]", value) if isinstance(value, list) else []
    shapes = [tuple(cast("list[int]", row)) for row in rows if isinstance(row, list)]
    if len(rows) != 3 or len(shapes) != 3 or any(type(size) is not int for shape in shapes for size in shape):
        raise PlanError(f"{path}: 'shapes': expected three lists of sizes, it is {value!r}")
    return shapes
