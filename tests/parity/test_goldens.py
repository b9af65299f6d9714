"""Our networks equal the official implementations on tiny random configurations, and the check can fail."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from evaluation.goldens.families import find_family
from evaluation.goldens.record import Golden, Ours
from evaluation.goldens.runner import check, check_file, compare, main

NAMES = [
    "deform_decoder",
    "diffusion_schedule",
    "featup_jbu",
    "geometry",
    "groupmixformer",
    "hmr2",
    "hmr2_camera",
    "hmr2_crop",
    "hmr2_s",
    "hybrik_ik",
    "mld_denoiser",
    "mld_vae",
    "mld_vae_allenc",
    "swin_official",
    "swin_timm",
    "swin_torchvision",
    "tome_match",
    "tome_vit",
    "vitpose_head",
    "vmamba",
    "vmamba_ss2d",
]


@pytest.fixture(scope="session")
def goldens_dir(shared_dir: Path) -> Path:
    path = shared_dir / "goldens"
    if not path.is_dir():
        pytest.skip("../shared/goldens is not on this machine")
    return path


@pytest.mark.parametrize("name", NAMES)
def test_equals_the_official_implementation(goldens_dir: Path, name: str) -> None:
    path = goldens_dir / f"{name}.npz"
    if not path.is_file():
        pytest.skip(f"golden file {name}.npz is not on this machine")
    off = [row for row in check_file(path) if row.status == "OFF"]
    assert off == []


def test_every_golden_file_is_in_the_list(goldens_dir: Path) -> None:
    assert sorted(path.stem for path in goldens_dir.glob("*.npz")) == sorted(NAMES)


def perturbed(golden: Golden, group: str, name: str, factor: float) -> Golden:
    """A copy in which the largest element of one array is changed by a relative `factor`."""
    arrays = dict(getattr(golden, group))
    array = arrays[name].copy()
    array.flat[np.abs(array).argmax()] *= 1.0 + factor
    arrays[name] = array
    return dataclasses.replace(golden, **{group: arrays})


@pytest.mark.parametrize("name", ["swin_timm", "hmr2"])
def test_a_wrong_output_or_weight_is_noticed(goldens_dir: Path, name: str) -> None:
    golden = Golden.load(goldens_dir / f"{name}.npz")
    output = next(iter(golden.outputs))
    wrong = check(perturbed(golden, "outputs", output, 1e-4))
    assert [row.output for row in wrong if row.status == "OFF"] == [output]
    weight = next(key for key in golden.state if key.endswith("blocks.0.mlp.fc1.weight") or ".0.mlp.fc1.w" in key)
    assert any(row.status == "OFF" for row in check(perturbed(golden, "state", weight, 1.0)))


def answer(value: float, **options: object) -> str:
    """Verdict on an output of 50 at its largest, one element off by `value`."""
    expected = np.array([50.0, 1.0])
    ours = np.array([50.0, 1.0 + value])
    return compare("x", expected, Ours(ours, **options)).status


def test_off_means_beyond_the_absolute_and_the_relative_bound() -> None:
    assert answer(4e-4) == "ok"  # 8e-6 of the largest
    assert answer(6e-4) == "OFF"
    assert answer(float("nan")) == "OFF"
    assert answer(6e-4, counted=False) == "not counted"
    assert answer(6e-4, where=np.array([True, False])) == "ok"
    assert answer(0.0, where=np.array([False, False])) == "OFF"
    assert compare("x", np.full(2, 1e-6), np.zeros(2)).status == "ok"
    assert compare("x", np.zeros((2, 1)), np.zeros(2)).status == "OFF"


def test_unknown_and_broken_files_are_named_and_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    meta = '{"repo": "nobody/nothing", "cls": "Net", "config": {}}'
    np.savez(tmp_path / "stranger.npz", **{"meta": np.array(meta), "out/y": np.zeros(2)})
    np.savez(tmp_path / "no_meta.npz", **{"out/y": np.zeros(2)})
    assert main([str(tmp_path)]) == 1
    text = capsys.readouterr().out
    assert "no adapter reads files of nobody/nothing (Net)" in text
    assert "no_meta.npz has no `meta`" in text
    assert "off: no_meta, stranger" in text


def test_an_empty_folder_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path)]) == 2
    assert "no matching .npz" in capsys.readouterr().err


def test_files_are_known_by_their_source_not_their_name() -> None:
    meta = {"repo": "MzeroMiko/VMamba", "cls": "x.selective_scan_torch, y", "config": {}}
    assert find_family(meta).adapter == "vmamba:run_ss2d"
    with pytest.raises(LookupError, match="no adapter"):
        find_family({"repo": "x", "cls": "y"})
