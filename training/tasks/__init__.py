"""What a network can be trained for: bodies, keypoints, upsampled maps. `make_task` chooses by the recipe."""

from __future__ import annotations

from training.config import Recipe
from training.tasks.base import Task


def make_task(recipe: Recipe) -> Task:
    """The task of a recipe. Raises ValueError for an unknown one."""
    if recipe.task == "body":
        from training.tasks.body import BodyTask

        return BodyTask(recipe)
    if recipe.task == "keypoints":
        from training.tasks.keypoints import KeypointTask

        return KeypointTask(recipe)
    if recipe.task == "upsampler":
        from training.tasks.upsampler import UpsamplerTask

        return UpsamplerTask(recipe)
    raise ValueError(f"recipe {recipe.name}: no task {recipe.task!r}")
