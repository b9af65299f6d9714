"""A module with all that its package says about its tensors: the common door of every kind of network.

Networks that read pixels take uint8 RGB and normalise inside the graph; names and shapes are those of
docs/model_package.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from bodycast.engines.package import BATCH, TensorSpec
from bodycast.export.parity_crops import crops_of
from bodycast.hmr.body.motion_vectors import motion_vectors
from bodycast.hmr.networks.fov_net import FovNet
from bodycast.hmr.networks.heads.udp_keypoints import UdpKeypoints
from bodycast.hmr.networks.hmr_net import IMAGENET_MEAN, IMAGENET_STD, ExportedHmr, HmrNet
from bodycast.hmr.networks.keypoint_fusion import KeypointFusion
from bodycast.hmr.networks.move_net import MoveNet
from bodycast.hmr.networks.person_detector import PersonDetector
from bodycast.hmr.networks.pose_net import PoseNet
from bodycast.hmr.networks.temporal.diffusion_decoder import DiffusionDecoder
from bodycast.hmr.networks.temporal.motion_vae import MotionVae
from bodycast.hmr.networks.temporal.motion_window import MOTION_WIDTH
from bodycast.hmr.networks.temporal.window_smoother import WindowSmoother

JOINT_SETS = {17: "coco-17", 26: "halpe-26", 133: "coco-wholebody-133"}
"""Keypoints -> the joint set of that many."""
HMR_OUTPUTS = {
    "pose": ("1", "rotation matrices relative to the parent joint, root first, SMPL order"),
    "betas": ("1", "shape in the basis of the body"),
    "camera": ("1", "weak perspective of the square crop: s, tx, ty (HMR2.0)"),
    "score": ("1", "how probable it is that the crop shows a person"),
    "token": ("1", "the decoder's output token, a per-person feature for temporal models"),
    "keypoints": ("1", "where the joints are seen: x, y in crop heights from the crop's centre, confidence"),
}
POSE_OUTPUTS = {"keypoints": HMR_OUTPUTS["keypoints"]}
SEGMENTER_OUTPUTS = {"mask": ("1", "how probable it is that the pixel shows the person in the crop's middle")}
DETECTOR_OUTPUTS = {"boxes": ("px", "xyxy in the letterboxed picture"), "scores": ("1", "how probable a person is")}
FOV_OUTPUTS = {"vertical_fov": ("rad", "vertical field of view of the picture inside the square")}
MOTION_MEANING = "29 joints in metres, then cosine and sine of 23 bone twists, for every frame"


@dataclass(frozen=True)
class Exportable:
    """module: inputs in the order of `inputs` -> outputs in the order of `outputs`.

    outputs: name -> (unit, meaning); shapes are taken from a run. The rest: words of package.json.
    """

    module: nn.Module
    task: str
    inputs: tuple[TensorSpec, ...]
    outputs: Mapping[str, tuple[str, str]]
    normalisation: str = "none"
    crop_rule: str = "none"
    focal_convention: str = "none"
    joint_set: str = "none"

    @property
    def input_names(self) -> tuple[str, ...]:
        """In order."""
        return tuple(spec.name for spec in self.inputs)

    @property
    def output_names(self) -> tuple[str, ...]:
        """In order."""
        return tuple(self.outputs)

    def examples(self, rows: int, kind: str = "random") -> list[Tensor]:
        """Inputs that a network of this kind may get; the same ones at every call. kind: "fixed" or "random"."""
        return [torch.from_numpy(example_input(spec, rows, kind)) for spec in self.inputs]


class Normalise(nn.Module):
    """uint8 pictures (N, H, W, 3) RGB -> (N, 3, H, W) as networks were trained on them."""

    scale: Tensor
    shift: Tensor

    def __init__(self) -> None:
        super().__init__()
        mean, std = torch.tensor(IMAGENET_MEAN), torch.tensor(IMAGENET_STD)
        self.register_buffer("scale", (1 / (255 * std)).view(3, 1, 1), persistent=False)
        self.register_buffer("shift", (mean / std).view(3, 1, 1), persistent=False)

    def forward(self, pictures: Tensor) -> Tensor:
        return pictures.to(self.scale.dtype).permute(0, 3, 1, 2) * self.scale - self.shift


class ExportedPose(nn.Module):
    """uint8 crops (N, H, W, 3) RGB -> keypoints (N, K, 3); normalisation and the reading of the heat maps inside."""

    def __init__(self, net: PoseNet) -> None:
        super().__init__()
        self.net = net
        self.normalise = Normalise()
        with torch.no_grad():
            maps = net(torch.zeros(1, 3, *net.image_hw))
        self.keypoints = int(maps.shape[1])
        self.read = UdpKeypoints((int(maps.shape[2]), int(maps.shape[3])), net.image_hw)

    def forward(self, crops: Tensor) -> tuple[Tensor]:
        """See the class."""
        return (self.read(self.net(self.normalise(crops))),)


class ExportedFov(nn.Module):
    """uint8 pictures (N, H, W, 3) RGB in a white square -> vertical field of view (N,), rad."""

    def __init__(self, net: FovNet) -> None:
        super().__init__()
        self.net = net
        self.normalise = Normalise()

    def forward(self, images: Tensor) -> tuple[Tensor]:
        """See the class."""
        return (self.net(self.normalise(images)),)


class ExportedDetector(nn.Module):
    """uint8 pictures (N, H, W, 3) RGB, letterboxed -> boxes (N, K, 4) xyxy px, scores (N, K)."""

    def __init__(self, net: PersonDetector) -> None:
        super().__init__()
        self.net = net
        self.normalise = Normalise()

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """See the class."""
        return self.net.detect(self.normalise(images))


class ExportedDiffusion(nn.Module):
    """features (N, F, C) -> motion (N, F, 133)."""

    def __init__(self, net: DiffusionDecoder) -> None:
        super().__init__()
        self.net = net

    def forward(self, features: Tensor) -> tuple[Tensor]:
        """See the class."""
        return (self.net(features),)


class ExportedVae(nn.Module):
    """motion (N, F, 133) -> its reconstruction (N, F, 133) and latents' mean (N, n, d)."""

    def __init__(self, net: MotionVae) -> None:
        super().__init__()
        self.net = net

    def forward(self, motion: Tensor) -> tuple[Tensor, Tensor]:
        """See the class."""
        reconstruction, latents = self.net(motion)
        return reconstruction, latents.mean


