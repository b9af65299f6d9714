"""Crops in, bodies out: one call of the engine for all people, and the camera taken to the full picture."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from bodycast.app.errors import RunError, UsageError
from bodycast.app.estimation.crop_cameras import CropCameras
from bodycast.app.estimation.crop_network import CropNetwork
from bodycast.app.estimation.cropper import crop_people
from bodycast.app.estimation.finite_rows import FiniteRows
from bodycast.app.estimation.flip_test import mean_with_mirror, with_mirror_images
from bodycast.app.estimation.person_masks import (
    MaskChoice,
    NoMasks,
    PersonMasks,
    SilhouetteMasks,
    central_parts,
    mask_choice,
)
from bodycast.app.records import F32, I32, BodyEstimates, CropBatch, Frame, Tracks
from bodycast.engines.cuda.crops import CropsOnGpu
from bodycast.engines.errors import EngineError
from bodycast.engines.gathering import OpensEngine
from bodycast.engines.package import BATCH, ModelPackage, PackageInfo, Tensor, Tensors, shape_text
from bodycast.hmr.body.body_model import EMBEDDED_BODY, BodyModel
from bodycast.hmr.body.keypoint_refinement import SMPL_REFINEMENT, refine
from bodycast.hmr.geometry.camera import Intrinsics
from bodycast.hmr.geometry.crop import crop_transforms

MIN_SCALE = 0.05
"""Smallest believable camera scale: a person of a twentieth of the crop's height, or behind the camera below zero."""

_OUTPUTS: dict[str, tuple[int | str, ...]] = {
    "pose": (BATCH, 24, 3, 3),
    "betas": (BATCH, 10),
    "camera": (BATCH, 3),
    "score": (BATCH,),
}


