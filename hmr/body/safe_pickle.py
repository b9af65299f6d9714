"""Reads the arrays out of a pickle without running anything that is in it.

SMPL is published as a Python-2 pickle whose arrays are chumpy objects and whose joint regressor is a scipy sparse
matrix. The usual way to open it needs old versions of both packages and calls whatever the file names. Here the few
names that such a file needs are each replaced by a stub of ours that only keeps what was stored; every other name
is refused. Not even numpy's own unpickling is used (its array constructor takes raw buffers of any type): arrays
are rebuilt from plain numbers.
"""

from __future__ import annotations

import io
import pickle
import re
from collections.abc import Callable
from typing import Literal, cast

import numpy as np
from numpy.typing import NDArray

from bodycast.hmr.body.pickle_scan import UnsafePickle, check_operations
from bodycast.npz import is_text

MOST_STEPS = 10_000
"""Objects that are looked into: SMPL's file has twenty. What two others share is looked into twice."""
MOST_DENSE_ELEMENTS = 1 << 24
"""Numbers that all sparse matrices of a file may have together, zeros included: SMPL-X's has 0.6 million."""


class RefusedPickle(ValueError):  # noqa: N818 - reads as what happened
    """The pickle is broken, or names something that a body file has no reason to name."""


def _as_tuple(value: object) -> tuple[object, ...]:
    """`value` where it is a tuple, else an empty one."""
    return cast("tuple[object, ...]", value) if isinstance(value, tuple) else ()


class _Stub:
    """Stands for an object of the file: takes whatever it is made from, keeps it, does nothing."""

    arguments: tuple[object, ...] = ()
    state: object = None

    def __init__(self, *arguments: object) -> None:  # which a file may leave out
        self.arguments = arguments

    def __setstate__(self, state: object) -> None:
        self.state = state

    def fields(self) -> dict[object, object]:
        """The stored attributes: pickles keep them as a dict, or as a pair of dicts for classes with slots."""
        merged: dict[object, object] = {}
        for part in _as_tuple(self.state) or (self.state,):
            if isinstance(part, dict):
                merged.update(cast("dict[object, object]", part))
        return merged


class _Chumpy(_Stub):
    """A chumpy array. `Ch` keeps its numbers under `x`; `Select` keeps an array `a` and the indices taken from it."""


class _Sparse(_Stub):
    """A scipy sparse matrix in compressed-column form."""

    by_column = True


class _SparseByRow(_Sparse):
    by_column = False


class _NumpyType(_Stub):
    """Stands for the class `numpy.ndarray`, which is only ever an argument."""


class _Dtype(_Stub):
    """A numpy dtype: its code is the first argument, the byte order is in the state."""

    def resolve(self) -> np.dtype[np.generic]:
        code = self.arguments[0] if self.arguments else None
        if not isinstance(code, str) or not re.fullmatch(r"[<>|=]?[fiub][1248]", code):
            raise RefusedPickle(f"expected arrays of numbers, got an array of dtype {code!r}")
        dtype = np.dtype(code)
        order = _as_tuple(self.state)[1:2]
        if order == (">",):
            return dtype.newbyteorder(">")
        return dtype.newbyteorder("<") if order == ("<",) else dtype


class _Array(_Stub):
    """A numpy array: state is (version, shape, dtype, is_fortran, bytes)."""

    def resolve(self) -> NDArray[np.generic]:
        parts = _as_tuple(self.state)
        if len(parts) != 5:
            raise RefusedPickle("expected a numpy array of five parts")
        _, shape, dtype, is_fortran, raw = parts
        return _array_from_bytes(raw, dtype, shape, "F" if is_fortran else "C")


class _Scalar(_Stub):
    """A numpy scalar: made from (dtype, bytes)."""

    def resolve(self) -> NDArray[np.generic]:
        if len(self.arguments) != 2:
            raise RefusedPickle("expected a numpy scalar of two parts")
        return _array_from_bytes(self.arguments[1], self.arguments[0], (), "C")