def exportable(net: nn.Module, *, with_mask: bool = False, frames: int = 243) -> Exportable:
    """The exportable form of a registered network. frames: the window of a motion VAE, which does not say it.

    Raises: ValueError for a module of no known kind, or a mask for a network that merges no tokens.
    """
    if with_mask and not isinstance(net, HmrNet):
        raise ValueError("--with-mask is for networks that recover bodies and merge tokens")
    if isinstance(net, HmrNet):
        return _hmr(net, with_mask)
    if isinstance(net, PoseNet):
        return _pose(net)
    if isinstance(net, MoveNet | KeypointFusion):
        from bodycast.export.keypoint_networks import fusion_exportable, movenet_exportable

        return movenet_exportable(net) if isinstance(net, MoveNet) else fusion_exportable(net)
    if isinstance(net, PersonDetector):
        return _person_detector(net)
    if isinstance(net, FovNet):
        return _fov(net)
    if isinstance(net, DiffusionDecoder):
        shape = (BATCH, net.frames, net.denoiser.condition_width)
        if net.motion_conditions:
            features = TensorSpec("estimates", "float32", shape, "m", MOTION_MEANING)
        else:
            features = TensorSpec("features", "float32", shape, "1", "per-frame tokens of a clip")
        return Exportable(ExportedDiffusion(net), "smoother", (features,), {"motion": ("m", MOTION_MEANING)})
    if isinstance(net, MotionVae):
        motion = TensorSpec("motion", "float32", (BATCH, frames, net.features), "m", MOTION_MEANING)
        outputs = {"reconstruction": ("m", MOTION_MEANING), "latents": ("1", "mean of the clip's latents")}
        return Exportable(ExportedVae(net), "smoother", (motion,), outputs)
    if isinstance(net, WindowSmoother):
        return _window_smoother(net)
    raise ValueError(f"no rule to export a {type(net).__name__}")


def _hmr(net: HmrNet, with_mask: bool) -> Exportable:
    module = ExportedHmr(net, with_mask)
    height, width = (int(side) for side in net.image_hw)
    known = {
        "crops": TensorSpec("crops", "uint8", (BATCH, height, width, 3), "1", "RGB crops"),
        "masks": TensorSpec("masks", "uint8", (BATCH, height, width), "1", "non-zero where the person is"),
        "box_info": TensorSpec(
            "box_info", "float32", (BATCH, 3), "1", "box centre from the principal point and box size, over the focal"
        ),
    }
    return Exportable(
        module,
        "hmr",
        tuple(known[name] for name in module.input_names),
        {name: HMR_OUTPUTS[name] for name in module.output_names},
        normalisation="in-graph",
        crop_rule="hmr2-square",
        focal_convention="weak-perspective-crop",
        joint_set="smpl-24",
    )


