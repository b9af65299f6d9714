"""Weight files of ultralytics that find nobody are named for what they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from bodycast.app.detectors import open_detector
from bodycast.app.errors import UsageError


def test_a_classification_network_is_named(tmp_path: Path) -> None:
    YOLO = pytest.importorskip("ultralytics", reason="requirements/export.txt").YOLO

    YOLO("yolo11n-cls.yaml").save(str(tmp_path / "sorts.PT"))
    with pytest.raises(UsageError, match=r"classification.*no boxes"):
        open_detector(str(tmp_path / "sorts.PT"))
