"""What a package is given for the box, live, is what its network was trained on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from bodycast.app.estimation.cropper import crop_people
from bodycast.app.estimation.estimator import Estimator
from bodycast.app.records import Frame, Tracks
from bodycast.export.exportable import exportable
from bodycast.export.network_package import CheckedGraph, Options, Words, checked_graph, export_package
from bodycast.hmr.geometry.camera import Intrinsics
from bodycast.hmr.geometry.crop import stack_crops
from bodycast.hmr.networks.hmr_net import HmrNet
from tests.networks.network_checks import shake
from tests.networks.registry_cases import TINY, tiny

WH = (640, 480)
FOCAL_PX = 700.0


def _takes_box(name: str) -> bool:
    net = tiny(name)
    return isinstance(net, HmrNet) and net.takes_box_info


NAMES = [name for name in TINY if not name.startswith(("pose", "motion", "diffusion")) and _takes_box(name)]


def test_networks_with_box_input_are_found() -> None:
    assert set(NAMES) == {"camerahmr-h", "camerahmr-h-fast", "cliff-r50"}


@pytest.mark.parametrize("name", NAMES)
def test_live_box_information_is_that_of_training(name: str, tmp_path: Path) -> None:
    """The estimator on a package, against the network with the training's own function, for boxes off the centre."""
    network_inputs = pytest.importorskip("training.network_inputs")
    net = shake(tiny(name), 0.1).eval()
    item = exportable(net)
    words = Words(name, name, {}, "none", "none", body="bodycast-adult", orientation_frame="camera")
    graph: CheckedGraph = checked_graph(item)
    export_package(item, tmp_path / "p", words, Options(engines=("onnxruntime",), timed_batches=()), graph)
    picture = np.random.default_rng(0).integers(0, 256, (*WH[::-1], 3), np.uint8)
    boxes = np.array([[40, 60, 180, 400], [400, 20, 600, 470], [300, 200, 330, 260]], np.float32)
    tracks = Tracks(np.arange(3, dtype=np.int32), boxes, np.ones(3))
    estimator = Estimator(tmp_path / "p", "onnxruntime", "cpu")
    crops = crop_people(Frame(picture, 0, 0.0), tracks, estimator.input_hw)
    live = estimator.estimate(crops, Intrinsics.from_focal(FOCAL_PX, WH), WH)
    estimator.close()
    centre, size = (torch.from_numpy(np.asarray(a, np.float32)) for a in stack_crops(crops.transforms))
    batch = _Batch(centre, size, torch.tensor([WH] * 3, dtype=torch.float32), torch.full((3,), FOCAL_PX))
    box = network_inputs.box_information(net, batch)
    module = item.module
    images = torch.from_numpy(crops.pixels).permute(0, 3, 1, 2) * module.scale - module.shift
    with torch.no_grad():
        trained = net(images, box)
        elsewhere = net(images, box.flip(0))
    np.testing.assert_allclose(live.pose, trained.rotmat.numpy(), atol=1e-4)
    np.testing.assert_allclose(live.betas, trained.betas.numpy(), atol=1e-4)
    # The box counts: with another row's the answer is another one.
    assert np.abs(live.pose - elsewhere.rotmat.numpy()).max() > 1e-3


class _Batch:
    """The part of `training.batch.Batch` that box information is made of."""

    def __init__(
        self, centre_px: torch.Tensor, size_px: torch.Tensor, image_wh: torch.Tensor, focal_px: torch.Tensor
    ) -> None:
        self.centre_px, self.size_px, self.image_wh, self.focal_px = centre_px, size_px, image_wh, focal_px
