"""Nested pickles of data sets come back as they were stored; whatever would run code is refused."""

from __future__ import annotations

import os
import pickle
from collections import OrderedDict

import numpy as np
import pytest

from bodycast.hmr.body.safe_pickle import RefusedPickle, load_tree_from_pickle


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_nested_content_comes_back(protocol: int) -> None:
    fortran = np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3))
    objects = np.empty(2, object)
    objects[0], objects[1] = {"deep": np.eye(2)}, "text"
    content = {
        "people": [{"pose": np.arange(4.0), "has": np.float32(1), "id": 7}, (None, True, "ä", b"raw")],
        "fortran": fortran,
        "flags": np.array([True, False]),
        "names": np.array(["ab", "c", "ü"]),
        "bytes": np.array([b"x", b"yz"]),
        "ordered": OrderedDict([("b", 1), ("a", [np.int64(3)])]),
        "objects": objects,
        "nothing": np.zeros((0, 3)),
        "single": np.array({"loss": 2.5}),
    }
    got = load_tree_from_pickle(pickle.dumps(content, protocol=protocol))
    assert isinstance(got, dict) and list(got) == list(content)
    np.testing.assert_array_equal(got["people"][0]["pose"], np.arange(4.0))
    assert got["people"][0]["has"] == 1 and got["people"][0]["id"] == 7
    assert got["people"][1] == (None, True, "ä", b"raw")
    np.testing.assert_array_equal(got["fortran"], fortran)
    assert got["fortran"].dtype == np.float32 and got["flags"].tolist() == [True, False]
    assert got["names"].tolist() == ["ab", "c", "ü"] and got["bytes"].tolist() == [b"x", b"yz"]
    assert list(got["ordered"]) == ["b", "a"] and got["ordered"]["a"] == [3]
    np.testing.assert_array_equal(got["objects"][0]["deep"], np.eye(2))
    assert got["objects"][1] == "text" and got["nothing"].shape == (0, 3) and got["single"] == {"loss": 2.5}


def test_what_would_run_or_never_end_is_refused() -> None:
    class Caller:
        def __reduce__(self):
            return os.getcwd, ()

    endless: list[object] = []
    endless.append(endless)
    for content, said in (
        ([1, {"a": Caller()}], "getcwd"),
        (np.array([Caller()], dtype=object), "getcwd"),
        (endless, "contains itself"),
    ):
        with pytest.raises(RefusedPickle, match=said):
            load_tree_from_pickle(pickle.dumps(content))
    with pytest.raises(RefusedPickle, match="not a readable pickle"):
        load_tree_from_pickle(pickle.dumps({"a": np.eye(3)})[:-30])


def test_shared_parts_are_resolved_once() -> None:
    """Forty levels of a list that holds the level below twice: a tree of 2^40 leaves, a pickle of a few bytes."""
    level: object = [np.eye(2)]
    for _ in range(40):
        level = [level, level]
    got = load_tree_from_pickle(pickle.dumps(level))
    for _ in range(40):
        assert isinstance(got, list)
        got = got[1]
    np.testing.assert_array_equal(got[0], np.eye(2))
