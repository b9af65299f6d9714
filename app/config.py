"""The configuration of a run: one tree of frozen dataclasses is the flags, the help and what run.json records.

Field names are flag names (`detect_every` is `--detect-every`), the text below each field is its help. Values are
checked when a part is made; what is unknown is refused by the parser. Nothing is read from the environment.
"""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from bodycast.app.command_line import LEFT_OUT
from bodycast.app.errors import UsageError
from bodycast.app.sources.factory import SourceOptions

PresetName = Literal["auto", "lite", "fast", "balanced", "quality"]


def has_display() -> bool:
    """Whether a window has somewhere to appear: elsewhere than on Linux always, there if DISPLAY is set."""
    return not sys.platform.startswith("linux") or bool(os.environ.get("DISPLAY"))


def require_range(flag: str, value: float, low: float, high: float) -> None:
    """Raise UsageError unless low <= value <= high."""
    if not low <= value <= high:
        raise UsageError(f"--{flag} {value:g}: expected {low:g} to {high:g}")


def check_device(device: str) -> None:
    """Raise UsageError unless the word names a device, which need not be there: auto, cpu, cuda or cuda:1."""
    if re.fullmatch(r"auto|cpu|cuda(:\d{1,3})?", device) is None:
        raise UsageError(f"--device {device}: expected auto, cpu, cuda, or a GPU by its number, as cuda:1")


@dataclass(frozen=True)
class NetworkConfig:
    """The network that recovers the bodies, and the body."""

    model: str = "auto"
    """HMR model package: a folder or the name of an installed one; none: keypoints alone; auto: the preset's."""

    keypoints: str = "auto"
    """Keypoint network: a package, a YOLO-pose .pt file, or none; auto: the preset's, none beside a --model of one's
    own."""

    engine: Literal["auto", "onnxruntime", "openvino", "openvino-bf16", "tensorrt", "tensorrt-rtx", "torch"] = "auto"
    """What runs the network; auto: the fastest that works here."""

    device: str = "auto"
    """Where it runs: cpu, cuda (the first GPU), cuda:1 (the second) and so on; auto: the first GPU where it works, else
    the CPU."""

    gpu_crops: bool = True
    """On a GPU: cut the crops there, from one upload of the frame; --no-gpu-crops cuts them on the CPU."""

    flip_test: bool = False
    """Flip test-time augmentation: each crop's mirror image is estimated too, at about twice the networks' time."""

    refine_keypoints: bool = True
    """Keypoint refinement: move each body onto the keypoints that the network sees."""

    masks: Literal["auto", "silhouette", "segmenter", "none"] = "auto"
    """Person masks of a network that merges tokens by them: the silhouette in the frame before, or a segmenter package;
    auto: what the network was imported for."""

    body: str = "auto"
    """Body file, .npz or SMPL's .pkl; auto: the embedded body, if the model belongs to it."""

    pose_only: tyro.conf.FlagCreatePairsOff[bool] = False
    """Use a model with a body that it does not belong to: its poses are kept, its shapes become the average."""

    def __post_init__(self) -> None:
        check_device(self.device)
        if self.model == "none" and self.keypoints == "none":
            raise UsageError("--model none and --keypoints none leave nothing that finds bodies: give one of them")


@dataclass(frozen=True)
class PeopleConfig:
    """Who is found and followed."""

    detector: str = "auto"
    """auto (your own detector package, else the embedded one), hog, a package, or an ultralytics .pt file."""

    detect_every: float = 0.25
    """Seconds from one run of the detector to the next; until then, tracks follow from mesh to mesh."""

    max_people: int = 10
    """Follow at most so many people, the largest first."""

    def __post_init__(self) -> None:
        require_range("detect-every", self.detect_every, 0, 60)
        require_range("max-people", self.max_people, 1, 100)


