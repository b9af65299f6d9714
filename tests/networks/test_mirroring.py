"""A network that also looks at mirror images: equivariant, harmless where answers agree, sound where they do not."""

from __future__ import annotations

import numpy as np
import torch

from bodycast.hmr.body.joints import MIRROR
from bodycast.hmr.networks.decoders.smpl_transformer import SmplPrediction
from bodycast.hmr.networks.hmr_net import HmrNet
from bodycast.hmr.networks.mirroring import mean_with_mirror
from bodycast.hmr.networks.registry import build
from bodycast.hmr.networks.rotation import rotmat_from_6d, rotmat_from_axis_angle, sixd_from_rotmat

HEIGHT = 64
SIGNS = torch.tensor([-1.0, 1.0, 1.0])


def _prediction(seed: int = 0, people: int = 3) -> SmplPrediction:
    generator = torch.Generator().manual_seed(seed)
    rotmat = rotmat_from_axis_angle(0.6 * torch.randn(people, 24, 3, generator=generator))
    camera = torch.randn(people, 3, generator=generator) * 0.1 + torch.tensor([0.9, 0.0, 0.0])
    return SmplPrediction(
        sixd_from_rotmat(rotmat), rotmat, torch.randn(people, 10, generator=generator), camera,
        torch.randn(people, 8, generator=generator), torch.rand(people, generator=generator),
        torch.rand(people, 24, 3, generator=generator) - torch.tensor([0.5, 0.5, 0.0]),
    )  # fmt: skip


def _in_the_mirror(seen: SmplPrediction) -> SmplPrediction:
    """The same bodies as the mirrored crop shows them."""
    rotmat = seen.rotmat[:, torch.from_numpy(np.asarray(MIRROR))] * (SIGNS[:, None] * SIGNS)
    s, tx, ty = seen.camera.unbind(-1)
    camera = torch.stack([s, -tx - 2 / (HEIGHT * s), ty], dim=-1)
    mirrored = seen._replace(pose6d=sixd_from_rotmat(rotmat), rotmat=rotmat, camera=camera)
    if seen.keypoints is None:
        return mirrored
    x, y, confidence = seen.keypoints[:, torch.from_numpy(np.asarray(MIRROR))].unbind(-1)
    return mirrored._replace(keypoints=torch.stack([-x - 1 / HEIGHT, y, confidence], dim=-1))


def _together(first: SmplPrediction, second: SmplPrediction) -> SmplPrediction:
    return SmplPrediction(*(torch.cat(pair) for pair in zip(first, second, strict=True)))  # type: ignore[arg-type]


def test_answers_that_agree_stay_as_they_are() -> None:
    seen = _prediction()
    mean = mean_with_mirror(_together(seen, _in_the_mirror(seen)), HEIGHT)
    for name, value in seen._asdict().items():
        torch.testing.assert_close(getattr(mean, name), value, atol=1e-5, rtol=1e-5, msg=lambda m, n=name: f"{n}: {m}")


def test_front_and_back_stay_upright() -> None:
    seen = _prediction()
    seen.rotmat[:, 0] = torch.eye(3)
    back = rotmat_from_axis_angle(torch.tensor([0.0, 3.0, 0.0]))
    turned = seen._replace(rotmat=torch.cat([(back @ seen.rotmat[:, :1]), seen.rotmat[:, 1:]], dim=1))
    root = mean_with_mirror(_together(seen, _in_the_mirror(turned)), HEIGHT).rotmat[:, 0]
    torch.testing.assert_close(root[..., 1], torch.tensor([0.0, 1.0, 0.0]).expand(3, 3), atol=1e-5, rtol=0)
    torch.testing.assert_close(root @ root.transpose(1, 2), torch.eye(3).expand(3, 3, 3), atol=1e-5, rtol=0)


@torch.no_grad()
def test_the_mirrored_crop_gets_the_mirrored_answer() -> None:
    torch.manual_seed(0)
    net = build("swin-t-s2", image_hw=(64, 48), mirror=True).eval()
    assert isinstance(net, HmrNet)
    images = torch.randn(2, 3, 64, 48)
    here, there = net(images), _in_the_mirror(net(images.flip(-1)))
    for name in ("rotmat", "betas", "camera", "score", "token"):
        torch.testing.assert_close(getattr(here, name), getattr(there, name), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(rotmat_from_6d(here.pose6d), here.rotmat, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_it_is_the_mean_of_two_runs() -> None:
    torch.manual_seed(0)
    net = build("swin-t-s2", image_hw=(64, 48), mirror=True).eval()
    plain = build("swin-t-s2", image_hw=(64, 48)).eval()
    plain.load_state_dict(net.state_dict())
    images = torch.randn(2, 3, 64, 48)
    seen, other = plain(images), plain(images.flip(-1))
    torch.testing.assert_close(net(images).betas, (seen.betas + other.betas) / 2, atol=1e-5, rtol=1e-5)
