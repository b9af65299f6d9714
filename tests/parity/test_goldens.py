"""Our networks equal the official implementations on tiny random configurations, and the check can fail."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from evaluation.goldens.families import find_family
from evaluation.goldens.record import Golden, Ours
from evaluation.goldens.runner import check, check_file, compare, main, sampled

REDUCED = sorted(path.stem for path in (Path(__file__).parent / "goldens").glob("*.npz"))
WHOLE_ALONE = (
    *("hmr2", "mld_vae", "mld_vae_allenc", "swin_official", "swin_torchvision", "tome_vit", "vmamba_ss2d"),
    *("groupmixformer", "hmr2_s", "swin_timm", "vmamba"),
)
"""Files that the repository lacks or has in part only."""


@pytest.mark.parametrize("name", REDUCED)
def test_equals_the_official_implementation(goldens_dir: Path, name: str) -> None:
    rows = check_file(goldens_dir / f"{name}.npz")
    assert rows and [row for row in rows if row.status != "ok"] == []


def test_no_family_of_the_papers_is_left_out() -> None:
    assert {"deform_decoder", "featup_jbu", "groupmixformer", "hmr2_s", "mld_denoiser", "swin_timm"} <= set(REDUCED)
    assert {"tome_match", "hybrik_ik", "vmamba", "vitpose_head", "camerahmr_fov"} <= set(REDUCED)


@pytest.mark.slow
@pytest.mark.parametrize("name", WHOLE_ALONE)
def test_whole_files_agree_too(shared_dir: Path, name: str) -> None:
    path = shared_dir / "goldens" / f"{name}.npz"
    if not path.is_file():
        pytest.skip(f"the whole golden file {name}.npz is not on this machine")
    assert [row for row in check_file(path) if row.status == "OFF"] == []


def test_a_sample_of_an_output_is_compared_where_it_lies() -> None:
    at, whole = np.array([1, 5]), np.arange(6.0).reshape(2, 3)
    expected = np.array([1.0, 5.0])
    assert compare("x", expected, sampled(whole, at, (2, 3))).status == "ok"
    assert compare("x", expected, sampled(whole[::-1], at, (2, 3))).status == "OFF"
    assert compare("x", expected, sampled(whole.T, at, (2, 3))).status == "OFF"
    masked = Ours(whole + 1, where=np.zeros((2, 1), bool))
    assert compare("x", expected, sampled(masked, at, (2, 3))).status == "OFF"


def perturbed(golden: Golden, group: str, name: str, factor: float) -> Golden:
    """A copy in which the largest element of one array is changed by a relative `factor`."""
    arrays = dict(getattr(golden, group))
    array = arrays[name].copy()
    array.flat[np.abs(array).argmax()] *= 1.0 + factor
    arrays[name] = array
    return dataclasses.replace(golden, **{group: arrays})


@pytest.mark.parametrize("name", ["swin_timm", "groupmixformer"])
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
