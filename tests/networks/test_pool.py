"""A network that sees its crops averaged gives what it gives for the small crop itself."""

from __future__ import annotations

import pytest
import torch

from bodycast.hmr.networks.registry import build


def test_pooling_equals_the_smaller_crop() -> None:
    torch.manual_seed(0)
    pooled = build("swin-t-s2", image_hw=(256, 192), pool=2).eval()
    small = build("swin-t-s2", image_hw=(128, 96)).eval()
    small.load_state_dict(pooled.state_dict())
    assert pooled.image_hw == (256, 192)
    images = torch.randn(2, 3, 256, 192)
    with torch.no_grad():
        a, b = pooled(images), small(torch.nn.functional.avg_pool2d(images, 2))
    torch.testing.assert_close(a.rotmat, b.rotmat)
    torch.testing.assert_close(a.camera, b.camera)


def test_a_pool_that_does_not_divide_is_refused() -> None:
    with pytest.raises(ValueError, match="must divide"):
        build("swin-t-s2", image_hw=(256, 192), pool=5)
