"""The checks of `bodycast doctor`: each tries the thing itself and says what it found.

A check never raises: whatever goes wrong is what it has to tell.
"""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from bodycast.app.doctor.engines import check_gpu, check_openvino, check_tensorrt, check_torch
from bodycast.app.doctor.extras import check_extras
from bodycast.app.doctor.findings import ONE_NODE_GRAPH, Check, Finding
from bodycast.app.doctor.findings import first_line as _first_line
from bodycast.app.doctor.findings import installed_version as _version
from bodycast.app.doctor.packages import check_detector, check_licences, check_models
from bodycast.engines.optional import install_command

_LEAST_FREE_BYTES = 2 << 30


def check_python() -> Iterator[Finding]:
    """The interpreter."""
    yield Finding("Python", "ok", f"{platform.python_version()} on {platform.platform()}")


def check_processor() -> Iterator[Finding]:
    """CPU and the cores that this process may use."""
    from bodycast.engines.devices import cpu_name, usable_cores

    name = cpu_name()
    cores = usable_cores()
    if cores < 2:
        mend = "--preset lite is made for slow machines"
        yield Finding("processor", "note", f"{name}, 1 usable core", mend)
    else:
        yield Finding("processor", "ok", f"{name}, {cores} usable cores")


def check_onnxruntime() -> Iterator[Finding]:
    """The package, and each provider on a graph of one node: a provider that is listed need not work."""
    installed = {name: found for name in ("onnxruntime", "onnxruntime-gpu") if (found := _version(name))}
    if not installed:
        yield _missing("ONNX Runtime", "onnxruntime", essential=True)
        return
    if len(installed) > 1:
        mend = f"pip uninstall -y onnxruntime onnxruntime-gpu && {install_command('live.txt')}"
        detail = "onnxruntime and onnxruntime-gpu are both installed and overwrite each other's files"
        yield Finding("ONNX Runtime", "problem", detail, mend)
    name, found = next(iter(installed.items()))
    failure = try_provider("CPUExecutionProvider")
    if failure:
        mend = install_command("live.txt", "--force-reinstall")
        yield Finding("ONNX Runtime, CPU", "problem", f"{name} {found}: {failure}", mend, essential=True)
    else:
        yield Finding("ONNX Runtime, CPU", "ok", f"{name} {found}, computes")
    yield from _check_cuda_provider()


def _check_cuda_provider() -> Iterator[Finding]:
    from bodycast.engines.devices import cuda_devices

    if cuda_devices()[0] == 0:
        return
    failure = try_provider("CUDAExecutionProvider")
    if failure:
        mend = f"{install_command('gpu.txt')} (CUDA 13 and cuDNN 9 for ONNX Runtime)"
        yield Finding("ONNX Runtime, CUDA", "problem", failure, mend)
    else:
        yield Finding("ONNX Runtime, CUDA", "ok", "computes")


def try_provider(provider: str) -> str:
    """Why this ONNX Runtime provider does not compute here; empty where it does."""
    import onnxruntime  # pyright: ignore[reportMissingTypeStubs]

    ort: Any = onnxruntime
    if provider not in ort.get_available_providers():
        return f"this onnxruntime was built without {provider}"
    ort.set_default_logger_severity(4)
    try:
        if provider == "CUDAExecutionProvider":
            ort.preload_dlls()
        session = ort.InferenceSession(ONE_NODE_GRAPH, providers=[provider])
        result = session.run(None, {"x": np.array([2.0], np.float32)})[0]
    # The library's exceptions share no base class below Exception.
    except Exception as error:
        return _first_line(error)
    finally:
        ort.set_default_logger_severity(2)
    if session.get_providers()[0] != provider:
        return f"{provider} did not load: its libraries are missing"
    return "" if float(result[0]) == -2.0 else f"computes -2 as {float(result[0])}"


def check_opencv() -> Iterator[Finding]:
    """OpenCV below 5, with the HOG people detector, whose file is inside."""
    try:
        import cv2
    except ImportError as error:
        if find_spec("cv2") is None:
            yield _missing("OpenCV", "opencv-python", essential=True)
        else:
            mend = "scripts/system_libraries.sh (Debian, Ubuntu: sudo apt-get install libgl1 libglib2.0-0)"
            yield Finding("OpenCV", "problem", str(error), mend, essential=True)
        return
    if not hasattr(cv2, "HOGDescriptor"):
        mend = "pip install 'opencv-python<5'"
        yield Finding("OpenCV", "problem", f"{cv2.__version__} has no HOG people detector", mend, essential=True)
    else:
        yield Finding("OpenCV", "ok", cv2.__version__)


def check_video() -> Iterator[Finding]:
    """PyAV, and its H.264 encoder on one frame."""
    try:
        import av
        from av.error import FFmpegError
    except ImportError:
        yield _missing("video files", "av", essential=True)
        return
    try:
        encoder: Any = av.CodecContext.create("libx264", "w")
        encoder.width, encoder.height, encoder.pix_fmt, encoder.framerate = 64, 64, "yuv420p", 30
        packets = [*encoder.encode(av.VideoFrame(64, 64, "yuv420p")), *encoder.encode(None)]
    except (FFmpegError, ValueError) as error:
        mend = "pip install --force-reinstall av (its wheels bring libx264)"
        yield Finding("video files", "problem", f"PyAV {av.__version__} cannot encode H.264: {error}", mend)
        return
    size = sum(packet.size for packet in packets)
    yield Finding("video files", "ok" if size else "problem", f"PyAV {av.__version__}, H.264 by libx264")