class _FromBuffer(_Stub):
    """A numpy array of pickle protocol 5: made from (buffer, dtype, shape, order)."""

    def resolve(self) -> NDArray[np.generic]:
        if len(self.arguments) != 4:
            raise RefusedPickle("expected a numpy array of four parts")
        raw, dtype, shape, order = self.arguments
        return _array_from_bytes(raw, dtype, shape, str(order))


def _array_from_bytes(raw: object, dtype: object, shape: object, order: str) -> NDArray[np.generic]:
    if not isinstance(dtype, _Dtype) or not isinstance(shape, tuple) or order not in ("C", "F"):
        raise RefusedPickle("a numpy array of the file is malformed")
    if isinstance(raw, str):  # Python-2 bytes, read as latin-1
        raw = raw.encode("latin-1")
    if not isinstance(raw, bytes | bytearray):
        raise RefusedPickle(f"expected the bytes of a numpy array, got {type(raw).__name__}")
    sizes = cast("tuple[int, ...]", shape)
    flat = np.frombuffer(raw, dtype=dtype.resolve())
    return flat.reshape(sizes, order="F" if order == "F" else "C")


def _reconstructor(cls: object, base: object = None, state: object = None) -> _Stub:
    """Stands for `copyreg._reconstructor`: an empty object of a class, which here must be one of our stubs."""
    if not isinstance(cls, type) or not issubclass(cls, _Stub):
        raise RefusedPickle(f"an object of the file is made from {cls!r}")
    return cls()


