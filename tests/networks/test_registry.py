"""Every registered family at tiny widths: it runs, learns, treats batch items alike, and exports."""

from __future__ import annotations

import pytest
import torch

from bodycast.hmr.networks.hmr_net import ExportedHmr, HmrNet, with_merging
from bodycast.hmr.networks.merging.error_constrained_layer_merging import LayerMergeRecipe
from bodycast.hmr.networks.registry import build, example_inputs, find, registry
from tests.networks.network_checks import check_batch_independent, check_every_parameter_learns, outputs_of, shake
from tests.networks.onnx_helpers import build_with_tensorrt_rtx, export_and_compare
from tests.networks.registry_cases import IMAGE_HW, TINY, architecture, tiny

OUTPUTS = ("pose", "betas", "camera", "score", "token")
# A single query that starts at zero does not use the weight of its embedding (HMR2.0 as released).
ZERO_QUERY = "smpl_head.transformer.to_token_embedding.weight"


@pytest.mark.parametrize("family", ["swin", "gmf", "vmamba"])
@pytest.mark.parametrize("size", "tsb")
@pytest.mark.parametrize("cut", [2, 3, 4])
def test_each_truncated_model_sees_the_grid_of_its_cut(family, size, cut):
    """Tarashima et al.: 27 encoders; a cut after stage 2, 3 or 4 leaves maps of stride 8, 16 or 32 at 256x192."""
    name = f"{family}-{size}-s{cut}"
    with torch.device("meta"):
        body, pose = build(name).eval(), build(f"pose-{name}").eval()
        images = torch.zeros(1, 3, 256, 192)
        assert body.context(images).shape[-2:] == (256 // 2 ** (cut + 1), 192 // 2 ** (cut + 1))
        assert body(images).rotmat.shape == (1, 24, 3, 3)
        assert pose(images).shape == (1, 17, 64, 48)


def test_every_architecture_that_is_registered_has_a_tiny_network_here():
    assert {architecture(spec) for spec in registry().values()} == {architecture(find(name)) for name in TINY}


def test_a_wrong_name_lists_near_ones_and_a_wrong_argument_the_right_ones():
    with pytest.raises(KeyError, match=r"no network 'swin-t-2'; near names: .*swin-t-s2"):
        build("swin-t-2")
    with pytest.raises(TypeError, match=r"swin-t-s2 takes no depth; it takes family, size, stages"):
        build("swin-t-s2", depth=3)
    with pytest.raises(TypeError, match="ViTSize is no size of the family 'swin'"):
        build("swin-t-s2", size=TINY["hmr2-s"]["size"])


@pytest.mark.parametrize("name", TINY)
def test_runs_learns_and_treats_batch_items_alike(name):
    net = shake(tiny(name))
    inputs = example_inputs(net, batch=5)
    without = [n for n, _ in net.named_parameters() if n == ZERO_QUERY and not getattr(net, "takes_box_info", False)]
    check_batch_independent(net, inputs, tolerance=2e-5)
    check_every_parameter_learns(net, inputs, without)


@pytest.mark.parametrize("name", [n for n in TINY if find(n).kind == "hmr"])
def test_outputs_are_bodies(name):
    net = tiny(name).eval()
    with torch.no_grad():
        out = net(*example_inputs(net, batch=2))
    assert out.rotmat.shape == (2, 24, 3, 3) and out.betas.shape == (2, 10) and out.camera.shape == (2, 3)
    torch.testing.assert_close(
        out.rotmat @ out.rotmat.transpose(-1, -2), torch.eye(3).expand(2, 24, 3, 3), atol=1e-5, rtol=0
    )


# The others export through the same calls as these; their own parts are exported in their own tests.
EXPORTED_QUICKLY = ("swin-t-s2", "cliff-r50")


@pytest.mark.trt
@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=() if n in EXPORTED_QUICKLY else pytest.mark.slow) for n in TINY if find(n).kind == "hmr"],
)
def test_exported_graph_takes_uint8_crops(tmp_path, name):
    exported = ExportedHmr(shake(tiny(name), 0.05))
    inputs = [torch.randint(0, 256, (3, *IMAGE_HW, 3), dtype=torch.uint8)]
    if exported.net.takes_box_info:
        inputs.append(torch.randn(3, 3))
    assert exported.output_names == OUTPUTS and len(exported.input_names) == len(inputs)
    build_with_tensorrt_rtx(export_and_compare(exported, inputs, OUTPUTS, tmp_path))


