"""The senders that a command line asks for, and what is said where it cannot be."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from contextlib import ExitStack

import numpy as np
import pytest

from bodycast.app.commands.run import parse_run
from bodycast.app.config import RunConfig
from bodycast.app.errors import UsageError
from bodycast.app.senders.base import Sender
from bodycast.app.senders.factory import open_senders
from bodycast.app.sources.base import SourceInfo
from tests.sinks.results import embedded_body, result_of

SOURCE = SourceInfo("test", True, 25.0, None, (64, 48))


class FakeCamera:
    """pyvirtualcam's camera: keeps what it is sent."""

    made: list[FakeCamera]

    def __init__(self, width: int, height: int, fps: float, fmt: str) -> None:
        if width > 4000:
            raise RuntimeError("'v4l2loopback' backend: No v4l2 loopback\n device found")
        self.asked, self.device = (width, height, fps, fmt), "/dev/video9"
        self.pictures: list[np.ndarray] = []
        self.closed = 0
        FakeCamera.made.append(self)

    def send(self, picture: np.ndarray) -> None:
        self.pictures.append(picture)

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def camera(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    FakeCamera.made = []
    module = types.ModuleType("pyvirtualcam")
    module.Camera, module.PixelFormat = FakeCamera, types.SimpleNamespace(BGR="bgr")  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pyvirtualcam", module)
    yield


def config(*words: str) -> RunConfig:
    return parse_run(["--no-window", *words], "bodycast run")


def opened(*words: str, source: SourceInfo = SOURCE) -> list[Sender]:
    with ExitStack() as stack:
        return open_senders(config(*words).send, embedded_body(), source, stack)


def test_nothing_is_sent_unless_asked_for() -> None:
    assert opened() == []
    assert not config().send.anything and config("--vmc", "9").send.anything


def test_each_flag_opens_its_sender() -> None:
    senders = opened("--vmc", "39539", "--vrchat", "127.0.0.1:9000")
    assert [sender.name for sender in senders] == ["vmc", "vrchat"]
    assert all(isinstance(sender, Sender) and not sender.needs_picture for sender in senders)
    assert senders[0].describe() == "VMC to 127.0.0.1:39539"


def test_the_virtual_camera_shows_the_overlay_in_the_source_s_size(camera: None) -> None:
    with ExitStack() as stack:
        (sender,) = open_senders(config("--virtual-camera").send, embedded_body(), SOURCE, stack)
        assert isinstance(sender, Sender) and sender.needs_picture
        sender.write(result_of(0, overlay=np.full((48, 64, 3), 7, np.uint8)))
        sender.write(result_of(1, overlay=np.full((96, 128, 3), 9, np.uint8)))
    (made,) = FakeCamera.made
    assert made.asked == (64, 48, 25.0, "bgr") and made.closed == 1
    assert [(picture.shape, int(picture[0, 0, 0])) for picture in made.pictures] == [((48, 64, 3), 7), ((48, 64, 3), 9)]


def test_a_system_without_virtual_camera_is_one_line(camera: None) -> None:
    with pytest.raises(UsageError, match="no virtual camera can be opened") as caught:
        opened("--virtual-camera", source=SourceInfo("test", True, 25.0, None, (5000, 48)))
    assert "\n" not in str(caught.value)


def test_a_missing_package_says_what_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyvirtualcam", None)
    with pytest.raises(UsageError, match="virtual-camera"):
        opened("--virtual-camera")


def test_a_virtual_camera_and_no_renderer_contradict_each_other() -> None:
    with pytest.raises(UsageError, match="--virtual-camera"):
        config("--virtual-camera", "--renderer", "none")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--vmc", "here:there"), "--vmc here:there"),
        (("--vmc", "39539", "--person", "bob"), "--person bob"),
        (("--vmc", "39539", "--avatar-hips", "0"), "--avatar-hips"),
        (("--websocket", "0"), "--websocket 0"),
    ],
)
def test_what_cannot_be_is_one_line(words: tuple[str, ...], said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        opened(*words)
    assert "\n" not in str(caught.value)
