"""The field-of-view network: from CameraHMR's own file by `import` to a lens that films and cameras use."""

from __future__ import annotations

import json
import math
import threading
import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("torch", reason="needs requirements/export.txt")
pytest.importorskip("onnxscript", reason="needs requirements/export.txt")

import torch
from torch import nn

from bodycast.app.commands import main as program
from bodycast.app.errors import UsageError
from bodycast.app.estimation.fov import FovNetwork, white_square
from bodycast.app.estimation.segmenter import SegmenterMasks
from bodycast.app.records import U8, Frame
from bodycast.app.world.lens import SeenLens, usual_lens, weighed
from bodycast.app.world.lens_watch import EVERY_S, SPREAD, LensWatch
from bodycast.app.world.live_lens import LiveLens
from bodycast.engines.package import load_package
from bodycast.export.exportable import exportable
from bodycast.export.import_checkpoint import model_of
from bodycast.export.network_package import Options, Words, export_package
from bodycast.hmr.checkpoints import layouts_of, load_checkpoint
from bodycast.hmr.networks import builders
from bodycast.hmr.networks.fov_net import FovNet
from tests.networks.registry_cases import FOV

WH = (320, 180)
SAID_RAD = 0.5
"""Vertical field of view that the toy networks say of every picture."""
PICTURE = np.zeros((WH[1], WH[0], 3), np.uint8)
FILM = Path(__file__).parents[2] / "assets" / "demo" / "outdoors.mp4"
FOCAL_PX = WH[1] / 2 / math.tan(SAID_RAD / 2)


def official_file(path: Path) -> Path:
    """As CameraHMR's file is: a container, HRNet's keypoint head, a layer that is not used."""
    torch.manual_seed(0)
    net = FovNet(**FOV)
    with torch.no_grad():
        net.fc3.weight.zero_()
        net.fc3.bias.copy_(torch.tensor([9.0, SAID_RAD]))
    unused = {"fc2.weight": torch.zeros(8, 8), "fc2.bias": torch.zeros(8)}
    head = {"backbone.final_layer.weight": torch.zeros(24, 2, 1, 1), "backbone.final_layer.bias": torch.zeros(24)}
    torch.save({"state_dict": net.state_dict() | unused | head}, path)
    return path


