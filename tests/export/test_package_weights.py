"""`bodycast export weights`: the torch network of a package, from its graph alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from bodycast.engines.package import load_package
from bodycast.export import __main__ as export_main
from bodycast.export.checkpoint import load_checkpoint
from bodycast.export.errors import WorkError
from bodycast.export.package_weights import package_weights
from bodycast.hmr.networks.registry import build
from tests.networks.network_checks import shake
from tests.tiny_packages import affine_package

JOINT_QUERIES = {"queries": "joints", "width": 16, "depth": 2, "heads": 2, "cross_width": 8, "mlp_width": 12}
ARGUMENTS = {"image_hw": [64, 48], "drop_path": 0.0, "decoder": JOINT_QUERIES}


@pytest.fixture(scope="module")
def network() -> nn.Module:
    """Every weight is its own."""
    return shake(build("swin-t-s2", **ARGUMENTS | {"image_hw": (64, 48)}), 0.05)


@pytest.fixture(scope="module")
def exported(network: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its package, the weights stored as fp16."""
    folder = tmp_path_factory.mktemp("weights")
    state = {"model": "swin-t-s2", "arguments": ARGUMENTS, "state_dict": network.state_dict()}
    torch.save({**state, "metrics": {"mpjpe_mm": 150.0}, "training": "shaken"}, folder / "net.pt")
    assert (
        export_main.main(["package", str(folder / "net.pt"), "--out", str(folder / "package"), "--store", "fp16"]) == 0
    )
    return folder / "package"


def test_weights_come_back(
    network: nn.Module, exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "deep" / "again.pt"
    assert export_main.main(["weights", str(exported), "--out", str(out)]) == 0
    said = capsys.readouterr().out
    again = load_checkpoint(out)
    assert (again.model, again.metrics, again.training) == ("swin-t-s2", {"mpjpe_mm": 150.0}, "shaken")
    left = ("backbone.norms.0.", "smpl_head.norm_early.", "smpl_head.readout_joints.")
    for name, value in network.state_dict().items():
        if name.startswith(left):
            assert name in said
        else:
            torch.testing.assert_close(again.net.state_dict()[name], value, atol=2e-3, rtol=2e-3, msg=name)
    assert not list(out.parent.glob("*.part"))
    assert export_main.main(["weights", str(exported), "--out", str(out)]) == 2
    assert "--overwrite" in capsys.readouterr().err


def test_other_packages_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = affine_package(tmp_path / "affine").folder
    assert export_main.main(["weights", str(folder), "--out", str(tmp_path / "a.pt")]) == 2
    half = affine_package(tmp_path / "half", precision="fp16").folder
    assert export_main.main(["weights", str(half), "--out", str(tmp_path / "b.pt")]) == 2
    errors = capsys.readouterr().err
    assert "no network 'affine'" in errors and "computes in fp16" in errors and errors.count("\n") == 2
    assert not list(tmp_path.glob("*.pt"))


def test_a_graph_of_something_else_is_noticed(exported: Path) -> None:
    """The metadata names another network than the graph holds: nothing is written."""
    package = load_package(exported)
    other = replace(package, info=replace(package.info, arguments=package.info.arguments | {"pool": 2}))
    with pytest.raises(WorkError):
        package_weights(other)
