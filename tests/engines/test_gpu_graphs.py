"""Crops and bodies as a GPU makes them, in numbers: the same graphs on ONNX Runtime's CPU and the memory of a driver
that is none, against the CPU's own crops and bodies."""

from __future__ import annotations

import gc
import json
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import pytest

pytest.importorskip("onnx", reason="needs requirements/export.txt")
if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
    pytest.skip("onnxruntime without CUDA", allow_module_level=True)

from bodycast.app.commands.main import main
from bodycast.app.estimation.cropper import crop_people
from bodycast.app.estimation.estimator import Estimator
from bodycast.app.estimation.gpu_body import FROM_PEOPLE, GpuBody
from bodycast.app.estimation.gpu_crops import GpuCrops, crop_parameters, mirrored
from bodycast.app.estimation.keypoints import KeypointNetwork
from bodycast.app.files.motion_file import read_motion
from bodycast.app.records import Frame, Tracks
from bodycast.app.sources.factory import DEMO_CLIP
from bodycast.engines.cuda.crops import FrameOnGpu
from bodycast.engines.cuda.skinning import SkinningOnGpu
from bodycast.engines.errors import EngineError
from bodycast.engines.onnxruntime_engine import OnnxRuntimeEngine
from bodycast.export.gpu_graphs import FOLDER, GRAPHS, same_graph
from bodycast.hmr.body.body_model import BodyModel
from bodycast.hmr.geometry.camera import Intrinsics
from bodycast.hmr.geometry.crop import crop_transforms
from bodycast.hmr.geometry.rotations import axis_angle_to_matrix
from tests.engines.fake_driver import FakeDriver
from tests.tiny_packages import hmr_package

HW = (64, 48)


