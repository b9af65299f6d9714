"""Checkpoints in the published layouts: loaded to the last tensor, refused by name where anything is off."""

from __future__ import annotations

import re
import sys
import types
from collections import OrderedDict
from pathlib import Path

import pytest
import torch

from bodycast.hmr.checkpoints import CheckpointMismatch, UnsafeCheckpoint, load_checkpoint, read_state
from bodycast.hmr.networks.merging.error_constrained_layer_merging import LayerMergeRecipe
from bodycast.hmr.networks.registry import build, example_inputs
from tests.networks.network_checks import shake
from tests.networks.registry_cases import GMF, SWIN, VMAMBA, tiny

DISCRIMINATOR = {"discriminator.D_conv1.weight": torch.zeros(2, 2), "initialized": torch.tensor(True)}
BODY = {"smpl.v_template": torch.zeros(10, 3), "smpl.faces_tensor": torch.zeros(4, 3, dtype=torch.int64)}


def hmr2_file(path: Path, net, **extra) -> Path:
    """A Lightning checkpoint as 4D-Humans writes it: weights, body model, discriminator, bookkeeping."""
    content = {"epoch": 35, "global_step": 1000000, "pytorch-lightning_version": "1.8.1", "optimizer_states": []}
    torch.save(content | {"state_dict": net.state_dict() | BODY | DISCRIMINATOR, **extra}, path)
    return path


def same_outputs(first, second) -> bool:
    inputs = example_inputs(first)
    with torch.no_grad():
        a, b = first.eval()(*inputs), second.eval()(*inputs)
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True) if x is not None)


@pytest.mark.parametrize(("name", "layout"), [("hmr2-s", "hmr2"), ("camerahmr-h", "camerahmr")])
def test_hmr2_and_camerahmr_load_with_their_mean_parameters(tmp_path, name, layout):
    source = shake(tiny(name))
    for buffer in ("init_body_pose", "init_betas", "init_cam"):
        getattr(source.smpl_head, buffer).add_(0.3)
    path = hmr2_file(tmp_path / "last.ckpt", source)
    net = tiny(name)
    report = load_checkpoint(net, path, layout)
    assert same_outputs(net, source)
    assert torch.equal(net.smpl_head.init_body_pose, source.smpl_head.init_body_pose)
    assert report.loaded == len(net.state_dict()) and report.kept == ()
    assert set(report.ignored) == set(BODY) | set(DISCRIMINATOR)
    assert "2 body model, read from its own file, 2 training only" in report.summary()


def test_camerahmrs_lens_network_loads_and_leaves_out_what_it_does_not_use(tmp_path):
    source = shake(tiny("camerahmr-fov"))
    unused = {"fc2.weight": torch.zeros(2, 2), "backbone.final_layer.weight": torch.zeros(3, 3)}
    path = tmp_path / "cam_model_cleaned.ckpt"
    torch.save({"state_dict": source.state_dict() | unused}, path)
    net = tiny("camerahmr-fov")
    report = load_checkpoint(net, path, "camerahmr-fov")
    assert report.loaded == len(net.state_dict()) and report.kept == ()
    assert set(report.ignored) == set(unused)
    assert all(torch.equal(net.state_dict()[key], value) for key, value in source.state_dict().items())


def test_a_score_readout_of_ours_keeps_its_start(tmp_path):
    path = hmr2_file(tmp_path / "last.ckpt", shake(tiny("hmr2-s")))
    net = build_tiny("hmr2-s", score=True)
    report = load_checkpoint(net, path, "hmr2")
    assert report.kept == ("smpl_head.decscore.weight", "smpl_head.decscore.bias")
    assert "not in the checkpoint: smpl_head.decscore.weight" in report.summary()


def build_tiny(name: str, **changes):
    from tests.networks.registry_cases import IMAGE_HW, TINY

    return build(name, image_hw=IMAGE_HW, **(TINY[name] | changes))


