"""Body files: what is read, what is refused, and that nothing in a pickle runs."""

from __future__ import annotations

import pickle
import struct
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from bodycast.app.files.body_conversion import convert_body
from bodycast.hmr.body.body_files import BodyFileError, load_body_arrays
from bodycast.hmr.body.body_model import EMBEDDED_BODY, BodyModel
from bodycast.hmr.body.joints import NUM_JOINTS, PARENTS
from bodycast.hmr.body.safe_pickle import RefusedPickle, load_arrays_from_pickle

VERTICES = 30


def body_content(shape_count: int = 10) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    weights = generator.random((VERTICES, NUM_JOINTS))
    regressor = generator.random((NUM_JOINTS, VERTICES)) * (generator.random((NUM_JOINTS, VERTICES)) > 0.7)
    return {
        "v_template": generator.normal(size=(VERTICES, 3)),
        "shapedirs": generator.normal(size=(VERTICES, 3, shape_count)),
        "posedirs": generator.normal(size=(VERTICES, 3, 207)),
        "J_regressor": regressor,
        "weights": weights / weights.sum(axis=1, keepdims=True),
        "kintree_table": np.stack([np.where(PARENTS < 0, 2**32 - 1, PARENTS), np.arange(NUM_JOINTS)]),
        "f": generator.integers(0, VERTICES, (40, 3)).astype(np.uint32),
    }


class FakeChumpy:
    """Pickles as chumpy's arrays do: by class name and a dictionary of attributes."""

    def __init__(self, **attributes: object) -> None:
        self.__dict__.update(attributes)


@pytest.fixture
def chumpy(monkeypatch: pytest.MonkeyPatch) -> Iterator[types.SimpleNamespace]:
    """Two classes that pickle under chumpy's names; the modules are gone again before anything is read."""
    classes: dict[str, type] = {}
    monkeypatch.setitem(sys.modules, "chumpy", types.ModuleType("chumpy"))
    for module_name, class_name in (("chumpy.ch", "Ch"), ("chumpy.reordering", "Select")):
        module = types.ModuleType(module_name)
        cls = type(class_name, (FakeChumpy,), {"__module__": module_name})
        setattr(module, class_name, cls)
        monkeypatch.setitem(sys.modules, module_name, module)
        classes[class_name] = cls
    yield types.SimpleNamespace(**classes)


def smpl_pickle(chumpy: types.SimpleNamespace, shape_count: int, protocol: int) -> tuple[bytes, dict[str, np.ndarray]]:
    """A pickle built like SMPL's published one, and the arrays that are in it."""
    sparse = pytest.importorskip("scipy.sparse")
    content = body_content(shape_count)
    picked = np.arange(content["v_template"].size)[::-1].copy()
    stored: dict[str, object] = dict(content)
    stored["shapedirs"] = chumpy.Ch(x=content["shapedirs"], _dirty_vars={})
    stored["v_template"] = chumpy.Select(
        a=chumpy.Ch(x=content["v_template"].ravel()[::-1].copy()), idxs=picked, preferred_shape=(VERTICES, 3)
    )
    stored["J_regressor"] = sparse.csc_matrix(content["J_regressor"])
    stored["weights"] = np.asfortranarray(content["weights"])
    stored["bs_type"] = "lrotmin"
    stored["bs_style"] = "lbs"
    return pickle.dumps(stored, protocol=protocol), content


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize("shape_count", [10, 300])
def test_smpl_pickle_loads_without_chumpy(
    chumpy: types.SimpleNamespace, tmp_path: Path, protocol: int, shape_count: int
):
    data, content = smpl_pickle(chumpy, shape_count, protocol)
    for name in ("chumpy", "chumpy.ch", "chumpy.reordering"):
        del sys.modules[name]
    path = tmp_path / "basicModel_f_lbs_10_207_0_v1.0.0.pkl"
    path.write_bytes(data)
    arrays = load_body_arrays(path)
    assert not any(name.startswith("chumpy") for name in sys.modules)
    assert arrays.name == "smpl-female"
    assert np.allclose(arrays.v_template, content["v_template"])
    assert np.allclose(arrays.shapedirs, content["shapedirs"][:, :, :10])
    assert np.allclose(arrays.J_regressor, content["J_regressor"])
    assert np.allclose(arrays.weights, content["weights"])
    assert np.array_equal(arrays.faces, content["f"])


