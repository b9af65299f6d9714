"""The networks that must export, at full size and with random weights. Minutes each: run with the slow tests."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bodycast.engines.package import DATA_FILE, load_package
from bodycast.export import __main__ as export_main
from bodycast.export.parity import read_report
from bodycast.hmr.networks import registry

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


AT_FULL_SIZE = """
import resource, sys
from pathlib import Path
from bodycast.export.exportable import exportable
from bodycast.export.network_package import Options, Words, export_package
from bodycast.export.source import open_source

source = open_source(sys.argv[1])
words = Words(sys.argv[1], sys.argv[1], {}, "none", "none")
options = Options("fp16", accept_error=True, engines=("onnxruntime",), timed_batches=())
export_package(exportable(source.net), Path(sys.argv[2]), words, options)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
LARGEST_GB = 16


@pytest.mark.trt
@pytest.mark.parametrize("name", registry.names())
def test_every_network_exports_at_its_papers_size(name: str, tmp_path: Path) -> None:
    """In a process of its own, so that its memory can be measured; then TensorRT for RTX's parser takes the graph."""
    done = subprocess.run(
        [sys.executable, "-c", AT_FULL_SIZE, name, str(tmp_path / "p")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout.split()[-1]) / 1e6 < LARGEST_GB
    package = load_package(tmp_path / "p")
    assert package.info.precision == "fp16" and DATA_FILE not in package.files
    trt = pytest.importorskip("tensorrt_rtx")
    logger = trt.Logger(trt.Logger.ERROR)
    network = trt.Builder(logger).create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    onnx_parser = trt.OnnxParser(network, logger)
    assert onnx_parser.parse(package.model_path.read_bytes(), str(package.model_path))