@dataclass(frozen=True)
class MotionConfig:
    """How the motion is smoothed."""

    smoother: Literal["auto", "none", "one-euro", "diffusion"] = "auto"
    """How bodies are smoothed over time: one-euro, a filter without latency, or diffusion, two trained networks, half
    the jitter and 0.1 s of latency. auto: one-euro unless there is a --lag or --offline."""

    lag: Annotated[float | None, LEFT_OUT] = None
    """Seconds of latency that the smoother may use to look ahead; 0: none. Diffusion's own: 0.1."""

    offline: tyro.conf.FlagCreatePairsOff[bool] = False
    """Files only: the diffusion smoother sees 1.8 s of what comes next."""

    foot_lock: bool = True
    """Feet that touch the floor, or whatever carries them, stay where they touch it."""

    def __post_init__(self) -> None:
        if self.lag is not None:
            require_range("lag", self.lag, 0, 2)
        if self.offline and self.smoother not in ("auto", "diffusion"):
            raise UsageError("--offline is for --smoother diffusion: a plain filter does not look ahead")
        if self.offline and self.lag is not None:
            raise UsageError("--offline chooses the lag itself: leave --lag out")

    @property
    def chosen_smoother(self) -> Literal["none", "one-euro", "diffusion"]:
        """What `auto` stands for."""
        if self.smoother != "auto":
            return self.smoother
        return "diffusion" if self.lag or self.offline else "one-euro"


@dataclass(frozen=True)
class LensConfig:
    """What is known about the camera and the floor; it decides how far away people stand."""

    focal_px: Annotated[float | None, LEFT_OUT] = None
    """Focal length in pixels of the source; where left out, what the file's metadata say, else estimated."""

    fov_deg: Annotated[float | None, LEFT_OUT] = None
    """Field of view along the diagonal, in degrees; instead of --focal-px."""

    calibration: Annotated[Path | None, LEFT_OUT] = None
    """Calibration of the camera, instead of both: OpenCV's YAML, XML or JSON, COLMAP's cameras.txt, or TOML as pose2sim
    has it. Its lens distortion is undone: overlay and results are of the undistorted picture."""

    calibration_camera: Annotated[str | None, LEFT_OUT] = None
    """Name of the camera in a --calibration of several."""

    fov_network: Annotated[str | None, LEFT_OUT] = None
    """Field-of-view network, a package: it looks at the first picture and at one every four seconds, where neither you
    nor the file says the lens."""

    floor: Literal["auto", "level", "none"] = "auto"
    """What people stand on: auto, found from their feet; level: the same, and the camera looks straight ahead; none:
    there is no floor, though feet that touch something still hold."""

    camera_height: Annotated[float | None, LEFT_OUT] = None
    """Height of the camera above the floor, in metres; where left out, people's sizes decide."""

    person_height: Annotated[float | None, LEFT_OUT] = None
    """Height of everybody in the picture, in metres; where left out, the network and --camera-height decide."""

    def __post_init__(self) -> None:
        if self.camera_height is not None:
            require_range("camera-height", self.camera_height, 0.05, 100)
        if self.person_height is not None:
            require_range("person-height", self.person_height, 0.5, 2.5)
        if self.focal_px is not None and self.fov_deg is not None:
            raise UsageError("--focal-px and --fov-deg say the same thing: give one of them")
        if self.calibration is not None and (self.focal_px is not None or self.fov_deg is not None):
            raise UsageError("--calibration says what --focal-px and --fov-deg say: give one of them")
        if self.fov_network is not None and (self.focal_px, self.fov_deg, self.calibration) != (None, None, None):
            raise UsageError(
                "--fov-network estimates the lens, --focal-px, --fov-deg and --calibration say it: give one"
            )
        if self.calibration_camera is not None and self.calibration is None:
            raise UsageError("--calibration-camera names a camera of a --calibration: give that file too")
        if self.focal_px is not None:
            require_range("focal-px", self.focal_px, 10, 1e6)
        if self.fov_deg is not None:
            require_range("fov-deg", self.fov_deg, 1, 170)


@dataclass(frozen=True)
class LiveConfig:
    """What a live run keeps up. With --preset auto, or where one of these is given, it is slower and less exact in
    small steps where the machine cannot, and takes them back when it can (docs/webcam.md)."""

    target_fps: Annotated[float | None, LEFT_OUT] = None
    """Results a second of a live source; where left out, as many as it gives pictures."""

    max_latency: Annotated[float | None, LEFT_OUT] = None
    """Seconds from the grab to the drawn picture that 95 of 100 frames of a live source stay within; where left out,
    0.25."""

    def __post_init__(self) -> None:
        if self.target_fps is not None:
            require_range("target-fps", self.target_fps, 1, 240)
        if self.max_latency is not None:
            require_range("max-latency", self.max_latency, 0.02, 10)


