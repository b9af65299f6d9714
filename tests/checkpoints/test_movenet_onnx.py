"""MoveNet's numbers come out of an ONNX file into a network that equals it, and other files are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx", reason="graphs are read with onnx (requirements/export.txt)")

import onnx
import onnxruntime as ort
import torch
from torch import nn

from bodycast.hmr.checkpoints.loading import CheckpointMismatch
from bodycast.hmr.checkpoints.movenet_onnx import read_movenet
from bodycast.hmr.networks.move_net import MoveNet, decode, in_crop_heights, normalised
from tests.networks.network_checks import shake

TEACHERS = Path(__file__).resolve().parents[3] / "shared" / "teachers"
PICTURES = Path(__file__).resolve().parents[3] / "shared" / "media" / "photos"
HEADS = ("regression", "offsets", "heatmaps", "centre")


class Heads(nn.Module):
    def __init__(self, net: MoveNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        maps = self.net(images)
        return tuple(getattr(maps, name) for name in HEADS)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, MoveNet]:
    torch.manual_seed(3)
    net = shake(MoveNet(0.25, (64, 64)), 0.02)
    path = tmp_path_factory.mktemp("movenet") / "tiny.onnx"
    program = torch.onnx.export(Heads(net).eval(), (torch.zeros(1, 3, 64, 64),), dynamo=True, verbose=False)
    program.save(str(path))
    return path, net


def test_a_tiny_instance_equals_onnx_runtime_on_all_four_heads(tiny: tuple[Path, MoveNet]) -> None:
    path, _ = tiny
    read = read_movenet(path, MoveNet(0.25, (64, 64)))
    images = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1)) * 2 - 1
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    answers = session.run(None, {session.get_inputs()[0].name: images.numpy()})
    with torch.no_grad():
        maps = read(images)
    for name, answer in zip(HEADS, answers, strict=True):
        np.testing.assert_allclose(getattr(maps, name).numpy(), answer, atol=1e-3, err_msg=name)


@pytest.mark.parametrize("name", ["lightning", "thunder"])
def test_the_published_files_give_their_own_keypoints(name: str) -> None:
    """All heads and the decoded keypoints of the whole published graph, on a photograph."""
    path, picture = TEACHERS / f"movenet-{name}.onnx", sorted(PICTURES.glob("*.jpg"))[:1]
    if not path.is_file() or not picture:
        pytest.skip(f"no movenet-{name}.onnx or no photograph beside the repository")
    import cv2

    net = read_movenet(path)
    side = net.image_hw[0]
    pixels = cv2.cvtColor(cv2.resize(cv2.imread(str(picture[0])), (side, side)), cv2.COLOR_BGR2RGB)[None]
    model = onnx.load(str(path))
    wanted = {
        "regression": [n for n in model.graph.node if "kpt_regress" in n.name and n.op_type == "Conv"][-1],
        "offsets": [n for n in model.graph.node if "kpt_offset" in n.name and n.op_type == "Conv"][-1],
        "heatmaps": next(n for n in model.graph.node if n.op_type == "Sigmoid"),
        "centre": [n for n in model.graph.node if n.op_type == "Sigmoid"][1],
    }
    for node in wanted.values():
        model.graph.output.append(onnx.helper.make_tensor_value_info(node.output[0], onnx.TensorProto.FLOAT, None))
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    answers = session.run(None, {"input:0": pixels.astype(np.int32)})
    with torch.no_grad():
        maps = net(normalised(torch.from_numpy(pixels)))
    for head, answer in zip(wanted, answers[1:], strict=True):
        np.testing.assert_allclose(getattr(maps, head).numpy(), answer, atol=1e-3, err_msg=head)
    np.testing.assert_allclose(decode(maps)[0].numpy(), answers[0][0, 0], atol=1e-3)


def test_other_files_are_refused_in_one_line(tiny: tuple[Path, MoveNet], tmp_path: Path) -> None:
    path, _ = tiny
    with pytest.raises(CheckpointMismatch, match="no MoveNet singlepose: its first convolution has 8 channels"):
        read_movenet(path)
    with pytest.raises(CheckpointMismatch, match=r"convolution 0: expected weights \(16, 3, 3, 3\)"):
        read_movenet(path, MoveNet(0.5, (64, 64)))
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(CheckpointMismatch):
        read_movenet(broken)
    with pytest.raises(CheckpointMismatch, match="cannot be read"):
        read_movenet(tmp_path / "missing.onnx")
    other = onnx.helper.make_model(onnx.helper.make_graph([], "nothing", [], []))
    onnx.save(other, str(tmp_path / "other.onnx"))
    with pytest.raises(CheckpointMismatch, match="no MoveNet"):
        read_movenet(tmp_path / "other.onnx")


def test_keypoints_are_counted_from_the_crops_centre() -> None:
    """The first pixel's middle is at its corner plus half a pixel: MoveNet's 0.5 is our -0.5 px."""
    middle = in_crop_heights(torch.tensor([[[0.5, 0.5, 1.0]]]), (192, 192))
    torch.testing.assert_close(middle, torch.tensor([[[-0.5 / 192, -0.5 / 192, 1.0]]]))
    corner = in_crop_heights(torch.tensor([[[1.0, 0.0, 0.3]]]), (192, 192))
    torch.testing.assert_close(corner, torch.tensor([[[-0.5 - 0.5 / 192, 0.5 - 0.5 / 192, 0.3]]]))
