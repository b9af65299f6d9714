"""Who may import whom, read from the source of every file, and proved by importing without the extras."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
OURS = ("bodycast", "training", "evaluation")
HEAVY = (
    "torch",
    "torchvision",
    "timm",
    "ultralytics",
    "smplx",
    "pyrender",
    "OpenGL",
    "moderngl",
    "onnx",
    "onnxruntime",
    "openvino",
    "tensorrt",
    "tensorrt_rtx",
    "av",
    "anny",
)

ALLOWED = {
    "bodycast.app": (
        *("bodycast.app", "bodycast.__version__", "bodycast.hmr.geometry", "bodycast.hmr.body", "bodycast.engines"),
    ),
    "bodycast.engines": ("bodycast.engines",),
    "bodycast.export": ("bodycast.export", "bodycast.hmr", "bodycast.engines"),
    "training": ("training", "bodycast.hmr", "bodycast.engines", "bodycast.export"),
    "evaluation": OURS,
    "bodycast.hmr.geometry": ("bodycast.hmr.geometry",),
    "bodycast.hmr.body": ("bodycast.hmr.body", "bodycast.hmr.geometry"),
    "bodycast.hmr.networks": ("bodycast.hmr",),
    "bodycast.hmr.checkpoints": ("bodycast.hmr",),
}
"""Package -> whose modules its files may import anywhere, inside functions too."""

ANYBODYS = ("bodycast.plain_text", "bodycast.npz", "bodycast.no_telemetry")
"""What every package may import: it knows words, arrays and the environment alone."""

EXPORTING = (
    *("app/commands/get_detector.py", "app/commands/import_command.py", "app/commands/main.py"),
    "app/estimation/yolo_pose.py",
)
"""What of the program may import `bodycast.export`, inside functions alone: it makes packages, and a run needs none."""

WATCHING = ("training/contacts/", "training/synthetic/clip.py")
"""What of the training may import the program: the contact network learns from what the program itself makes of a
picture, and a clip's truth is written as the program's motion.npz."""


@dataclass(frozen=True)
class Import:
    """One import of `module` in `file`; `lazy`: inside a function; imports for type checkers only are left out."""

    file: str
    line: int
    module: str
    lazy: bool

    def __str__(self) -> str:
        return f"{self.file}:{self.line} imports {self.module}"


def imports_of(path: Path) -> Iterator[Import]:
    name = path.relative_to(REPOSITORY).as_posix()

    def walk(node: ast.AST, lazy: bool) -> Iterator[Import]:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for child in node.orelse:
                yield from walk(child, lazy)
            return
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(name, node.lineno, alias.name, lazy)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            argument = ast.unparse(node.args[0]).removeprefix("f").strip("'")
            yield Import(name, node.lineno, argument.partition("{")[0].rstrip("."), lazy)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}:{node.lineno}: a relative import; write the package's name"
            # What follows `import` may be a module or a function.
            for alias in node.names:
                yield Import(name, node.lineno, f"{node.module}.{alias.name}", lazy)
        inside = lazy or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.iter_child_nodes(node):
            yield from walk(child, inside)

    yield from walk(ast.parse(path.read_text(encoding="utf-8")), False)


def files_of(package: str) -> list[Path]:
    return sorted((REPOSITORY / package.removeprefix("bodycast.").replace(".", "/")).rglob("*.py"))


def imports_in(package: str) -> list[Import]:
    return [entry for path in files_of(package) for entry in imports_of(path)]


def within(module: str, packages: tuple[str, ...]) -> bool:
    return any(module == package or module.startswith(package + ".") for package in packages)


@pytest.mark.parametrize("package", ALLOWED)
def test_a_package_imports_only_whom_it_may(package: str) -> None:
    bad: list[str] = []
    for entry in imports_in(package):
        if not within(entry.module, OURS) or within(entry.module, (*ALLOWED[package], *ANYBODYS)):
            continue
        if entry.file in EXPORTING and entry.lazy and within(entry.module, ("bodycast.export",)):
            continue
        if entry.file.startswith(WATCHING) and within(entry.module, ("bodycast.app",)):
            continue
        bad.append(str(entry))
    assert bad == []


def test_the_walk_sees_the_imports_that_are_there() -> None:
    seen = {entry.module for entry in imports_in("bodycast.app")}
    assert "bodycast.hmr.geometry.camera.Intrinsics" in seen
    assert any(
        entry.lazy and entry.module.startswith("bodycast.app.estimation.estimator")
        for entry in imports_in("bodycast.app")
    )
    assert any(entry.module == "torch" for entry in imports_in("bodycast.hmr.networks"))
    by_name = [entry for entry in imports_in("bodycast.app") if entry.module == "bodycast.export.__main__"]
    assert by_name, "imports by a string count too"


@pytest.mark.parametrize("package", ["bodycast.app", "bodycast.engines", "bodycast.hmr.geometry", "bodycast.hmr.body"])
def test_nothing_heavy_is_imported_at_module_level(package: str) -> None:
    bad = [
        str(entry)
        for entry in imports_in(package)
        if not entry.lazy and within(entry.module, HEAVY) and not entry.file.endswith("hmr/body/torch_body.py")
    ]
    assert bad == []


def test_the_numpy_side_knows_neither_torch_nor_opencv_and_the_app_not_the_torch_body() -> None:
    numpy_side = [entry for package in ("bodycast.hmr.geometry", "bodycast.hmr.body") for entry in imports_in(package)]
    bad = [
        str(entry)
        for entry in numpy_side
        if within(entry.module, ("torch", "cv2")) and not entry.file.endswith("hmr/body/torch_body.py")
    ]
    bad += [
        str(entry) for entry in imports_in("bodycast.app") if within(entry.module, ("bodycast.hmr.body.torch_body",))
    ]
    assert bad == []


def test_only_the_program_the_evaluation_and_tests_import_the_app() -> None:
    bad = [
        str(entry)
        for package in ("bodycast.engines", "bodycast.export", "bodycast.hmr", "training")
        for entry in imports_in(package)
        if within(entry.module, ("bodycast.app",)) and not entry.file.startswith(WATCHING)
    ]
    assert bad == []


def modules_of(package: str) -> list[str]:
    paths = [path.relative_to(REPOSITORY).with_suffix("") for path in files_of(package)]
    names = ["bodycast." * package.startswith("bodycast.") + path.as_posix().replace("/", ".") for path in paths]
    return [name.removesuffix(".__init__") for name in names if not name.endswith("__main__")]


def test_every_module_of_the_live_program_imports_without_the_extras() -> None:
    """A fresh interpreter in which the heavy packages do not exist."""
    program = f"""
import importlib, sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {HEAVY!r}:
            raise ModuleNotFoundError(f"{{name}} is blocked", name=name)
sys.meta_path.insert(0, Blocker())
for module in {[*modules_of("bodycast.app"), *modules_of("bodycast.engines"), *modules_of("bodycast.hmr.geometry")]!r}:
    importlib.import_module(module)
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]


def test_importing_starts_no_thread_and_prints_nothing() -> None:
    program = f"""
import importlib, threading
for module in {modules_of("bodycast.app")!r}:
    importlib.import_module(module)
assert threading.active_count() == 1, threading.enumerate()
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_arrays_are_read_by_our_reader_alone() -> None:
    """bodycast/npz.py holds what a file claims against its size; numpy's own reader believes it."""
    named = re.compile(r"\b(np|numpy)\.(load|loadtxt|genfromtxt)\(")
    found = [
        f"{path.relative_to(REPOSITORY)}:{number}"
        for folder in (*OURS, "app", "engines", "hmr", "export", "scripts", "examples")
        for path in sorted((REPOSITORY / folder).rglob("*.py"))
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if named.search(line)
    ]
    assert found == []