def test_a_merged_network_loads_through_its_recipe(tmp_path):
    source = shake(tiny("hmr2-s"))
    path = hmr2_file(tmp_path / "last.ckpt", source)
    net = build_tiny("hmr2-s-fast", score=False)
    recipe = LayerMergeRecipe(blocks=4, windows=((1, 2),))
    load_checkpoint(net, path, "hmr2", recipe)
    # Merging a pair keeps its upper block.
    assert torch.equal(net.encoder.blocks[1].mlp.fc1.weight, source.encoder.blocks[2].mlp.fc1.weight)
    with pytest.raises(CheckpointMismatch, match=r"12 unexpected: backbone\.blocks\.3\.norm1\.weight"):
        load_checkpoint(net, path, "hmr2")


def test_everything_that_is_off_is_listed_and_nothing_is_written(tmp_path):
    source = shake(tiny("hmr2-s"))
    state = dict(source.state_dict()) | BODY
    del state["smpl_head.init_cam"]
    state["backbone.extra.weight"] = torch.zeros(3)
    state["smpl_head.decpose.weight"] = torch.zeros(144, 5)
    net = tiny("hmr2-s")
    before = {key: value.clone() for key, value in net.state_dict().items()}
    with pytest.raises(CheckpointMismatch) as caught:
        load_checkpoint(net, state, "hmr2")
    text = str(caught.value)
    assert "1 missing: smpl_head.init_cam" in text and "1 unexpected: backbone.extra.weight" in text
    assert "smpl_head.decpose.weight (144, 5) instead of (144, 16)" in text
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    with pytest.raises(KeyError, match="no checkpoint layout 'hmr'; there are hmr2"):
        load_checkpoint(net, state, "hmr")


def test_deformable_networks_take_the_frozen_encoder_alone():
    source, net = shake(tiny("hmr2-s")), tiny("deformable-x4")
    report = load_checkpoint(net, dict(source.state_dict()) | BODY, "hmr2-encoder")
    assert torch.equal(net.encoder.blocks[3].attn.qkv.weight, source.encoder.blocks[3].attn.qkv.weight)
    assert report.ignored["backbone.last_norm.weight"] == "norm behind the last tap"


def test_vitpose_fills_a_pose_network_or_an_encoder(tmp_path):
    source = shake(tiny("pose-vit-s"))
    state = dict(source.state_dict()) | {"associate_keypoint_heads.0.final_layer.bias": torch.zeros(3)}
    torch.save({"meta": {"epoch": 210, "time": "now"}, "state_dict": state}, tmp_path / "vitpose.pth")
    pose, body = tiny("pose-vit-s"), tiny("hmr2-s")
    load_checkpoint(pose, tmp_path / "vitpose.pth", "vitpose")
    images = example_inputs(pose)[0]
    with torch.no_grad():
        assert torch.equal(pose.eval()(images), source(images))
    report = load_checkpoint(body, tmp_path / "vitpose.pth", "vitpose-encoder")
    assert torch.equal(body.encoder.pos_embed, source.backbone.pos_embed)
    assert "pose head" in report.ignored.values() and report.loaded == len(body.encoder.state_dict())


def official(family: str, encoder) -> dict[str, torch.Tensor]:
    """The state dict of one of our four-stage encoders under the official names, with all that rides along."""
    state: dict[str, torch.Tensor] = {}
    for key, value in encoder.state_dict().items():
        if family in ("swin", "swin-timm"):
            key = key.replace("norms.3.", "norm.")
            if family == "swin":
                key = re.sub(r"^layers\.(\d)\.downsample", lambda m: f"layers.{int(m[1]) - 1}.downsample", key)
        elif family == "vmamba":
            key = re.sub(r"^stages\.(\d)\.(\d)\.", r"layers.\1.blocks.\2.", key)
            key = re.sub(r"^downsamples\.(\d)\.conv", r"layers.\1.downsample.1", key)
            key = re.sub(r"^downsamples\.(\d)\.norm", r"layers.\1.downsample.3", key)
            key = re.sub(r"^norms\.3\.", "classifier.norm.", key)
            for theirs, ours in (("0", "conv1"), ("2", "norm1"), ("5", "conv2"), ("7", "norm2")):
                key = key.replace(f"patch_embed.{ours}.", f"patch_embed.{theirs}.")
        else:
            key = key.replace("norms.3.", "norm4.")
        state[key] = value.clone()
    head = {"swin": "head.weight", "swin-timm": "head.fc.weight", "vmamba": "classifier.head.weight"}
    state[head.get(family, "head.weight")] = torch.zeros(1000, 4)
    if family == "swin":
        for block in (0, 1):
            state[f"layers.0.blocks.{block}.attn.relative_position_index"] = torch.zeros(49, 49, dtype=torch.int64)
        state["layers.0.blocks.1.attn_mask"] = torch.zeros(64, 49, 49)
    return state