def python2_pickle(values: np.ndarray) -> bytes:
    """A protocol-0 pickle as Python 2 wrote it: {'x': chumpy Ch around a float64 array}, spelt out opcode by opcode."""
    raw = repr(struct.pack(f"<{values.size}d", *values))[1:].encode()
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR"
        b"(I1\n(I%d\ntcnumpy\ndtype\n(S'f8'\nI0\nI1\ntR(I3\nS'<'\nNNNI-1\nI-1\nI0\ntbI00\nS%s\ntb" % (values.size, raw)
    )
    return b"(dS'x'\nccopy_reg\n_reconstructor\n(cchumpy.ch\nCh\nc__builtin__\nobject\nNtR(dS'x'\n" + array + b"sbs."


def test_python_2_pickle_loads():
    values = np.array([0.5, -1e300, 255.0, 3.0])
    assert np.array_equal(load_arrays_from_pickle(python2_pickle(values))["x"], values)


def test_big_endian_and_integer_arrays_keep_their_values():
    arrays = {"a": np.arange(5, dtype=">i4"), "b": np.arange(6, dtype=np.uint8).reshape(2, 3), "c": np.float64(2.5)}
    loaded = load_arrays_from_pickle(pickle.dumps(arrays, protocol=2))
    for key, array in arrays.items():
        assert np.array_equal(loaded[key], array)


class Attack:
    """Pickles as a call of `function` with `arguments`."""

    def __init__(self, function: object, *arguments: object) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return self.call


def attacks(marker: Path) -> dict[str, bytes]:
    import functools
    import os
    import subprocess

    touch = f"open({str(marker)!r}, 'w').close()"
    command = f"touch {marker}"
    return {
        "os.system": pickle.dumps({"f": Attack(os.system, command)}),
        "eval": pickle.dumps({"f": Attack(eval, touch)}, protocol=2),
        "exec": pickle.dumps({"f": Attack(exec, touch)}, protocol=0),
        "getattr": pickle.dumps({"f": Attack(getattr, "x", "upper")}),
        "popen": pickle.dumps({"f": Attack(subprocess.Popen, ["touch", str(marker)])}),
        "partial": pickle.dumps({"f": functools.partial(os.system, command)}),
        "dotted": b"\x80\x04\x8c\x05numpy\x8c\x11f2py.os.system\x93.",
        "numpy module": b"cnumpy.testing._private.utils\nrunstring\n(S'1'\n(dtR.",
        "hidden in an array": pickle.dumps({"f": np.array([Attack(os.system, command)], dtype=object)}),
        "reconstructor": b"ccopy_reg\n_reconstructor\n(cos\nsystem\nc__builtin__\nobject\nNtR.",
        "persistent id": b"Pos\n.",
    }


@pytest.mark.parametrize("kind", attacks(Path("unused")))
def test_malicious_pickles_are_refused_and_nothing_runs(tmp_path: Path, kind: str):
    marker = tmp_path / "was_run"
    path = tmp_path / "body.pkl"
    path.write_bytes(attacks(marker)[kind])
    with pytest.raises(BodyFileError) as caught:
        load_body_arrays(path)
    assert not marker.exists()
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)


def test_refusal_names_what_was_asked_for():
    with pytest.raises(RefusedPickle, match=r"'(posix|nt)\.system'.*nothing of it was run"):
        load_arrays_from_pickle(attacks(Path("unused"))["os.system"])


