"""CLIFF's regressor: layout, iterations, box information, export."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from bodycast.hmr.networks.heads.cliff_regressor import CliffRegressor, box_information
from bodycast.hmr.networks.rotation import rotmat_from_6d_columns
from tests.networks.network_checks import check_batch_independent, check_every_parameter_learns, shake
from tests.networks.onnx_helpers import build_with_tensorrt_rtx, export_and_compare

OUTPUTS = ["pose6d", "rotmat", "betas", "camera", "token", "score"]


def tiny() -> CliffRegressor:
    torch.manual_seed(0)
    return shake(CliffRegressor(9, hidden=12, score=True), std=0.05)


def test_starts_at_the_rest_pose_in_the_column_layout() -> None:
    regressor = CliffRegressor(9, hidden=12)
    decoded = rotmat_from_6d_columns(regressor.init_pose.unflatten(1, (24, 6)))
    torch.testing.assert_close(decoded, torch.eye(3).expand(1, 24, -1, -1))
    out = regressor.eval()(torch.randn(2, 9), torch.randn(2, 3))
    torch.testing.assert_close(out.rotmat, torch.eye(3).expand(2, 24, -1, -1), rtol=0, atol=0.1)


def test_one_iteration_is_the_formula() -> None:
    regressor = tiny()
    regressor.iterations = 1
    features, box = torch.randn(2, 9), torch.randn(2, 3)
    mean = torch.cat((regressor.init_pose, regressor.init_shape, regressor.init_cam), 1).expand(2, -1)
    hidden = regressor.fc2(regressor.fc1(torch.cat((features, box, mean), 1)))
    out = regressor(features, box)
    torch.testing.assert_close(out.betas, regressor.decshape(hidden) + regressor.init_shape)
    pose = (regressor.decpose(hidden) + regressor.init_pose).unflatten(1, (24, 6))
    torch.testing.assert_close(out.rotmat, rotmat_from_6d_columns(pose))


def test_batch_and_gradients_and_maps() -> None:
    inputs = [torch.randn(5, 9), torch.randn(5, 3)]
    check_batch_independent(tiny(), inputs)
    check_every_parameter_learns(tiny(), inputs)
    constant = inputs[0][:, :, None, None].expand(-1, -1, 4, 3)
    torch.testing.assert_close(tiny()(constant, inputs[1]).betas, tiny()(*inputs).betas)


def test_box_information() -> None:
    # A crop in the image's centre, of 0.24 f, is CLIFF's zero.
    info = box_information(
        torch.tensor([[320.0, 240.0], [420.0, 240.0]]),
        torch.tensor([192.0, 240.0]),
        torch.tensor([[640.0, 480.0], [640.0, 480.0]]),
        torch.tensor([800.0, 800.0]),
    )
    torch.testing.assert_close(info, torch.tensor([[0.0, 0.0, 0.0], [0.35, 0.0, 1.0]]))


def test_box_information_equals_the_official(goldens_dir: Path) -> None:
    golden = np.load(goldens_dir / "geometry.npz")
    center, size, wh, focal = (
        torch.from_numpy(golden[f"{name}"])
        for name in ("out/cliff_center", "out/cliff_scale", "in/img_wh", "out/cliff_focal")
    )
    expected = torch.from_numpy(golden["out/cliff_bbox_info"])
    info = box_information(center, size * 200, wh, focal)
    torch.testing.assert_close(info.to(expected.dtype), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.trt
def test_exports(tmp_path: Path) -> None:
    path = export_and_compare(tiny(), [torch.randn(3, 9), torch.randn(3, 3)], OUTPUTS, tmp_path)
    build_with_tensorrt_rtx(path)
