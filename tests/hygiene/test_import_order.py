"""Whatever module of the product is imported first, it can be: no import needs another one before it."""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter

from tests.hygiene.test_import_rules import REPOSITORY, imports_of

PRODUCT = ("app", "engines", "hmr", "export")


def executed_first(module: str, names: frozenset[str], imported: str) -> set[str]:
    """Our modules that an import runs before the importing module goes on: the one that is named, and the packages
    around it; not those around the importing module, which have begun already."""
    parts = imported.split(".")
    around = {".".join(parts[:length]) for length in range(1, len(parts) + 1)}
    return {name for name in around & names if not f"{module}.".startswith(f"{name}.")}


def test_no_imports_go_in_a_circle() -> None:
    files = {
        "bodycast."
        + path.relative_to(REPOSITORY).with_suffix("").as_posix().replace("/", ".").removesuffix(".__init__"): path
        for package in PRODUCT
        for path in sorted((REPOSITORY / package).rglob("*.py"))
    }
    names = frozenset(files)
    graph = {
        module: {
            first
            for found in imports_of(path)
            if not found.lazy
            for first in executed_first(module, names, found.module)
        }
        for module, path in files.items()
    }
    assert len(graph) > 200
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        raise AssertionError(" imports ".join(reversed(error.args[1]))) from None
