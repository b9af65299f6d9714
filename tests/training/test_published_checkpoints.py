"""The published checkpoints are the shipped packages: same answers, and trainings take them up."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from bodycast.engines.package import load_package
from bodycast.export.exportable import exportable
from bodycast.hmr.networks import registry
from training.core import load_checkpoint
from training.initialise import weights_from
from training.network import finished_network

NAMES = ("hmr-swin-t-s2-lite", "keypoint-fusion")


@pytest.mark.parametrize("name", NAMES)
def test_a_checkpoint_answers_as_its_package_does(repository: Path, name: str) -> None:
    state = load_checkpoint(repository / "assets" / "checkpoints" / f"{name}.safetensors")
    if state["model"] == "keypoint-fusion":
        net = registry.build(state["model"], **state["arguments"]).eval()
        net.load_state_dict(state["state_dict"])
    else:
        net = finished_network(state)
    inputs, expected = load_package(repository / "assets" / "models" / name).golden()
    item = exportable(net)
    with torch.no_grad():
        found = item.module(*(torch.from_numpy(inputs[key]) for key in item.input_names))
    for key, value in zip(item.output_names, found, strict=True):
        np.testing.assert_allclose(value.numpy(), expected[key], atol=1e-3, err_msg=key)


def test_a_training_begins_with_a_published_checkpoint(repository: Path) -> None:
    path = repository / "assets" / "checkpoints" / "hmr-swin-t-s2-lite.safetensors"
    state = load_checkpoint(path)
    weights, words = weights_from(finished_network(state), path)
    assert "backbone" in words and all(
        torch.equal(weights[key], value) for key, value in finished_network(state).state_dict().items()
    )
