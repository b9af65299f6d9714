"""What the documents say is there is there: links, files, commands, flags; and nothing in the tree names a machine."""

from __future__ import annotations

import re
import subprocess
import sys
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest

from bodycast.app.command_line import flags_of
from bodycast.app.commands.main import COMMANDS
from bodycast.app.config import RunConfig

REPOSITORY = Path(__file__).resolve().parents[2]
# docs/lab/ is history: it names files and commands that have gone.
PAGES = (
    *REPOSITORY.glob("*.md"),
    *REPOSITORY.glob("docs/*.md"),
    *REPOSITORY.glob("examples/*.md"),
    *REPOSITORY.glob("assets/**/*.md"),
)
DOCUMENTS = sorted(PAGES)
HISTORY = (REPOSITORY / "CHANGELOG.md", *REPOSITORY.glob("docs/lab/*.md"))
"""Pages that name files and commands that have gone; their links are followed all the same."""
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
CODE_PATH = re.compile(
    r"`((?:app|engines|export|hmr|training|evaluation|assets|docs|tests|requirements|scripts)/[\w./-]+)`"
)
SHELL = re.compile(r"```(?:sh|bash|console)\n(.*?)```", re.DOTALL)
INLINE_COMMAND = re.compile(r"`((?:python (?:-m |run_webcam)|make |bodycast )[^`]*)`")
# Written so that this file does not find itself.
MACHINE_PATHS = re.compile(
    "|".join(("/" + "work/", "/" + "tmp/", "/" + "home/[a-z]", "/" + "root/", "/" + "Users/[a-z]"))
)


def documents(history: bool = False) -> list[pytest.param]:  # type: ignore[valid-type]
    paths = {*DOCUMENTS, *HISTORY} if history else {*DOCUMENTS} - {*HISTORY}
    return [pytest.param(path, id=path.relative_to(REPOSITORY).as_posix()) for path in sorted(paths)]


def commands_of(text: str) -> list[list[str]]:
    """Every command of a document, split into words; placeholders in capitals stay as they are."""
    lines = [line for block in SHELL.findall(text) for line in block.splitlines()]
    lines += INLINE_COMMAND.findall(text)
    commands: list[list[str]] = []
    for line in lines:
        words = line.split("#")[0].split()
        if words:
            commands.append(words)
    return commands


def anchors_of(path: Path) -> set[str]:
    """What a link into this page may name: its headings, as the site and code hosts spell them, and API entries."""
    text = path.read_text(encoding="utf-8")
    headings = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE)
    slugs = {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}
    return slugs | set(re.findall(r"^::: ([\w.]+)$", text, re.MULTILINE))


@pytest.mark.parametrize("path", documents(history=True))
def test_links_lead_somewhere(path: Path) -> None:
    for target in LINK.findall(path.read_text(encoding="utf-8")):
        if not re.match(r"[a-z]+:", target):
            name, _, anchor = target.partition("#")
            linked = (path.parent / name).resolve() if name else path
            assert linked.exists(), f"{path.name} links to {target}"
            assert not anchor or anchor in anchors_of(linked), f"{path.name} links to {target}"
            docs = REPOSITORY / "docs"
            if path.is_relative_to(docs):
                assert linked.is_relative_to(docs), f"{path.name} links to {target}, which the site does not have"


@pytest.mark.parametrize("path", documents())
def test_files_that_are_named_exist(path: Path) -> None:
    if path.is_relative_to(REPOSITORY / "docs" / "adding_a_stage.md"):
        pytest.skip("names a file that the reader is to write")
    for name in CODE_PATH.findall(path.read_text(encoding="utf-8")):
        assert (REPOSITORY / name).exists(), f"{path.name} names {name}"


