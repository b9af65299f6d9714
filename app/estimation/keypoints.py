"""Keypoints as a stage: padded crops of all people through a keypoint network, in one batch."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from bodycast.app.errors import RunError, UsageError
from bodycast.app.estimation.crop_network import CropNetwork
from bodycast.app.estimation.cropper import sample_window
from bodycast.app.records import F32, U8, CropBatch, Frame, StoredElsewhere, Tracks, in_memory
from bodycast.engines.base import EngineInput
from bodycast.engines.cuda.crops import CropsOnGpu
from bodycast.engines.errors import EngineError
from bodycast.engines.gathering import OpensEngine
from bodycast.engines.package import BATCH, ModelPackage
from bodycast.hmr.body.surface_joints import COCO_MIRROR
from bodycast.hmr.geometry.crop import blackened, padded_transforms, seen_part

COCO_OF: dict[str, tuple[int, ...]] = {
    "coco-17": tuple(range(17)),
    "halpe-26": tuple(range(17)),
    "coco-wholebody-133": tuple(range(17)),
    "blazepose-33": (0, 2, 5, 7, 8, 11, 12, 13, 14, 15, 16, 23, 24, 25, 26, 27, 28),
}
"""Joint set -> rows of COCO's 17 keypoints in it."""
COUNT_OF = {"coco-17": 17, "halpe-26": 26, "coco-wholebody-133": 133, "blazepose-33": 33}
SUREST, UNSURE, SURER = 6, 0.35, 0.15
"""Of so many keypoints the mean confidence decides: below UNSURE the crop is looked at turned as well, and that is
believed where it is surer by SURER."""


class KeypointNetwork(CropNetwork):
    """A package of task `pose` (docs/model_package.md). Use it from one thread."""

    def __init__(
        self,
        package_dir: Path | str,
        engine: str = "auto",
        device: str = "auto",
        *,
        threads: int | None = None,
        flip_test: bool = False,
        look_turned: bool = True,
        opens: OpensEngine | None = None,
    ) -> None:
        """Open a package, given as a folder or as the name of an installed one. flip_test: estimate every crop's mirror
        image too and give the mean, at twice the cost. look_turned: look at crops that it is unsure of turned as well.
        opens: as `CropNetwork` has it.

        Raises: UsageError where the package, the engine or the device cannot be used.
        """
        super().__init__(package_dir, "pose", _check_pose, engine, device, threads, flip_test, opens)
        self._rows = list(COCO_OF[self.package.info.joint_set])
        self._look_turned = look_turned

    @property
    def look_turned(self) -> bool:
        """Whether crops that it is unsure of are looked at turned too. May be changed between two frames."""
        return self._look_turned

    @look_turned.setter
    def look_turned(self, on: bool) -> None:
        self._look_turned = on

    def crop(self, frame: Frame, tracks: Tracks) -> CropBatch:
        """Padded crops (N, h, w, 3) uint8 RGB of all tracks, black where others may stand."""
        transforms = padded_transforms(tracks.xyxy, self._input_hw)
        if self._cutting() is not None:
            parts = [seen_part(transform, box) for transform, box in zip(transforms, tracks.xyxy, strict=True)]
            on_gpu = self._cut_on_gpu(frame, transforms, parts, mirror=self._flip_test)
            if on_gpu is not None:
                return CropBatch(on_gpu, transforms, tracks.id)
        pixels = np.empty((len(tracks), *self._input_hw, 3), np.uint8)
        for row, transform in enumerate(transforms):
            cv2.cvtColor(sample_window(frame.image, transform), cv2.COLOR_BGR2RGB, dst=pixels[row])
            blackened(pixels[row], seen_part(transform, tracks.xyxy[row]))
        return CropBatch(pixels, transforms, tracks.id)

    def look(self, pixels: U8 | StoredElsewhere) -> F32:
        """COCO's 17 keypoints (N,17,3) in crops (N, h, w, 3) uint8 RGB: x, y in crop heights from the crop's centre,
        confidence 0..1. Raises: RunError where the engine fails."""
        count = pixels.shape[0]
        found = self._run(self._given(pixels))
        at = found[:count]
        if self._flip_test:
            # Column u of w becomes w - 1 - u: a crop's centre lies half a pixel beside the middle of its columns.
            back = found[count:, COCO_MIRROR] * np.array([-1, 1, 1], np.float32)
            back[..., 0] -= 1 / self._input_hw[0]
            at = _mean_keypoints(at, back)
        unsure = np.flatnonzero(surest(at) < UNSURE)
        if self._look_turned and len(unsure):
            at = at.copy()
            at[unsure] = self._turned(in_memory(pixels)[unsure], at[unsure])
        return at

    def _given(self, pixels: U8 | StoredElsewhere) -> EngineInput:
        """What the engine gets: the crops, and for the flip test their mirror images behind them."""
        if isinstance(pixels, CropsOnGpu) and pixels.owner is self._engine.cuda:
            tensor = pixels.both if self._flip_test else pixels.tensor
            if tensor is not None:
                return tensor
        here = in_memory(pixels)
        return np.concatenate([here, here[:, :, ::-1]]) if self._flip_test else here

    def _turned(self, pixels: U8, at: F32) -> F32:
        """The surest of `at` (N,17,3) and what is seen in the crops turned upside down, and of square crops sideways:
        the networks know few people in a somersault or lying."""
        square = self._input_hw[0] == self._input_hw[1]
        turns = (1, 2, 3) if square else (2,)
        found = self._run(np.concatenate([np.rot90(pixels, turn, axes=(1, 2)) for turn in turns]))
        looks = [at, *(turned_back(look, turn, self._input_hw[0]) for look, turn in zip(
            np.split(found, len(turns)), turns, strict=True))]  # fmt: skip
        best = np.argmax([surest(look) + (SURER if number == 0 else 0) for number, look in enumerate(looks)], axis=0)
        return np.stack(looks)[best, np.arange(len(at))]

    def _run(self, pixels: EngineInput) -> F32:
        try:
            outputs = self._engine.run({"crops": pixels})
        except EngineError as error:
            raise RunError(str(error)) from error
        return outputs["keypoints"][:, self._rows].astype(np.float32)