ENCODERS = {
    "swin": ("swin", SWIN),
    "swin-timm": ("swin", SWIN),
    "gmf": ("gmf", GMF),
    "vmamba": ("vmamba", VMAMBA),
}
CONTAINER = {"swin": "model", "swin-timm": None, "gmf": "state_dict", "vmamba": "model"}


@pytest.mark.parametrize("stages", [2, 3, 4])
@pytest.mark.parametrize("layout", ENCODERS)
def test_hierarchical_encoders_load_up_to_their_cut(tmp_path, layout, stages):
    family, size = ENCODERS[layout]
    # 224-px weights: every window 7x7, every bias table whole.
    source = shake(build(f"{family}-t-s4", size=size, image_hw=(224, 224)).backbone)
    state = official(layout, source)
    container = CONTAINER[layout]
    torch.save({container: state} if container else state, tmp_path / "weights.pth")
    net = build(f"{family}-t-s{stages}", size=size, image_hw=(256, 192))
    report = load_checkpoint(net, tmp_path / "weights.pth", layout)
    norms = {f"norms.{stages - 1}.weight", f"norms.{stages - 1}.bias"}
    assert set(report.kept) == (set() if stages == 4 and family == "swin" else norms)
    ours, theirs = net.backbone.state_dict(), source.state_dict()
    for key, value in ours.items():
        if key in report.kept:
            continue
        if value.shape != theirs[key].shape:
            # The 8x6 grid of stage 4 shrinks the window to 7x6; the table keeps the offsets that are left.
            assert stages == 4 and value.shape[0] == 143 and theirs[key].shape[0] == 169
            square = theirs[key].reshape(13, 13, -1)[:, 1:12].flatten(0, 1)
            assert torch.equal(value, square)
        else:
            assert torch.equal(value, theirs[key]), key
    cut = [key for key, reason in report.ignored.items() if "behind the cut" in reason]
    assert bool(cut) == (stages < 4)
    del state[next(iter(state))]
    state["layers.0.blocks.0.unknown"] = torch.zeros(1)
    with pytest.raises(CheckpointMismatch, match=r"1 missing: .*; 1 unexpected: layers\.0\.blocks\.0\.unknown"):
        load_checkpoint(net, state, layout)


@pytest.mark.parametrize(
    ("golden", "layout"),
    [("swin_official", "swin"), ("swin_timm", "swin-timm"), ("groupmixformer", "gmf"), ("vmamba", "vmamba")],
)
def test_official_names_are_all_known(request, goldens_dir: Path, golden, layout):
    """Not one key of the official networks is unexpected: every one has a home or a reason to have none."""
    from bodycast.hmr.checkpoints import LAYOUTS
    from evaluation.goldens.record import Golden

    path = goldens_dir / f"{golden}.npz"
    if not path.is_file():  # one of the whole files, which are not in the repository
        path = request.getfixturevalue("shared_dir") / "goldens" / path.name
    record = Golden.load(path)
    family, size = ENCODERS[layout]
    net = build(f"{family}-t-s4", size=size).backbone
    ours = LAYOUTS[layout].rename(record.state_tensors(), net)
    homeless = [k for k, v in record.state_tensors().items() if LAYOUTS[layout].ignores(k, net) is None]
    # As many keys as have no excuse reach a home, blocks that the tiny network does not have aside.
    beyond = [k for k in homeless if re.search(r"\.blocks\.[1-9]\.|gma_stage\.[1-9]\.", k)]
    assert len(ours) >= len(homeless) - len(beyond)


