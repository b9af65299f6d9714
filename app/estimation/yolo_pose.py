"""`--keypoints yolo11n-pose.pt`: YOLO-pose weights on this machine, converted to a package once."""

from __future__ import annotations

from pathlib import Path

from bodycast.app.errors import UsageError, require
from bodycast.engines.errors import PackageError
from bodycast.engines.user_cache import cache_folder

FOLDER = "keypoints"


def yolo_pose_package(weights: Path) -> Path:
    """The package's folder in the user's cache, where it is found again by the weights' SHA-256. AGPL-3.0, as they are.

    Raises: UsageError, one line, where the file cannot be used or requirements/export.txt is missing.
    """
    if not weights.is_file():
        raise UsageError(f"--keypoints {weights}: no such file")
    for module in ("torch", "ultralytics", "onnx"):
        require(module, "export.txt")
    from bodycast.export import keypoint_package

    try:
        return keypoint_package.yolo_pose_package(weights, cache_folder() / FOLDER)
    except (ValueError, PackageError, OSError) as error:
        raise UsageError(f"--keypoints: {error}") from error
