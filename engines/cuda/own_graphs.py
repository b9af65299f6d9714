"""Opening the graphs of ours that run beside the networks: crop.onnx and skin.onnx (export/gpu_graphs.py)."""

from __future__ import annotations

from pathlib import Path

from bodycast.engines.cuda.device import CudaDevice
from bodycast.engines.cuda.onnx_session import OnnxSession
from bodycast.engines.onnxruntime_engine import session_options
from bodycast.engines.optional import require


def open_graph(name: str, cuda: CudaDevice, *, tf32: bool) -> OnnxSession:
    """The graph of a file beside this one, on a device's stream; the caller closes it before the device.

    Raises: EngineError where ONNX Runtime or its CUDA provider is not there.
    """
    ort = require("onnxruntime", "gpu.txt")
    model = Path(__file__).resolve().parent / name
    # No recorded graph: its inputs lie where the frame and the network's buffers lie.
    return OnnxSession(ort, model, cuda, session_options(ort, 1), recorded=False, tf32=tf32)
