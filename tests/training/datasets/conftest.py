"""What several tests of readers need."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.training.datasets.layouts import write_smpl_folder


@pytest.fixture(scope="session")
def smpl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_smpl_folder(tmp_path_factory.mktemp("smpl"))