def picture(seed: int = 0, wh: tuple[int, int] = (320, 240)) -> np.ndarray:
    """Smooth and sharp parts."""
    rng = np.random.default_rng(seed)
    rough = rng.integers(0, 256, (wh[1] // 8, wh[0] // 8, 3), dtype=np.uint8)
    image = cv2.resize(rough, wh, interpolation=cv2.INTER_CUBIC)
    cv2.rectangle(image, (100, 60), (180, 200), (250, 10, 60), -1)
    return image


def frame_of(index: int = 0, wh: tuple[int, int] = (320, 240)) -> Frame:
    return Frame(picture(index, wh), index, index / 30)


def tracks_of(*boxes: tuple[float, float, float, float]) -> Tracks:
    return Tracks(np.arange(1, len(boxes) + 1, dtype=np.int32), np.array(boxes, np.float32), np.zeros(len(boxes)))


BOXES = [(90, 50, 190, 210), (-30, -40, 60, 100), (250, 100, 330, 300), (5, 5, 310, 235), (150, 100, 170, 130)]


@pytest.fixture
def engine(tmp_path: Path, ort_on_driver: FakeDriver) -> OnnxRuntimeEngine:
    opened = OnnxRuntimeEngine(hmr_package(tmp_path / "p", input_hw=HW), "cuda", threads=1).open()
    yield opened
    opened.close()
    gc.collect()
    assert ort_on_driver.violations == [] and not any(ort_on_driver.held.values()), "left behind"


@pytest.mark.parametrize("name", GRAPHS)
def test_the_files_are_what_the_exporter_makes(name: str) -> None:
    assert same_graph((FOLDER / name).read_bytes(), GRAPHS[name]())


def test_crops_are_the_cpus_within_a_grey_level(engine: OnnxRuntimeEngine) -> None:
    capture = cv2.VideoCapture(str(DEMO_CLIP))
    capture.set(cv2.CAP_PROP_POS_FRAMES, 100)
    demo = np.asarray(capture.read()[1], np.uint8)
    capture.release()
    cutting = GpuCrops(engine)
    for frame, boxes in ((frame_of(), BOXES), (Frame(demo, 1, 0.0), [(300, 100, 500, 600), (1100, 50, 1340, 400)])):
        tracks = tracks_of(*boxes)
        cpu = crop_people(frame, tracks, HW).pixels.astype(int)
        gpu = cutting.cut(frame, crop_transforms(tracks.xyxy, HW), HW).host()
        for one, other in zip(cpu, gpu, strict=True):
            error = np.abs(one - other)
            assert error.mean() < 0.7 and np.percentile(error, 99) <= 2 and error.max() <= 30  # at the picture's edge
        assert np.percentile(np.abs(cpu - gpu), 97) <= 1


def test_mirrored_and_blackened_crops(engine: OnnxRuntimeEngine) -> None:
    frame, tracks = frame_of(), tracks_of(BOXES[0], BOXES[3])
    transforms = crop_transforms(tracks.xyxy, HW)
    parts = [(3, 5, 40, 60), (0, 0, 48, 64)]
    crops = GpuCrops(engine).cut(frame, transforms, HW, parts, mirror=True)
    both = crops.both.host()
    np.testing.assert_array_equal(both[:2], crops.host())
    assert np.abs(both[2:].astype(int) - both[:2, :, ::-1]).max() <= 1
    shown = np.zeros(HW, bool)
    shown[5:60, 3:40] = True
    assert not both[0][~shown].any() and both[0][shown].mean() > 30
    parameters = crop_parameters(transforms, parts)
    np.testing.assert_allclose(mirrored(mirrored(parameters, 48), 48), parameters, atol=1e-4)


def test_one_upload_a_frame_for_all_networks(engine: OnnxRuntimeEngine) -> None:
    one, other = GpuCrops(engine), GpuCrops(engine)
    first, second = frame_of(0), frame_of(1)
    tracks = tracks_of(*BOXES)
    shown = FrameOnGpu.shared(0)
    for frame in (first, second, first):
        for cutting in (one, other):
            crops = cutting.cut(frame, crop_transforms(tracks.xyxy, HW), HW).host()
            assert np.abs(crops.astype(int) - crop_people(frame, tracks, HW).pixels).mean() < 1
    assert shown.uploads == 3
    shown.release()


def test_a_crop_that_is_kept_stays_as_it_is_while_others_are_cut(engine: OnnxRuntimeEngine) -> None:
    cutting, tracks = GpuCrops(engine), tracks_of(*BOXES)
    transforms = crop_transforms(tracks.xyxy, HW)
    kept = [cutting.cut(frame_of(number), transforms, HW) for number in range(4)]
    for number, crops in enumerate(kept):
        expected = crop_people(frame_of(number), tracks, HW).pixels
        assert np.abs(crops.host().astype(int) - expected).mean() < 1


def test_a_thousand_frames_of_one_to_twenty_people_need_no_more_memory(
    engine: OnnxRuntimeEngine, ort_on_driver: FakeDriver
) -> None:
    cutting, small = GpuCrops(engine), frame_of(0, (64, 48))
    box = (10.0, 5.0, 40.0, 44.0)
    held: list[dict[str, int]] = []
    for number in range(1000):
        people = (1, 2, 20)[number % 3] if number % 100 == 0 else 1
        tracks = tracks_of(*[box] * people)
        crops = cutting.cut(Frame(small.image, number, 0.0), crop_transforms(tracks.xyxy, (8, 6)), (8, 6))
        crops.host()
        held.append(ort_on_driver.held)
    assert held[400] == held[-1]


def test_an_estimator_on_the_gpu_gives_what_it_gives_on_the_cpu(
    tmp_path: Path, ort_on_driver: FakeDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = hmr_package(tmp_path / "p", input_hw=HW)
    frame, tracks = frame_of(), tracks_of(*BOXES)
    intrinsics = Intrinsics.default(frame.image_wh)
    answers: list[np.ndarray] = []
    for device in ("cpu", "cuda:1", "cuda:1 on the CPU", "cuda"):
        estimator = Estimator(package.folder, "onnxruntime", device.partition(" ")[0], threads=1)
        estimator.cuts_on_gpu = "on the CPU" not in device
        said = estimator.describe()
        assert ("crops cut on the GPU" in said) == (device in ("cuda", "cuda:1"))
        assert ("crops cut on the CPU" in said) == ("on the CPU" in device)
        before = ort_on_driver.calls.count("cuMemcpyHtoDAsync")
        for flip in (False, True):
            estimator.flip_test = flip
            crops = estimator.crop(frame, tracks)
            answers.append(estimator.estimate(crops, intrinsics, frame.image_wh).betas)
        if device == "cuda":
            assert ort_on_driver.calls.count("cuMemcpyHtoDAsync") - before <= 8
        estimator.close()
        del crops
        gc.collect()
        assert ort_on_driver.violations == [] and not any(ort_on_driver.held.values())
    for answer in answers[2:]:
        np.testing.assert_allclose(answer, answers[0], atol=0.004)  # the crops' mean red: a grey level


def test_where_crops_cannot_be_cut_on_the_gpu_the_cpu_cuts_them_and_it_is_said(
    tmp_path: Path, ort_on_driver: FakeDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(*_: object, **__: object) -> None:
        raise EngineError("onnxruntime did not start CUDAExecutionProvider")

    monkeypatch.setattr("bodycast.engines.cuda.crops.open_graph", refuses)
    estimator = Estimator(hmr_package(tmp_path / "p", input_hw=HW).folder, "onnxruntime", "cuda", threads=1)
    assert "crops cut on the CPU (onnxruntime did not start CUDAExecutionProvider)" in estimator.describe()
    assert isinstance(estimator.crop(frame_of(), tracks_of(*BOXES)).stored, np.ndarray)
    estimator.close()


def test_keypoints_on_the_gpu_are_those_on_the_cpu(ort_on_driver: FakeDriver) -> None:
    frame = frame_of()
    tracks = tracks_of(BOXES[0], BOXES[3])
    found: dict[tuple[str, bool], np.ndarray] = {}
    for device in ("cpu", "cuda"):
        network = KeypointNetwork("pose-lightning", "onnxruntime", device, threads=1)
        for flip in (False, True):
            network.flip_test = flip
            found[device, flip] = network.look(network.crop(frame, tracks).stored)
        network.close()
    for flip in (False, True):
        assert np.abs(found["cuda", flip] - found["cpu", flip])[..., 2].mean() < 0.02
    gc.collect()
    assert ort_on_driver.violations == [] and not any(ort_on_driver.held.values())


@pytest.mark.parametrize("people", [0, 1, FROM_PEOPLE, 10, 37])
@pytest.mark.parametrize("bent", [False, True])
def test_skinning_on_the_gpu_is_the_cpus(ort_on_driver: FakeDriver, people: int, bent: bool) -> None:
    body = BodyModel.load()
    if bent:
        rng = np.random.default_rng(1)
        directions = rng.normal(0, 1e-3, (207, 3 * body.vertex_count)).astype(np.float32)
        object.__setattr__(body, "posedirs", directions)
    rng = np.random.default_rng(people)
    pose = axis_angle_to_matrix(rng.normal(0, 0.4, (people, 24, 3))).astype(np.float32)
    betas = rng.normal(0, 1, (people, 10)).astype(np.float32)
    transl = rng.normal(0, 2, (people, 3)).astype(np.float32)
    gpu = GpuBody(body, 1)
    expected, found = body(pose, betas, transl), gpu(pose, betas, transl)
    np.testing.assert_allclose(found.vertices, expected.vertices, atol=1e-5)
    np.testing.assert_allclose(found.joints, expected.joints, atol=1e-6)
    assert ("cuMemcpyDtoHAsync" in ort_on_driver.calls) == (people >= FROM_PEOPLE)
    gpu.close()
    gpu.close()
    assert ort_on_driver.violations == [] and not any(ort_on_driver.held.values())


def test_a_thousand_skinnings_hold_what_the_first_did(ort_on_driver: FakeDriver) -> None:
    rng = np.random.default_rng(0)
    shapes = {"template": (1, 9), "shapedirs": (10, 9), "posedirs": (1, 9), "weights": (3, 24)}
    skinning = SkinningOnGpu({name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}, 0)
    inputs = {"turns": (4, 24, 9), "shifts": (4, 24, 3), "betas": (4, 10), "bend": (4, 1)}
    given = {name: rng.normal(size=shape).astype(np.float32) for name, shape in inputs.items()}
    first, held = skinning.vertices(given), ort_on_driver.held
    for _ in range(1000):
        np.testing.assert_array_equal(skinning.vertices(given), first)
    assert ort_on_driver.held == held
    skinning.close()


@pytest.mark.slow  # every network warms up on sixteen rows, here on a CPU
def test_a_whole_run_on_a_gpu_says_what_ran_where(tmp_path: Path, ort_on_driver: FakeDriver) -> None:
    arguments = ["--engine", "onnxruntime", "--no-window", "--renderer", "none", "--max-frames", "8", "--overwrite"]
    motions: list[np.ndarray] = []
    for device in ("cuda:1", "cpu"):
        out = tmp_path / device.replace(":", "-")
        flags = ["--preset", "lite", "--device", device, "--output", str(out), *arguments]
        assert main(["run", "demo", *flags]) == 0
        engine = json.loads((out / "run.json").read_text())["parts"]["engine"]
        assert ("crops cut on the GPU" in engine and "4 people and more skinned on the GPU" in engine) == (
            device != "cpu"
        )
        motions.append(read_motion(out / "motion.npz").joints_3d)
    gc.collect()
    assert ort_on_driver.violations == [] and not any(ort_on_driver.held.values())
    assert all(len(joints) and np.isfinite(joints).all() for joints in motions)