def _window_smoother(net: WindowSmoother) -> Exportable:
    frames, slots = net.frames, len(net.window.ages_s)
    row = "first two columns of 24 rotations, then x/z, y/z and log z of the translation"
    inputs = (
        TensorSpec("motion", "float32", (BATCH, frames, MOTION_WIDTH), "1", f"estimates, in any order: {row}"),
        TensorSpec("age_s", "float32", (BATCH, frames), "s", "how long ago each was"),
        TensorSpec("weight", "float32", (BATCH, frames), "1", "how far each counts, 0 for none"),
        TensorSpec("previous", "float32", (BATCH, slots, MOTION_WIDTH), "1", "trajectory of the call before"),
        TensorSpec("step_s", "float32", (BATCH,), "s", "how long ago the call before was"),
        TensorSpec("warm", "float32", (BATCH,), "1", "1 where there was a call before, 0 where not"),
        TensorSpec("lag_s", "float32", (BATCH,), "s", "the age that the answer is about"),
    )
    outputs = {
        "pose": ("1", "rotation matrices relative to the parent joint, root first, SMPL order"),
        "place": ("1", "x/z, y/z and log z of the translation"),
        "trajectory": ("1", f"the motion at the slots, {row}"),
    }
    return Exportable(net, "smoother", inputs, outputs, joint_set="smpl-24")


def _person_detector(net: PersonDetector) -> Exportable:
    images = TensorSpec("images", "uint8", (BATCH, *net.image_hw, 3), "1", "RGB pictures, letterboxed")
    return Exportable(
        ExportedDetector(net), "detector", (images,), DETECTOR_OUTPUTS, normalisation="in-graph", crop_rule="letterbox"
    )


def _fov(net: FovNet) -> Exportable:
    images = TensorSpec("images", "uint8", (BATCH, *net.image_hw, 3), "1", "RGB pictures in a white square")
    return Exportable(
        ExportedFov(net), "fov", (images,), FOV_OUTPUTS, normalisation="in-graph", crop_rule="white-square"
    )


def _pose(net: PoseNet) -> Exportable:
    module = ExportedPose(net.eval())
    crops = TensorSpec("crops", "uint8", (BATCH, *net.image_hw, 3), "1", "RGB crops")
    return Exportable(
        module,
        "pose",
        (crops,),
        POSE_OUTPUTS,
        normalisation="in-graph",
        crop_rule="padded",
        joint_set=JOINT_SETS.get(module.keypoints, "none"),
    )


def example_input(spec: TensorSpec, rows: int, kind: str) -> np.ndarray:
    """`rows` rows of a plausible input: pictures, a disc for a mask, standard normal numbers for the rest."""
    shape = spec.concrete(rows)
    makers: dict[str, Callable[[], np.ndarray]] = {
        "crops": lambda: crops_of(kind, rows, shape[1:3]),
        "images": lambda: crops_of(kind, rows, shape[1:3]),
        "masks": lambda: _discs(rows, shape[1:3]),
        "box_info": lambda: _box_info(rows, kind),
        "geometry": lambda: _box_info(rows, kind),
        "keypoints": lambda: _keypoints(shape, kind),
        "age_s": lambda: np.tile(np.arange(shape[1], dtype=np.float32) / 30, (rows, 1)),
        "weight": lambda: (_generator(kind).random(shape) < 0.7).astype(np.float32),
        "step_s": lambda: np.full(shape, 1 / 30, np.float32),
        "warm": lambda: (np.arange(rows) % 2).astype(np.float32),
        "estimates": lambda: _standing(shape, kind),
        "lag_s": lambda: np.linspace(0, 0.5, rows, dtype=np.float32),
    }
    if shape[-1] == MOTION_WIDTH:
        return _shaking(shape, kind)
    if spec.name in makers:
        return makers[spec.name]()
    return _generator(kind).normal(size=shape).astype(np.float32)


def _generator(kind: str) -> np.random.Generator:
    return np.random.default_rng({"fixed": 7, "random": 8}[kind])


def _keypoints(shape: tuple[int, ...], kind: str) -> np.ndarray:
    """Anywhere in the crop, seen more or less."""
    return (_generator(kind).random(shape) - np.array([0.5, 0.5, 0])).astype(np.float32)


def _discs(rows: int, hw: tuple[int, ...]) -> np.ndarray:
    y, x = np.mgrid[: hw[0], : hw[1]]
    radius = np.linspace(0.15, 0.45, rows)[:, None, None] * min(hw)
    inside = (y - hw[0] / 2) ** 2 + (x - hw[1] / 2) ** 2 < radius**2
    return (255 * inside).astype(np.uint8)


def _shaking(shape: tuple[int, ...], kind: str) -> np.ndarray:
    """Motion of bodies near the rest pose, as `MotionWindow` takes it."""
    rest = np.array([1, 0, 0, 0, 1, 0] * 24 + [0, 0, 1.2])
    return (rest + _generator(kind).normal(0, 0.1, shape)).astype(np.float32)


def _standing(shape: tuple[int, ...], kind: str) -> np.ndarray:
    """Motion vectors of bodies that tremble in the rest pose."""
    rest = motion_vectors(np.eye(3, dtype=np.float32) + np.zeros((24, 3, 3), np.float32))
    return (rest + _generator(kind).normal(0, 0.03, shape)).astype(np.float32)


def _box_info(rows: int, kind: str) -> np.ndarray:
    box = _generator(kind).uniform(-0.5, 0.5, (rows, 3)).astype(np.float32)
    box[:, 2] = np.abs(box[:, 2])
    return box
