"""What can be exported: names, our checkpoints, published ones, merged networks; every kind through one door."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from bodycast.engines.package import load_package
from bodycast.export import __main__ as export_main
from bodycast.export.errors import WorkError
from bodycast.export.source import UNTRAINED, open_source, read_arguments, read_recipe, read_schedule
from bodycast.hmr.networks.encoders.vit import ViTSize
from bodycast.hmr.networks.merging.error_constrained_layer_merging import LayerMergeRecipe
from bodycast.hmr.networks.registry import build
from tests.networks.registry_cases import DECODER, IMAGE_HW, TINY, VIT

SMALL = {"image_hw": IMAGE_HW, **TINY["hmr2-s"]}


def test_a_name_has_random_weights_and_says_so() -> None:
    first, second = (open_source("hmr2-s", arguments=SMALL) for _ in range(2))
    assert first.training == UNTRAINED and first.orientation_frame == "crop-ray"
    pairs = zip(first.net.parameters(), second.net.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_a_published_checkpoint_fills_the_model(tmp_path: Path) -> None:
    net = build("hmr2-s", **SMALL)
    torch.save({"state_dict": net.state_dict()}, tmp_path / "official.ckpt")
    source = open_source(str(tmp_path / "official.ckpt"), model="hmr2-s", arguments=SMALL)
    assert (source.orientation_frame, source.body) == ("camera", "smpl-neutral")
    assert "official.ckpt (4D-Humans" in source.training and "4D-Humans" in source.licence
    assert torch.equal(source.net.state_dict()["backbone.pos_embed"], net.state_dict()["backbone.pos_embed"])
    with pytest.raises(ValueError, match="no checkpoint layout"):
        open_source(str(tmp_path / "official.ckpt"), model="hmr2-s", layout="hmr9", arguments=SMALL)
    with pytest.raises(ValueError, match="--layout is needed for swin-t-s2"):
        open_source(str(tmp_path / "official.ckpt"), model="swin-t-s2")


def test_layers_and_tokens_are_merged_here(tmp_path: Path) -> None:
    recipe = LayerMergeRecipe(blocks=VIT.depth, windows=((1, 2),))
    (tmp_path / "recipe.json").write_text(json.dumps(recipe.to_json()))
    source = open_source(
        "hmr2-s", arguments=SMALL, recipe=read_recipe(tmp_path / "recipe.json"), schedule=read_schedule("3,2")
    )
    assert len(source.net.encoder.blocks) == VIT.depth - 1 and source.net.takes_mask
    assert source.arguments["blocks"] == VIT.depth - 1 and source.arguments["schedule"] == (3, 2)
    assert source.recipe == recipe
    (tmp_path / "other.json").write_text('{"blocks": 3}')
    with pytest.raises(ValueError, match="no layer-merging recipe"):
        read_recipe(tmp_path / "other.json")
    with pytest.raises(ValueError, match="the recipe is for"):
        open_source("hmr2-s", arguments=SMALL | {"size": ViTSize(16, 5, 2, 0.0)}, recipe=recipe)
    with pytest.raises(ValueError, match="is none"):
        open_source("motion-vae", arguments={"dim": 16, "heads": 2, "ff_width": 8}, recipe=recipe)


def test_wrong_names_and_settings_have_one_line() -> None:
    for given, message in (("swin-q-s2", "no network 'swin-q-s2'"), ("gone.pt", "no checkpoint gone.pt")):
        with pytest.raises(ValueError, match=message):
            open_source(given)
    with pytest.raises(ValueError, match="takes no wings"):
        open_source("hmr2-s", arguments={"wings": 2})
    assert read_arguments(["image_hw=[64,48]", "head=simple"]) == {"image_hw": (64, 48), "head": "simple"}
    with pytest.raises(ValueError, match="KEY=VALUE"):
        read_arguments(["image_hw"])
    with pytest.raises(ValueError, match="a schedule is"):
        read_schedule("many")


DECODER_TEXT = f"decoder={json.dumps(DECODER)}"
MOTION = ["dim=16", "heads=2", "ff_width=8", "latents=4"]
COMMANDS = {
    "smoother": ["motion-vae", "--frames", "6", "--set", *MOTION, "encoder_layers=3", "decoder_layers=3"],
    "diffusion": [
        *("diffusion-decoder", "--set", *MOTION, "frames=6", "condition_width=8"),
        *("denoiser_layers=3", "vae_encoder_layers=3", "vae_decoder_layers=3"),
    ],
    "pose": ["pose-swin-t-s2", "--set", "image_hw=[64,48]", "keypoints=3"],
    "hmr": ["swin-t-s2", "--store", "fp16", "--set", "image_hw=[64,48]", DECODER_TEXT],
}


@pytest.mark.parametrize("kind", COMMANDS)
def test_every_kind_goes_through_one_door(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / kind
    assert export_main.main(["package", *COMMANDS[kind], "--out", str(out)]) == 0, capsys.readouterr().err
    package = load_package(out)
    assert package.info.task == {"diffusion": "smoother"}.get(kind, kind)
    assert package.info.training_data == UNTRAINED and package.info.precision == "fp32"
    assert export_main.main(["parity", str(out)]) == 0


def test_the_command_line_refuses_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = ["--out", str(tmp_path / "out")]
    with pytest.raises(SystemExit):
        export_main.main(["package", *out])
    assert export_main.main(["package", "--detector", str(tmp_path / "no.pt"), *out]) == 2
    assert export_main.main(["package", "swin-t-s2", "--with-mask", *out]) == 2
    assert export_main.main(["packages"]) == 2
    assert export_main.main(["package", "motion-vae", "--frames", "0", *out]) == 2
    assert export_main.main(["package", "swin-t-s2", "--set", "image_hw=5", *out]) == 2
    assert export_main.main(["package", "hmr2-s", "--merge-recipe", str(tmp_path / "no.json"), *out]) == 2
    errors = capsys.readouterr().err
    assert "a window has at least one frame" in errors and "no.json: No such file" in errors
    assert "swin-t-s2: cannot be built with these values" in errors and errors.count("\n") == 7
    assert "no file" in errors and "with_mask needs a network with token merging" in errors
    assert "no command 'packages'" in errors
    assert list(tmp_path.iterdir()) == []


def test_a_mistyped_option_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        export_main.main(["package", "swin-t-s2", "--precision", "fp61", "--out", str(tmp_path / "out")])
    error = capsys.readouterr().err
    assert end.value.code == 2 and error.count("\n") == 1 and "'fp61'" in error and "fp32" in error


@pytest.mark.parametrize(
    ("fault", "code", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), 1, "the disk is full"),
        (PermissionError(errno.EACCES, "Permission denied", "/a/b"), 2, "/a/b: Permission denied"),
        (KeyboardInterrupt(), 130, "nothing was written"),
        (WorkError("two\nlines"), 1, "two lines"),
    ],
    ids=["full disk", "permission", "ctrl-c", "work"],
)
def test_each_kind_of_failure_has_its_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], fault: BaseException, code: int, said: str
) -> None:
    def fail(argv: list[str]) -> int:
        raise fault

    monkeypatch.setattr(export_main, "import_module", lambda name: SimpleNamespace(main=fail))
    assert export_main.main(["package"]) == code
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
