"""The SMPL transformer decoder: sizes, names, queries, position code, export."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from bodycast.hmr.networks.decoders.smpl_transformer import (
    SmplTransformerDecoder,
    camera_box_information,
    sincos_position,
)
from tests.networks.network_checks import check_batch_independent, check_every_parameter_learns, shake
from tests.networks.onnx_helpers import build_with_tensorrt_rtx, export_and_compare

TINY = {"width": 24, "depth": 2, "heads": 2, "head_width": 6, "mlp_width": 20}
OUTPUTS = ["pose6d", "rotmat", "betas", "camera", "token", "score"]


def tiny(**changes: object) -> SmplTransformerDecoder:
    torch.manual_seed(0)
    return shake(SmplTransformerDecoder(16, **(TINY | {"score": True} | changes)))


@pytest.mark.parametrize(("preset", "channels", "millions"), [("d3-a4x16-m128", 384, 2.31), ("hmr2", 1280, 39.55)])
def test_published_sizes(preset: str, channels: int, millions: float) -> None:
    with torch.device("meta"):
        decoder = SmplTransformerDecoder.from_preset(preset, channels)
    assert sum(p.numel() for p in decoder.parameters()) / 1e6 == pytest.approx(millions, abs=0.01)


def test_dense_baseline_explains_the_papers_count() -> None:
    with torch.device("meta"):
        decoder = SmplTransformerDecoder.from_preset("dense26", 1280)
    total = 630.9 + sum(p.numel() for p in decoder.parameters()) / 1e6  # with ViT-H; the paper prints 725 M
    assert total == pytest.approx(725, abs=1)


def test_official_names() -> None:
    keys = set(SmplTransformerDecoder(16, **TINY).state_dict())
    for key in (
        "init_body_pose",
        "transformer.pos_embedding",
        "transformer.to_token_embedding.weight",
        "transformer.transformer.layers.1.0.norm.weight",
        "transformer.transformer.layers.0.0.fn.to_qkv.weight",
        "transformer.transformer.layers.0.1.fn.to_kv.weight",
        "transformer.transformer.layers.0.1.fn.to_out.0.bias",
        "transformer.transformer.layers.0.2.fn.net.3.weight",
        "decpose.weight",
        "deccam.bias",
    ):
        assert key in keys
    assert "decscore.weight" not in keys


def test_starts_at_the_mean_person() -> None:
    torch.manual_seed(0)
    out = SmplTransformerDecoder(16, **TINY).eval()(torch.randn(2, 16, 4, 3))
    identity = torch.eye(3).expand(2, 24, -1, -1)
    torch.testing.assert_close(out.rotmat, identity, rtol=0, atol=0.2)
    assert out.score is None
    assert [tuple(t.shape) for t in out[:5]] == [(2, 24, 6), (2, 24, 3, 3), (2, 10), (2, 3), (2, 24)]


@pytest.mark.parametrize("queries", [1, 26])
@pytest.mark.parametrize("query_input", ["zero", "box_mean"])
def test_batch_and_gradients(queries: int, query_input: str) -> None:
    decoder = tiny(queries=queries, query_input=query_input)
    inputs = [torch.randn(5, 16, 4, 3)]
    if query_input == "box_mean":
        inputs.append(torch.randn(5, 3))
    check_batch_independent(decoder, inputs)
    # HMR2.0 feeds a zero through the query embedding: of that layer only the bias counts.
    check_every_parameter_learns(
        decoder, inputs, ["transformer.to_token_embedding.weight"] if query_input == "zero" else []
    )


def test_box_information_matters() -> None:
    decoder = tiny(query_input="box_mean")
    context = torch.randn(1, 7, 16)
    first, second = decoder(context, torch.zeros(1, 3)), decoder(context, torch.ones(1, 3))
    assert (first.pose6d - second.pose6d).abs().max() > 1e-3


def test_camera_box_information() -> None:
    info = camera_box_information(
        torch.tensor([[420.0, 200.0]]), torch.tensor([400.0]), torch.tensor([[640.0, 480.0]]), torch.tensor([800.0])
    )
    torch.testing.assert_close(info, torch.tensor([[0.125, -0.05, 0.5]]))


def test_the_26_queries_attend_to_each_other() -> None:
    decoder = tiny(queries=26)
    context = torch.randn(1, 7, 16)
    before = decoder(context)
    with torch.no_grad():
        decoder.transformer.pos_embedding[0, 25] += torch.randn(24)  # the camera's query
    after = decoder(context)
    assert (before.pose6d - after.pose6d).abs().max() > 1e-4


def test_map_and_row_major_tokens_are_the_same_context() -> None:
    decoder = tiny()
    feature_map = torch.randn(2, 16, 4, 3)
    torch.testing.assert_close(decoder(feature_map), decoder(feature_map.flatten(2).mT))


def test_without_position_a_single_query_cannot_see_order_and_with_it_can() -> None:
    feature_map = torch.randn(1, 16, 4, 3)
    mirrored = feature_map.flip(-1)
    blind, seeing = tiny(), tiny(context_position="sincos")
    torch.testing.assert_close(blind(feature_map).token, blind(mirrored).token, rtol=0, atol=1e-5)
    assert (seeing(feature_map).token - seeing(mirrored).token).abs().max() > 1e-3


def test_position_code_tells_every_cell_apart() -> None:
    code = sincos_position(16, 12, 32, torch.zeros(1))
    distance = torch.cdist(code, code) + 10 * torch.eye(16 * 12)
    assert distance.min() > 0.05


@pytest.mark.parametrize(
    ("changes", "text"),
    [({"queries": 25}, "1 or 26"), ({"query_input": "box"}, "box_mean"), ({"context_position": "xy"}, "sincos")],
)
def test_wrong_arguments_are_refused(changes: dict[str, object], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        tiny(**changes)


def test_wrong_inputs_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(B, 16, H, W\)"):
        tiny()(torch.zeros(1, 8, 4, 3))
    with pytest.raises(ValueError, match="no grid"):
        tiny(context_position="sincos")(torch.zeros(1, 5, 16))
    with pytest.raises(ValueError, match="box_info"):
        tiny(query_input="box_mean")(torch.zeros(1, 5, 16))
    with pytest.raises(KeyError, match="hmr2"):
        SmplTransformerDecoder.from_preset("big", 16)


@pytest.mark.trt
@pytest.mark.parametrize(
    "changes",
    [{"context_position": "sincos"}, {"queries": 26, "query_input": "box_mean"}],
    ids=["one-query", "26-queries"],
)
def test_exports(changes: dict[str, object], tmp_path: Path) -> None:
    inputs = [torch.randn(3, 16, 4, 3)]
    if "query_input" in changes:
        inputs.append(torch.randn(3, 3))
    path = export_and_compare(tiny(**changes), inputs, OUTPUTS, tmp_path)
    build_with_tensorrt_rtx(path)
