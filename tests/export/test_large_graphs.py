"""Graphs above a size limit: weights beside the graph, answers the same. The limit is lowered here."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bodycast.engines.package import DATA_FILE, MODEL_FILE, load_package
from bodycast.engines.registry import ENGINES, open_engine
from bodycast.export import large_graph
from bodycast.export.errors import WorkError
from bodycast.export.exportable import Exportable, exportable
from bodycast.export.network_package import CheckedGraph, Options, Words, checked_graph, converted, export_package
from bodycast.export.onnx_graph import run_torch
from tests.networks.network_checks import shake
from tests.networks.registry_cases import tiny

LIMIT = 20_000
"""Bytes: below the tiny network's weights in fp16 too."""
OPTIONS = Options(engines=("onnxruntime", "openvino"), timed_batches=(), largest_file=LIMIT)


@pytest.fixture(scope="module")
def item() -> Exportable:
    return exportable(shake(tiny("hmr2-s-fast"), 0.05).eval())


@pytest.fixture(scope="module")
def large(item: Exportable) -> CheckedGraph:
    return checked_graph(item, LIMIT)


def words(name: str) -> Words:
    return Words(name=name, architecture="hmr2-s-fast", arguments={}, licence="none", training_data="none")


@pytest.mark.parametrize(("precision", "store"), [("fp32", "fp32"), ("fp16", "fp32"), ("fp32", "fp16")])
def test_a_large_network_becomes_a_package_with_a_data_file(
    item: Exportable, large: CheckedGraph, tmp_path: Path, precision: str, store: str
) -> None:
    options = replace(OPTIONS, precision=precision, store=store, accept_error=True, exact_merging=True)
    package, report = export_package(item, tmp_path / "large", words("large"), options, large)
    assert DATA_FILE in package.files and (package.folder / MODEL_FILE).stat().st_size < 200_000
    small, _ = export_package(item, tmp_path / "small", words("small"), replace(options, largest_file=1 << 30), large)
    assert DATA_FILE not in small.files
    examples = item.examples(3)
    feed = {name: tensor.numpy() for name, tensor in zip(item.input_names, examples, strict=True)}
    expected = run_torch(item.module, examples, item.output_names)
    for engine in ("onnxruntime", "openvino"):
        if not ENGINES[engine].installed():
            continue
        with open_engine(package.folder, engine, "cpu") as one, open_engine(small.folder, engine, "cpu") as other:
            found, same = one.run(feed), other.run(feed)
        for name, array in expected.items():
            np.testing.assert_allclose(found[name], same[name], atol=1e-5 if precision == "fp32" else 5e-3)
            np.testing.assert_allclose(found[name], array, atol=1e-4 if options.held_to == "fp32" else 2e-2)
    assert {row.engine for row in report.engines} <= {"onnxruntime", "openvino"}


def test_half_a_large_network_fits_into_one_file(item: Exportable, large: CheckedGraph, tmp_path: Path) -> None:
    whole = sum(weight.nbytes for weight in large.graph.weights.values())
    options = replace(OPTIONS, precision="fp16", accept_error=True, largest_file=int(0.8 * whole))
    package, _ = export_package(item, tmp_path / "p", words("p"), options, large)
    assert DATA_FILE not in package.files and load_package(package.folder).info.precision == "fp16"


def test_no_weight_is_transposed_when_the_graph_is_loaded(large: CheckedGraph) -> None:
    graph = large.graph
    assert graph.weights and not [
        node for node in graph.proto.graph.node if node.op_type == "Transpose" and node.input[0] in graph.weights
    ]
    assert set(graph.weights) <= {weight.name for weight in graph.proto.graph.initializer}


def test_what_a_large_graph_cannot_become_is_one_line(large: CheckedGraph) -> None:
    graph = large.graph
    with pytest.raises(ValueError, match="take --precision fp16"):
        converted(graph, "int8", "fp32")
    with pytest.raises(WorkError, match="too large for one file"):
        graph.serialised()
    with pytest.raises(ValueError, match="precision 'fp61'"):
        converted(graph, "fp61", "fp32")


def test_offsets_are_aligned_and_inside(large: CheckedGraph, tmp_path: Path) -> None:
    files = large_graph.save(large.graph, tmp_path)
    assert set(files) == {MODEL_FILE, DATA_FILE}
    import onnx

    for weight in onnx.load(files[MODEL_FILE], load_external_data=False).graph.initializer:
        place = {entry.key: entry.value for entry in weight.external_data}
        if place:
            assert int(place["offset"]) % 4096 == 0 and place["location"] == DATA_FILE
            assert int(place["offset"]) + int(place["length"]) <= files[DATA_FILE].stat().st_size


@pytest.mark.trt
def test_tensorrt_reads_the_data_file(item: Exportable, large: CheckedGraph, tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx")
    from bodycast.engines.errors import PlanError
    from bodycast.export.tensorrt_plan import BuildOptions, build_plan

    options = replace(OPTIONS, precision="fp16", accept_error=True)
    package, _ = export_package(item, tmp_path / "p", words("p"), options, large)
    plan = build_plan(package, BuildOptions("8.9", batches=(1, 2, 4), beside=True))
    assert plan.size_bytes > 0 and plan.key.graph == package.sha256
    with pytest.raises(PlanError, match="above 2 GB"):
        build_plan(package, BuildOptions("7.5", batches=(1, 2, 4), beside=True))
