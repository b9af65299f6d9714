"""A checkpoint of a very small truncated Swin becomes a package that the estimator runs like torch."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from bodycast.engines.package import load_package
from bodycast.engines.registry import ENGINES, check_golden, open_engine
from bodycast.export import __main__ as export_main
from bodycast.export.checkpoint import CheckpointError, load_checkpoint
from bodycast.export.onnx_graph import run_torch
from bodycast.hmr.networks.hmr_net import ExportedHmr
from bodycast.hmr.networks.registry import build

ARGUMENTS = {
    "image_hw": (64, 48),
    "decoder": {"width": 32, "depth": 1, "heads": 2, "head_width": 8, "mlp_width": 16},
    "drop_path": 0.0,
}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    net = build("swin-t-s2", **ARGUMENTS)
    for parameter in net.smpl_head.parameters():
        parameter.data.add_(0.02 * torch.randn_like(parameter))
    path = tmp_path_factory.mktemp("checkpoint") / "tiny.pt"
    arguments = {**ARGUMENTS, "image_hw": [64, 48]}
    state = {"model": "swin-t-s2", "arguments": arguments, "state_dict": net.state_dict()}
    torch.save({**state, "metrics": {"mpjpe_mm": 81.5}, "training": "synthetic people"}, path)
    return path


@pytest.fixture(scope="module")
def folder(checkpoint: Path) -> Path:
    out = checkpoint.parent / "hmr-tiny"
    assert (
        export_main.main(
            ["package", str(checkpoint), "--out", str(out), "--paper", "arXiv 2510.12660", "--torch-program"]
        )
        == 0
    )
    return out


def test_the_metadata_is_that_of_the_checkpoint(folder: Path) -> None:
    info = load_package(folder).info
    assert (info.name, info.task, info.architecture) == ("hmr-tiny", "hmr", "swin-t-s2")
    assert info.metrics["mpjpe_mm"] == 81.5 and info.metrics["onnx_difference_pose"] < 1e-4
    assert info.training_data == "synthetic people" and info.orientation_frame == "crop-ray"
    assert info.paper == "arXiv 2510.12660"
    assert info.inputs[0].shape == ("N", 64, 48, 3) and info.output("token").shape == ("N", 32)
    rebuilt = build(info.architecture, **json.loads(json.dumps(info.arguments)) | {"image_hw": (64, 48)})
    assert sum(p.numel() for p in rebuilt.parameters()) > 0


# TensorRT needs a GPU, and its own tests; bfloat16 is not held to these bounds.
CPU_ENGINES = [name for name in ENGINES if name != "openvino-bf16" and not name.startswith("tensorrt")]


@pytest.mark.parametrize("engine", CPU_ENGINES)
def test_every_engine_gives_what_torch_gives(folder: Path, checkpoint: Path, engine: str) -> None:
    if not ENGINES[engine].installed():
        pytest.skip(f"{ENGINES[engine].library} is not installed")
    module = ExportedHmr(load_checkpoint(checkpoint).net)
    crops = torch.randint(0, 256, (5, 64, 48, 3), dtype=torch.uint8)
    expected = run_torch(module, [crops], module.output_names)
    with open_engine(folder, engine, "cpu") as opened:
        actual = opened.run({"crops": crops.numpy()})
        assert max(check_golden(opened).values()) < 1e-4
    for name, array in expected.items():
        np.testing.assert_allclose(actual[name], array, atol=1e-4, err_msg=name)
    assert np.abs(expected["pose"][0] - expected["pose"][1]).max() > 1e-6


def test_an_existing_folder_is_kept(folder: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = load_package(folder).sha256
    assert export_main.main(["package", str(checkpoint), "--out", str(folder)]) == 2
    assert "exists" in capsys.readouterr().err
    assert load_package(folder).sha256 == before


def test_other_files_are_refused(tmp_path: Path, checkpoint: Path) -> None:
    with pytest.raises(CheckpointError, match="no checkpoint"):
        load_checkpoint(tmp_path / "absent.pt")
    (tmp_path / "text.pt").write_text("not a checkpoint")
    with pytest.raises(CheckpointError, match="not a checkpoint of ours"):
        load_checkpoint(tmp_path / "text.pt")
    torch.save({"model": "swin-t-s2"}, tmp_path / "half.pt")
    with pytest.raises(CheckpointError, match="it has no arguments, state_dict"):
        load_checkpoint(tmp_path / "half.pt")
    state = torch.load(checkpoint, weights_only=True)
    state["state_dict"].pop("smpl_head.deccam.bias")
    torch.save(state, tmp_path / "fewer.pt")
    with pytest.raises(CheckpointError, match="deccam"):
        load_checkpoint(tmp_path / "fewer.pt")
    torch.save({**state, "model": "swin-q-s2"}, tmp_path / "unknown.pt")
    with pytest.raises(CheckpointError, match="no network 'swin-q-s2'"):
        load_checkpoint(tmp_path / "unknown.pt")
