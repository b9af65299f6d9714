"""The doctor on GPUs and engines: each library is tried on a graph of one node, not only looked for."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

from bodycast.app.doctor.findings import ONE_NODE_GRAPH, Finding, first_line, installed_version
from bodycast.engines.optional import install_command

_CUDA_OF_ONNXRUNTIME = (13, 0)


def check_gpu() -> Iterator[Finding]:
    """NVIDIA GPUs, asked of the driver itself."""
    from bodycast.engines.devices import cuda_devices, cuda_gpus

    count, driver = cuda_devices()
    if count == 0:
        yield Finding("NVIDIA GPU", "ok", f"none ({driver}): networks run on the CPU")
        return
    for gpu in cuda_gpus():
        detail = (
            f"{gpu.name}, compute capability {gpu.compute_capability}, {gpu.memory_bytes / 2**30:.0f} GiB, "
            f"driver for CUDA {gpu.driver}"
        )
        if tuple(map(int, gpu.driver.split("."))) < _CUDA_OF_ONNXRUNTIME:
            mend = "update the NVIDIA driver to 580 or newer"
            yield Finding("NVIDIA GPU", "note", f"{detail}; ONNX Runtime's CUDA needs 13.0", mend)
        else:
            yield Finding("NVIDIA GPU", "ok", detail)


def check_openvino() -> Iterator[Finding]:
    """OpenVINO on the CPU."""
    if find_spec("openvino") is None:
        mend = install_command("live.txt")
        yield Finding("OpenVINO", "note", "not installed; it is the faster engine on some CPUs", mend)
        return
    failure = _try(_openvino_computes)
    if failure:
        yield Finding("OpenVINO", "problem", failure, "pip install --force-reinstall openvino")
    else:
        yield Finding("OpenVINO", "ok", f"openvino {installed_version('openvino')}, computes")


def check_tensorrt() -> Iterator[Finding]:
    """Both TensorRT packages: building with or without a GPU, opening what was built with one."""
    from bodycast.engines.devices import cuda_devices, cuda_gpus

    gpus = cuda_gpus()
    if find_spec("tensorrt") is None and find_spec("tensorrt_rtx") is None:
        if gpus:
            mend = f"{install_command('gpu.txt')}, then bodycast export tensorrt PACKAGE"
            yield Finding("TensorRT", "note", "not installed; it is the fastest engine on this GPU", mend)
        else:
            yield Finding("TensorRT", "ok", "not installed, not needed without an NVIDIA GPU")
        return
    for label, module in (("TensorRT", "tensorrt"), ("TensorRT for RTX", "tensorrt_rtx")):
        if find_spec(module) is None:
            continue
        if module == "tensorrt" and not gpus:
            yield Finding(label, "ok", f"installed; it builds and runs on an NVIDIA GPU only ({cuda_devices()[1]})")
            continue
        failure = _try(lambda module=module: _tensorrt_builds(module, bool(gpus)))
        if failure:
            mend = install_command("gpu.txt", "--force-reinstall")
            yield Finding(label, "problem", failure, mend)
        elif gpus:
            yield Finding(label, "ok", "builds a plan and opens it")
        else:
            yield Finding(label, "ok", f"builds plans for other machines; runs none here ({cuda_devices()[1]})")
    if gpus and find_spec("cuda.bindings") is None:
        mend = install_command("gpu.txt")
        yield Finding("CUDA bindings", "problem", "cuda-bindings is not installed, TensorRT plans cannot run", mend)


def check_torch() -> Iterator[Finding]:
    """torch, which no live run needs."""
    if find_spec("torch") is None:
        yield Finding("torch", "ok", "not installed; only export, training and --engine torch need it")
        return
    failure = _try(_torch_computes)
    if failure:
        yield Finding("torch", "problem", failure, install_command("export.txt", "--force-reinstall"))
        return
    import torch

    cuda = "with CUDA" if torch.cuda.is_available() else "on the CPU"
    yield Finding("torch", "ok", f"torch {torch.__version__}, computes {cuda}")


def _try(attempt: Any) -> str:
    """What keeps it from working; empty where it works."""
    try:
        return str(attempt())
    # Libraries of four makers, whose exceptions share no base below Exception.
    except Exception as error:
        return first_line(error)


def _openvino_computes() -> str:
    from bodycast.engines.openvino_engine import import_openvino

    core = import_openvino().Core()
    request = core.compile_model(core.read_model(ONE_NODE_GRAPH), "CPU").create_infer_request()
    import numpy as np

    request.infer({"x": np.array([2.0], np.float32)})
    answer = float(request.get_tensor("y").data[0])
    return "" if answer == -2.0 else f"computes -2 as {answer}"


def _tensorrt_builds(module: str, has_gpu: bool) -> str:
    from importlib import import_module

    trt: Any = import_module(module)
    # Its complaints come as exceptions or as None, which is enough here.
    logger = trt.Logger(trt.Logger.INTERNAL_ERROR)
    builder = trt.Builder(logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(ONE_NODE_GRAPH):
        return f"{module} {trt.__version__} does not read a graph of one node"
    config = builder.create_builder_config()
    if module == "tensorrt_rtx" and not has_gpu:
        config.num_compute_capabilities = 1
        config.set_compute_capability(trt.ComputeCapability.SM86, 0)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        return f"{module} {trt.__version__} builds no plan from a graph of one node"
    if has_gpu and trt.Runtime(logger).deserialize_cuda_engine(plan) is None:
        return f"{module} {trt.__version__} cannot open what it built: does it know this GPU?"
    return ""


def _torch_computes() -> str:
    import torch

    devices = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    for device in devices:
        answer = float(-torch.tensor([2.0], device=device)[0])
        if answer != -2.0:
            return f"computes -2 as {answer} on {device}"
    return ""
