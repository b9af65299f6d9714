"""`evaluation show`: every picture is made, of the right networks, and shows what it says."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from bodycast.hmr.networks import registry
from bodycast.hmr.networks.hmr_net import HmrNet
from evaluation import show
from tests.networks.registry_cases import DECODER, DEFORMABLE, VIT


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "person.png"
    cv2.imwrite(str(path), cv2.resize(np.random.default_rng(0).integers(0, 255, (8, 6, 3), np.uint8), (60, 80)))
    return path


@pytest.fixture
def nets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Registered networks at toy size, whatever arguments are asked for."""
    made = {
        "deformable-x4": {"size": VIT, "decoder": DEFORMABLE},
        "hmr2-s-fast": {"size": VIT, "decoder": DECODER, "blocks": 2, "schedule": (3, 2)},
    }
    whole = registry.build
    monkeypatch.setattr(registry, "build", lambda name, **_: whole(name, image_hw=(64, 48), **made[name]))


@pytest.mark.parametrize(
    ("what", "network", "panels"),
    [("features", "deformable-x4", 5), ("sampling", "deformable-x4", 2), ("tokens", "hmr2-s-fast", 2)],
)
def test_pictures_of_the_inside(
    what: str, network: str, panels: int, picture: Path, tmp_path: Path, nets: None
) -> None:
    out = tmp_path / "shown.png"
    assert show.main([what, str(picture), "--checkpoint", network, "--out", str(out)]) == 0
    shown = cv2.imread(str(out))
    assert shown is not None and shown.shape[0] == show.HEIGHT
    width = round(show.HEIGHT * 48 / 64)
    assert abs(shown.shape[1] - (panels * (width + 6) - 6)) <= 2 * panels and shown.std() > 5
    assert show.main([what, str(picture), "--checkpoint", network, "--out", str(out)]) == 2


def test_wrong_networks_are_one_line(
    picture: Path, tmp_path: Path, nets: None, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "shown.png")
    for what, network, said in (
        ("features", "hmr2-s-fast", "no feature upsampling"),
        ("sampling", "hmr2-s-fast", "no deformable decoder"),
        ("tokens", "deformable-x4", "merges no tokens"),
    ):
        assert show.main([what, str(picture), "--checkpoint", network, "--out", out]) == 2
        assert said in capsys.readouterr().err
    assert show.main(["tokens", str(picture), "--out", out]) == 2 and "--checkpoint" in capsys.readouterr().err


def test_principal_colours_tell_regions_apart_and_share_their_axes() -> None:
    halves = torch.zeros(5, 4, 4)
    halves[0, :, 2:] = 1.0
    small, large = show.principal_colours([halves, halves.repeat_interleave(2, 1).repeat_interleave(2, 2)])
    assert large.shape == (8, 8, 3) and abs(int(small[0, 0, 0]) - int(small[0, 3, 0])) == 255
    np.testing.assert_array_equal(small[0, 0], large[0, 0])


def test_sampled_points_carry_all_attention() -> None:
    net = registry.build("deformable", size=VIT, decoder=DEFORMABLE, image_hw=(64, 48))
    assert isinstance(net, HmrNet)
    found = show.sampled_points(net, torch.zeros(1, 64, 48, 3, dtype=torch.uint8))
    assert len(found) == DEFORMABLE["layers"]
    for places, weight in found:
        assert places.shape == (len(weight), 2)
        assert weight.sum() == pytest.approx(26 * DEFORMABLE["heads"], rel=1e-4)
