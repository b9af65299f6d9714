"""Over the whole registry: what a package makes of its live inputs is what its network saw in training."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from bodycast.app.estimation.crop_cameras import CropCameras
from bodycast.app.estimation.cropper import crop_people
from bodycast.app.records import Frame, Tracks
from bodycast.export.exportable import Normalise
from bodycast.hmr.geometry.camera import Intrinsics
from bodycast.hmr.geometry.crop import stack_crops
from bodycast.hmr.networks import registry
from bodycast.hmr.networks.hmr_net import ExportedHmr
from tests.networks.network_checks import shake
from tests.networks.registry_cases import IMAGE_HW, TINY, architecture

augment = pytest.importorskip("training.augment", reason="needs requirements/train.txt")
network_inputs = pytest.importorskip("training.network_inputs", reason="needs requirements/train.txt")

WH, FOCAL_PX = (640, 480), 700.0
BOXES = np.array([[40, 60, 180, 400], [400, 20, 600, 470]], np.float32)
MOVENETS = ("movenet-lightning", "movenet-thunder")  # they take pixels of 0..255, as Google's files


def live_crops(hw: tuple[int, int]):
    picture = np.random.default_rng(0).integers(0, 256, (*WH[::-1], 3), np.uint8)
    tracks = Tracks(np.arange(1, 3, dtype=np.int32), BOXES, np.ones(2))
    return crop_people(Frame(picture, 0, 0.0), tracks, hw)


def training_batch(crops, hw: tuple[int, int]) -> SimpleNamespace:
    """A batch as `training.batch` has it, of the same crops; the person fills the middle."""
    centre, size = (torch.from_numpy(np.asarray(a, np.float32)) for a in stack_crops(crops.transforms))
    parts = torch.zeros(2, 64, 48, dtype=torch.long)
    parts[:, 10:50, 16:30] = 3
    return SimpleNamespace(
        images=augment.normalise(torch.from_numpy(crops.pixels), hw),
        parts=parts,
        centre_px=centre,
        size_px=size,
        image_wh=torch.tensor([WH] * 2, dtype=torch.float32),
        focal_px=torch.full((2,), FOCAL_PX),
    )


def small(name: str) -> torch.nn.Module:
    """The registered network at the tiny sizes of one of its architecture."""
    spec = registry.find(name)
    like = next(one for one in TINY if architecture(registry.find(one)) == architecture(spec))
    image_hw = (64, 64) if name.startswith("mobile") else IMAGE_HW
    return registry.build(name, **({"image_hw": image_hw} | TINY[like]))


@pytest.mark.parametrize("name", registry.names("hmr"))
def test_bodies(name: str) -> None:
    torch.manual_seed(0)
    net = shake(small(name), 0.1).eval()
    crops = live_crops(net.image_hw)
    batch = training_batch(crops, net.image_hw)
    module = ExportedHmr(net, with_mask=net.takes_mask)
    cameras = CropCameras.of(crops, Intrinsics.from_focal(FOCAL_PX, WH), WH)
    scale = (net.image_hw[0] // 64, net.image_hw[1] // 48)
    seen = np.repeat(np.repeat((batch.parts > 0).numpy().astype(np.uint8) * 255, scale[0], 1), scale[1], 2)
    live = {"masks": torch.from_numpy(seen), "box_info": torch.from_numpy(cameras.box_info())}
    with torch.no_grad():
        trained = network_inputs.run_network(net, batch)
        shown = module(torch.from_numpy(crops.pixels), *(live[key] for key in module.input_names[1:]))
    np.testing.assert_allclose(shown[0].numpy(), trained.rotmat.numpy(), atol=2e-4)
    np.testing.assert_allclose(shown[1].numpy(), trained.betas.numpy(), atol=2e-4)


@pytest.mark.parametrize("name", [name for name in registry.names("pose") if name in TINY and name not in MOVENETS])
def test_keypoints(name: str) -> None:
    torch.manual_seed(0)
    net = small(name).eval()
    crops = live_crops(net.image_hw)
    with torch.no_grad():
        found = net(Normalise()(torch.from_numpy(crops.pixels)))  # as the graph does (`ExportedPose`)
        trained = net(augment.normalise(torch.from_numpy(crops.pixels), net.image_hw))
    np.testing.assert_allclose(found.numpy(), trained.numpy(), atol=2e-4)