def test_timms_own_files_load_and_give_timms_values(tmp_path):
    """A classifier as timm saves it: 224 px, `layers.N`, `head.fc`."""
    timm = pytest.importorskip("timm")
    theirs = timm.create_model(
        "swin_tiny_patch4_window7_224", embed_dim=8, depths=SWIN.depths, num_heads=SWIN.heads, num_classes=5
    )
    shake(theirs)
    torch.save(theirs.state_dict(), tmp_path / "timm.pth")
    ours = build("swin-t-s4", size=SWIN, image_hw=(224, 224))
    report = load_checkpoint(ours, tmp_path / "timm.pth", "swin-timm")
    assert report.kept == () and set(report.ignored.values()) == {"classifier"}
    images = torch.randn(2, 3, 224, 224)
    with torch.no_grad():
        expected = theirs.forward_features(images).permute(0, 3, 1, 2)
        torch.testing.assert_close(ours.encoder.eval()(images)[-1], expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("stages", [2, 3, 4])
def test_torchvisions_own_files_load_up_to_the_cut(tmp_path, stages):
    """torchvision's classifier at 224 px, where its windows are ours: odd features are stages, even ones mergings."""
    torchvision = pytest.importorskip("torchvision")
    depths, heads = list(SWIN.depths), list(SWIN.heads)
    theirs = torchvision.models.swin_transformer.SwinTransformer([4, 4], 8, depths, heads, [7, 7], num_classes=5)
    shake(theirs)
    torch.save(theirs.state_dict(), tmp_path / "torchvision.pth")
    ours = build(f"swin-t-s{stages}", size=SWIN, image_hw=(224, 224))
    report = load_checkpoint(ours, tmp_path / "torchvision.pth", "swin-torchvision")
    assert ("behind the cut" in report.ignored.values()) == (stages < 4)
    images = torch.randn(2, 3, 224, 224)
    with torch.no_grad():
        expected = theirs.features[: 2 * stages](images).permute(0, 3, 1, 2)
        torch.testing.assert_close(ours.encoder.eval().forward_raw(images)[-1], expected, atol=1e-5, rtol=0)
    state = theirs.state_dict()
    state["features.1.9.norm1.weight"] = state.pop("features.1.0.norm1.weight")
    with pytest.raises(CheckpointMismatch, match=r"1 missing: .*; 1 unexpected: features\.1\.9\.norm1\.weight"):
        load_checkpoint(ours, state, "swin-torchvision")


def test_vmamba_projections_may_be_stored_as_convolutions():
    source = shake(build("vmamba-t-s4", size=VMAMBA, image_hw=(224, 224)).backbone)
    state = official("vmamba", source)
    convolutions = [key for key in state if re.search(r"(in_proj|out_proj|fc1|fc2)\.weight$", key)]
    for key in convolutions:
        state[key] = state[key][:, :, None, None]
    net = build("vmamba-t-s2", size=VMAMBA)
    load_checkpoint(net, state, "vmamba")
    assert convolutions and torch.equal(
        net.encoder.stages[1][0].op.in_proj.weight, source.stages[1][0].op.in_proj.weight
    )


def test_camerahmrs_readout_of_keypoints_and_further_networks_are_left_out():
    source = shake(tiny("camerahmr-h"))
    extra = {
        "smpl_head.deckp.weight": torch.zeros(88, 16),
        "smpl_head.deckp.bias": torch.zeros(88),
        "cam_model.backbone.conv1.weight": torch.zeros(2),
        "smpl_gt.v_template": torch.zeros(3),
    }
    report = load_checkpoint(tiny("camerahmr-h"), dict(source.state_dict()) | extra, "camerahmr")
    assert set(report.ignored) == set(extra)
    with pytest.raises(CheckpointMismatch, match=r"1 unexpected: fov\.weight"):
        load_checkpoint(tiny("camerahmr-h"), dict(source.state_dict()) | {"fov.weight": torch.zeros(1)}, "camerahmr")


# Layouts whose files are loaded in this module, each as its authors write it.
TRIED = {
    *ENCODERS, "hmr2", "hmr2-encoder", "camerahmr", "camerahmr-fov", "vitpose", "vitpose-encoder", "swin-torchvision",
}  # fmt: skip


def test_every_layout_is_tried_here():
    from bodycast.hmr.checkpoints import LAYOUTS

    assert set(LAYOUTS) == TRIED


@pytest.mark.parametrize(
    ("name", "layout"), [("hmr2-s", "hmr2"), ("pose-vit-s", "vitpose"), ("camerahmr-h", "camerahmr")]
)
def test_a_wrong_shape_is_listed_with_both_shapes(name, layout):
    state = dict(tiny(name).state_dict())
    key = "backbone.blocks.0.mlp.fc1.weight"
    shape = tuple(state[key].shape)
    state[key] = torch.zeros(3, 5)
    with pytest.raises(CheckpointMismatch, match=re.escape(f"1 of another shape: {key} (3, 5) instead of {shape}")):
        load_checkpoint(tiny(name), state, layout)


class Evil:
    """Runs a command when unpickled the usual way."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return (Path.touch, (self.marker,))


def test_a_malicious_pickle_is_refused_and_not_run(tmp_path):
    marker = tmp_path / "marker"
    net = tiny("hmr2-s")
    path = hmr2_file(tmp_path / "evil.ckpt", net, hyper_parameters=Evil(marker))
    with pytest.raises(UnsafeCheckpoint, match=r"evil\.ckpt is not read: it holds more than tensors .*\(getattr\)"):
        load_checkpoint(net, path, "hmr2")
    assert not marker.exists()
    torch.load(path, weights_only=False)
    assert marker.exists(), "the file was not malicious: the test proves nothing"


def test_configuration_objects_of_hmr2_are_read_as_plain_data(tmp_path, monkeypatch):
    yacs, config = types.ModuleType("yacs"), types.ModuleType("yacs.config")
    node = type("CfgNode", (dict,), {"__module__": "yacs.config"})
    config.CfgNode = node
    monkeypatch.setitem(sys.modules, "yacs", yacs)
    monkeypatch.setitem(sys.modules, "yacs.config", config)
    settings = node(MODEL=node(IMAGE_SIZE=256))
    settings.__dict__["__immutable__"] = True
    source = shake(tiny("hmr2-s"))
    path = hmr2_file(tmp_path / "last.ckpt", source, hyper_parameters={"cfg": settings})
    monkeypatch.delitem(sys.modules, "yacs.config")
    monkeypatch.delitem(sys.modules, "yacs")
    net = tiny("hmr2-s")
    load_checkpoint(net, path, "hmr2")
    assert same_outputs(net, source) and "yacs" not in sys.modules


def test_files_that_are_no_checkpoints(tmp_path):
    with pytest.raises(FileNotFoundError, match="no checkpoint at"):
        read_state(tmp_path / "none.ckpt")
    (tmp_path / "text.ckpt").write_text("hello")
    with pytest.raises(UnsafeCheckpoint, match=r"text\.ckpt is not read"):
        read_state(tmp_path / "text.ckpt")
    torch.save({"epoch": 3, "loss": 0.1}, tmp_path / "numbers.pt")
    with pytest.raises(UnsafeCheckpoint, match="epoch, loss are no tensors"):
        read_state(tmp_path / "numbers.pt")
    torch.save([torch.zeros(2)], tmp_path / "list.pt")
    with pytest.raises(UnsafeCheckpoint, match="no table of tensors"):
        read_state(tmp_path / "list.pt")


def test_containers_and_prefixes_are_opened(tmp_path):
    state = OrderedDict({"module.a": torch.ones(2), "module.b": torch.zeros(1)})
    torch.save({"model": state, "epoch": 1}, tmp_path / "dp.pth")
    assert set(read_state(tmp_path / "dp.pth")) == {"a", "b"}
    safetensors = pytest.importorskip("safetensors.torch")
    safetensors.save_file({"a": torch.ones(2)}, tmp_path / "a.safetensors")
    assert torch.equal(read_state(tmp_path / "a.safetensors")["a"], torch.ones(2))
