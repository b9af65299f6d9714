"""Keypoints, perhaps an HMR network's body, and the learned fusion: crops in, bodies out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from bodycast.app.errors import RunError, UsageError
from bodycast.app.estimation.crop_cameras import CropCameras
from bodycast.app.estimation.estimator import Estimator
from bodycast.app.estimation.finite_rows import FiniteRows
from bodycast.app.estimation.keypoints import KeypointNetwork
from bodycast.app.model_packages import find_package, first_package
from bodycast.app.records import F32, I32, BodyEstimates, CropBatch, Frame, Tracks
from bodycast.engines.base import Engine
from bodycast.engines.errors import EngineError
from bodycast.engines.package import BATCH, ModelPackage, Tensor, Tensors
from bodycast.engines.registry import open_engine
from bodycast.hmr.body.body_model import BodyModel
from bodycast.hmr.body.coco_joints import coco_offsets
from bodycast.hmr.body.keypoint_refinement import COCO_REFINEMENT, refine
from bodycast.hmr.geometry.camera import Intrinsics
from bodycast.hmr.geometry.crop import stack_crops

MIN_SCALE = 0.02
"""Smallest believable camera scale of a padded crop."""
_OUTPUTS: dict[str, tuple[int | str, ...]] = {
    "pose": (BATCH, 24, 3, 3),
    "betas": (BATCH, 10),
    "camera": (BATCH, 3),
    "spread": (BATCH, 24),
    "score": (BATCH,),
}


class FusedEstimator:
    """Recovers bodies from keypoints (hmr/networks/keypoint_fusion.py). Use it from one thread."""

    def __init__(
        self,
        keypoints: KeypointNetwork,
        fusion: ModelPackage | None = None,
        hmr: Estimator | None = None,
        *,
        device: str = "auto",
        threads: int | None = None,
        refine_keypoints: bool = True,
    ) -> None:
        """keypoints, hmr: opened, and closed with this. fusion: a package; None: the installed one.
        refine_keypoints: refine the fused body on the keypoints (hmr/body/keypoint_refinement.py).

        Raises: UsageError where the fusion or the device cannot be used.
        """
        package = fusion or find_fusion()
        _check_fusion(package)
        try:
            # A few matrix products: one thread, and not worth a race of engines.
            self._engine = open_engine(package, "onnxruntime", device, threads=threads or 1)
        except EngineError as error:
            raise UsageError(str(error)) from error
        self._keypoints, self._hmr, self._refines = keypoints, hmr, refine_keypoints
        self._inputs = {spec.name for spec in package.info.inputs}
        if hmr is not None and "body" not in self._inputs:
            raise UsageError(f"{package.folder}: this fusion takes no HMR network's body: --model none goes without")
        self._body = BodyModel.load()
        self._offsets = coco_offsets(self._body)
        self._finite = FiniteRows()

    @property
    def keypoints(self) -> KeypointNetwork:
        """The keypoint network in use."""
        return self._keypoints

    def use_keypoints(self, keypoints: KeypointNetwork) -> None:
        """Look with another keypoint network from the next frame on; the one before stays open."""
        keypoints.cuts_on_gpu = self._keypoints.cuts_on_gpu
        self._keypoints = keypoints

    @property
    def hmr(self) -> Estimator | None:
        """The HMR network beside it, where there is one."""
        return self._hmr

    @property
    def refines(self) -> bool:
        """Whether bodies are refined on the keypoints. May be changed between two frames."""
        return self._refines

    @refines.setter
    def refines(self, on: bool) -> None:
        self._refines = on

    @property
    def flip_test(self) -> bool:
        """Whether each crop's mirror image is looked at too. May be changed between two frames."""
        return self._keypoints.flip_test

    @flip_test.setter
    def flip_test(self, on: bool) -> None:
        for network in (self._keypoints, self._hmr):
            if network is not None:
                network.flip_test = on

    @property
    def engine(self) -> Engine:
        """The keypoint network's engine."""
        return self._keypoints.engine

    @property
    def cuts_on_gpu(self) -> bool:
        """Whether crops are cut on the GPU where the networks run on one. May be changed between two frames."""
        return self._keypoints.cuts_on_gpu

    @cuts_on_gpu.setter
    def cuts_on_gpu(self, on: bool) -> None:
        for network in (self._keypoints, self._hmr):
            if network is not None:
                network.cuts_on_gpu = on

    @property
    def input_hw(self) -> tuple[int, int]:
        """Height and width of the keypoint network's crops."""
        return self._keypoints.input_hw

    @property
    def package(self) -> ModelPackage:
        """The fusion's package."""
        return self._engine.package

    @property
    def packages(self) -> tuple[ModelPackage, ...]:
        """All packages: the keypoint network's, the HMR network's where there is one, the fusion's."""
        hmr = () if self._hmr is None else (self._hmr.package,)
        return (self._keypoints.package, *hmr, self.package)

    @property
    def body_name(self) -> str:
        """The body whose shape basis `betas` are in."""
        return self.package.info.body

    @property
    def token_width(self) -> int:
        """Bodies come without a token."""
        return 0

    @property
    def label(self) -> str:
        """The keypoint network's package, engine and device, for the HUD."""
        return self._keypoints.label

    def describe(self) -> str:
        """One line for people."""
        parts = [self._keypoints.describe()]
        if self._hmr is not None:
            parts.append(self._hmr.describe())
        parts.append(self.package.info.name + (", refined on the keypoints" if self._refines else ""))
        return " + ".join(parts)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What went wrong without ending the run."""
        return self._finite.warnings

    def crop(self, frame: Frame, tracks: Tracks, input_hw: tuple[int, int] | None = None) -> CropBatch:
        """Padded crops of all tracks and, in `also`, the HMR network's where there is one."""
        del input_hw
        crops = self._keypoints.crop(frame, tracks)
        return crops if self._hmr is None else replace(crops, also=self._hmr.crop(frame, tracks))

    def remember(self, id: I32, vertices: F32, intrinsics: Intrinsics) -> None:
        """See `Estimator.remember`."""
        if self._hmr is not None:
            self._hmr.remember(id, vertices, intrinsics)

    def estimate(self, crops: CropBatch, intrinsics: Intrinsics, image_wh: tuple[int, int]) -> BodyEstimates:
        """Bodies for all crops, rows and ids in the same order; rows that are not finite are left out and counted.

        Raises: RunError where an engine fails, or has given nothing finite MAX_EMPTY_OUTPUTS times in a row.
        """
        if len(crops) == 0:
            return BodyEstimates.empty()
        if crops.hw != self.input_hw:
            raise ValueError(f"crops: expected {self.input_hw} pixels (h, w), got {crops.hw}")
        seen = self._keypoints.look(crops.stored)
        cameras = CropCameras.of(crops, intrinsics, image_wh)
        outputs = self._fuse(seen, cameras.box_info(), crops)
        finite = self._finite.of({**outputs, "keypoints": seen}, self.describe())
        if not finite.all():
            outputs = {name: array[finite] for name, array in outputs.items()}
            seen, cameras = seen[finite], cameras.select(finite)
        camera = _f32(outputs["camera"]).copy()
        score = np.where(camera[:, 0] < MIN_SCALE, 0, np.clip(_f32(outputs["score"]), 0, 1)).astype(np.float32)
        camera[:, 0] = np.maximum(camera[:, 0], MIN_SCALE)
        transl_m = cameras.translation_m(camera)
        pose, betas = cameras.root_turned(_f32(outputs["pose"])), _f32(outputs["betas"])
        # The camera is the pelvis's; a body's translation is that of its rest pose's origin.
        rest = self._body.joints(betas)
        transl_m = transl_m - rest[:, 0]
        if self._refines and len(pose):
            at = cameras.seen(seen)
            pose, transl_m = refine(pose, rest, transl_m, self._offsets, at, intrinsics, COCO_REFINEMENT)
        token = np.zeros((len(pose), 0), np.float32)
        people = crops.id[finite]
        bodies = BodyEstimates(people, pose, betas, _f32(transl_m), score, token, cameras.keypoints_px(seen))
        return self._finite.believable(bodies)

    def _fuse(self, seen: F32, geometry: F32, crops: CropBatch) -> Tensors:
        inputs: dict[str, Tensor] = {"keypoints": seen, "geometry": geometry}
        if "body" in self._inputs:
            inputs["body"] = self._hmr_bodies(crops)
        try:
            return self._engine.run(inputs)
        except EngineError as error:
            raise RunError(str(error)) from error

    def _hmr_bodies(self, crops: CropBatch) -> F32:
        """(N, 158) what the HMR network says, in the padded crop's terms, then 1; zeros where nothing runs."""
        body = np.zeros((len(crops), 158), np.float32)
        if self._hmr is None or crops.also is None:
            return body
        said = self._hmr.raw(crops.also)
        _, padded = stack_crops(crops.transforms)
        _, own = stack_crops(crops.also.transforms)
        camera = _f32(said["camera"]).copy()
        camera[:, 0] *= (own / padded).astype(np.float32)
        pose = _f32(said["pose"])[:, :, :2].reshape(len(crops), -1)
        body[:, :-1] = np.concatenate([pose, _f32(said["betas"]), camera], axis=1)
        body[:, -1] = 1
        body[~np.isfinite(body).all(axis=1)] = 0
        return body

    def close(self) -> None:
        """Release all engines. May be called twice."""
        self._engine.close()
        self._keypoints.close()
        if self._hmr is not None:
            self._hmr.close()