@pytest.mark.parametrize("path", documents())
def test_commands_exist(path: Path) -> None:
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    flags = flags_of(RunConfig)
    for words in commands_of(path.read_text(encoding="utf-8")):
        if words[0] == "make":
            for target in words[1:]:
                if "=" not in target and re.fullmatch(r"[a-z-]+", target):
                    assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"make {target}"
        elif words[:2] in (["python", "run_webcam.py"], ["bodycast", "run"]):
            for word in words[2:]:
                if word.startswith("--") and word != "--help":
                    assert any(word.split("=")[0] in (flag, _negated(flag)) for flag in flags), " ".join(words)
        elif words[0] == "bodycast" and len(words) > 1:
            assert words[1] in COMMANDS or words[1].isupper() or words[1].startswith("-"), " ".join(words)
            missing = [word for word in words[2:] if re.match(r"--[a-z]", word) and word not in help_of(*words[1:3])]
            assert not missing, f"{' '.join(words)}: no {missing}"
        elif words[0] == "python" and words[1].endswith(".py"):
            assert (REPOSITORY / words[1]).is_file(), " ".join(words)
        elif words[:2] == ["python", "-m"] and len(words) > 2:
            module = REPOSITORY / words[2].replace(".", "/")
            if words[2].split(".")[0] in {entry.name for entry in REPOSITORY.iterdir()}:
                assert module.with_suffix(".py").is_file() or (module / "__main__.py").is_file(), " ".join(words)
        elif words[:2] == ["pip", "install"]:
            for flag, name in pairwise(words):
                assert flag != "-r" or (REPOSITORY / name).is_file(), " ".join(words)


@cache
def help_of(command: str, second: str = "") -> str:
    """What `bodycast COMMAND --help` prints; of `get` and `export`, whose commands have commands, the second one's."""
    has_second = command in ("get", "export") and re.fullmatch(r"[a-z][a-z0-9-]*", second)
    words = [command, second] if has_second else [command]
    done = subprocess.run(
        [sys.executable, "-m", "bodycast", *words, "--help"],
        cwd=REPOSITORY, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-1000:]
    return done.stdout


def _negated(flag: str) -> str:
    return "--no-" + flag.removeprefix("--")


@pytest.mark.parametrize("name", ["evaluation", "training", "export"])
def test_tools_that_documents_call_answer_help(name: str) -> None:
    if not (REPOSITORY / name / "__main__.py").is_file():
        pytest.skip(f"{name} has no command line")
    done = subprocess.run(
        [sys.executable, "-m", name, "--help"], cwd=REPOSITORY, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr[-1000:]


def test_nothing_names_this_machine() -> None:
    listed = subprocess.run(
        ["git", "ls-files"], cwd=REPOSITORY, capture_output=True, text=True, check=False
    ).stdout.splitlines()
    text_files = [
        name for name in listed if Path(name).suffix in {".py", ".md", ".toml", ".txt", ".sh", ".json", ".yaml", ""}
    ]
    if not text_files:
        pytest.skip("not a git checkout")
    # The patterns of .gitignore look like paths of a machine, but begin at the repository.
    for name in sorted(set(text_files) - {".gitignore"}):
        path = REPOSITORY / name
        if path.is_file():
            found = MACHINE_PATHS.search(path.read_text(encoding="utf-8", errors="replace"))
            assert found is None, f"{name} names {found[0] if found else ''}"


def test_the_test_command_of_the_readme_is_what_ci_runs() -> None:
    ci = (REPOSITORY / ".ci" / "run").read_text(encoding="utf-8")
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    assert "make test" in ci and "make test" in readme


def test_every_page_is_in_the_site_and_every_page_of_the_site_exists() -> None:
    text = (REPOSITORY / "mkdocs.yml").read_text(encoding="utf-8")
    listed = set(re.findall(r"^ *- (?:[^:\n]+: )?([\w/]+\.md)$", text, re.MULTILINE))
    pages = {path.relative_to(REPOSITORY / "docs").as_posix() for path in REPOSITORY.glob("docs/*.md")}
    assert pages <= listed, f"not in mkdocs.yml: {sorted(pages - listed)}"
    assert all((REPOSITORY / "docs" / name).is_file() for name in listed)


@pytest.mark.parametrize("path", sorted(REPOSITORY.glob(".github/**/*.yml")), ids=lambda path: path.name)
def test_workflows_are_yaml_and_call_what_there_is(path: Path) -> None:
    yaml = pytest.importorskip("yaml")
    text = path.read_text(encoding="utf-8")
    content = yaml.safe_load(text)
    assert content["name"]
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"make ([a-z-]+)$", text, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"make {target}"
    for step in [step for job in content.get("jobs", {}).values() for step in job["steps"]]:
        assert "uses" not in step or re.fullmatch(r"actions/[a-z-]+@v\d+", step["uses"]), step["uses"]


def test_the_version_is_the_same_everywhere() -> None:
    from bodycast import __version__

    citation = (REPOSITORY / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {__version__}\n" in citation
    assert f"\n## {__version__}" in (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8")