class Says05(nn.Module):
    """What a field-of-view network's graph is like from outside."""

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor]:
        """(N,64,64,3) -> (N,)."""
        return (images.float().mean(dim=(1, 2, 3)) * 0 + SAID_RAD,)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One whose answer is known."""
    item = replace(exportable(FovNet(**FOV).eval()), module=Says05())
    words = Words("toy-fov", "toy-fov", {}, "none", "none")
    folder = tmp_path_factory.mktemp("fov") / "toy-fov"
    return export_package(item, folder, words, Options(engines=("onnxruntime",), timed_batches=()))[0].folder


@pytest.mark.slow
def test_import_makes_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(builders, "FovNet", lambda **sizes: FovNet(**(FOV | sizes)))
    out = tmp_path / "fov"
    assert program.main(["import", str(official_file(tmp_path / "cam_model_cleaned.ckpt")), "--out", str(out)]) == 0
    assert capsys.readouterr().out.rstrip().endswith(f"bodycast run 0 --fov-network {out}")
    info = load_package(out).info
    assert (info.task, info.crop_rule, info.body, info.orientation_frame) == ("fov", "white-square", "none", "none")
    network = FovNetwork(out, "onnxruntime", "cpu")
    assert network.focal_px(PICTURE) == pytest.approx(FOCAL_PX, rel=1e-4)
    network.close()


def test_the_official_file_is_known_by_its_keys(tmp_path: Path) -> None:
    file = official_file(tmp_path / "a.ckpt")
    assert model_of(file) == "camerahmr-fov" and layouts_of("camerahmr-fov") == ("camerahmr-fov",)
    net = FovNet(**FOV)
    report = load_checkpoint(net, file, "camerahmr-fov")
    assert report.loaded == len(net.state_dict()) and report.kept == () and len(report.ignored) == 4
    assert net.eval()(torch.randn(3, 3, 64, 64)).tolist() == pytest.approx([SAID_RAD] * 3)


def test_the_package_says_the_focal_length_of_the_whole_picture(package: Path) -> None:
    network = FovNetwork(package, "onnxruntime", "cpu")
    assert network.focal_px(PICTURE) == pytest.approx(FOCAL_PX, rel=1e-4)
    network.close()
    with pytest.raises(UsageError, match="fov"):
        SegmenterMasks(package)


def test_the_picture_lies_in_the_middle_of_a_white_square() -> None:
    picture = np.zeros((100, 200, 3), np.uint8)
    picture[..., 2] = 200
    square = white_square(picture, (64, 64))
    assert (square[:16] == 255).all() and (square[48:] == 255).all()
    assert (square[16:48] == [200, 0, 0]).all()
    tall = white_square(picture.transpose(1, 0, 2), (64, 64))
    assert (tall[:, :16] == 255).all() and (tall[:, 16:48] == [200, 0, 0]).all()


def test_pictures_and_walks_are_weighed_by_their_precision() -> None:
    seen = SeenLens(0.3, 0.1, 5)
    only = weighed([], seen)
    assert 0.2 < only.log_ratio < 0.3 and only.spread < 0.1 and (only.walks, only.pictures) == (0, 5)
    both = weighed([(-0.2, 0.1)], seen)
    assert both.log_ratio < only.log_ratio and both.spread < only.spread
    assert weighed([]).log_ratio == 0.0


class Says:
    """A network that knows; `hold` until it may answer."""

    def __init__(self, answers: list[float | None], hold: threading.Event | None = None) -> None:
        self.answers, self.hold, self.looks = answers, hold, 0

    def focal_px(self, image: U8) -> float | None:
        if self.hold is not None:
            assert self.hold.wait(5)
        self.looks += 1
        return self.answers[min(self.looks, len(self.answers)) - 1]


def frame_at(time_s: float) -> Frame:
    return Frame(PICTURE, 0, time_s)


def test_a_film_is_looked_at_at_once_and_every_few_seconds() -> None:
    lens = usual_lens(WH)
    network = Says([2 * lens.focal_px, None, 2.2 * lens.focal_px, 9 * lens.focal_px])
    watch = LensWatch(network, live=False)
    assert watch.seen is None
    for time_s in np.arange(0, 3 * EVERY_S + 1, 0.5):
        watch.offer(frame_at(float(time_s)), lens)
    assert network.looks == 4
    # The median of three, one gave no lens.
    assert watch.seen == SeenLens(pytest.approx(math.log(2.2)), SPREAD, 3)
    watch.reset()
    watch.offer(frame_at(13.2), lens)
    assert network.looks == 5 and watch.seen.pictures == 4


def test_a_camera_is_looked_at_beside_the_pipeline() -> None:
    lens, may_answer = usual_lens(WH), threading.Event()
    watch = LensWatch(Says([1.5 * lens.focal_px], may_answer), live=True)
    began = time.perf_counter()
    watch.offer(frame_at(0.0), lens)
    watch.offer(frame_at(100.0), lens)  # still busy
    assert time.perf_counter() - began < 1 and watch.seen is None
    may_answer.set()
    watch.close()
    assert watch.seen == SeenLens(pytest.approx(math.log(1.5)), SPREAD, 1)
    watch.reset()
    assert watch.seen is None


def test_pictures_of_their_own_have_each_their_lens() -> None:
    lens = usual_lens(WH)
    network = Says([2 * lens.focal_px, 3 * lens.focal_px])
    watch = LensWatch(network, live=False, stills=True)
    found: list[float] = []
    for row in range(2):
        watch.reset()
        watch.offer(frame_at(row / 10), lens)
        live = LiveLens()
        live.seen = watch.seen
        live.settle()
        found.append(live.ratio)
    assert 1.5 < found[0] < 2 and 2 < found[1] < 3


def test_a_photograph_is_put_under_what_it_shows(package: Path, tmp_path: Path) -> None:
    picture = cv2.VideoCapture(str(FILM)).read()[1]
    cv2.imwrite(str(tmp_path / "photo.png"), picture)
    out = tmp_path / "out"
    options = ["--renderer", "none", "--no-window", "--preset", "lite", "--output", str(out)]
    assert program.main(["run", str(tmp_path / "photo.png"), *options, "--fov-network", str(package)]) == 0
    height, width = picture.shape[:2]
    usual_px = usual_lens((width, height)).focal_px
    shown = math.log(height / 2 / math.tan(SAID_RAD / 2) / usual_px)
    wanted_px = usual_px * weighed([], SeenLens(shown, SPREAD, 1)).ratio
    world = json.loads((out / "run.json").read_text())["world"]
    assert world["focal_px"] == pytest.approx(wanted_px, rel=1e-3) and wanted_px > 1.1 * usual_px
    assert world["focal_from"] == "the usual lens, and 1 picture"


def test_what_the_network_raises_ends_the_run() -> None:
    def fail(image: U8) -> float:
        raise ValueError("no more memory")

    network = Says([])
    network.focal_px = fail  # type: ignore[method-assign]
    watch = LensWatch(network, live=True)
    watch.offer(frame_at(0.0), usual_lens(WH))
    watch.close()
    with pytest.raises(ValueError, match="no more memory"):
        watch.offer(frame_at(9.0), usual_lens(WH))


def test_live_the_lens_goes_there_smoothly() -> None:
    lens = LiveLens()
    lens.seen = SeenLens(0.3, SPREAD, 1)
    ratios: list[float] = []
    nobody = np.zeros((0, 3), np.float32), np.zeros((0, 4, 3), np.float32)
    for step in range(600):
        lens.update([], *nobody, step / 30)
        ratios.append(lens.ratio)
    assert ratios[0] == 1.0 and np.abs(np.diff(np.log(ratios))).max() < 0.01
    assert ratios[-1] == pytest.approx(lens.estimate.ratio, rel=0.01) and lens.estimate.pictures == 1


def test_a_run_says_what_its_pictures_show(package: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    options = ["--renderer", "none", "--no-window", "--output", str(out), "--fov-network", str(package)]
    options += ["--max-frames", "12", "--preset", "lite"]
    assert program.main(["run", "demo", *options]) == 0, capsys.readouterr().err
    report = json.loads((out / "run.json").read_text())
    assert report["configuration"]["lens"]["fov_network"] == str(package)
    assert report["world"]["focal_from"] == "the usual lens, and 1 picture"
    assert program.main(["run", "demo", *options, "--overwrite", "--fov-deg", "60"]) == 2
    assert "--fov-network estimates the lens" in capsys.readouterr().err