def find_fusion(spec: str | Path = "auto") -> ModelPackage:
    """A fusion package by folder or name; auto: the first that is installed, the user's own before the embedded one.

    Raises: UsageError where there is none.
    """
    if spec != "auto":
        return find_package(spec, "fusion")
    package = first_package("fusion")
    if package is None:
        raise UsageError("no fusion package is installed; --keypoints none goes without keypoints")
    return package


def _f32(array: Tensor) -> F32:
    return array.astype(np.float32, copy=False)


def _check_fusion(package: ModelPackage) -> None:
    info, where = package.info, package.folder
    inputs = {spec.name: spec for spec in info.inputs}
    if info.orientation_frame != "crop-ray" or info.joint_set != "coco-17":
        raise UsageError(f"{where}: expected a fusion of COCO's 17 keypoints in the crop's ray frame")
    if not {"keypoints", "geometry"} <= set(inputs) or set(inputs) - {"keypoints", "geometry", "body"}:
        raise UsageError(f"{where}: a fusion takes keypoints and geometry, this one takes {', '.join(inputs)}")
    outputs = {spec.name: spec.shape for spec in info.outputs}
    for name, shape in _OUTPUTS.items():
        if outputs.get(name) != shape:
            raise UsageError(f"{where}: expected the output {name} {shape}, it has {outputs.get(name)}")
