"""A YOLO weight file run with the ultralytics package (AGPL-3.0; imported only when this detector is chosen)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from bodycast.app.detectors.quiet_ultralytics import import_ultralytics
from bodycast.app.errors import RunError, UsageError
from bodycast.app.records import Detections, Frame

WITH_BOXES = ("detect", "segment", "pose")
WITHOUT_BOXES = {"classify": "classification", "obb": "turned boxes (obb)"}


class UltralyticsDetector:
    """Runs a local `.pt` file with ultralytics and torch. Nothing is downloaded."""

    def __init__(self, weights: Path | str, device: str = "auto", *, min_score: float = 0.35) -> None:
        """weights: a file on this machine. device: "cpu", "cuda" or "auto".

        Raises: UsageError where the file or the package is missing, or where the model knows no person.
        """
        path = Path(weights)
        if not path.is_file():
            # Given a bare name, ultralytics would download it here and now, in the middle of a live start.
            raise UsageError(
                f"no weight file {path}; fetch and convert it once with: bodycast get detector --model {path.name}"
            )
        yolo: Any = import_ultralytics().YOLO
        try:
            # The whole path: a damaged file with a bare name would be deleted and downloaded again.
            self._model: Any = yolo(str(path.resolve()))
        except Exception as error:  # ultralytics raises whatever unpickling raises
            raise UsageError(f"{path}: ultralytics cannot read it: {str(error).partition(chr(10))[0]}") from error
        task = str(self._model.task)
        if task not in WITH_BOXES:
            raise UsageError(
                f"{path}: a network for {WITHOUT_BOXES.get(task, task)}, which gives no boxes of people; "
                "give a detection one, as yolo11n.pt"
            )
        self.name = path.name
        self._person = person_class(self._model.names, str(path))
        self._device = None if device == "auto" else device
        self._min_score = min_score

    def describe(self) -> str:
        """One line: what it is and how to get faster."""
        return f"{self.name} with ultralytics (AGPL-3.0); faster without torch: bodycast get detector"

    def detect(self, frame: Frame) -> Detections:
        """All people found, boxes in pixels of `frame.image`, best first.

        Raises: RunError where the model fails.
        """
        try:
            result = self._model.predict(
                frame.image, classes=[self._person], conf=self._min_score, device=self._device, verbose=False
            )[0]
        except RuntimeError as error:
            raise RunError(f"{self.name}: {str(error).partition(chr(10))[0]}") from error
        xyxy = np.asarray(result.boxes.xyxy.cpu().numpy(), np.float32).reshape(-1, 4)
        score = np.asarray(result.boxes.conf.cpu().numpy(), np.float32).reshape(-1)
        order = np.argsort(-score, kind="stable")
        return Detections(xyxy[order], score[order])

    def close(self) -> None:
        """Let go of the model."""
        self._model = None


def person_class(names: dict[int, str], where: str) -> int:
    """Index of the class "person". Raises UsageError, listing the classes, where there is none."""
    for index, name in names.items():
        if name == "person":
            return index
    raise UsageError(f"{where}: the model has no class 'person', it has {', '.join(list(names.values())[:10])}")
