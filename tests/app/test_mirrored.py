"""`--mirror`: the numpy mean is the network's own, and a mirrored crop gets the mirrored body."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("onnx", reason="tiny graphs are made with onnx (requirements/export.txt)")

from app.estimator import Estimator
from app.mirrored import mean_with_mirror, with_mirror_images
from app.records import CropBatch
from hmr.geometry.camera import Intrinsics
from hmr.geometry.crop import CropTransform
from hmr.networks.decoders.smpl_transformer import SmplPrediction
from hmr.networks.mirroring import mean_with_mirror as torch_mean
from hmr.networks.rotation import rotmat_from_axis_angle, sixd_from_rotmat
from tests.tiny_packages import hmr_package

WH, HW = (640, 480), (256, 192)


def _answers(rows: int) -> SmplPrediction:
    generator = torch.Generator().manual_seed(3)
    rotmat = rotmat_from_axis_angle(0.6 * torch.randn(rows, 24, 3, generator=generator))
    camera = torch.randn(rows, 3, generator=generator) * 0.1 + torch.tensor([0.9, 0.0, 0.0])
    return SmplPrediction(
        sixd_from_rotmat(rotmat), rotmat, torch.randn(rows, 10, generator=generator), camera,
        torch.randn(rows, 8, generator=generator), torch.rand(rows, generator=generator),
        torch.rand(rows, 24, 3, generator=generator) - torch.tensor([0.5, 0.5, 0.0]),
    )  # fmt: skip


def test_the_mean_is_the_networks_own() -> None:
    both = _answers(6)
    expected = torch_mean(both, HW[0])
    names = {"pose": "rotmat"} | {n: n for n in ("betas", "camera", "score", "token", "keypoints")}
    ours = mean_with_mirror({name: getattr(both, field).numpy() for name, field in names.items()}, HW[0])
    for name, field in names.items():
        np.testing.assert_allclose(ours[name], getattr(expected, field).numpy(), atol=2e-6, err_msg=name)


def test_crops_and_boxes_are_mirrored() -> None:
    crops = np.arange(2 * 4 * 3 * 3, dtype=np.uint8).reshape(2, 4, 3, 3)
    box_info = np.array([[0.1, 0.2, 0.3], [-0.1, 0.0, 0.5]], np.float32)
    both = with_mirror_images({"crops": crops, "box_info": box_info})
    np.testing.assert_array_equal(both["crops"][:2], crops)
    np.testing.assert_array_equal(both["crops"][2:, :, 0], crops[:, :, -1])
    np.testing.assert_allclose(both["box_info"][2:], [[-0.1, 0.2, 0.3], [0.1, 0.0, 0.5]])


def _one_crop(pixels: np.ndarray) -> CropBatch:
    return CropBatch(pixels[None], (CropTransform((320.0, 240.0), 300.0, HW),), np.array([1], np.int32))


@pytest.mark.parametrize("mirror", [False, True])
def test_both_images_reach_the_network(tmp_path: Path, mirror: bool) -> None:
    """The tiny network answers a camera off the middle for any crop; together with a mirror image, one in it."""
    folder = hmr_package(tmp_path / "hmr", camera=(0.8, 0.1, -0.2)).folder
    opened = Estimator(folder, "onnxruntime", "cpu", mirror=mirror)
    assert ("mirror" in opened.describe()) == mirror
    bodies = opened.estimate(_one_crop(np.zeros((*HW, 3), np.uint8)), Intrinsics.default(WH), WH)
    opened.close()
    assert len(bodies) == 1
    across = -1 / (HW[0] * 0.8) if mirror else 0.1  # half a pixel: the crop's centre lies on pixel w / 2
    depth = float(bodies.transl_m[0, 2])
    assert bodies.transl_m[0, 0] == pytest.approx(across, abs=1e-5 * depth)


def test_a_graph_that_mirrors_by_itself_is_asked_once(tmp_path: Path) -> None:
    folder = hmr_package(tmp_path / "hmr", arguments={"mirror": True}).folder
    opened = Estimator(folder, "onnxruntime", "cpu", mirror=True)
    assert "mirror" not in opened.describe()
    opened.close()
