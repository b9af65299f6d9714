"""Weights beside the graph: read from the one file that the package lists, refused in every other form."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from bodycast.engines.errors import PackageError
from bodycast.engines.onnx_file import check_onnx_file
from bodycast.engines.package import DATA_FILE, MODEL_FILE, load_package
from bodycast.engines.registry import ENGINES, open_engine
from tests.tiny_packages import affine_package

WEIGHT = np.arange(9, dtype=np.float32).reshape(3, 3) / 9
ENTRIES = {"location": DATA_FILE, "offset": "0", "length": "36"}


def graph(entries: dict[str, str], **changes: object) -> bytes:
    """x (N, 3) -> x @ weight, the weight's place as `entries` say it."""
    weight = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[3, 3], data_location=TensorProto.EXTERNAL)
    for key, value in entries.items():
        weight.external_data.add(key=key, value=value)
    for key, value in changes.items():
        if key == "dims":
            del weight.dims[:]
            weight.dims.extend(value)  # type: ignore[arg-type]
        else:
            setattr(weight, key, value)
    vector = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 3]) for name in "xy"]
    made = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "g", [vector[0]], [vector[1]], [weight])
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)], ir_version=10).SerializeToString()


def write(folder: Path, model: bytes, content: bytes | None = None) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / MODEL_FILE).write_bytes(model)
    (folder / DATA_FILE).write_bytes(WEIGHT.tobytes() if content is None else content)
    return folder / MODEL_FILE


def test_a_listed_file_is_taken(tmp_path: Path) -> None:
    check_onnx_file(write(tmp_path / "p", graph(ENTRIES)), DATA_FILE)


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.int64, np.int32, np.uint8, np.bool_, np.float64])
def test_every_type_of_weight_may_lie_there(tmp_path: Path, dtype: type) -> None:
    """The exporter folds masks and indices too, and large ones lie where the other weights do."""
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    entries = ENTRIES | {"length": str(9 * np.dtype(dtype).itemsize)}
    check_onnx_file(write(tmp_path / "p", graph(entries, data_type=kind), bytes(72)), DATA_FILE)


def test_a_file_that_is_not_listed_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PackageError, match="which is not opened"):
        check_onnx_file(write(tmp_path / "p", graph(ENTRIES)))


@pytest.mark.parametrize(
    "entries",
    [
        ENTRIES | {"location": "/etc/passwd"},
        ENTRIES | {"location": f"../p/{DATA_FILE}"},
        ENTRIES | {"location": f"./{DATA_FILE}"},
        ENTRIES | {"location": f"sub\\{DATA_FILE}"},
        ENTRIES | {"location": "golden.npz"},
        ENTRIES | {"location": ".."},
        ENTRIES | {"location": ""},
        ENTRIES | {"offset": "4"},
        ENTRIES | {"offset": "-4"},
        ENTRIES | {"offset": "0x0"},
        ENTRIES | {"length": "32"},
        ENTRIES | {"length": "99999"},
        ENTRIES | {"basepath": "/"},
        {"location": DATA_FILE},
        {},
    ],
    ids=str,
)
def test_every_other_place_is_refused(tmp_path: Path, entries: dict[str, str]) -> None:
    with pytest.raises(PackageError, match="which is not opened"):
        check_onnx_file(write(tmp_path / "p", graph(entries)), DATA_FILE)


@pytest.mark.parametrize(
    "changes",
    [{"dims": [3, 4]}, {"dims": [-3, -3]}, {"dims": [3, 3, 1 << 40]}, {"data_type": TensorProto.STRING}],
    ids=str,
)
def test_a_shape_that_needs_other_bytes_is_refused(tmp_path: Path, changes: dict[str, object]) -> None:
    with pytest.raises(PackageError, match="which is not opened"):
        check_onnx_file(write(tmp_path / "p", graph(ENTRIES, **changes)), DATA_FILE)


def test_a_link_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "p", graph(ENTRIES))
    (tmp_path / "elsewhere").write_bytes(WEIGHT.tobytes())
    (tmp_path / "p" / DATA_FILE).unlink()
    (tmp_path / "p" / DATA_FILE).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(PackageError, match="plain file of the package's folder"):
        check_onnx_file(path, DATA_FILE)


def test_only_initialisers_may_lie_there(tmp_path: Path) -> None:
    model = onnx.load_from_string(graph(ENTRIES))
    place = model.graph.initializer.pop()
    model.graph.node.insert(0, helper.make_node("Constant", [], ["w"], value=place))
    with pytest.raises(PackageError, match="which is not opened"):
        check_onnx_file(write(tmp_path / "p", model.SerializeToString()), DATA_FILE)


def test_a_key_that_stands_twice_is_refused(tmp_path: Path) -> None:
    model = onnx.load_from_string(graph(ENTRIES))
    model.graph.initializer[0].external_data.add(key="location", value="/etc/passwd")
    with pytest.raises(PackageError, match="which is not opened"):
        check_onnx_file(write(tmp_path / "p", model.SerializeToString()), DATA_FILE)


def large_package(folder: Path, slope: float = 1.0):
    """An affine package whose floating-point weights lie in the data file."""
    from tests.tiny_packages import affine_model

    model = onnx.load_from_string(affine_model())
    content = b""
    for weight in model.graph.initializer:
        if weight.data_type != TensorProto.FLOAT:
            continue
        values = np.ascontiguousarray(slope * numpy_helper.to_array(weight))
        place = TensorProto(name=weight.name, data_type=weight.data_type, dims=weight.dims)
        place.data_location = TensorProto.EXTERNAL
        for key, value in (("location", DATA_FILE), ("offset", len(content)), ("length", values.nbytes)):
            place.external_data.add(key=key, value=str(value))
        content += values.tobytes()
        weight.CopyFrom(place)
    return affine_package(folder, model=model.SerializeToString(), further_files={DATA_FILE: content})


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_engines_read_it(tmp_path: Path, engine: str) -> None:
    if not ENGINES[engine].installed():
        pytest.skip(f"{ENGINES[engine].library} is not installed")
    plain = affine_package(tmp_path / "plain")
    large = large_package(tmp_path / "large")
    assert DATA_FILE in large.files
    inputs, _ = plain.golden()
    with open_engine(plain.folder, engine, "cpu") as one, open_engine(large.folder, engine, "cpu") as other:
        for name, array in one.run(inputs).items():
            np.testing.assert_array_equal(other.run(inputs)[name], array)


def test_the_hash_covers_the_weights(tmp_path: Path) -> None:
    first, second = large_package(tmp_path / "a"), large_package(tmp_path / "b", slope=2.0)
    assert first.files[MODEL_FILE] == second.files[MODEL_FILE] and first.sha256 != second.sha256
    (second.folder / DATA_FILE).write_bytes(b"\0" * (second.folder / DATA_FILE).stat().st_size)
    with pytest.raises(PackageError, match="changed or damaged"):
        load_package(second.folder)
