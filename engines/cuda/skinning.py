"""Linear blend skinning on the GPU, for bodies of any number; the joints' motions are made on the CPU."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bodycast.engines.base import BATCH_BUCKETS
from bodycast.engines.cuda.device import CudaDevice
from bodycast.engines.cuda.own_graphs import open_graph
from bodycast.engines.cuda.tensors import Buffers, TensorPlace

F32 = NDArray[np.float32]
PER_CALL = ("turns", "shifts", "betas", "bend")


class SkinningOnGpu:
    """One body's tables in device memory, and buffers for each batch size. Use it from one thread at a time."""

    def __init__(self, tables: Mapping[str, F32], ordinal: int) -> None:
        """tables: template (1, 3V), shapedirs (10, 3V), posedirs (B, 3V), weights (V, 24), as `skin_graph` takes them.

        Raises: EngineError.
        """
        self._bends = len(tables["posedirs"])
        self._vertices = len(tables["weights"])
        self._buckets: dict[int, Buffers] = {}
        self._cuda = CudaDevice(ordinal)
        try:
            # Ten bits of mantissa would be a millimetre.
            self._graph = open_graph("skin.onnx", self._cuda, tf32=False)
            places = [TensorPlace(name, table.shape, "float32") for name, table in tables.items()]
            self._tables = Buffers(self._cuda, places, [])
            self._tables.send(tables)
            self._cuda.synchronise()
        except BaseException:
            self._cuda.close()
            raise

    def vertices(self, inputs: Mapping[str, F32]) -> F32:
        """(N, V, 3) for turns (N, 24, 9), shifts (N, 24, 3), betas (N, 10), bend (N, B). Raises: EngineError."""
        most = BATCH_BUCKETS[-1]
        rows = len(inputs["betas"])
        parts = [
            self._part({name: inputs[name][start : start + most] for name in PER_CALL}, min(most, rows - start))
            for start in range(0, rows, most)
        ]
        return np.concatenate(parts) if parts else np.zeros((0, self._vertices, 3), np.float32)

    def _part(self, inputs: Mapping[str, F32], rows: int) -> F32:
        bucket = next(size for size in BATCH_BUCKETS if size >= rows)
        buffers = self._buckets.get(bucket)
        if buffers is None:
            buffers = self._buckets[bucket] = self._new_bucket(bucket)
        padded: dict[str, NDArray[Any]] = {
            name: np.concatenate([array, np.zeros((bucket - rows, *array.shape[1:]), np.float32)])
            for name, array in inputs.items()
        }
        device = {name: buffers.device[name] for name in PER_CALL} | dict(self._tables.device)
        try:
            buffers.send(padded)
            self._graph.bound(device, {"vertices": buffers.device["vertices"]}).enqueue()
            buffers.fetch()
            self._cuda.synchronise()
        except BaseException:
            self._cuda.drain()
            raise
        return buffers.outputs()["vertices"][:rows]

    def _new_bucket(self, rows: int) -> Buffers:
        shapes = {"turns": (rows, 24, 9), "shifts": (rows, 24, 3), "betas": (rows, 10), "bend": (rows, self._bends)}
        inputs = [TensorPlace(name, shape, "float32") for name, shape in shapes.items()]
        return Buffers(self._cuda, inputs, [TensorPlace("vertices", (rows, self._vertices, 3), "float32")])

    def close(self) -> None:
        """Release everything. May be called twice."""
        self._graph.close()
        self._cuda.close()