class Estimator(CropNetwork):
    """Recovers bodies with an HMR model package (docs/model_package.md). Use it from one thread."""

    def __init__(
        self,
        package_dir: Path | str,
        engine: str = "auto",
        device: str = "auto",
        *,
        threads: int | None = None,
        flip_test: bool = False,
        refine_keypoints: bool = True,
        masks: MaskChoice = "auto",
        opens: OpensEngine | None = None,
    ) -> None:
        """Open a package, given as a folder or as the name of an installed one, and warm it up.

        engine, device: as `engines.registry.open_engine` takes them. flip_test: estimate each crop's mirror image too
        and give the mean. refine_keypoints: keypoint refinement
        (`hmr.body.keypoint_refinement`) on the network's own heat maps, where the package gives them and its body is
        the embedded. masks: where the masks come from that some packages take (`person_masks`). opens: as `CropNetwork`
        has it.

        Raises: UsageError where the package, the engine, the device or the masks cannot be used.
        """
        super().__init__(package_dir, "hmr", _check_hmr, engine, device, threads, flip_test, opens)
        package = self.package
        self._finite = FiniteRows()
        self._has_token = any(spec.name == "token" for spec in package.info.outputs)
        self._sees_joints = any(spec.name == "keypoints" for spec in package.info.outputs)
        embedded = package.info.body == EMBEDDED_BODY.stem
        self._skeleton = BodyModel.load() if refine_keypoints and self._sees_joints and embedded else None
        self._refines = self._skeleton is not None
        self._takes_box_info = any(spec.name == "box_info" for spec in package.info.inputs)
        try:
            self._masks = _open_masks(package, masks, device, threads)
        except BaseException:
            super().close()
            raise

    @property
    def refines(self) -> bool:
        """Whether bodies are refined on the keypoints. May be changed between two frames, to True where it was."""
        return self._refines

    @refines.setter
    def refines(self, on: bool) -> None:
        self._refines = on and self._skeleton is not None

    @property
    def body_name(self) -> str:
        """The body whose shape basis `betas` are in."""
        return self.package.info.body

    @property
    def token_width(self) -> int:
        """C of the per-person token; 0 where the package gives none."""
        return int(self.package.info.output("token").shape[1]) if self._has_token else 0

    def describe(self) -> str:
        """One line for people."""
        masks = "" if self._masks is None else f", {self._masks.describe()}"
        return super().describe() + masks + (", refined on the keypoints" if self._refines else "")

    def estimate(self, crops: CropBatch, intrinsics: Intrinsics, image_wh: tuple[int, int]) -> BodyEstimates:
        """Bodies for all crops, rows and ids in the same order.

        intrinsics: of the full picture. The network's camera (s, tx, ty) is the weak perspective of the square crop;
        with the picture's focal length and principal point it becomes a translation (as in 4D-Humans). For a camera
        whose pixels are not square the mean focal length is used.

        A camera scale below MIN_SCALE is no body that one could draw: it is raised to MIN_SCALE and the row's score
        is set to 0, which ends its track.

        Root rotations relative to the crop's ray (`orientation_frame` in the package) are turned into the camera's
        frame; SMPL turns about its root joint, so the translation stays as it is.

        Rows with values that are not finite, or absurd, are left out and counted in `warnings`.

        Raises: RunError where the engine fails, or has given nothing finite MAX_EMPTY_OUTPUTS times in a row.
        """
        if len(crops) == 0:
            return BodyEstimates.empty(self.token_width)
        if crops.hw != self._input_hw:
            raise ValueError(f"crops: expected {self._input_hw} pixels (h, w), got {crops.hw}")
        cameras = CropCameras.of(crops, intrinsics, image_wh)
        outputs = self.raw(crops, cameras.box_info())
        finite = self._finite.of(outputs, self.describe())
        person_id = crops.id[finite]
        if len(person_id) < len(crops):
            outputs = {name: array[finite] for name, array in outputs.items()}
            cameras = cameras.select(finite)
        camera, score = _believable(_f32(outputs["camera"]), _f32(outputs["score"]))
        transl_m = cameras.translation_m(camera)
        pose = _f32(outputs["pose"])
        if self.package.info.orientation_frame == "crop-ray":
            pose = cameras.root_turned(pose)
        betas = _f32(outputs["betas"])
        if self._refines and self._skeleton is not None:
            seen, rest = cameras.seen(_f32(outputs["keypoints"])), self._skeleton.joints(betas)
            pose, transl_m = refine(pose, rest, transl_m, None, seen, intrinsics, SMPL_REFINEMENT)
        keypoints = np.zeros((len(person_id), 0, 3), np.float32)
        if self._sees_joints:
            keypoints = cameras.keypoints_px(_f32(outputs["keypoints"]))
        bodies = BodyEstimates(
            id=person_id,
            pose=pose,
            betas=betas,
            transl_m=transl_m.astype(np.float32),
            score=score,
            token=_f32(outputs["token"]) if self._has_token else np.zeros((len(person_id), 0), np.float32),
            keypoints=keypoints,
        )
        return self._finite.believable(bodies)

    def crop(self, frame: Frame, tracks: Tracks, input_hw: tuple[int, int] | None = None) -> CropBatch:
        """HMR2.0's crops of all tracks, at the network's size or another, with masks where the network takes some."""
        wanted = input_hw or self._input_hw
        crops = None
        if self._cutting() is not None and wanted == self._input_hw:
            transforms = crop_transforms(tracks.xyxy, wanted)
            on_gpu = self._cut_on_gpu(frame, transforms)
            crops = None if on_gpu is None else CropBatch(on_gpu, transforms, tracks.id)
        crops = crops or crop_people(frame, tracks, wanted)
        return crops if self._masks is None else replace(crops, masks=self._masks.of(frame, tracks, crops))

    def remember(self, id: I32, vertices: F32, intrinsics: Intrinsics) -> None:
        """The meshes (N,V,3) m, camera frame, of the tracks in the last frame: the next one's masks come from them."""
        if self._masks is not None:
            self._masks.remember(id, vertices, intrinsics)

    def close(self) -> None:
        """Release the engines. May be called twice."""
        super().close()
        if self._masks is not None:
            self._masks.close()

    def raw(self, crops: CropBatch, box_info: F32 | None = None) -> Tensors:
        """The network's own outputs for crops, by name. box_info (N,3): for networks that take it. Crops without masks
        have those of `central_parts`, where the network takes some.

        Raises: RunError where the engine fails; UsageError where the network wants box_info and has none.
        """
        stored, on_gpu = crops.stored, None
        # The flip test mirrors crops on the CPU.
        if isinstance(stored, CropsOnGpu) and stored.owner is self._engine.cuda and not self._flip_test:
            on_gpu = stored.tensor
        inputs: dict[str, Tensor] = {} if on_gpu is not None else {"crops": crops.pixels}
        if self._takes_box_info:
            if box_info is None:
                raise UsageError(f"{self.package.folder}: a network that takes box_info cannot be fused with keypoints")
            inputs["box_info"] = box_info
        if self._masks is not None:
            inputs["masks"] = central_parts(crops) if crops.masks is None else crops.masks
        try:
            if on_gpu is not None:
                return self._engine.run({"crops": on_gpu, **inputs})
            if not self._flip_test:
                return self._engine.run(inputs)
            return mean_with_mirror(self._engine.run(with_mirror_images(inputs)))
        except EngineError as error:
            raise RunError(str(error)) from error

    @property
    def warnings(self) -> tuple[str, ...]:
        """What went wrong without ending the run."""
        return self._finite.warnings