@pytest.mark.parametrize("cut", [1, 40, 400])
def test_damaged_pickles_are_refused(cut: int):
    data = pickle.dumps(body_content())
    with pytest.raises(RefusedPickle):
        load_arrays_from_pickle(data[:-cut])
    with pytest.raises(RefusedPickle, match="expected a dictionary"):
        load_arrays_from_pickle(pickle.dumps([1, 2]))


def test_arrays_that_hold_objects_are_refused():
    """numpy would build such an array from a raw buffer of pointers."""
    crafted = (
        b"(dS'f'\ncnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR"
        b"(I1\n(I1\ntcnumpy\ndtype\n(S'O8'\nI0\nI1\ntR(I3\nS'|'\nNNNI-1\nI-1\nI63\ntbI00\nS'AAAAAAAA'\ntbs."
    )
    with pytest.raises(RefusedPickle, match="dtype 'O8'"):
        load_arrays_from_pickle(crafted)


def broken(key: str, value: object) -> dict[str, np.ndarray]:
    content = body_content()
    if value is None:
        del content[key]
    else:
        content[key] = np.asarray(value)
    return content


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (broken("weights", None), "missing or not an array: weights"),
        (broken("v_template", np.zeros((VERTICES, 2))), r"v_template: expected shape \(V, 3\), got \(30, 2\)"),
        (broken("shapedirs", np.zeros((VERTICES, 3, 8))), r"shapedirs: expected shape \(30, 3, 10\), got \(30, 3, 8\)"),
        (broken("posedirs", np.zeros((VERTICES, 3, 459))), r"posedirs: expected shape \(30, 3, 207\)"),
        (broken("J_regressor", np.zeros((55, VERTICES))), r"J_regressor: expected shape \(24, 30\), got \(55, 30\)"),
        (broken("weights", np.full((VERTICES, NUM_JOINTS), np.nan)), "weights: holds values that are not finite"),
        (broken("weights", np.zeros((VERTICES, NUM_JOINTS))), "weights: expected rows that sum to 1"),
        (broken("f", [[0, 1, VERTICES]]), r"f: expected indices 0..29, got 0..30"),
        (broken("kintree_table", np.zeros((2, NUM_JOINTS), int)), "kintree_table: expected SMPL's tree"),
        (broken("f", [["a", "b", "c"]]), "f: expected numbers, got dtype <U1"),
        ({**body_content(), "meta": np.array("not json")}, "meta: expected JSON"),
    ],
)
def test_broken_files_are_refused_by_name(tmp_path: Path, content: dict[str, np.ndarray], message: str):
    path = tmp_path / "body.npz"
    np.savez(path, **content)
    with pytest.raises(BodyFileError, match=message) as caught:
        load_body_arrays(path)
    assert "\n" not in str(caught.value)


def test_npz_with_pickled_objects_is_refused(tmp_path: Path):
    path = tmp_path / "body.npz"
    content = body_content()
    np.savez(path, **{**content, "f": np.array([Attack(print, "ran")], dtype=object)})
    with pytest.raises(BodyFileError, match="holds Python objects"):
        load_body_arrays(path)


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("absent.npz", None, "no such body file"),
        ("body.txt", b"", r"expected a \.npz or \.pkl body file"),
        ("body.npz", b"no archive", "not a readable"),
        ("body.npz", b"PK\x03\x04 cut short", "not a readable"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, name: str, data: bytes | None, message: str):
    path = tmp_path / name
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(BodyFileError, match=message):
        load_body_arrays(path)


def test_convert_writes_the_same_body(chumpy: types.SimpleNamespace, tmp_path: Path):
    data, _ = smpl_pickle(chumpy, 300, 2)
    source, target = tmp_path / "SMPL_MALE.pkl", tmp_path / "male.npz"
    source.write_bytes(data)
    convert_body(source, target)
    before, after = load_body_arrays(source), load_body_arrays(target)
    assert before.name == after.name == "smpl-male"
    for key in ("v_template", "shapedirs", "posedirs", "J_regressor", "weights", "faces"):
        assert np.array_equal(getattr(before, key), getattr(after, key)), key
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".npz"] == ["male.npz"]


