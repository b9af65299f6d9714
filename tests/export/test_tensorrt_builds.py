"""TensorRT reads and builds the exported graph, on a machine without a GPU."""

from __future__ import annotations

import pytest
import torch

from export.onnx_graph import to_onnx
from hmr.networks.hmr_net import ExportedHmr
from hmr.networks.registry import build


@pytest.mark.trt
def test_truncated_swin() -> None:
    trt = pytest.importorskip("tensorrt_rtx", reason="needs requirements/gpu.txt")
    small = {"width": 32, "depth": 1, "heads": 2, "head_width": 8, "mlp_width": 16}
    module = ExportedHmr(build("swin-t-s2", image_hw=(64, 48), decoder=small))
    model = to_onnx(module, [torch.zeros(2, 64, 48, 3, dtype=torch.uint8)], ["crops"], module.output_names)
    logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(logger)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, logger)
    assert parser.parse(model), [str(parser.get_error(index)) for index in range(parser.num_errors)]
    assert {network.get_output(index).name for index in range(network.num_outputs)} == set(module.output_names)
    config = builder.create_builder_config()
    config.num_compute_capabilities = 1
    config.set_compute_capability(trt.ComputeCapability.SM86, 0)
    profile = builder.create_optimization_profile()
    profile.set_shape("crops", (1, 64, 48, 3), (1, 64, 48, 3), (16, 64, 48, 3))
    config.add_optimization_profile(profile)
    plan = builder.build_serialized_network(network, config)
    assert plan is not None and plan.nbytes > 1_000_000
