"""The networks that must export, at full size and with random weights. Minutes each: run with the slow tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from bodycast.engines.package import load_package
from bodycast.export import __main__ as export_main
from bodycast.export.parity import read_report
from bodycast.hmr.networks import registry
from evaluation.exports_full_size import full_size

NETWORKS: dict[str, list[str]] = {
    "swin-t-s2": ["swin-t-s2"],
    "swin-t-s2-192x144": ["swin-t-s2", "--set", "image_hw=[192,144]"],
    "swin-t-s3": ["swin-t-s3"],
    "swin-b-s3": ["swin-b-s3"],
    "gmf-t-s2": ["gmf-t-s2"],
    "vmamba-t-s2": ["vmamba-t-s2"],
    "hmr2-s": ["hmr2-s"],
    "hmr2-s-merged": ["hmr2-s-fast"],
    "hmr2-b-merged": ["hmr2-b-fast"],
    "deformable-x4": ["deformable-x4", "--set", "size=s"],
    "pose-vit-s": ["pose-vit-s"],
    "motion-vae": ["motion-vae"],
    "diffusion-decoder": ["diffusion-decoder"],
}

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("name", NETWORKS)
def test_exports_within_its_tolerance(
    name: str, precision: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / name
    assert export_main.main(["package", *NETWORKS[name], "--precision", precision, "--out", str(out)]) == 0, (
        capsys.readouterr().err
    )
    report = read_report(load_package(out))
    assert report.refused == [] and {"onnxruntime", "openvino"} <= {row.engine for row in report.engines}


LARGEST_GB = 16


@pytest.mark.trt
@pytest.mark.parametrize("name", registry.names())
def test_every_network_exports_at_its_papers_size(name: str) -> None:
    """In a process of its own, so that its memory can be measured; then TensorRT for RTX's parser takes the graph.
    `python -m evaluation exports --full-size --json FILE` does the same, the smallest first, and can be resumed."""
    row = full_size(name)
    assert not row.failed and not row.data_file
    assert row.peak_gb < LARGEST_GB
    assert row.parsed is not False