@pytest.mark.slow
@pytest.mark.trt
@pytest.mark.parametrize("name", [n for n in TINY if find(n).kind != "hmr"])
def test_exported_graphs_of_pose_and_motion_networks(tmp_path, name):
    # Corrections of the smoother that are as large as this may turn an axis over, where rounding grows without limit.
    net = shake(tiny(name), 0.005 if name == "window-smoother" else 0.05)
    inputs = example_inputs(net, batch=3)
    outputs = [f"output{i}" for i in range(len(outputs_of(net, inputs)))]
    build_with_tensorrt_rtx(export_and_compare(net, inputs, outputs, tmp_path))


@pytest.mark.trt
def test_exported_graph_with_a_person_mask(tmp_path):
    exported = ExportedHmr(shake(tiny("hmr2-s-fast"), 0.05), with_mask=True)
    assert exported.input_names == ("crops", "masks")
    crops = torch.randint(0, 256, (3, *IMAGE_HW, 3), dtype=torch.uint8)
    masks = torch.zeros(3, *IMAGE_HW, dtype=torch.uint8)
    masks[:, 20:50, 10:30] = 255
    with torch.no_grad():
        assert not torch.equal(exported(crops, masks)[0], exported(crops, 255 - masks)[0])
    build_with_tensorrt_rtx(export_and_compare(exported, [crops, masks], OUTPUTS, tmp_path))


def test_normalisation_is_inside_the_exported_graph():
    net = tiny("swin-t-s2").eval()
    crops = torch.randint(0, 256, (2, *IMAGE_HW, 3), dtype=torch.uint8)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    images = ((crops / 255.0 - mean) / std).permute(0, 3, 1, 2)
    with torch.no_grad():
        pose, *_ = ExportedHmr(net)(crops)
        torch.testing.assert_close(pose, net(images).rotmat, atol=1e-5, rtol=0)
        # A network without a score readout is sure of everybody.
        _, _, _, score, _ = ExportedHmr(tiny("hmr2-s").eval())(crops)
        assert torch.equal(score, torch.ones(2))


def test_merging_a_trained_network_keeps_its_weights():
    net = shake(tiny("hmr2-s"))
    images = example_inputs(net)[0]
    recipe = LayerMergeRecipe(blocks=4, windows=((1, 2),), form="equation")
    fast = with_merging(net, recipe, schedule=(3, 2))
    assert isinstance(fast, HmrNet) and len(fast.encoder.blocks) == 3 and fast.takes_mask and not net.takes_mask
    with torch.no_grad():
        same = with_merging(net, schedule=(0, 0))
        torch.testing.assert_close(same(images).rotmat, net(images).rotmat, atol=1e-5, rtol=0)
        # The merged pair of blocks is the upper one: dropping the lower block by hand gives the same network.
        dropped = with_merging(net, recipe)
        vit = net.encoder
        x = vit.embed(images)
        for i in (0, 2, 3):
            x = vit.blocks[i](x)
        expected = net.smpl_head(vit.last_norm(x))
        torch.testing.assert_close(dropped(images).rotmat, expected.rotmat, atol=1e-5, rtol=0)
    with pytest.raises(ValueError, match="Swin needs its full grid"):
        with_merging(tiny("swin-t-s2"), schedule=(1,))
    with pytest.raises(ValueError, match="merges tokens already"):
        with_merging(fast, schedule=(1,))
    with pytest.raises(ValueError, match="pass no mask"):
        net(images, mask=torch.ones(1, *IMAGE_HW))


@pytest.mark.slow
@pytest.mark.trt
@pytest.mark.parametrize(
    ("name", "overrides"),
    [
        ("swin-t-s2", {}),
        ("gmf-t-s2", {}),
        ("vmamba-t-s2", {}),
        ("hmr2-s", {}),
        ("hmr2-s-fast", {}),
        ("deformable-x4", {"size": "s", "decoder": "light"}),
    ],
)
def test_full_size_exports(tmp_path, name, overrides):
    torch.manual_seed(0)
    exported = ExportedHmr(build(name, **overrides))
    crops = torch.randint(0, 256, (3, 256, 192, 3), dtype=torch.uint8)
    build_with_tensorrt_rtx(export_and_compare(exported, [crops], OUTPUTS, tmp_path))
