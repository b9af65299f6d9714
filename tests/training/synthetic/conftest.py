"""A tiny pack and a studio on it, so that the tests need nothing beside the repository."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from bodycast.hmr.body.body_model import BodyModel
from bodycast.hmr.geometry.rotations import axis_angle_to_matrix
from training.synthetic.gestures import gesture
from training.synthetic.pack import Variety, open_pack, save_pack
from training.synthetic.pose_pool import PosePool
from training.synthetic.studio import Studio


def _pool(seed: int) -> PosePool:
    """Upright people with bent limbs, and gestures."""
    rng, body = np.random.default_rng(seed), BodyModel.load()
    turns = rng.normal(0, 0.25, (30, 24, 3)).astype(np.float32)
    turns[:, 0] = 0
    made = np.stack([gesture(rng, body) for _ in range(8)])
    pose = np.concatenate([axis_angle_to_matrix(turns), made]).astype(np.float32)
    return PosePool(pose, np.array([0] * 30 + [1] * 8, np.uint8))


def _jpegs(seed: int) -> list[bytes]:
    rng = np.random.default_rng(seed)
    pictures = [cv2.resize(rng.integers(0, 256, (6, 8, 3), np.uint8), (340, 256)) for _ in range(3)]
    return [cv2.imencode(".jpg", picture)[1].tobytes() for picture in pictures]


@pytest.fixture(scope="session")
def pools() -> dict[str, PosePool]:
    return {"train": _pool(1), "test": _pool(2)}


@pytest.fixture(scope="session")
def pack_folder(tmp_path_factory: pytest.TempPathFactory, pools: dict[str, PosePool]) -> Path:
    folder = tmp_path_factory.mktemp("pack")
    photographs = {"train": _jpegs(1), "test": _jpegs(2)}
    save_pack(folder, pools, photographs, Variety(cloths=24, prints=8, heads=4, cast=3))
    return folder


@pytest.fixture(scope="session")
def studio_v2(pack_folder: Path) -> Iterator[Studio]:
    pytest.importorskip("moderngl")
    try:
        studio = Studio(open_pack(pack_folder, "train"), seed=4)
    except Exception as error:  # moderngl raises a bare Exception where no EGL is installed
        if "EGL" not in str(error) and "context" not in str(error).lower() and "lib" not in str(error):
            raise
        pytest.skip(f"no headless OpenGL here: {error}")
    yield studio
    studio.close()
