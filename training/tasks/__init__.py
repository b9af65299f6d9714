"""What a network can be trained for: bodies, keypoints, upsampled maps. `make_task` chooses by the recipe."""

from __future__ import annotations

from pathlib import Path

from bodycast.hmr.body.body_model import EMBEDDED_BODY
from training.config import Recipe
from training.tasks.base import Task


def make_task(recipe: Recipe, body: Path = EMBEDDED_BODY) -> Task:
    """The task of a recipe, on the body of a file. Raises ValueError for an unknown one."""
    if recipe.task == "body":
        from training.tasks.body import BodyTask

        return BodyTask(recipe, body)
    if recipe.task == "keypoints":
        from training.tasks.keypoints import KeypointTask

        return KeypointTask(recipe, body)
    if recipe.task == "upsampler":
        from training.tasks.upsampler import UpsamplerTask

        return UpsamplerTask(recipe, body)
    raise ValueError(f"recipe {recipe.name}: no task {recipe.task!r}")