def surest(at: F32) -> F32:
    """(N,) mean confidence of the SUREST surest keypoints of (N,17,3): in a close-up most are out of sight."""
    return np.sort(at[..., 2], axis=1)[:, -SUREST:].mean(axis=1)


def turned_back(look: F32, turn: int, height: int) -> F32:
    """Keypoints (N,17,3) of crops that were turned counter-clockwise by `turn` quarters, in the crops as they were."""
    x, y, confidence = look[..., 0], look[..., 1], look[..., 2]
    pixel = 1 / height
    if turn == 1:
        x, y = -y - pixel, x
    elif turn == 2:
        x, y = -x - pixel, -y - pixel
    else:
        x, y = y, -x - pixel
    return np.stack([x, y, confidence], axis=-1).astype(np.float32)


def _mean_keypoints(one: F32, other: F32) -> F32:
    """(N,17,3) means by squared confidence; the confidence is the plain mean."""
    weight = np.stack([one[..., 2:], other[..., 2:]]) ** 2 + 1e-6
    at = (weight[0] * one[..., :2] + weight[1] * other[..., :2]) / weight.sum(0)
    return np.concatenate([at, (one[..., 2:] + other[..., 2:]) / 2], axis=-1).astype(np.float32)


def _check_pose(package: ModelPackage) -> tuple[int, int]:
    """Height and width of the crops, after checking that the package speaks this program's conventions."""
    info, where = package.info, package.folder
    if info.crop_rule != "padded" or info.normalisation != "in-graph":
        raise UsageError(
            f"{where}: expected padded crops normalised in the graph, it has {info.crop_rule!r} and "
            f"{info.normalisation!r}; export the package again"
        )
    if info.joint_set not in COCO_OF:
        raise UsageError(f"{where}: keypoints of {info.joint_set!r}, expected one of {', '.join(COCO_OF)}")
    crops = info.inputs[0]
    pictures = crops.name == "crops" and crops.dtype == "uint8" and len(crops.shape) == 4 and crops.shape[3] == 3
    if len(info.inputs) != 1 or not pictures:
        raise UsageError(f"{where}: expected the input crops uint8 (N, h, w, 3) alone, it has {crops}")
    outputs = {spec.name: spec for spec in info.outputs}
    wanted = (BATCH, COUNT_OF[info.joint_set], 3)
    if "keypoints" not in outputs or outputs["keypoints"].shape != wanted:
        raise UsageError(
            f"{where}: expected the output keypoints float {wanted}, it has {', '.join(map(str, outputs))}"
        )
    return int(crops.shape[1]), int(crops.shape[2])
