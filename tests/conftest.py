"""Fixtures shared by all tests."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import settings

from bodycast.no_telemetry import switch_off

switch_off()  # before any library: a test may import one without a package of ours

# How long an example takes depends on who else uses the machine: it is no property of the code.
settings.register_profile("default", deadline=None)
settings.load_profile("default")

if find_spec("triton") is not None:
    # Mesa's software renderer and triton, which torch's exporter loads, each bring an LLVM: triton crashes the process
    # where it comes second. A test process has both, so triton comes first.
    import_module("triton._C.libtriton")

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def user_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test reads or writes the user's own cache of plans and choices; programs it starts inherit this."""
    folder = tmp_path / "user-cache"
    monkeypatch.setenv("BODYCAST_CACHE", str(folder))
    return folder


@pytest.fixture(scope="session")
def repository() -> Path:
    """Root of the repository."""
    return REPOSITORY


@pytest.fixture(scope="session")
def goldens_dir() -> Path:
    """Tensors of the official implementations, in files that are reduced to 2 MB (README.md there)."""
    return REPOSITORY / "tests" / "parity" / "goldens"


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The `shared` folder beside the repository (reference tensors, clips); skips where it is absent."""
    path = REPOSITORY.parent / "shared"
    if not path.is_dir():
        pytest.skip("the folder of test data is not on this machine")
    return path