def test_convert_overwrites_only_when_told(tmp_path: Path):
    target = tmp_path / "body.npz"
    target.write_bytes(b"precious")
    with pytest.raises(BodyFileError, match="exists already"):
        convert_body(EMBEDDED_BODY, target)
    assert target.read_bytes() == b"precious"
    convert_body(EMBEDDED_BODY, target, overwrite=True)
    assert BodyModel.load(target).posedirs is None
    assert BodyModel.load(target).name == "bodycast-adult"


def test_convert_leaves_nothing_behind_when_it_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full_disk(*_: object, **__: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(np, "savez_compressed", full_disk)
    with pytest.raises(OSError, match="no space"):
        convert_body(EMBEDDED_BODY, tmp_path / "body.npz")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(BodyFileError, match="no such folder"):
        convert_body(EMBEDDED_BODY, tmp_path / "absent" / "body.npz")
    (tmp_path / "same.npz").write_bytes(EMBEDDED_BODY.read_bytes())
    (tmp_path / "link.npz").symlink_to("same.npz")
    for target in ("same.npz", "link.npz"):
        with pytest.raises(BodyFileError, match="is what is read"):
            convert_body(tmp_path / "same.npz", tmp_path / target, overwrite=True)
    with pytest.raises(BodyFileError, match=r"ends in \.npz"):
        convert_body(EMBEDDED_BODY, tmp_path / "body.pkl")


def test_posedirs_as_training_layers_keep_them_are_read(tmp_path: Path):
    content = body_content()
    np.savez(tmp_path / "body.npz", **content)
    flat = {**content, "posedirs": content["posedirs"].reshape(-1, 207).T}
    np.savez(tmp_path / "flat.npz", **flat)
    expected, read = (load_body_arrays(tmp_path / name) for name in ("body.npz", "flat.npz"))
    np.testing.assert_array_equal(read.posedirs, expected.posedirs)


@pytest.mark.parametrize(("joints", "family"), [(55, "SMPL-X"), (52, "SMPL-H"), (16, "MANO"), (5, "FLAME")])
def test_other_families_are_named(tmp_path: Path, joints: int, family: str):
    content = {**body_content(), "weights": np.full((VERTICES, joints), 1 / joints)}
    for name in ("body.npz", "body.pkl"):
        if name.endswith("z"):
            np.savez(tmp_path / name, **content)
        else:
            (tmp_path / name).write_bytes(pickle.dumps(content, protocol=2))
        with pytest.raises(BodyFileError, match=f"{family}.*SMPL's 24 joints"):
            load_body_arrays(tmp_path / name)


@pytest.mark.parametrize(
    ("start", "said"),
    [
        (b"\n<!DOCTYPE html><html>Please sign in", "web page.*login"),
        (b"\xef\xbb\xbf<!doctype html>", "web page.*login"),
        (b"PK\x03\x04rest", "unpack it"),
        (b"\x1f\x8b\x08rest", "unpack it"),
        (b"7z\xbc\xaf\x27\x1crest", "unpack it"),
    ],
)
def test_what_a_download_without_login_leaves_is_named(tmp_path: Path, start: bytes, said: str):
    (tmp_path / "SMPL_NEUTRAL.pkl").write_bytes(start * 20)
    with pytest.raises(BodyFileError, match=said):
        load_body_arrays(tmp_path / "SMPL_NEUTRAL.pkl")


def test_endings_in_upper_case_are_endings(tmp_path: Path):
    (tmp_path / "BODY.PKL").write_bytes(pickle.dumps(body_content(), protocol=2))
    convert_body(tmp_path / "BODY.PKL", tmp_path / "OUT.NPZ")
    assert load_body_arrays(tmp_path / "OUT.NPZ").name == "body"