def _encode(text: object, encoding: object = "latin1") -> bytes:
    """Stands for `_codecs.encode`, with which Python 3 writes bytes into old protocols."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise RefusedPickle("expected latin-1 text where the file stores bytes")
    return text.encode("latin-1")


_MULTIARRAY = ("numpy.core.multiarray", "numpy._core.multiarray")
_NUMERIC = ("numpy.core.numeric", "numpy._core.numeric")
_ALLOWED: dict[tuple[str, str], Callable[..., object]] = {
    ("numpy", "ndarray"): _NumpyType,
    ("numpy", "dtype"): _Dtype,
    **{(module, "_reconstruct"): _Array for module in _MULTIARRAY},
    **{(module, "scalar"): _Scalar for module in _MULTIARRAY},
    **{(module, "_frombuffer"): _FromBuffer for module in _NUMERIC},
    ("copy_reg", "_reconstructor"): _reconstructor,
    ("copyreg", "_reconstructor"): _reconstructor,
    ("__builtin__", "object"): _Stub,
    ("builtins", "object"): _Stub,
    ("_codecs", "encode"): _encode,
    **{
        (f"scipy.sparse.{module}", f"{kind}_{suffix}"): stub
        for kind, stub in (("csc", _Sparse), ("csr", _SparseByRow))
        for module in (kind, f"_{kind}")
        for suffix in ("matrix", "array")
    },
    ("chumpy", "Ch"): _Chumpy,
    ("chumpy.ch", "Ch"): _Chumpy,
    ("chumpy.reordering", "Select"): _Chumpy,
}


class _StubUnpickler(pickle.Unpickler):
    def find_class(self, module_name: str, global_name: str, /) -> Callable[..., object]:
        try:
            return _ALLOWED[module_name, global_name]
        except KeyError:
            raise RefusedPickle(
                f"refused: the pickle asks for '{module_name}.{global_name}', which a file of arrays does not need; "
                "nothing of it was run"
            ) from None


def _loaded(data: bytes, unpickler: type[_StubUnpickler]) -> object:
    """The stubs that the pickle makes. Raises RefusedPickle."""
    try:
        check_operations(data)
        return unpickler(io.BytesIO(data), encoding="latin1").load()
    except RefusedPickle:
        raise
    except UnsafePickle as error:
        raise RefusedPickle(f"{error}; nothing of it was run") from error
    except Exception as error:  # a damaged pickle may raise anything at all: say so in one way
        reason = " ".join(str(error).split())[:200]
        raise RefusedPickle(f"not a readable pickle ({type(error).__name__}: {reason})") from error


def load_arrays_from_pickle(data: bytes) -> dict[str, object]:
    """The dictionary stored in the pickle `data`, with every array-like value as a numpy array.

    Values that are no arrays (SMPL's `bs_type`, for one) are passed on as they are. Raises RefusedPickle, whose
    message names what was refused or what is broken.
    """
    content = _loaded(data, _StubUnpickler)
    if not isinstance(content, dict):
        raise RefusedPickle(f"expected a dictionary of arrays, got {type(content).__name__}")
    entries = cast("dict[object, object]", content)
    budget = _Budget()
    return {str(key): _resolve(key, value, budget) for key, value in entries.items()}


def load_tree_from_pickle(data: bytes) -> object:
    """Whatever is in the pickle `data`: dictionaries, lists, tuples, text, numbers and numpy arrays, at any depth.

    Arrays of text become numpy arrays of text, arrays of objects become lists (a single object for an array without
    axes). For label files of data sets; raises RefusedPickle as `load_arrays_from_pickle` does.
    """
    content = _loaded(data, _TreeUnpickler)
    try:
        return _Tree().resolve(content)
    except RefusedPickle:
        raise
    except RecursionError as error:
        raise RefusedPickle("the pickle is nested too deeply") from error
    except (ValueError, TypeError, IndexError, KeyError) as error:
        raise RefusedPickle(f"a stored array is malformed ({error})") from error


def _no_bytes() -> bytes:
    """Stands for `bytes`, with which old protocols write the content of an empty array."""
    return b""


class _TreeUnpickler(_StubUnpickler):
    def find_class(self, module_name: str, global_name: str, /) -> Callable[..., object]:
        if (module_name, global_name) == ("collections", "OrderedDict"):
            return dict
        if global_name == "bytes" and module_name in ("__builtin__", "builtins"):
            return _no_bytes
        return super().find_class(module_name, global_name)


class _Tree:
    """Turns stubs at any depth into what they stand for; what the pickle shares is done once, and stays shared."""

    def __init__(self) -> None:
        # The value is kept beside its result, so that its id stays its own.
        self._done: dict[int, tuple[object, object]] = {}
        self._open: set[int] = set()
        self._budget = _Budget()

    def resolve(self, value: object) -> object:
        """Raises RefusedPickle for a value that contains itself."""
        key = id(value)
        if key in self._done:
            return self._done[key][1]
        if key in self._open:
            raise RefusedPickle("a list of the pickle contains itself")
        self._open.add(key)
        result = self._resolve(value)
        self._open.discard(key)
        self._done[key] = (value, result)
        return result

    def _resolve(self, value: object) -> object:
        if isinstance(value, dict):
            return {key: self.resolve(entry) for key, entry in cast("dict[object, object]", value).items()}
        if isinstance(value, list):
            return [self.resolve(entry) for entry in cast("list[object]", value)]
        if isinstance(value, tuple):
            return tuple(self.resolve(entry) for entry in cast("tuple[object, ...]", value))
        if isinstance(value, _Array):
            parts = _as_tuple(value.state)
            if len(parts) == 5:
                return self._array(value, parts[4], parts[2], parts[1], "F" if parts[3] else "C")
        if isinstance(value, _FromBuffer) and len(value.arguments) == 4:
            raw, dtype, shape, order = value.arguments
            return self._array(value, raw, dtype, shape, "F" if order == "F" else "C")
        return _as_array(value, self._budget) if isinstance(value, _Stub) else value

    def _array(
        self, array: _Array | _FromBuffer, raw: object, dtype: object, shape: object, order: Literal["C", "F"]
    ) -> object:
        """Numbers as they are stored; text as text; objects as a list, or the object where there is no axis."""
        code = dtype.arguments[0] if isinstance(dtype, _Dtype) and dtype.arguments else None
        if isinstance(code, str) and code.lstrip("|") == "O8":
            if not isinstance(raw, list):
                raise RefusedPickle("an array of objects is malformed")
            objects = [self.resolve(entry) for entry in cast("list[object]", raw)]
            return objects[0] if shape == () and len(objects) == 1 else objects
        if isinstance(code, str) and re.fullmatch(r"[<>|=]?[US]\d{1,6}", code):
            if isinstance(raw, str):  # Python-2 bytes, read as latin-1
                raw = raw.encode("latin-1")
            if not isinstance(raw, bytes | bytearray) or not isinstance(shape, tuple) or not isinstance(dtype, _Dtype):
                raise RefusedPickle("an array of text is malformed")
            big = _as_tuple(dtype.state)[1:2] == (">",)
            text = np.frombuffer(raw, dtype=np.dtype(code).newbyteorder(">" if big else "<"))
            if not is_text(text):
                raise RefusedPickle("an array of text holds what is no text")
            return text.reshape(cast("tuple[int, ...]", shape), order=order)
        return array.resolve()


class _Budget:
    """How many numbers the sparse matrices of a file may still become, and how many objects are still looked into."""

    def __init__(self) -> None:
        self._left = MOST_DENSE_ELEMENTS
        self._steps = 0

    def step(self) -> None:
        """Raises RefusedPickle where there were too many."""
        self._steps += 1
        if self._steps > MOST_STEPS:
            raise RefusedPickle("objects within objects without end")

    def spend(self, elements: int) -> None:
        """Raises RefusedPickle where too little is left."""
        self._left -= elements
        if self._left < 0:
            raise RefusedPickle("sparse matrices of absurd size")


def _resolve(key: object, value: object, budget: _Budget) -> object:
    try:
        return _as_array(value, budget) if isinstance(value, _Stub) else value
    except RefusedPickle as error:
        raise RefusedPickle(f"{str(key)[:80]}: {error}") from error
    except RecursionError as error:
        raise RefusedPickle(f"{str(key)[:80]}: contains itself") from error
    except (ValueError, TypeError, IndexError, KeyError, OverflowError) as error:
        raise RefusedPickle(f"{str(key)[:80]}: the stored array is malformed ({str(error)[:200]})") from error


def _as_array(value: object, budget: _Budget) -> NDArray[np.generic]:
    if isinstance(value, _Array | _Scalar | _FromBuffer):
        return value.resolve()
    budget.step()
    if isinstance(value, _Chumpy):
        fields = value.fields()
        if "x" in fields:
            return _as_array(fields["x"], budget)
        if "a" in fields and "idxs" in fields:
            taken = _as_array(fields["a"], budget).ravel()[_as_array(fields["idxs"], budget).astype(np.int64)]
            shape = fields.get("preferred_shape")
            return taken if shape is None else taken.reshape(cast("tuple[int, ...]", shape))
        raise RefusedPickle(f"a chumpy object without numbers, fields {sorted(map(str, fields))}")
    if isinstance(value, _Sparse):
        return _dense(value, budget)
    raise RefusedPickle(f"expected an array, got {type(value).__name__}")


def _dense(matrix: _Sparse, budget: _Budget) -> NDArray[np.float64]:
    """Compressed sparse columns (or rows) to a full matrix; duplicate entries add up, as scipy has it."""
    fields = matrix.fields()
    shape = _as_tuple(fields.get("_shape", fields.get("shape")))
    sizes = [size for size in shape if isinstance(size, int) and 0 <= size < 1 << 31]
    if len(shape) != 2 or len(sizes) != 2:
        raise RefusedPickle("a sparse matrix without a shape")
    rows, columns = sizes
    budget.spend(rows * columns)
    data, minor, starts = (_as_array(fields.get(name), budget) for name in ("data", "indices", "indptr"))
    steps = np.diff(starts.astype(np.int64))
    if data.ndim != 1 or minor.shape != data.shape or (steps < 0).any() or int(steps.sum()) != len(data):
        raise RefusedPickle("the parts of a sparse matrix do not fit each other")
    major = np.repeat(np.arange(len(steps)), steps)
    places = (minor.astype(np.int64), major) if matrix.by_column else (major, minor.astype(np.int64))
    dense = np.zeros((rows, columns))
    np.add.at(dense, places, data.astype(np.float64))
    return dense
