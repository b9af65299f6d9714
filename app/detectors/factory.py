"""Detectors by name."""

from __future__ import annotations

from bodycast.app.detectors.base import Detector
from bodycast.app.model_packages import first_package


def open_detector(
    spec: str = "auto", engine: str = "auto", device: str = "auto", *, threads: int | None = None
) -> Detector:
    """Open the detector that `spec` names.

    spec: "auto" (the first installed detector package, else HOG where none is), "hog", a YOLO weight file ending in
    .pt, or the folder or name of a detector package. engine, device, threads: for packages, as
    `bodycast.engines.registry.open_engine` takes them.

    Raises: UsageError where it cannot be opened.
    """
    if spec == "hog":
        return _hog()
    if spec.lower().endswith(".pt"):
        from bodycast.app.detectors.ultralytics_detector import UltralyticsDetector

        return UltralyticsDetector(spec, device)
    from bodycast.app.detectors.package_detector import PackageDetector

    if spec != "auto":
        return PackageDetector(spec, engine, device, threads=threads)
    package = first_package("detector")
    return PackageDetector(package, engine, device, threads=threads) if package else _hog()


def _hog() -> Detector:
    from bodycast.app.detectors.hog import HogDetector

    return HogDetector()
