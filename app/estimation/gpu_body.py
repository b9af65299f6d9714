"""A body that is skinned on an NVIDIA GPU where there are many people, and on the CPU where there are few."""

from __future__ import annotations

from contextlib import ExitStack
from threading import Lock

import numpy as np

from bodycast.app.errors import RunError
from bodycast.app.records import F32
from bodycast.engines.base import Engine
from bodycast.engines.cuda.skinning import SkinningOnGpu
from bodycast.engines.errors import EngineError
from bodycast.hmr.body.body_model import BodyModel, BodyOutput, check_shape, forward_kinematics
from bodycast.hmr.body.joints import NUM_BETAS, NUM_JOINTS

FROM_PEOPLE = 4
"""From so many on: a body takes 0.3 ms on a CPU, the way to a GPU and back some of that. Not measured on a GPU."""


class GpuBody:
    """`BodyModel`'s call, equal to it to 1e-5 m. Safe to call from several threads."""

    def __init__(self, body: BodyModel, ordinal: int) -> None:
        """Raises: EngineError where the GPU, ONNX Runtime or its CUDA provider is not there."""
        self._body = body
        self._bent = body.posedirs is not None
        width = 3 * body.vertex_count
        tables = {
            "template": body.arrays.v_template.astype(np.float32).reshape(1, width),
            "shapedirs": body.shapedirs.astype(np.float32),
            "posedirs": np.zeros((1, width), np.float32) if body.posedirs is None else body.posedirs.astype(np.float32),
            "weights": body.weights.astype(np.float32),
        }
        self._skinning = SkinningOnGpu(tables, ordinal)
        self._lock = Lock()

    def __call__(self, pose: F32, betas: F32, transl: F32) -> BodyOutput:
        """As `BodyModel.__call__`. Raises: RunError where the GPU fails."""
        count = len(pose)
        if count < FROM_PEOPLE:
            return self._body(pose, betas, transl)
        check_shape("pose", pose, (-1, NUM_JOINTS, 3, 3))
        check_shape("betas", betas, (count, NUM_BETAS))
        check_shape("transl", transl, (count, 3))
        rest = self._body.joints(betas)
        turns, places = forward_kinematics(np.asarray(pose, np.float32), rest)
        shifts = places - (turns @ rest[..., None])[..., 0] + transl[:, None]
        bend = np.zeros((count, 1), np.float32)
        if self._bent:
            bend = (pose[:, 1:] - np.eye(3, dtype=np.float32)).reshape(count, 9 * (NUM_JOINTS - 1))
        inputs: dict[str, F32] = {
            "turns": turns.reshape(count, NUM_JOINTS, 9),
            "shifts": shifts.astype(np.float32),
            "betas": np.asarray(betas, np.float32),
            "bend": bend.astype(np.float32),
        }
        try:
            with self._lock:
                vertices = self._skinning.vertices(inputs)
        except EngineError as error:
            raise RunError(f"skinning on the GPU: {error}") from error
        return BodyOutput(vertices, (places + transl[:, None]).astype(np.float32))

    def close(self) -> None:
        """Release the GPU's memory. May be called twice."""
        self._skinning.close()


def posing_of(body: BodyModel, engine: Engine, opened: ExitStack) -> tuple[BodyModel | GpuBody, tuple[str, ...]]:
    """What poses bodies beside a network: on its GPU, where it has one and skinning works there. Else the body itself,
    and of a network on a GPU why. `opened` closes it."""
    if engine.cuda is None:
        return body, ()
    try:
        on_gpu = GpuBody(body, engine.cuda.ordinal)
    except EngineError as error:
        return body, (f"bodies are skinned on the CPU: {error}",)
    opened.callback(on_gpu.close)
    return on_gpu, ()


def skinned_where(posing: object) -> str:
    """For run.json; nothing on the CPU, where it is always done."""
    return f"; {FROM_PEOPLE} people and more skinned on the GPU" if isinstance(posing, GpuBody) else ""
