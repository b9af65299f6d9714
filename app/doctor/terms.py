"""Under which terms the parts stand that a run on this machine would use."""

from __future__ import annotations

from importlib.util import find_spec

from bodycast.app.model_packages import installed_packages
from bodycast.engines.package import TASKS

FIXED = (
    ("code", "Bodycast", "Apache-2.0"),
    ("body", "bodycast-adult (embedded)", "CC0-1.0"),
    ("detector", "OpenCV HOG and faces (--detector hog)", "Apache-2.0"),
)


def package_rows() -> list[tuple[str, str, str]]:
    """Task, name, and licence with training data, of every installed package."""
    return [
        (task, package.info.name, f"{package.info.licence}; trained on: {package.info.training_data}")
        for task in TASKS
        for package in installed_packages(task)
    ]


def library_rows() -> list[tuple[str, str, str]]:
    """Installed libraries whose terms reach further than most; imports none of them."""
    if find_spec("ultralytics") is None:
        return []
    return [("detector", "ultralytics (--detector NAME.pt)", "AGPL-3.0, used only where you ask for it")]