def _open_masks(package: ModelPackage, wanted: MaskChoice, device: str, threads: int | None) -> PersonMasks | None:
    """None for a package that takes no masks. Raises: UsageError."""
    choice = mask_choice(package, wanted)
    if not any(spec.name == "masks" for spec in package.info.inputs):
        return None
    if choice == "segmenter":
        from bodycast.app.estimation.segmenter import SegmenterMasks

        return SegmenterMasks(device=device, threads=threads)
    return SilhouetteMasks() if choice == "silhouette" else NoMasks()


def _f32(array: Tensor) -> F32:
    return array.astype(np.float32, copy=False)


def _believable(camera: F32, score: F32) -> tuple[F32, F32]:
    small = camera[:, 0] < MIN_SCALE
    camera = np.concatenate([np.maximum(camera[:, :1], np.float32(MIN_SCALE)), camera[:, 1:]], axis=1)
    return camera, np.where(small, np.float32(0), np.clip(score, 0, 1)).astype(np.float32)


def _check_hmr(package: ModelPackage) -> tuple[int, int]:
    """Height and width of the crops, after checking that the package speaks this program's conventions."""
    info = package.info
    _expect(info, "normalisation", info.normalisation, "in-graph")
    _expect(info, "crop_rule", info.crop_rule, "hmr2-square")
    _expect(info, "focal_convention", info.focal_convention, "weak-perspective-crop")
    _expect(info, "joint_set", info.joint_set, "smpl-24")
    _expect(info, "orientation_frame", info.orientation_frame, "crop-ray", "camera")
    names = [spec.name for spec in info.inputs]
    if names[:1] != ["crops"] or set(names[1:]) - {"masks", "box_info"}:
        raise UsageError(
            f"{package.folder}: an hmr package takes 'crops' and perhaps 'masks' and 'box_info', this one takes {names}"
        )
    crops = info.inputs[0]
    height, width = crops.shape[1:3] if len(crops.shape) == 4 else (0, 0)
    known = {"masks": ("uint8", (BATCH, height, width)), "box_info": ("float32", (BATCH, 3))}
    for spec in info.inputs[1:]:
        if (spec.dtype, spec.shape) != known[spec.name]:
            dtype, shape = known[spec.name]
            raise UsageError(
                f"{package.folder}: expected the input {spec.name} {dtype} {shape_text(shape)}, it has {spec}"
            )
    if crops.dtype != "uint8" or len(crops.shape) != 4 or crops.shape[0] != BATCH or crops.shape[3] != 3:
        raise UsageError(f"{package.folder}: expected the input crops uint8 (N, h, w, 3), it has {crops}")
    outputs = {spec.name: spec for spec in info.outputs}
    for name, shape in _OUTPUTS.items():
        spec = outputs.get(name)
        if spec is None:
            there = ", ".join(outputs)
            raise UsageError(f"{package.folder}: output {name!r} is missing, it has {there}; export the package again")
        if spec.shape != shape or spec.dtype not in ("float32", "float16"):
            raise UsageError(f"{package.folder}: expected the output {name} float {shape_text(shape)}, it has {spec}")
    seen = outputs.get("keypoints")
    if seen is not None and (seen.shape != (BATCH, 24, 3) or seen.dtype not in ("float32", "float16")):
        raise UsageError(f"{package.folder}: expected the output keypoints float (N, 24, 3), it has {seen}")
    token = outputs.get("token")
    if token is not None and (len(token.shape) != 2 or token.shape[0] != BATCH):
        raise UsageError(f"{package.folder}: expected the output token float (N, C), it has {token}")
    return int(height), int(width)


def _expect(info: PackageInfo, key: str, actual: str, *expected: str) -> None:
    if actual not in expected:
        wanted = " or ".join(map(repr, expected))
        raise UsageError(f"package {info.name!r}: {key} is {actual!r}, this program expects {wanted} for hmr")
