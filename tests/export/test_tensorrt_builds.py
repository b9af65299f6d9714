"""Every kind of network builds for TensorRT RTX at every GPU generation asked for, on a machine without a GPU."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from bodycast.engines.package import ModelPackage
from bodycast.engines.plans import installed_plans
from bodycast.export.tensorrt_plan import BuildOptions, build_plan
from bodycast.hmr.networks.registry import build
from tests.export.untrained import untrained_packages
from tests.networks.registry_cases import tiny

CAPABILITIES = ("7.5", "8.6", "8.9", "12.0")
TINY = {"swin-t-s2": "8.6", "gmf-t-s2": "8.9", "vmamba-t-s2": "12.0", "hmr2-s-fast": "8.6", "pose-swin-t-s2": "8.9"}
"""Registered name -> capability of its fp16 plan. What is left out here builds in the slow test, at full size."""

FRAMES = 243

pytestmark = pytest.mark.trt

FULL_CASES: dict[str, Callable[[], nn.Module]] = {
    **{
        name: (lambda name=name: build(name))
        for name in (
            "swin-t-s2",
            "swin-t-s3",
            "swin-b-s3",
            "gmf-t-s2",
            "vmamba-t-s2",
            "hmr2-s",
            "hmr2-s-fast",
            "hmr2-b-fast",
            "pose-swin-t-s2",
            "motion-vae",
            "motion-vae-all-encoder",
            "diffusion-decoder",
        )
    },
    "deformable-x4 on ViT-S": lambda: build("deformable-x4", size="s"),
}


def build_checked(package: ModelPackage, capabilities: tuple[str, ...]) -> None:
    """A plan for each capability; fp32 products are turned on Turing, and nowhere else."""
    pytest.importorskip("tensorrt_rtx", reason="needs requirements/gpu.txt")
    for capability in capabilities:
        plan = build_plan(package, BuildOptions(capability, batches=(1, 2, 4)))
        assert plan.key.compute_capability == capability and plan.size_bytes > 10_000
        turned = plan.key.precision.endswith("+fp16-products")
        assert turned == (capability == "7.5") or package.info.precision == "fp16"
    assert len(list(installed_plans(package))) == len(capabilities)


@pytest.mark.parametrize("name", TINY)
def test_tiny(name: str, tmp_path: Path) -> None:
    fp32, fp16 = untrained_packages(tmp_path, tiny(name), ("fp32", "fp16"), FRAMES)
    build_checked(fp32, ("7.5",))
    build_checked(fp16, (TINY[name],))


def test_a_tiny_network_at_every_capability(tmp_path: Path) -> None:
    (fp32,) = untrained_packages(tmp_path, tiny("hmr2-s"), ("fp32",), FRAMES)
    build_checked(fp32, CAPABILITIES)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp16", "fp32"])
@pytest.mark.parametrize("name", FULL_CASES)
def test_full_size(name: str, precision: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    (package,) = untrained_packages(tmp_path, FULL_CASES[name](), (precision,), FRAMES)
    build_checked(package, CAPABILITIES)