@dataclass(frozen=True)
class ResultsConfig:
    """What is shown and what is written."""

    output: Annotated[Path | None, LEFT_OUT] = None
    """Folder for overlay.mp4, motion.npz, run.json, replay.html and report.html; made if it is not there. Nothing is
    written where left out."""

    overwrite: tyro.conf.FlagCreatePairsOff[bool] = False
    """Replace the results of an earlier run in --output."""

    renderer: Literal["auto", "moderngl", "cpu", "pyrender", "none"] = "auto"
    """What draws the meshes; none: only the motion is wanted."""

    draw: Literal["mesh", "skeleton", "both"] = "mesh"
    """What is drawn of people: the mesh, the 2D keypoints that the network sees (the body's joints where it sees none),
    or both."""

    window: bool = field(default_factory=has_display)
    """Show the overlay in a window (q ends the run, h hides the figures)."""

    mirror: tyro.conf.FlagCreatePairsOff[bool] = False
    """Selfie view: mirror the window's picture left-right. Files are not mirrored."""

    hud: bool = True
    """Figures in the window: frame rate, latency, people. A recorded video stays clean."""

    def __post_init__(self) -> None:
        if self.renderer == "none" and self.draw != "mesh":
            raise UsageError(f"--draw {self.draw} and --renderer none contradict each other: give one of them")


@dataclass(frozen=True)
class SendConfig:
    """Senders: who else gets the motion, live (docs/live_output.md). All are off unless asked for."""

    vmc: Annotated[str | None, LEFT_OUT] = None
    """HOST:PORT of a program that takes the VMC protocol (VSeeFace, Warudo, Unity, Unreal, Blender); the usual port is
    39539."""

    vrchat: Annotated[str | None, LEFT_OUT] = None
    """HOST:PORT of VRChat's OSC trackers; the usual port is 9000."""

    websocket: Annotated[str | None, LEFT_OUT] = None
    """PORT, or HOST:PORT to let other machines in: a WebSocket server for web pages and scripts, and a page for OBS."""

    view: tyro.conf.FlagCreatePairsOff[bool] = False
    """The world in 3D, live, in a browser on this machine (docs/viewer.md)."""

    host: str = "127.0.0.1"
    """Address that --view listens on; another than this machine's own lets other machines in, with a token in the
    address."""

    port: int = 8080
    """Port that --view listens on."""

    virtual_camera: tyro.conf.FlagCreatePairsOff[bool] = False
    """The overlay as a camera that other programs can choose."""

    person: str = "largest"
    """Whom --vmc and --vrchat follow: largest, who is kept until they are gone, or a person's number."""

    avatar_hips: Annotated[float | None, LEFT_OUT] = None
    """Height of the avatar's hips in its T-pose, in metres, for --vmc: its feet then stay on the floor. Where left out,
    the person's own."""

    def __post_init__(self) -> None:
        if self.avatar_hips is not None:
            require_range("avatar-hips", self.avatar_hips, 0.05, 10)

    @property
    def anything(self) -> bool:
        """Whether something is sent."""
        return (
            self.view or self.virtual_camera or any(one is not None for one in (self.vmc, self.vrchat, self.websocket))
        )


@dataclass(frozen=True)
class RunConfig:
    """3D people from a camera or a video, live.

    With a window, q or Esc ends the run. Ctrl-C ends it too (exit code 130); either way the files are finished.
    """

    source: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="[SOURCE]")] = "0"
    """A camera index, a video file, a folder of images, an rtsp/http URL, or demo."""

    preset: PresetName = "auto"
    """Speed against accuracy: sets the model, --detect-every, --smoother and --lag; flags go before it. auto: fast for
    files; for cameras and streams what this machine keeps up with, traded and given back while it runs."""

    max_frames: Annotated[int | None, LEFT_OUT] = None
    """Stop after so many frames; else at the end of the source."""

    print_config: tyro.conf.FlagCreatePairsOff[bool] = False
    """Print the configuration as JSON and end."""

    debug: tyro.conf.FlagCreatePairsOff[bool] = False
    """Show the traceback of an error."""

    network: NetworkConfig = field(default_factory=NetworkConfig)
    people: PeopleConfig = field(default_factory=PeopleConfig)
    motion: MotionConfig = field(default_factory=MotionConfig)
    lens: LensConfig = field(default_factory=LensConfig)
    results: ResultsConfig = field(default_factory=ResultsConfig)
    send: SendConfig = field(default_factory=SendConfig)
    live: LiveConfig = field(default_factory=LiveConfig)
    capture: SourceOptions = field(default_factory=SourceOptions)

    def __post_init__(self) -> None:
        if self.send.virtual_camera and self.results.renderer == "none":
            raise UsageError("--virtual-camera shows what is drawn: leave --renderer none out")
        if self.max_frames is not None:
            require_range("max-frames", self.max_frames, 1, 1e9)
