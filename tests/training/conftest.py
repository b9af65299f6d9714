"""A tiny studio: random poses instead of motion capture, so that the tests need nothing beside the repository."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from hmr.body.body_model import BodyModel
from hmr.geometry.rotations import axis_angle_to_matrix
from training.synthetic.backgrounds import Backgrounds
from training.synthetic.crops import CropStudio
from training.synthetic.generate import FIELDS, sample_rng
from training.synthetic.poses import PoseLibrary


def random_library(count: int = 40) -> PoseLibrary:
    """Upright people with bent limbs."""
    turns = np.random.default_rng(5).normal(0, 0.3, (count, 24, 3)).astype(np.float32)
    turns[:, 0] = 0
    return PoseLibrary(axis_angle_to_matrix(turns).astype(np.float32))


@pytest.fixture(scope="session")
def studio() -> CropStudio:
    pytest.importorskip("moderngl")
    from training.synthetic.people_renderer import PeopleRenderer

    body = BodyModel.load()
    try:
        renderer = PeopleRenderer(body)
    except Exception as error:  # moderngl raises a bare Exception where no EGL is installed
        pytest.skip(f"no headless OpenGL here: {error}")
    return CropStudio(body, random_library(), Backgrounds(()), held_out=False, renderer=renderer)


@pytest.fixture(scope="session")
def crop_folder(studio: CropStudio, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set of 24 crops on disk."""
    folder = tmp_path_factory.mktemp("crops")
    rows = [studio.sample(sample_rng(3, "train", i)).as_row() for i in range(24)]
    for name, (_, dtype) in FIELDS.items():
        np.save(folder / f"{name}.npy", np.stack([row[name] for row in rows]).astype(dtype))
    (folder / "meta.json").write_text(json.dumps({"finished": 24, "split": "train"}))
    return folder
