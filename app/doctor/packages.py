"""The doctor on model packages, TensorRT plans, detectors and licences."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from bodycast.app.doctor.findings import Finding, installed_version
from bodycast.engines.devices import CudaGpu
from bodycast.engines.package import ModelPackage
from bodycast.engines.plans import Plan

_GOLDEN_TOLERANCE = {"fp32": 2e-2, "fp16": 5e-2, "int8": 0.2}
"""Of an example's outputs, relative to their size: rounding stays below it (fp32 weights may be stored in fp16), a CPU
that computes something else does not."""


def check_models() -> Iterator[Finding]:
    """Every model package with its hashes, and the plans that were built from it."""
    from bodycast.app.model_packages import model_folders
    from bodycast.engines.errors import PackageError
    from bodycast.engines.package import METADATA_FILE, load_package

    networks = 0
    for folder in model_folders():
        for home in sorted(entry for entry in folder.glob("*") if entry.is_dir() and not entry.name.startswith(".")):
            path = home / METADATA_FILE
            try:
                package = load_package(path.parent)
            except PackageError as error:
                mend = f"remove {path.parent}, or restore it (git checkout -- assets/models)"
                yield Finding("model package", "problem", str(error), mend)
                continue
            networks += package.info.task == "hmr"
            size_mb = package.graph_bytes / 1e6
            detail = (
                f"{package.info.name} ({package.info.task}, {package.info.precision}, {size_mb:.0f} MB, "
                f"{package.info.licence}), sha256 {package.sha256[:12]}, hashes fit"
            )
            failure, difference = golden_difference(package)
            if failure:
                mend = "bodycast export parity PACKAGE --engines onnxruntime says how far; fp32 packages run everywhere"
                yield Finding("model package", "problem", f"{detail}, but {failure}", mend)
            else:
                yield Finding("model package", "ok", f"{detail}{difference}")
            yield from _plans(package)
    if networks == 0:
        looked = ", ".join(str(folder) for folder in model_folders())
        detail = f"no network that recovers bodies in {looked}"
        yield Finding("model package", "problem", detail, "git checkout -- assets/models", essential=True)


def golden_difference(package: ModelPackage) -> tuple[str, str]:
    """Run the package's own example on this CPU: what is wrong with the answer (empty where nothing is), and how far
    it is from the recorded one, in words. int8 products overflow on some old CPUs, without any error."""
    from bodycast.engines.errors import EngineError
    from bodycast.engines.registry import ENGINES, check_golden, open_engine

    if not ENGINES["onnxruntime"].installed():
        return "", ""
    try:
        with open_engine(package, "onnxruntime", "cpu") as engine:
            differences = check_golden(engine)
    except EngineError as error:
        return f"its example does not run here: {error}", ""
    _, expected = package.golden()
    # Relative to the output's own size: boxes are hundreds of pixels.
    scaled = {name: value / max(1.0, float(np.abs(expected[name]).max())) for name, value in differences.items()}
    name, worst = max(scaled.items(), key=lambda pair: pair[1])
    if worst > _GOLDEN_TOLERANCE[package.info.precision]:
        return f"its example gives another {name} on this CPU ({worst:.2g} off)", ""
    return "", f", its example answers as recorded here (to {worst:.0e})"


def _plans(package: ModelPackage) -> Iterator[Finding]:
    """Each plan of a package: whole, and whether it runs here."""
    from bodycast.engines.devices import cuda_gpus
    from bodycast.engines.errors import PlanError
    from bodycast.engines.plans import installed_plans

    gpus = cuda_gpus()
    for plan in installed_plans(package):
        if isinstance(plan, PlanError):
            yield Finding("plan", "problem", str(plan), "remove that file, then bodycast export tensorrt PACKAGE")
            continue
        name = f"{package.info.name}: {plan.path.name}"
        try:
            plan.read()
        except PlanError as error:
            runtime = "rtx" if plan.key.library == "tensorrt_rtx" else "tensorrt"
            mend = f"bodycast export tensorrt {package.folder} --runtime {runtime} --rebuild"
            yield Finding("plan", "problem", str(error), mend)
            continue
        if not gpus:
            detail = f"{name} (compute capability {plan.key.compute_capability}), for machines with an NVIDIA GPU"
            yield Finding("plan", "ok", detail)
            continue
        yield _fit(package, plan, gpus, name)


def _fit(package: ModelPackage, plan: Plan, gpus: tuple[CudaGpu, ...], name: str) -> Finding:
    from bodycast.engines.plans import expected_key
    from bodycast.engines.registry import ENGINES

    distributions: tuple[str, ...] = next(
        entry.distributions for entry in ENGINES.values() if entry.library == plan.key.library
    )
    versions = [installed_version(name) for name in distributions]
    version = next((found for found in versions if found), "not installed")
    differences = plan.key.differences(expected_key(package, plan.key.library, version, gpus[0]))
    if not differences:
        return Finding("plan", "ok", f"{name}, runs here")
    runtime = "rtx" if plan.key.library == "tensorrt_rtx" else "tensorrt"
    mend = f"bodycast export tensorrt {package.folder} --runtime {runtime}"
    return Finding("plan", "note", f"{name} does not run here: {'; '.join(differences)}", mend)


def check_detector() -> Iterator[Finding]:
    """What finds new people, and whether its weights are whole."""
    from bodycast.app.errors import UsageError
    from bodycast.app.model_packages import installed_packages

    try:
        packages = installed_packages("detector")
    except UsageError as error:
        yield Finding("people detector", "problem", str(error), "remove or restore that package")
        return
    if packages:
        found = ", ".join(f"{package.info.name} ({package.info.licence})" for package in packages)
        yield Finding("people detector", "ok", f"{found}, hashes fit")
    else:
        mend = "bodycast get detector (needs requirements/export.txt once; YOLO is AGPL-3.0)"
        yield Finding(
            "people detector",
            "note",
            "OpenCV's HOG, which misses people who are not upright: no detector package here",
            mend,
        )


def check_licences() -> Iterator[Finding]:
    """The terms that a run here is under; `bodycast licences` lists them one by one."""
    from bodycast.app.doctor.terms import FIXED, library_rows, package_rows
    from bodycast.app.errors import UsageError

    try:
        rows = [*FIXED, *package_rows(), *library_rows()]
    except UsageError as error:
        yield Finding("licences", "problem", str(error), "remove or restore that package")
        return
    by_terms: dict[str, list[str]] = {}
    for _, name, terms in rows:
        by_terms.setdefault(terms.partition(";")[0].partition(",")[0], []).append(name.partition(" (")[0])
    detail = "; ".join(f"{terms}: {', '.join(dict.fromkeys(names))}" for terms, names in by_terms.items())
    yield Finding("licences", "ok", f"{detail} (all: bodycast licences)")
