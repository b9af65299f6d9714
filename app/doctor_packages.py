"""The doctor on model packages, TensorRT plans, detectors and licences."""

from __future__ import annotations

from collections.abc import Iterator

from app.doctor_findings import Finding, installed_version
from engines.devices import CudaGpu
from engines.package import ModelPackage
from engines.plans import Plan


def check_models() -> Iterator[Finding]:
    """Every model package with its hashes, and the plans that were built from it."""
    from app.model_packages import model_folders
    from engines.errors import PackageError
    from engines.package import METADATA_FILE, load_package

    networks = 0
    for folder in model_folders():
        for path in sorted(folder.glob(f"*/{METADATA_FILE}")):
            try:
                package = load_package(path.parent)
            except PackageError as error:
                mend = f"remove {path.parent}, or restore it (git checkout -- assets/models)"
                yield Finding("model package", "problem", str(error), mend)
                continue
            networks += package.info.task == "hmr"
            size_mb = package.model_path.stat().st_size / 1e6
            detail = (
                f"{package.info.name} ({package.info.task}, {package.info.precision}, {size_mb:.0f} MB, "
                f"{package.info.licence}), sha256 {package.sha256[:12]}, hashes fit"
            )
            yield Finding("model package", "ok", detail)
            yield from _plans(package)
    if networks == 0:
        looked = ", ".join(str(folder) for folder in model_folders())
        detail = f"no network that recovers bodies in {looked}"
        yield Finding("model package", "problem", detail, "git checkout -- assets/models", essential=True)


def _plans(package: ModelPackage) -> Iterator[Finding]:
    """Each plan of a package: whole, and whether it runs here."""
    from engines.devices import cuda_gpus
    from engines.errors import PlanError
    from engines.plans import installed_plans

    gpus = cuda_gpus()
    for plan in installed_plans(package):
        if isinstance(plan, PlanError):
            yield Finding("plan", "problem", str(plan), "remove that file, then python -m export tensorrt PACKAGE")
            continue
        name = f"{package.info.name}: {plan.path.name}"
        try:
            plan.read()
        except PlanError as error:
            runtime = "rtx" if plan.key.library == "tensorrt_rtx" else "tensorrt"
            mend = f"python -m export tensorrt {package.folder} --runtime {runtime} --rebuild"
            yield Finding("plan", "problem", str(error), mend)
            continue
        if not gpus:
            detail = f"{name} (compute capability {plan.key.compute_capability}), for machines with an NVIDIA GPU"
            yield Finding("plan", "ok", detail)
            continue
        yield _fit(package, plan, gpus, name)


def _fit(package: ModelPackage, plan: Plan, gpus: tuple[CudaGpu, ...], name: str) -> Finding:
    from engines.plans import expected_key
    from engines.registry import ENGINES

    distributions: tuple[str, ...] = next(
        entry.distributions for entry in ENGINES.values() if entry.library == plan.key.library
    )
    versions = [installed_version(name) for name in distributions]
    version = next((found for found in versions if found), "not installed")
    differences = plan.key.differences(expected_key(package, plan.key.library, version, gpus[0]))
    if not differences:
        return Finding("plan", "ok", f"{name}, runs here")
    runtime = "rtx" if plan.key.library == "tensorrt_rtx" else "tensorrt"
    mend = f"python -m export tensorrt {package.folder} --runtime {runtime}"
    return Finding("plan", "note", f"{name} does not run here: {'; '.join(differences)}", mend)


def check_detector() -> Iterator[Finding]:
    """What finds new people, and whether its weights are whole."""
    from app.errors import UsageError
    from app.model_packages import installed_packages

    try:
        packages = installed_packages("detector")
    except UsageError as error:
        yield Finding("people detector", "problem", str(error), "remove or restore that package")
        return
    if packages:
        found = ", ".join(f"{package.info.name} ({package.info.licence})" for package in packages)
        yield Finding("people detector", "ok", f"{found}, hashes fit")
    else:
        mend = "python -m app get-detector (needs requirements/export.txt once; YOLO is AGPL-3.0)"
        yield Finding(
            "people detector", "note", "OpenCV's HOG, the embedded one: misses people who are not upright", mend
        )


def check_licences() -> Iterator[Finding]:
    """The terms that a run here is under; `python -m app licences` lists them one by one."""
    from app.errors import UsageError
    from app.licences import FIXED, library_rows, package_rows

    try:
        rows = [*FIXED, *package_rows(), *library_rows()]
    except UsageError as error:
        yield Finding("licences", "problem", str(error), "remove or restore that package")
        return
    by_terms: dict[str, list[str]] = {}
    for _, name, terms in rows:
        by_terms.setdefault(terms.partition(";")[0].partition(",")[0], []).append(name.partition(" (")[0])
    detail = "; ".join(f"{terms}: {', '.join(dict.fromkeys(names))}" for terms, names in by_terms.items())
    yield Finding("licences", "ok", f"{detail} (all: python -m app licences)")
