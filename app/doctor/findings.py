"""What a check of the doctor gives, and what several of them need."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Literal

State = Literal["ok", "note", "problem"]

# A graph of one node, y = -x, in ONNX's wire format (opset 17): shows that a provider computes, without needing onnx.
ONE_NODE_GRAPH = bytes.fromhex(
    "080812003a320a0b0a017812017922034e65671201675a0f0a0178120a0a08080112040a02080162"
    "0f0a0179120a0a08080112040a02080142040a001011"
)


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found. `note`: works, but could be better; `problem`: does not work. `essential`: nothing runs
    without it. `mend`: the line that helps, empty where nothing needs mending."""

    name: str
    state: State
    detail: str
    mend: str = ""
    essential: bool = False


Check = Callable[[], Iterator[Finding]]


def installed_version(package: str) -> str:
    """Version of an installed distribution, empty if there is none."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def first_line(error: BaseException) -> str:
    """The first line of what an error says, its type where it says nothing."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
