"""Golden files of other sizes, seeds and storage, and files that are broken: all are read, none goes unnoticed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evaluation.goldens.record import Golden
from evaluation.goldens.runner import check, check_file, main
from tests.parity.golden_files import timm_swin, torchvision_swin

SMALL: dict[str, Any] = {"embed_dim": 12, "depths": (1, 2), "num_heads": (2, 4)}


@pytest.mark.parametrize(
    ("image_hw", "sizes"),
    [
        ((96, 80), {**SMALL, "window_size": 5}),
        ((128, 64), {"embed_dim": 16, "depths": (2, 1, 3), "num_heads": (1, 2, 4), "window_size": 8, "mlp_ratio": 2.7}),
        ((64, 96), {**SMALL, "window_size": 7, "qkv_bias": False}),
    ],
)
def test_timm_swin_of_other_sizes(tmp_path: Path, image_hw: tuple[int, int], sizes: dict[str, Any]) -> None:
    extra = {} if len(sizes["depths"]) == 4 else {"out_indices": tuple(range(len(sizes["depths"])))}
    rows = check_file(timm_swin(tmp_path / "x.npz", image_hw, seed=3, **sizes, **extra))
    assert [row.status for row in rows] == ["ok"] * len(sizes["depths"]), rows


def test_torchvision_swin_counts_where_windows_fit(tmp_path: Path) -> None:
    sizes = {"embed_dim": 12, "depths": [2, 2], "num_heads": [2, 4], "window_size": [4, 4]}
    rows = check_file(torchvision_swin(tmp_path / "fits.npz", (64, 96), **sizes))
    assert [row.output for row in rows] == ["stage0", "stage1", "norm", "logits"]
    assert all(row.status == "ok" for row in rows), rows
    # 24 x 20 and 12 x 10 are no multiples of 5 along the rows: a convention that is named and not counted.
    sizes["window_size"] = [5, 5]
    rows = check_file(torchvision_swin(tmp_path / "pads.npz", (96, 80), **sizes))
    assert {row.status for row in rows} == {"not counted"} and "pads, then rolls" in rows[0].note


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return timm_swin(tmp_path / "tiny.npz", (64, 48), window_size=4, out_indices=(0, 1), **SMALL)


def rewrite(path: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """A golden file with its arrays changed in place."""
    with np.load(path) as archive:
        arrays = {key: archive[key] for key in archive.files}
    change(arrays)
    np.savez(path, **arrays)
    return path


@pytest.mark.parametrize("dtype", [np.float64, np.float16])
def test_files_in_other_precision(tiny: Path, dtype: type) -> None:
    def store(arrays: dict[str, Any]) -> None:
        for key, array in arrays.items():
            if array.dtype == np.float32:
                arrays[key] = array.astype(dtype)

    rows = check(Golden.load(rewrite(tiny, store)))
    # Rounded weights are other weights: only the wider type must agree.
    assert len(rows) == 2 and not any(np.isnan(row.absolute) for row in rows), rows
    assert dtype == np.float16 or all(row.status == "ok" for row in rows), rows


def test_an_output_stored_as_float16_is_granted_its_own_rounding_only(tiny: Path) -> None:
    def store(arrays: dict[str, Any]) -> None:
        arrays["out/stage1"] = arrays["out/stage1"].astype(np.float16)

    assert [row.status for row in check_file(rewrite(tiny, store))] == ["ok", "ok"]

    def disturb(arrays: dict[str, Any]) -> None:
        arrays["out/stage1"] = np.nextafter(arrays["out/stage1"], np.float16(np.inf))

    assert [row.status for row in check_file(rewrite(tiny, disturb))] == ["ok", "OFF"]


def test_what_no_output_needs_may_be_missing_and_what_shapes_show_need_not_be_said(tiny: Path) -> None:
    def strip(arrays: dict[str, Any]) -> None:
        arrays["meta"] = np.array(
            [json.dumps({"repo": "https://github.com/HuggingFace/pytorch-image-models", "cls": "SWIN"})]
        )
        del arrays["out/stage0"]

    assert [(row.output, row.status) for row in check_file(rewrite(tiny, strip))] == [("stage1", "ok")]


def test_a_missing_weight_or_input_is_named(tiny: Path) -> None:
    key = "sd/layers_0.blocks.0.mlp.fc2.weight"
    rows = check_file(rewrite(tiny, lambda arrays: arrays.pop(key)))
    assert all(row.status == "OFF" and "layers.0.blocks.0.mlp.fc2.weight" in row.note for row in rows), rows
    rows = check_file(rewrite(tiny, lambda arrays: arrays.pop("in/img")))
    assert all("there is no input in/img" in row.note for row in rows), rows


def set_meta(content: Any) -> Callable[[dict[str, Any]], None]:
    return lambda arrays: arrays.update(meta=np.asarray(content))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (set_meta("{repo:"), "its `meta` is no JSON"),
        (set_meta('["repo"]'), "its `meta` lacks repo"),
        (set_meta('{"cls": "swin"}'), "its `meta` lacks repo"),
        (set_meta([1.0, 2.0]), "must be one JSON text"),
        (set_meta('{"repo": "pytorch/vision", "config": 3}'), "a config that is no table"),
        (set_meta('{"repo": "pytorch/torch", "cls": "ResNet"}'), "no adapter reads files of pytorch/torch (ResNet)"),
        (set_meta('{"repo": "pytorch/vision"}'), "none of a Swin in the layout of torchvision"),
        (lambda arrays: arrays.update({"stray": np.zeros(1)}), "key 'stray' is in none of"),
        (lambda arrays: arrays.update({"out/new": np.zeros(1)}), "the adapter gives no answer"),
    ],
)
def test_wrong_files_are_named(tiny: Path, capsys: pytest.CaptureFixture[str], change: Any, message: str) -> None:
    rewrite(tiny, change)
    assert main([str(tiny.parent)]) == 1
    text = capsys.readouterr().out
    assert message in text and "off: tiny" in text


def test_damaged_files_are_named(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = tiny.read_bytes()
    folder = tiny.parent
    (folder / "cut.npz").write_bytes(content[: len(content) // 2])
    middle = bytearray(content)
    middle[len(content) // 2 : len(content) // 2 + 64] = bytes(64)
    (folder / "holes.npz").write_bytes(bytes(middle))
    (folder / "empty.npz").write_bytes(b"")
    (folder / "text.npz").write_text("hello")
    with (folder / "single.npz").open("wb") as file:
        np.save(file, np.zeros(3))
    np.savez(folder / "objects.npz", **{"meta": np.array({"repo": 1}, dtype=object), "out/x": np.zeros(1)})
    assert main([str(folder)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "off: cut, empty, holes, objects, single, text"
    assert sum("cannot be read as .npz" in line for line in lines) == 6