def check_opengl() -> Iterator[Finding]:
    """OpenGL for the overlay: vendor and renderer, and whether it is software."""
    from bodycast.app.errors import BodycastError
    from bodycast.app.renderers.moderngl_renderer import create_context, is_software
    from bodycast.engines.devices import cuda_devices

    try:
        context = create_context()
    except BodycastError as error:
        mend = "the overlay is drawn on the CPU; scripts/system_libraries.sh installs Mesa"
        yield Finding("OpenGL", "note", str(error), mend)
        return
    info = {key: str(context.info[key]) for key in ("GL_VENDOR", "GL_RENDERER", "GL_VERSION")}
    context.release()
    detail = f"{info['GL_RENDERER']}, {info['GL_VENDOR']}, OpenGL {info['GL_VERSION']}"
    if is_software(info["GL_RENDERER"]) and cuda_devices()[0] > 0:
        mend = "install the driver's OpenGL (libnvidia-gl); in a container: NVIDIA_DRIVER_CAPABILITIES=all"
        yield Finding("OpenGL", "note", f"{detail} (in software, although there is a GPU)", mend)
    elif is_software(info["GL_RENDERER"]):
        yield Finding("OpenGL", "ok", f"{detail} (in software, on the CPU)")
    else:
        yield Finding("OpenGL", "ok", detail)


def check_display() -> Iterator[Finding]:
    """Whether a window can be opened."""
    from bodycast.app.sinks.window import display_problem

    problem = display_problem()
    if problem:
        yield Finding("window", "note", problem.what, problem.way_out)
    else:
        yield Finding("window", "ok", "can be opened")


def check_cameras() -> Iterator[Finding]:
    """Cameras by name; none is started, since that disturbs whoever is using it."""
    from bodycast.app.sources.camera_list import camera_line, list_cameras

    cameras = list_cameras()
    if not cameras:
        yield Finding("cameras", "note", "none", "files and streams work: bodycast run FILE|URL")
    for camera in cameras:
        if camera.path.startswith("/dev/") and not os.access(camera.path, os.R_OK | os.W_OK):
            mend = "sudo usermod -aG video $USER, then log in again"
            yield Finding("camera", "problem", f"no permission to open {camera_line(camera)}", mend)
        else:
            yield Finding("camera", "ok", camera_line(camera))


def check_body() -> Iterator[Finding]:
    """The embedded body."""
    from bodycast.hmr.body.body_files import BodyFileError
    from bodycast.hmr.body.body_model import EMBEDDED_BODY, BodyModel

    try:
        body = BodyModel.load(EMBEDDED_BODY)
    except BodyFileError as error:
        mend = "git checkout -- assets/body"
        yield Finding("body", "problem", str(error), mend, essential=True)
        return
    yield Finding("body", "ok", f"{body.name}, {body.vertex_count} vertices, {len(body.faces)} faces")


def check_export() -> Iterator[Finding]:
    """What exporting models needs; a live run does not."""
    missing = [name for name in ("torch", "timm", "onnx", "onnxscript") if find_spec(name) is None]
    if missing:
        yield Finding("export", "note", f"not installed: {', '.join(missing)}", "pip install -r requirements.txt")
    else:
        yield Finding("export", "ok", f"torch {_version('torch')}, onnx {_version('onnx')}")


def check_disk() -> Iterator[Finding]:
    """Room for results here, and a data folder that can be written."""
    from bodycast.app.model_packages import bodycast_home

    home = bodycast_home()
    places = (("results", Path.cwd()), ("data folder", next(path for path in (home, *home.parents) if path.exists())))
    for name, place in places:
        free = shutil.disk_usage(place).free
        detail = f"{place}: {free / 1e9:.0f} GB free"
        if not os.access(place, os.W_OK):
            mend = "go to a folder that you may write to" if name == "results" else "set BODYCAST_HOME to such a folder"
            yield Finding(name, "problem", f"{place} cannot be written", mend)
        elif free < _LEAST_FREE_BYTES:
            yield Finding(name, "note", detail, "an hour of 1280x720 overlay takes about 2 GB")
        else:
            yield Finding(name, "ok", detail)


CHECKS: tuple[Check, ...] = (
    check_python,
    check_processor,
    check_gpu,
    check_onnxruntime,
    check_openvino,
    check_tensorrt,
    check_torch,
    check_opencv,
    check_video,
    check_opengl,
    check_display,
    check_cameras,
    check_body,
    check_models,
    check_detector,
    check_export,
    check_extras,
    check_licences,
    check_disk,
)


def run_check(check: Check) -> list[Finding]:
    """The findings of one check; an error inside it is a finding too, so that the others still run."""
    findings: list[Finding] = []
    try:
        findings.extend(check())
    except Exception as error:
        detail = f"the check itself failed: {type(error).__name__}: {_first_line(error)}"
        findings.append(Finding(check.__name__.removeprefix("check_"), "problem", detail, "please report this line"))
    return findings


def _missing(name: str, package: str, essential: bool) -> Finding:
    mend = install_command("live.txt")
    return Finding(name, "problem", f"{package} is not installed", mend, essential)
