"""Choosing a renderer by name, and what is said where OpenGL is missing."""

from __future__ import annotations

import moderngl
import pytest

from bodycast.app.errors import RunError, UsageError
from bodycast.app.renderers import RENDERER_NAMES, open_renderer
from bodycast.app.renderers.moderngl_renderer import is_software
from tests.meshes import ellipsoid

FACES = ellipsoid()[1]


def no_opengl(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**arguments: object) -> None:
        raise Exception(f"cannot load the driver ({arguments.get('backend', 'x11')})")

    monkeypatch.setattr(moderngl, "create_context", refuse)


def test_an_unknown_name_is_refused_with_the_names_that_exist() -> None:
    with pytest.raises(UsageError) as caught:
        open_renderer("vulkan", FACES)
    assert all(name in str(caught.value) for name in RENDERER_NAMES)


def test_auto_without_opengl_draws_on_the_cpu_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    no_opengl(monkeypatch)
    name = open_renderer("auto", FACES).name
    assert name.startswith("cpu") and "cannot load the driver" in name


def test_moderngl_without_opengl_is_an_error_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    no_opengl(monkeypatch)
    with pytest.raises(RunError, match=r"cannot load the driver.*--renderer cpu"):
        open_renderer("moderngl", FACES)


@pytest.mark.parametrize(
    ("gl_renderer", "software"),
    [
        ("llvmpipe (LLVM 15.0.6, 256 bits)", True),
        ("Google SwiftShader", True),
        ("NVIDIA GeForce RTX 3090/PCIe/SSE2", False),
        ("Apple M2", False),
    ],
)
def test_software_rasterisers_are_recognised(gl_renderer: str, software: bool) -> None:
    assert is_software(gl_renderer) is software
